//! An incremental tokenizer for JSON and for what instrumentations print in its place.
//!
//! It takes chunks that may be split anywhere, calls a [`Visitor`] as soon as something is known, keeps at most
//! [`MAX_KEY`] bytes of a key and as much of a string as the visitor asks for, and never recurses. Beside JSON it
//! reads Python reprs (`None`, single quotes, tuples, `Name(key=value)`, `<Enum.NAME: 'value'>`), trailing commas,
//! and several values in a row. What breaks the grammar otherwise is not repaired: a text whose quotes were not
//! escaped must not turn its content into structure.

use memchr::memchr2;
use std::borrow::Cow;

/// How deep containers are looked into; what is deeper is skipped.
pub const MAX_DEPTH: u32 = 64;

/// What is kept of a key, in bytes. A longer key is given as an empty one: it cannot be known.
pub const MAX_KEY: usize = 128;

/// What is kept of a number, a bare word or an enum's repr, in bytes. Longer ones are given as null.
const MAX_WORD: usize = 96;

/// The two kinds of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Keys and values.
    Object,
    /// Values.
    Array,
}

/// What a visitor wants of a string value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it is skipped, and [`Visitor::string`] is not called.
    Skip,
    /// Its first bytes, at most so many.
    Start(usize),
    /// All of it, decoded, in pieces: it holds a text that is read in turn.
    Pieces,
}

/// A string value, or the start of one.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The first bytes, as many as were wanted. May end within a character when `more` or not `closed`.
    pub start: &'a [u8],
    /// There was more than was wanted.
    pub more: bool,
    /// The closing quote was there; else the input ended within the string.
    pub closed: bool,
}

impl<'a> Text<'a> {
    /// A whole string.
    pub fn whole(text: &'a str, limit: usize) -> Self {
        let start = text.as_bytes().get(..limit).unwrap_or(text.as_bytes());
        Text { start, more: text.len() > start.len(), closed: true }
    }

    /// Whether no byte of it was seen.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// The kept start as text, without a character that was cut in two.
    pub fn start_str(&self) -> Cow<'a, str> {
        match std::str::from_utf8(self.start) {
            Ok(text) => Cow::Borrowed(text),
            Err(error) if error.error_len().is_none() => {
                String::from_utf8_lossy(self.start.get(..error.valid_up_to()).unwrap_or_default())
            }
            Err(_) => String::from_utf8_lossy(self.start),
        }
    }

    /// The text as a word; `None` when its end was not there, because half a word says something else.
    pub fn word(&self) -> Option<Cow<'a, str>> {
        self.closed.then(|| self.start_str())
    }
}

/// Who is told what the text holds.
pub trait Visitor {
    /// A container begins. With `false` it is skipped as a whole, and its [`Visitor::end`] is not called.
    fn begin(&mut self, container: Container) -> bool;
    /// A container ends; with `closed` false it was cut off.
    fn end(&mut self, closed: bool);
    /// The key of the value that comes next; empty when it is not known.
    fn key(&mut self, key: &[u8]);
    /// A string value begins.
    fn begin_string(&mut self) -> Want;
    /// What was wanted of the string, at its end.
    fn string(&mut self, text: Text<'_>);
    /// A piece of a string that was wanted in pieces.
    fn piece(&mut self, piece: &[u8]);
    /// The end of a string that was wanted in pieces.
    fn end_pieces(&mut self, closed: bool);
    /// A number, as it stood there.
    fn number(&mut self, number: &str);
    /// `true` or `false`.
    fn boolean(&mut self, value: bool);
    /// `null`, or what stands for it.
    fn null(&mut self);
}

/// The state between chunks.
#[derive(Default)]
pub struct Tokenizer {
    state: State,
    expect: Expect,
    /// One bit a level, the innermost lowest: set for objects.
    objects: u64,
    depth: u32,
    /// The start of the current key, string, word or enum repr.
    kept: Vec<u8>,
    /// More was there than is kept.
    more: bool,
    /// The first half of a surrogate pair.
    high_surrogate: Option<u16>,
    prose: bool,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// Between tokens.
    #[default]
    Structure,
    /// In a string that ends with `quote`.
    Text { quote: u8, taking: Taking, escape: Escape },
    /// In a number or a bare word.
    Word,
    /// In `<Enum.NAME: 'value'>`.
    Angle,
    /// In a container that nobody wants, so many levels in.
    Skip { levels: u64, quote: Option<u8>, escaped: bool },
    /// The grammar was broken: nothing more is believed. `inside` a container, what was in it is lost.
    Broken { inside: bool },
}

/// What comes next between tokens.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Value,
    Key,
    Colon,
    Comma,
}

/// What becomes of a string's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    Key,
    Nothing,
    Start(usize),
    Pieces,
}

/// Where in an escape sequence a string is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Backslash,
    Hex { left: u8, value: u32 },
}

impl Tokenizer {
    /// A tokenizer that looks for values within prose: between them, everything but `{` and `[` is passed over.
    pub fn in_prose() -> Self {
        Tokenizer { prose: true, ..Tokenizer::default() }
    }

    /// Reads the next bytes.
    pub fn feed<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Structure => self.structure(rest, visitor),
                State::Text { quote, taking, escape: Escape::None } => {
                    self.text(rest, quote, taking, visitor)
                }
                State::Text { quote, taking, escape } => self.escape(rest, quote, taking, escape, visitor),
                State::Word => self.word(rest, visitor),
                State::Angle => self.angle(rest, visitor),
                State::Skip { levels, quote, escaped } => self.skip(rest, levels, quote, escaped),
                State::Broken { .. } => return,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Ends the input, or one text of several, and is ready for the next. Tells whether it ended with its values.
    pub fn finish<V: Visitor>(&mut self, visitor: &mut V) -> bool {
        let whole = match self.state {
            State::Structure | State::Word => self.depth == 0,
            State::Text { taking, .. } => {
                self.end_text(taking, false, visitor);
                false
            }
            State::Broken { inside } => !inside,
            State::Angle | State::Skip { .. } => false,
        };
        self.unwind(visitor);
        *self = Tokenizer { kept: std::mem::take(&mut self.kept), prose: self.prose, ..Tokenizer::default() };
        self.kept.clear();
        whole
    }

    /// Ends all containers that are open.
    fn unwind<V: Visitor>(&mut self, visitor: &mut V) {
        while self.depth > 0 {
            self.depth -= 1;
            visitor.end(false);
        }
        self.objects = 0;
    }

    fn broken<V: Visitor>(&mut self, visitor: &mut V) {
        let inside = self.depth > 0;
        self.unwind(visitor);
        self.expect = Expect::Value;
        // In prose, a bracket may be just that.
        self.state = if self.prose { State::Structure } else { State::Broken { inside } };
    }

    /// Reads tokens that are one byte long and the first byte of others.
    fn structure<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) -> usize {
        let mut used = 0;
        for &byte in bytes {
            used += 1;
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ if self.prose && self.depth == 0 && !matches!(byte, b'{' | b'[') => {}
                b'"' | b'\'' => self.begin_text(byte, visitor),
                b'{' => self.begin(Container::Object, visitor),
                b'[' | b'(' => self.begin(Container::Array, visitor),
                b'}' | b']' | b')' => self.end(byte, visitor),
                b':' | b'=' if self.expect == Expect::Colon => self.expect = Expect::Value,
                b',' => self.comma(visitor),
                // The record separator of JSON text sequences (RFC 7464) and a byte order mark.
                0x1e | 0xef | 0xbb | 0xbf if self.depth == 0 => {}
                b'<' if self.value_may_begin(visitor) => self.begin_word(State::Angle),
                _ if is_word(byte) && self.word_may_begin() => {
                    self.begin_word(State::Word);
                    return used - 1;
                }
                _ => self.broken(visitor),
            }
            if !matches!(self.state, State::Structure) {
                break;
            }
        }
        used
    }

    /// Whether a value may begin here. In a call's repr (`Name(1, 2)`) it may also where a key is expected.
    fn value_may_begin<V: Visitor>(&mut self, visitor: &mut V) -> bool {
        match self.expect {
            Expect::Value => true,
            Expect::Key => {
                visitor.key(b"");
                self.expect = Expect::Value;
                true
            }
            Expect::Colon | Expect::Comma => false,
        }
    }

    fn word_may_begin(&self) -> bool {
        matches!(self.expect, Expect::Value | Expect::Key)
    }

    fn begin<V: Visitor>(&mut self, container: Container, visitor: &mut V) {
        if !self.value_may_begin(visitor) {
            return self.broken(visitor);
        }
        if self.depth >= MAX_DEPTH || !visitor.begin(container) {
            self.state = State::Skip { levels: 1, quote: None, escaped: false };
            return;
        }
        self.depth += 1;
        self.objects = (self.objects << 1) | u64::from(container == Container::Object);
        self.expect = match container {
            Container::Object => Expect::Key,
            Container::Array => Expect::Value,
        };
    }

    fn end<V: Visitor>(&mut self, closer: u8, visitor: &mut V) {
        let object = self.objects & 1 == 1;
        let fits = match closer {
            b'}' => object,
            b']' => !object,
            _ => true,
        };
        // A value must have come after a key and its colon.
        let dangling = object && self.expect == Expect::Value;
        if self.depth == 0 || !fits || dangling {
            return self.broken(visitor);
        }
        self.depth -= 1;
        self.objects >>= 1;
        visitor.end(true);
        self.after_value();
    }

    fn comma<V: Visitor>(&mut self, visitor: &mut V) {
        let object = self.depth > 0 && self.objects & 1 == 1;
        match self.expect {
            Expect::Comma if object => self.expect = Expect::Key,
            Expect::Comma => self.expect = Expect::Value,
            // A Python set, or a call's positional argument: what was taken for a key was a value.
            Expect::Colon => self.expect = Expect::Key,
            // Between values in a row.
            Expect::Value if self.depth == 0 => {}
            Expect::Value | Expect::Key => self.broken(visitor),
        }
    }

    fn after_value(&mut self) {
        self.state = State::Structure;
        self.expect = if self.depth == 0 { Expect::Value } else { Expect::Comma };
    }

    fn begin_text<V: Visitor>(&mut self, quote: u8, visitor: &mut V) {
        let taking = match self.expect {
            Expect::Key => Taking::Key,
            Expect::Value => match visitor.begin_string() {
                Want::Skip => Taking::Nothing,
                Want::Start(limit) => Taking::Start(limit),
                Want::Pieces => Taking::Pieces,
            },
            Expect::Colon | Expect::Comma => return self.broken(visitor),
        };
        self.kept.clear();
        self.more = false;
        self.state = State::Text { quote, taking, escape: Escape::None };
    }

    /// Reads a string up to its end or its next escape.
    fn text<V: Visitor>(&mut self, bytes: &[u8], quote: u8, taking: Taking, visitor: &mut V) -> usize {
        let found = memchr2(quote, b'\\', bytes);
        let run = bytes.get(..found.unwrap_or(bytes.len())).unwrap_or_default();
        if !run.is_empty() {
            self.take(run, taking, visitor);
        }
        let Some(at) = found else { return bytes.len() };
        if bytes.get(at) == Some(&quote) {
            self.end_text(taking, true, visitor);
        } else {
            self.state = State::Text { quote, taking, escape: Escape::Backslash };
        }
        at + 1
    }

    /// Reads one byte of an escape sequence.
    fn escape<V: Visitor>(
        &mut self,
        bytes: &[u8],
        quote: u8,
        taking: Taking,
        escape: Escape,
        visitor: &mut V,
    ) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        let next = match escape {
            Escape::None => Escape::None,
            // Only the byte after the backslash could be a quote that ends nothing.
            Escape::Backslash if taking == Taking::Nothing => Escape::None,
            Escape::Backslash => match byte {
                b'u' => Escape::Hex { left: 4, value: 0 },
                b'x' => Escape::Hex { left: 2, value: 0 },
                b'U' => Escape::Hex { left: 8, value: 0 },
                _ => {
                    let decoded = match byte {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 8,
                        b'f' => 12,
                        other => other,
                    };
                    self.take(&[decoded], taking, visitor);
                    Escape::None
                }
            },
            Escape::Hex { left, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    // Not an escape after all; the byte is read again as text.
                    self.state = State::Text { quote, taking, escape: Escape::None };
                    return 0;
                };
                let value = (value << 4) | digit;
                if left > 1 {
                    Escape::Hex { left: left - 1, value }
                } else {
                    self.take_code_point(value, taking, visitor);
                    Escape::None
                }
            }
        };
        self.state = State::Text { quote, taking, escape: next };
        1
    }

    fn take_code_point<V: Visitor>(&mut self, value: u32, taking: Taking, visitor: &mut V) {
        let high = self.high_surrogate.take();
        let value = match (high, value) {
            (_, 0xd800..=0xdbff) => {
                self.high_surrogate = u16::try_from(value).ok();
                return;
            }
            (Some(high), 0xdc00..=0xdfff) => 0x10000 + ((u32::from(high) - 0xd800) << 10) + (value - 0xdc00),
            (_, value) => value,
        };
        let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut encoded = [0; 4];
        self.take(character.encode_utf8(&mut encoded).as_bytes(), taking, visitor);
    }

    /// Takes decoded bytes of a string.
    fn take<V: Visitor>(&mut self, bytes: &[u8], taking: Taking, visitor: &mut V) {
        let limit = match taking {
            Taking::Nothing => return,
            Taking::Pieces => return visitor.piece(bytes),
            Taking::Key => MAX_KEY,
            Taking::Start(limit) => limit,
        };
        let room = limit.saturating_sub(self.kept.len());
        self.more |= bytes.len() > room;
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn end_text<V: Visitor>(&mut self, taking: Taking, closed: bool, visitor: &mut V) {
        self.high_surrogate = None;
        match taking {
            Taking::Key => {
                self.state = State::Structure;
                self.expect = Expect::Colon;
                if closed {
                    visitor.key(if self.more { b"" } else { &self.kept });
                }
                return;
            }
            Taking::Nothing => {}
            Taking::Start(_) => visitor.string(Text { start: &self.kept, more: self.more, closed }),
            Taking::Pieces => visitor.end_pieces(closed),
        }
        self.after_value();
    }

    fn begin_word(&mut self, state: State) {
        self.kept.clear();
        self.more = false;
        self.state = state;
    }

    fn keep_word(&mut self, bytes: &[u8]) {
        let room = MAX_WORD.saturating_sub(self.kept.len());
        self.more |= bytes.len() > room;
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Reads a bare word; what follows it decides what it is.
    fn word<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) -> usize {
        let length = bytes.iter().position(|&byte| !is_word(byte)).unwrap_or(bytes.len());
        self.keep_word(bytes.get(..length).unwrap_or_default());
        let Some(&next) = bytes.get(length) else { return length };
        let quoted = matches!(next, b'"' | b'\'');
        if quoted && self.kept.len() <= 2 && self.kept.iter().all(|byte| b"bBuUrRfF".contains(byte)) {
            // b'...' and the like.
            self.state = State::Structure;
            return length;
        }
        if next == b'(' && self.kept.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_') {
            // Name(key=value, ...): an object.
            self.state = State::Structure;
            self.begin(Container::Object, visitor);
            return length + 1;
        }
        if self.expect == Expect::Key {
            visitor.key(if self.more { b"" } else { &self.kept });
            self.state = State::Structure;
            self.expect = Expect::Colon;
            return length;
        }
        if self.depth == 0 && !is_literal(&self.kept) {
            self.broken(visitor);
            return length;
        }
        self.bare_value(visitor);
        length
    }

    /// Gives the bare word as a value.
    fn bare_value<V: Visitor>(&mut self, visitor: &mut V) {
        match (self.kept.as_slice(), self.more) {
            (b"true" | b"True", _) => visitor.boolean(true),
            (b"false" | b"False", _) => visitor.boolean(false),
            (word, false) if is_number(word) => match std::str::from_utf8(word) {
                Ok(number) => visitor.number(number),
                Err(_) => visitor.null(),
            },
            (word, false) if !is_literal(word) => give_word(word, visitor),
            _ => visitor.null(),
        }
        self.after_value();
    }

    /// Reads `<Enum.NAME: 'value'>`.
    fn angle<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) -> usize {
        let end = memchr::memchr(b'>', bytes);
        self.keep_word(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
        let Some(end) = end else { return bytes.len() };
        match enum_value(&self.kept) {
            Some(word) if !self.more => give_word(word, visitor),
            _ => visitor.null(),
        }
        self.after_value();
        end + 1
    }

    /// Passes over a container.
    fn skip(&mut self, bytes: &[u8], levels: u64, quote: Option<u8>, escaped: bool) -> usize {
        if escaped {
            self.state = State::Skip { levels, quote, escaped: false };
            return 1;
        }
        if let Some(quote) = quote {
            let Some(at) = memchr2(quote, b'\\', bytes) else { return bytes.len() };
            let closed = bytes.get(at) == Some(&quote);
            self.state = State::Skip { levels, quote: (!closed).then_some(quote), escaped: !closed };
            return at + 1;
        }
        let mut levels = levels;
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'"' | b'\'' => {
                    self.state = State::Skip { levels, quote: Some(byte), escaped: false };
                    return at + 1;
                }
                b'{' | b'[' | b'(' => levels = levels.saturating_add(1),
                b'}' | b']' | b')' if levels <= 1 => {
                    self.after_value();
                    return at + 1;
                }
                b'}' | b']' | b')' => levels -= 1,
                _ => {}
            }
        }
        self.state = State::Skip { levels, quote: None, escaped: false };
        bytes.len()
    }
}

/// Gives a word that stood without quotes as a string.
fn give_word<V: Visitor>(word: &[u8], visitor: &mut V) {
    match visitor.begin_string() {
        Want::Skip => {}
        Want::Start(limit) => {
            let start = word.get(..limit).unwrap_or(word);
            visitor.string(Text { start, more: word.len() > start.len(), closed: true });
        }
        Want::Pieces => {
            visitor.piece(word);
            visitor.end_pieces(true);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+' | b'$')
}

fn is_number(word: &[u8]) -> bool {
    let digits = match word {
        [b'-' | b'+', rest @ ..] => rest,
        _ => word,
    };
    digits.first().is_some_and(u8::is_ascii_digit)
}

/// Whether a bare word is JSON's or Python's own, not a name.
fn is_literal(word: &[u8]) -> bool {
    const LITERALS: [&[u8]; 14] = [
        b"null",
        b"None",
        b"nil",
        b"undefined",
        b"true",
        b"True",
        b"false",
        b"False",
        b"NaN",
        b"nan",
        b"Infinity",
        b"-Infinity",
        b"inf",
        b"-inf",
    ];
    LITERALS.contains(&word) || is_number(word)
}

/// The value in `FinishReason.SAFETY: 'SAFETY'`, the name in `FinishReason.SAFETY: 3`.
fn enum_value(repr: &[u8]) -> Option<&[u8]> {
    let colon = repr.iter().position(|&byte| byte == b':')?;
    let (name, value) = repr.split_at_checked(colon)?;
    match value.get(1..)?.trim_ascii() {
        [b'\'', value @ .., b'\''] | [b'"', value @ .., b'"'] => Some(value),
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests;
