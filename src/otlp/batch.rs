//! Merges and splits export requests without decoding them.
//!
//! A request is one repeated field of groups by resource, so that requests are merged by writing one behind the other.
//! A split gives each part what its items stand in: of every group that a part has items of, all fields but the grouped
//! ones (the resource, the scope, schema URLs, a metric's name and unit, and fields that are not known here) are
//! repeated. Items keep their order and their bytes.

use crate::otlp::Signal;
use crate::otlp::frame::FrameBuffer;
use crate::otlp::layout::{BY_RESOURCE, BY_SCOPE, DATA_POINTS, ITEMS, is_metric_data};
use crate::otlp::wire::{Fields, Malformed, put_varint, varint_len};
use crate::payload::Message;
use smallvec::{SmallVec, smallvec};
use std::num::NonZeroUsize;
use std::ops::Range;

/// One request that holds the items of all `requests`, in order. They must be of the same signal.
pub fn merge<'r>(requests: impl Iterator<Item = &'r Message> + Clone) -> Message {
    let len = requests.clone().map(Message::len).fold(0, usize::saturating_add);
    let mut frame = FrameBuffer::new(len);
    for request in requests {
        frame.message().extend_from_slice(request.as_slice());
    }
    frame.finish()
}

/// A request that [`Split`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The request.
    pub message: Message,
    /// How many items it holds, at least one.
    pub items: usize,
}

/// Splits a request into parts, made one at a time as they are asked for: each is at most as large as the request, but
/// together they repeat its resources. Ends after the first error. Groups without items at the end of the request are
/// left out.
#[derive(Debug)]
pub struct Split {
    request: Message,
    max_items: usize,
    /// From the request inwards, the groups of which a part is still to come.
    open: Vec<Group>,
}

impl Split {
    /// Splits `request` into parts of `max_items` items each; the last one may have less.
    pub fn new(signal: Signal, request: Message, max_items: NonZeroUsize) -> Result<Self, Malformed> {
        let message = request.as_slice();
        let root = Group::open(message, Kind::Request(signal), 0, smallvec![0..message.len()])?;
        Ok(Split { request, max_items: max_items.get(), open: vec![root] })
    }

    /// Splits a request of `items` items into two halves; `None` when it has fewer than two.
    pub fn halves(signal: Signal, request: Message, items: usize) -> Result<Option<Self>, Malformed> {
        match NonZeroUsize::new(items.div_ceil(2)) {
            Some(half) if items > 1 => Split::new(signal, request, half).map(Some),
            _ => Ok(None),
        }
    }

    fn part(&mut self) -> Result<Option<Part>, Malformed> {
        let message = self.request.as_slice();
        let (mut plan, mut items) = (Plan::default(), 0);
        for group in &self.open {
            plan.open(group);
        }
        while let Some(group) = self.open.last_mut() {
            if items == self.max_items && group.next.is_some() {
                break;
            }
            match group.take_next(message)? {
                Some(Child::Item(field)) => {
                    plan.copy(field);
                    items += 1;
                }
                Some(Child::Group { kind, number, content }) => {
                    let inner = Group::open(message, kind, number, content)?;
                    plan.open(&inner);
                    self.open.push(inner);
                }
                None => {
                    plan.close();
                    self.open.pop();
                }
            }
        }
        Ok((items > 0).then(|| Part { message: plan.write(message), items }))
    }
}

impl Iterator for Split {
    type Item = Result<Part, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.part();
        if part.is_err() {
            self.open.clear();
        }
        part.transpose()
    }
}

/// Where a message stands: one place, or several when its field came in pieces that protobuf merges.
type Pieces = SmallVec<[Range<usize>; 1]>;

/// The messages that group others.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Request(Signal),
    ByResource(Signal),
    ByScope(Signal),
    Metric,
    /// `Gauge`, `Sum` and so on.
    MetricData,
}

impl Kind {
    /// What the field `number` holds, if this kind of message groups it.
    fn grouped(self, number: u32) -> Option<Grouped> {
        match (self, number) {
            (Kind::Request(signal), BY_RESOURCE) => Some(Grouped::Group(Kind::ByResource(signal))),
            (Kind::ByResource(signal), BY_SCOPE) => Some(Grouped::Group(Kind::ByScope(signal))),
            (Kind::ByScope(Signal::Metrics), ITEMS) => Some(Grouped::Group(Kind::Metric)),
            (Kind::ByScope(Signal::Traces | Signal::Logs), ITEMS) => Some(Grouped::Item),
            (Kind::Metric, number) if is_metric_data(number) => Some(Grouped::Group(Kind::MetricData)),
            (Kind::MetricData, DATA_POINTS) => Some(Grouped::Item),
            _ => None,
        }
    }
}

enum Grouped {
    Item,
    Group(Kind),
}

/// What stands next in a group.
#[derive(Debug)]
enum Child {
    /// Tag, length and content of an item.
    Item(Range<usize>),
    /// The content of a group that stands in field `number`.
    Group { kind: Kind, number: u32, content: Pieces },
}

/// A message that is being split.
#[derive(Debug)]
struct Group {
    kind: Kind,
    /// The number of its field in the message around it; 0 for the request itself.
    number: u32,
    /// All fields but the grouped ones, neighbours joined.
    envelope: Vec<Range<usize>>,
    /// The next one that it groups.
    next: Option<Child>,
    /// What has not been looked at yet: the rest of one piece, and the pieces after it.
    rest: Range<usize>,
    later: smallvec::IntoIter<[Range<usize>; 1]>,
}

impl Group {
    fn open(message: &[u8], kind: Kind, number: u32, content: Pieces) -> Result<Self, Malformed> {
        let mut group = match kind {
            Kind::Metric => return Group::open_metric(message, number, content),
            _ => Group {
                kind,
                number,
                envelope: Vec::new(),
                next: None,
                rest: 0..0,
                later: content.clone().into_iter(),
            },
        };
        for piece in content {
            let mut fields = Fields::new(message, piece);
            while let Some(field) = fields.next_field()? {
                if kind.grouped(field.number).is_none() {
                    push_joined(&mut group.envelope, field.at..fields.position());
                }
            }
        }
        group.take_next(message)?;
        Ok(group)
    }

    /// A metric groups one thing: the last member of a oneof, which may have come in pieces. Earlier members are kept
    /// with the envelope, which is written first, so that they stay overwritten.
    fn open_metric(message: &[u8], number: u32, content: Pieces) -> Result<Self, Malformed> {
        let (mut envelope, mut data) = (Vec::new(), SmallVec::<[_; 1]>::new());
        for piece in content {
            let mut fields = Fields::new(message, piece);
            while let Some(field) = fields.next_field()? {
                let whole = field.at..fields.position();
                match Kind::Metric.grouped(field.number) {
                    Some(_) => data.push((field.number, whole, field.content()?)),
                    None => push_joined(&mut envelope, whole),
                }
            }
        }
        let mut group = Group {
            kind: Kind::Metric,
            number,
            envelope,
            next: None,
            rest: 0..0,
            later: Pieces::new().into_iter(),
        };
        if let Some(&(last, ..)) = data.last() {
            let overwritten = data.iter().rposition(|(number, ..)| *number != last).map_or(0, |at| at + 1);
            for (_, whole, _) in data.drain(..overwritten) {
                push_joined(&mut group.envelope, whole);
            }
            let content = data.into_iter().map(|(.., content)| content).collect();
            group.next = Some(Child::Group { kind: Kind::MetricData, number: last, content });
        }
        Ok(group)
    }

    /// Gives the next one that is grouped here, and finds the one after it.
    fn take_next(&mut self, message: &[u8]) -> Result<Option<Child>, Malformed> {
        let after = self.find_next(message)?;
        Ok(std::mem::replace(&mut self.next, after))
    }

    fn find_next(&mut self, message: &[u8]) -> Result<Option<Child>, Malformed> {
        loop {
            let mut fields = Fields::new(message, self.rest.clone());
            while let Some(field) = fields.next_field()? {
                let Some(grouped) = self.kind.grouped(field.number) else { continue };
                let content = field.content()?;
                self.rest.start = fields.position();
                return Ok(Some(match grouped {
                    Grouped::Item => Child::Item(field.at..fields.position()),
                    Grouped::Group(kind) => {
                        Child::Group { kind, number: field.number, content: smallvec![content] }
                    }
                }));
            }
            let Some(piece) = self.later.next() else {
                self.rest.start = self.rest.end;
                return Ok(None);
            };
            self.rest = piece;
        }
    }
}

/// What a part will be made of, in the order of writing. Lengths stand before what they count, but are known later.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<Step>,
    /// The groups around what is planned next: which step began each, and how long it is by now.
    open: SmallVec<[(usize, usize); 5]>,
    /// How long the part is by now, without the groups that are still open.
    len: usize,
}

#[derive(Debug)]
enum Step {
    /// Tag and length of a group.
    Header { number: u32, len: usize },
    /// Bytes of the request.
    Copy(Range<usize>),
}

impl Plan {
    fn open(&mut self, group: &Group) {
        self.open.push((self.steps.len(), 0));
        self.steps.push(Step::Header { number: group.number, len: 0 });
        for fields in &group.envelope {
            self.copy(fields.clone());
        }
    }

    fn copy(&mut self, range: Range<usize>) {
        self.grow(range.len());
        match self.steps.last_mut() {
            Some(Step::Copy(last)) if last.end == range.start => last.end = range.end,
            _ => self.steps.push(Step::Copy(range)),
        }
    }

    fn close(&mut self) {
        let Some((began, content)) = self.open.pop() else { return };
        let Some(Step::Header { number, len }) = self.steps.get_mut(began) else { return };
        *len = content;
        let header = if *number == 0 { 0 } else { varint_len(tag(*number)) + varint_len(content as u64) };
        self.grow(header + content);
    }

    fn grow(&mut self, by: usize) {
        match self.open.last_mut() {
            Some((_, len)) => *len += by,
            None => self.len += by,
        }
    }

    fn write(mut self, message: &[u8]) -> Message {
        while !self.open.is_empty() {
            self.close();
        }
        let mut frame = FrameBuffer::new(self.len);
        let out = frame.message();
        for step in self.steps {
            match step {
                Step::Header { number: 0, .. } => {}
                Step::Header { number, len } => {
                    put_varint(out, tag(number));
                    put_varint(out, len as u64);
                }
                Step::Copy(range) => out.extend_from_slice(message.get(range).unwrap_or_default()),
            }
        }
        frame.finish()
    }
}

/// The tag of a length-delimited field.
fn tag(number: u32) -> u64 {
    u64::from(number) << 3 | 2
}

fn push_joined(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests;
