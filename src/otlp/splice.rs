//! Appends fields to some items of an export request and leaves everything else bit by bit as it came.
//!
//! One walk finds the items and asks a visitor about each. Only the length prefixes above an item that grew are
//! rewritten, in the shortest form; unknown fields, odd orders, padded varints elsewhere and the content of all items
//! stay. From the first item on that grows, the walk copies what it passes into the new request.

use crate::otlp::Signal;
use crate::otlp::frame::FrameBuffer;
use crate::otlp::layout::{BY_RESOURCE, BY_SCOPE, DATA_POINTS, ENVELOPE, ITEMS, is_metric_data};
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::{Field, Fields, Malformed, Value, put_varint, varint, varint_len};
use crate::payload::Message;
use smallvec::SmallVec;
use std::ops::Range;

/// What [`splice`] found and made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many spans, log records or data points the request holds.
    pub items: usize,
    /// The request with what was appended, in an uncompressed gRPC frame; `None` when nothing was appended and the
    /// request stays the bytes that arrived.
    pub rewritten: Option<Message>,
}

/// Leads `visitor` through the request and appends to each item what it says.
///
/// A request of metrics is only counted: its visitor sees nothing.
pub fn splice<'m, V: Visit<'m>>(
    signal: Signal,
    message: &'m [u8],
    visitor: &mut V,
) -> Result<Outcome, Malformed> {
    Ok(walk(signal, message, visitor, Order::Any)?.0)
}

/// The same for a request in which scopes stand before their items, as they do in what every known sender writes. `None`
/// when one does not: then what the visitor was shown is wrong.
///
/// That saves a pass over the heads of all items, which in a request of megabytes is a cache miss for each: the pass
/// took 9 % of the samples of a profile.
pub fn splice_in_order<'m, V: Visit<'m>>(
    signal: Signal,
    message: &'m [u8],
    visitor: &mut V,
) -> Result<Option<Outcome>, Malformed> {
    let (outcome, is_in_order) = walk(signal, message, visitor, Order::ScopeFirst)?;
    Ok(is_in_order.then_some(outcome))
}

/// What came of it, and whether the request has that order.
fn walk<'m, V: Visit<'m>>(
    signal: Signal,
    message: &'m [u8],
    visitor: &mut V,
    order: Order,
) -> Result<(Outcome, bool), Malformed> {
    match signal {
        Signal::Traces | Signal::Logs => {}
        Signal::Metrics => return Ok((Outcome { items: count(signal, message)?, rewritten: None }, true)),
    }
    let mut walk = Walk {
        message,
        visitor,
        order,
        is_in_order: true,
        resource: Envelope::default(),
        scope: Envelope::default(),
        items: 0,
        appended: Vec::new(),
        rewrite: Rewrite::new(message),
    };
    walk.request()?;
    Ok((Outcome { items: walk.items, rewritten: walk.rewrite.finish() }, walk.is_in_order))
}

/// How many items a request holds, for requests that nobody looks into. The framing is checked down to the items, not
/// inside of them.
pub fn count(signal: Signal, message: &[u8]) -> Result<usize, Malformed> {
    let items: fn(&[u8], Range<usize>) -> Result<usize, Malformed> = match signal {
        Signal::Traces | Signal::Logs => |_, _| Ok(1),
        Signal::Metrics => data_points,
    };
    sum_over(message, 0..message.len(), BY_RESOURCE, |by_resource| {
        sum_over(message, by_resource, BY_SCOPE, |by_scope| {
            sum_over(message, by_scope, ITEMS, |item| items(message, item))
        })
    })
}

/// Where scopes may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Before or behind their items.
    Any,
    /// Before their items.
    ScopeFirst,
}

struct Walk<'m, 'v, V> {
    message: &'m [u8],
    visitor: &'v mut V,
    order: Order,
    is_in_order: bool,
    resource: Envelope<'m>,
    scope: Envelope<'m>,
    items: usize,
    /// What the visitor says of one item.
    appended: Vec<u8>,
    rewrite: Rewrite<'m>,
}

impl<'m, V: Visit<'m>> Walk<'m, '_, V> {
    fn request(&mut self) -> Result<(), Malformed> {
        self.each_group(0..self.message.len(), BY_RESOURCE, Self::group_by_resource)
    }

    fn group_by_resource(&mut self, group: Range<usize>) -> Result<(), Malformed> {
        self.resource.collect(self.message, group.clone(), None)?;
        self.visitor.resource(&self.resource)?;
        self.each_group(group, BY_SCOPE, Self::group_by_scope)
    }

    fn group_by_scope(&mut self, group: Range<usize>) -> Result<(), Malformed> {
        let until = match self.order {
            Order::Any => None,
            Order::ScopeFirst => Some(ITEMS),
        };
        self.scope.collect(self.message, group.clone(), until)?;
        self.visitor.scope(&self.scope)?;
        let mut has_items = false;
        let mut fields = Fields::new(self.message, group);
        while let Some(field) = fields.next_field()? {
            if field.number != ITEMS {
                self.is_in_order &= field.number != ENVELOPE || !has_items || self.order == Order::Any;
                continue;
            }
            has_items = true;
            let item = Embedded::of(&field)?;
            self.items += 1;
            self.rewrite.copy_ahead(item);
            self.appended.clear();
            self.visitor.item(self.message, item.content(), &mut self.appended)?;
            if !self.appended.is_empty() {
                self.rewrite.append(item, &self.appended);
            }
        }
        Ok(())
    }

    /// Goes into each field `number` of the message at `range`.
    fn each_group(
        &mut self,
        range: Range<usize>,
        number: u32,
        inside: impl Fn(&mut Self, Range<usize>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut fields = Fields::new(self.message, range);
        while let Some(field) = fields.next_field()? {
            if field.number == number {
                let group = Embedded::of(&field)?;
                self.rewrite.enter(group);
                inside(self, group.content())?;
                self.rewrite.leave();
            }
        }
        Ok(())
    }
}

/// A message within the message: where its length prefix and its content stand.
#[derive(Clone, Copy, Debug)]
struct Embedded {
    length_at: usize,
    from: usize,
    to: usize,
}

impl Embedded {
    #[inline(always)]
    fn of(field: &Field) -> Result<Self, Malformed> {
        match field.value {
            Value::Len { length_at, from, to } => Ok(Embedded { length_at, from, to }),
            Value::Varint(_) | Value::Fixed64(_) | Value::Fixed32(_) => Err(Malformed::WireType(field.at)),
        }
    }

    fn content(&self) -> Range<usize> {
        self.from..self.to
    }

    fn len(&self) -> usize {
        self.to.wrapping_sub(self.from)
    }

    /// How many bytes its length prefix takes.
    fn width(&self) -> usize {
        self.from.wrapping_sub(self.length_at)
    }
}

/// The new request, written while the old one is walked over, which requests of megabytes fill no cache with twice. Copying
/// reads memory faster than looking at it does: what is likely to be copied is copied first.
struct Rewrite<'m> {
    message: &'m [u8],
    /// Up to where the message has been copied.
    done: usize,
    /// None until something is appended.
    frame: Option<FrameBuffer>,
    /// Where in the frame the length prefix of an item stands that was copied before anything was appended to it.
    ahead: Option<usize>,
    /// The groups around the walk, outermost first.
    groups: SmallVec<[Group; 2]>,
}

/// A group around the walk.
struct Group {
    old: Embedded,
    /// Where the new content starts in the frame, once something of it is written.
    starts_at: Option<usize>,
}

impl Group {
    /// How wide its new length prefix will most likely be; whole groups rarely grow into the next width.
    fn likely_width(&self) -> usize {
        varint_len(self.old.len() as u64)
    }
}

impl<'m> Rewrite<'m> {
    fn new(message: &'m [u8]) -> Self {
        Rewrite { message, done: 0, frame: None, ahead: None, groups: SmallVec::new() }
    }

    fn enter(&mut self, group: Embedded) {
        self.groups.push(Group { old: group, starts_at: None });
    }

    /// Everything up to the end of `item`, if something was appended to others around it: then all of the group is copied.
    fn copy_ahead(&mut self, item: Embedded) {
        self.ahead = None;
        let Some(frame) = &mut self.frame else { return };
        if self.groups.iter().all(|group| group.starts_at.is_some()) {
            let out = frame.message();
            copy(self.message, &mut self.done, item.to, out);
            self.ahead = Some(out.len().saturating_sub(item.to.wrapping_sub(item.length_at)));
        }
    }

    /// Everything up to the end of `item`, and then `new` as the last fields of it.
    fn append(&mut self, item: Embedded, new: &[u8]) {
        let message = self.message;
        if let (Some(length_at), Some(frame)) = (self.ahead.take(), &mut self.frame) {
            let out = frame.message();
            put_length(
                out,
                length_at..length_at.saturating_add(item.width()),
                item.len().wrapping_add(new.len()),
            );
            out.extend_from_slice(new);
            return;
        }
        let frame = self.frame.get_or_insert_with(|| FrameBuffer::new(likely_len(message)));
        let out = frame.message();
        for group in self.groups.iter_mut().filter(|group| group.starts_at.is_none()) {
            copy(message, &mut self.done, group.old.length_at, out);
            put_varint(out, group.old.len() as u64);
            self.done = group.old.from;
            group.starts_at = Some(out.len());
        }
        copy(message, &mut self.done, item.length_at, out);
        put_varint(out, item.len().wrapping_add(new.len()) as u64);
        self.done = item.from;
        copy(message, &mut self.done, item.to, out);
        out.extend_from_slice(new);
    }

    /// The end of the innermost group, whose length is known now.
    fn leave(&mut self) {
        let Some(group) = self.groups.pop() else { return };
        let (Some(start), Some(frame)) = (group.starts_at, &mut self.frame) else { return };
        let out = frame.message();
        copy(self.message, &mut self.done, group.old.to, out);
        let len = out.len().saturating_sub(start);
        put_length(out, start.saturating_sub(group.likely_width())..start, len);
    }

    fn finish(self) -> Option<Message> {
        let mut frame = self.frame?;
        frame.message().extend_from_slice(self.message.get(self.done..).unwrap_or_default());
        Some(frame.finish())
    }
}

/// Writes a length over the one that stands at `old`, and moves what stands behind it if the width is another.
fn put_length(out: &mut Vec<u8>, old: Range<usize>, len: usize) {
    if old.len() != varint_len(len as u64) {
        out.splice(old, varint(len as u64));
        return;
    }
    for (place, byte) in out.get_mut(old).into_iter().flatten().zip(varint(len as u64)) {
        *place = byte;
    }
}

/// Copies what has not been copied of `message` before `to`.
fn copy(message: &[u8], done: &mut usize, to: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(message.get(*done..to).unwrap_or_default());
    *done = to;
}

/// The room that is made for a rewritten `message`: verdicts add an eighth to usual spans, more are made room for when
/// they come.
fn likely_len(message: &[u8]) -> usize {
    message.len().saturating_add(message.len() / 4)
}

/// Adds up what `inside` says of each field `number` of the message at `range`.
#[inline(always)]
fn sum_over(
    message: &[u8],
    range: Range<usize>,
    number: u32,
    inside: impl Fn(Range<usize>) -> Result<usize, Malformed>,
) -> Result<usize, Malformed> {
    let mut sum = 0;
    let mut fields = Fields::new(message, range);
    while let Some(field) = fields.next_field()? {
        if field.number == number {
            sum += inside(field.content()?)?;
        }
    }
    Ok(sum)
}

/// How many data points a `Metric` holds. Its kinds are a oneof: the last one counts, and if it came in pieces, all of
/// its pieces.
fn data_points(message: &[u8], metric: Range<usize>) -> Result<usize, Malformed> {
    let (mut kind, mut points) = (0, 0);
    let mut fields = Fields::new(message, metric);
    while let Some(field) = fields.next_field()? {
        if !is_metric_data(field.number) {
            continue;
        }
        if kind != field.number {
            (kind, points) = (field.number, 0);
        }
        points += sum_over(message, field.content()?, DATA_POINTS, |_| Ok(1))?;
    }
    Ok(points)
}

#[cfg(test)]
mod tests;
