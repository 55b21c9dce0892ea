//! Protobuf messages as trees of fields, so that tests can make every form that the wire allows: any order, repeated
//! and unknown fields, padded varints.

use refusal_collector::otlp::Signal;

/// A field with its payload, and by how many bytes its varints are longer than needed.
#[derive(Clone, Debug)]
pub struct Field {
    pub number: u32,
    pub content: Content,
    pub tag_padding: usize,
    pub padding: usize,
}

#[derive(Clone, Debug)]
pub enum Content {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
    /// Fields in wire form already; they stand here instead of tag and payload.
    Encoded(Vec<u8>),
}

impl Field {
    pub fn new(number: u32, content: Content) -> Self {
        Field { number, content, tag_padding: 0, padding: 0 }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let (wire_type, payload) = match &self.content {
            Content::Varint(_) => (0, Vec::new()),
            Content::Fixed64(value) => (1, value.to_le_bytes().to_vec()),
            Content::Bytes(bytes) => (2, bytes.clone()),
            Content::Message(fields) => (2, encode(fields)),
            Content::Fixed32(value) => (5, value.to_le_bytes().to_vec()),
            Content::Encoded(fields) => return out.extend(fields),
        };
        put_padded(out, u64::from(self.number) << 3 | wire_type, self.tag_padding);
        match &self.content {
            Content::Varint(value) => put_padded(out, *value, self.padding),
            Content::Bytes(_) | Content::Message(_) => put_padded(out, payload.len() as u64, self.padding),
            Content::Fixed64(_) | Content::Fixed32(_) | Content::Encoded(_) => {}
        }
        out.extend(payload);
    }
}

pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|field| field.encode(&mut out));
    out
}

fn put_padded(out: &mut Vec<u8>, mut value: u64, padding: usize) {
    let from = out.len();
    loop {
        out.push(value as u8 | 0x80);
        value >>= 7;
        if value == 0 {
            break;
        }
    }
    let padded = (out.len() + padding).min(from + 10);
    out.resize(padded, 0x80);
    *out.last_mut().unwrap() &= 0x7f;
}

fn bytes(number: u32, content: impl Into<Vec<u8>>) -> Field {
    Field::new(number, Content::Bytes(content.into()))
}

fn message(number: u32, fields: Vec<Field>) -> Field {
    Field::new(number, Content::Message(fields))
}

fn varint(number: u32, value: u64) -> Field {
    Field::new(number, Content::Varint(value))
}

/// Bytes that decide what is generated; when they are used up, every choice is the simplest one.
pub struct Entropy<'e>(pub &'e [u8]);

impl Entropy<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte())) >> (self.byte() % 64)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    fn times(&mut self, up_to: usize) -> std::ops::Range<usize> {
        0..self.below(up_to + 1)
    }

    fn some(&mut self, up_to: usize) -> std::ops::Range<usize> {
        if self.one_in(10) { 0..0 } else { 0..1 + self.below(up_to) }
    }

    /// Usually once, now and then never or twice, as protobuf allows for every field.
    fn about_once(&mut self) -> std::ops::Range<usize> {
        0..[1, 1, 1, 1, 1, 0, 2][self.below(7)]
    }

    fn text(&mut self) -> String {
        let len = [0, 1, 5, 12, 126, 127, 128, 129, 300, 16_383, 16_384, 20_000];
        let len = if self.one_in(8) { len[self.below(len.len())] } else { self.below(20) };
        let letter = char::from(b'a' + self.below(26) as u8);
        std::iter::repeat_n(letter, len).collect()
    }

    /// Puts unknown fields between the fields of a message, and now and then shuffles and pads them.
    fn finish(&mut self, mut fields: Vec<Field>) -> Vec<Field> {
        if self.one_in(6) {
            for _ in self.times(3) {
                let at = self.below(fields.len() + 1);
                fields.insert(at, self.unknown());
            }
        }
        if self.one_in(6) {
            for at in 0..fields.len() {
                let other = self.below(fields.len());
                fields.swap(at, other);
            }
        }
        if self.one_in(6) {
            for field in &mut fields {
                field.tag_padding = self.below(3);
                field.padding = self.below(10);
            }
        }
        fields
    }

    fn unknown(&mut self) -> Field {
        let number = if self.one_in(8) { (1 << 29) - 1 } else { 100 + self.below(1000) as u32 };
        let content = match self.below(4) {
            0 => Content::Varint(self.number()),
            1 => Content::Fixed64(self.number()),
            2 => Content::Fixed32(self.number() as u32),
            _ => Content::Bytes(self.text().into()),
        };
        Field::new(number, content)
    }

    pub fn request(&mut self, signal: Signal) -> Vec<Field> {
        let groups = self.some(3).map(|_| message(1, self.by_resource(signal))).collect();
        self.finish(groups)
    }

    fn by_resource(&mut self, signal: Signal) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in self.about_once() {
            let attributes = self.times(2).map(|_| message(1, self.attribute())).collect();
            fields.push(message(1, self.finish(attributes)));
        }
        fields.extend(self.some(2).map(|_| message(2, self.by_scope(signal))));
        fields.extend(self.about_once().map(|_| bytes(3, self.text())));
        self.finish(fields)
    }

    fn by_scope(&mut self, signal: Signal) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in self.about_once() {
            let mut scope: Vec<_> = self.about_once().map(|_| bytes(1, self.text())).collect();
            scope.extend(self.times(1).map(|_| bytes(2, self.text())));
            fields.push(message(1, self.finish(scope)));
        }
        for _ in self.some(4) {
            let item = match signal {
                Signal::Traces => self.span(),
                Signal::Logs => self.log_record(),
                Signal::Metrics => self.metric(),
            };
            fields.push(message(2, item));
        }
        fields.extend(self.about_once().map(|_| bytes(3, self.text())));
        self.finish(fields)
    }

    fn span(&mut self) -> Vec<Field> {
        let mut fields = vec![bytes(1, [7; 16]), bytes(2, [8; 8])];
        fields.extend(self.about_once().map(|_| bytes(5, self.text())));
        fields.extend(self.about_once().map(|_| varint(6, 3)));
        fields.extend(self.about_once().map(|_| Field::new(7, Content::Fixed64(self.number()))));
        fields.extend(self.times(4).map(|_| message(9, self.attribute())));
        for _ in self.times(1) {
            let mut event = vec![bytes(2, self.text())];
            event.extend(self.times(2).map(|_| message(3, self.attribute())));
            fields.push(message(11, self.finish(event)));
        }
        fields.extend(self.times(1).map(|_| message(15, vec![varint(3, 2)])));
        fields.extend(self.times(1).map(|_| Field::new(16, Content::Fixed32(self.number() as u32))));
        self.finish(fields)
    }

    fn log_record(&mut self) -> Vec<Field> {
        let mut fields = vec![Field::new(1, Content::Fixed64(self.number()))];
        fields.extend(self.about_once().map(|_| varint(2, 9)));
        fields.extend(self.about_once().map(|_| message(5, self.any_value(0))));
        fields.extend(self.times(4).map(|_| message(6, self.attribute())));
        fields.extend(self.about_once().map(|_| bytes(12, self.text())));
        self.finish(fields)
    }

    fn metric(&mut self) -> Vec<Field> {
        let mut fields: Vec<_> = self.about_once().map(|_| bytes(1, self.text())).collect();
        for _ in self.about_once() {
            for _ in self.about_once() {
                let kind = [5, 7, 9, 10, 11][self.below(5)];
                let mut data = Vec::new();
                for _ in self.times(3) {
                    let point = vec![Field::new(3, Content::Fixed64(self.number()))];
                    data.push(message(1, self.finish(point)));
                }
                if matches!(kind, 7 | 9 | 10) {
                    data.extend(self.about_once().map(|_| varint(2, 2)));
                }
                fields.push(message(kind, self.finish(data)));
            }
        }
        self.finish(fields)
    }

    fn attribute(&mut self) -> Vec<Field> {
        self.key_value(0)
    }

    fn key_value(&mut self, depth: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in self.about_once() {
            let key = match self.below(4) {
                0 => "mark".to_owned(),
                1 => "gen_ai.response.finish_reasons".to_owned(),
                _ => self.text(),
            };
            fields.push(bytes(1, key));
        }
        fields.extend(self.about_once().map(|_| message(2, self.any_value(depth))));
        self.finish(fields)
    }

    fn any_value(&mut self, depth: usize) -> Vec<Field> {
        if depth == 0 && self.one_in(40) {
            let levels = self.below(42);
            let leaf = vec![varint(3, self.number())];
            return (0..levels).fold(leaf, |inner, _| vec![message(5, vec![message(1, inner)])]);
        }
        let kinds = if depth > 3 { 6 } else { 8 };
        let mut fields = Vec::new();
        for _ in self.about_once() {
            fields.push(match self.below(kinds) {
                0 => bytes(1, self.text()),
                1 => varint(2, self.number() % 2),
                2 => varint(3, self.number()),
                3 => Field::new(4, Content::Fixed64(self.number())),
                4 => bytes(7, self.text()),
                5 => varint(8, 1),
                6 => {
                    let values = self.times(3).map(|_| message(1, self.any_value(depth + 1))).collect();
                    message(5, self.finish(values))
                }
                _ => {
                    let values = self.times(3).map(|_| message(1, self.key_value(depth + 1))).collect();
                    message(6, self.finish(values))
                }
            });
        }
        self.finish(fields)
    }
}
