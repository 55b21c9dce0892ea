//! Appends fields to some items of an export request and leaves everything else bit by bit as it came.
//!
//! One walk finds the items and asks a visitor about each. Only the length prefixes above an item that grew are
//! rewritten, in the shortest form; unknown fields, odd orders, padded varints elsewhere and the content of all items
//! stay. When something changed, message and changes are copied once into a buffer of the right size.

use crate::otlp::Signal;
use crate::otlp::frame::FrameBuffer;
use crate::otlp::layout::{BY_RESOURCE, BY_SCOPE, DATA_POINTS, ITEMS, is_metric_data};
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::{Fields, Malformed, Value, put_varint, varint_len};
use crate::payload::Message;
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
    match signal {
        Signal::Traces | Signal::Logs => {}
        Signal::Metrics => return Ok(Outcome { items: count(signal, message)?, rewritten: None }),
    }
    let mut walk = Walk {
        message,
        visitor,
        resource: Envelope::default(),
        scope: Envelope::default(),
        items: 0,
        edits: Vec::new(),
        appended: Vec::new(),
    };
    let growth = walk.request()?;
    let rewritten = (!walk.edits.is_empty()).then(|| rewrite(message, &walk.edits, &walk.appended, growth));
    Ok(Outcome { items: walk.items, rewritten })
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

/// A change at one place of the message; a list of them is in the order of places.
#[derive(Clone, Copy, Debug)]
enum Edit {
    /// The length prefix of `width` bytes at `at` becomes `value`.
    Length { at: usize, width: u8, value: usize },
    /// The next `len` of the appended bytes go in at `at`.
    Append { at: usize, len: usize },
}

struct Walk<'m, 'v, V> {
    message: &'m [u8],
    visitor: &'v mut V,
    resource: Envelope<'m>,
    scope: Envelope<'m>,
    items: usize,
    edits: Vec<Edit>,
    appended: Vec<u8>,
}

/// By how many bytes a stretch of the message grows. It can shrink when a padded length prefix is rewritten.
type Growth = isize;

impl<'m, V: Visit<'m>> Walk<'m, '_, V> {
    fn request(&mut self) -> Result<Growth, Malformed> {
        self.each(0..self.message.len(), BY_RESOURCE, Self::group_by_resource)
    }

    fn group_by_resource(&mut self, group: Range<usize>) -> Result<Growth, Malformed> {
        self.resource.collect(self.message, group.clone())?;
        self.visitor.resource(&self.resource)?;
        self.each(group, BY_SCOPE, Self::group_by_scope)
    }

    fn group_by_scope(&mut self, group: Range<usize>) -> Result<Growth, Malformed> {
        self.scope.collect(self.message, group.clone())?;
        self.visitor.scope(&self.scope)?;
        self.each(group, ITEMS, Self::item)
    }

    fn item(&mut self, item: Range<usize>) -> Result<Growth, Malformed> {
        self.items += 1;
        let before = self.appended.len();
        self.visitor.item(self.message, item.clone(), &mut self.appended)?;
        let len = self.appended.len().saturating_sub(before);
        if len > 0 {
            self.edits.push(Edit::Append { at: item.end, len });
        }
        Ok(len.cast_signed())
    }

    /// Goes into each field `number` of the message at `range`; rewrites its length when something in it changed.
    #[inline(always)]
    fn each(
        &mut self,
        range: Range<usize>,
        number: u32,
        inside: impl Fn(&mut Self, Range<usize>) -> Result<Growth, Malformed>,
    ) -> Result<Growth, Malformed> {
        let mut growth = 0;
        let mut fields = Fields::new(self.message, range);
        while let Some(field) = fields.next_field()? {
            if field.number != number {
                continue;
            }
            let Value::Len { length_at: at, from, to } = field.value else {
                return Err(Malformed::WireType(field.at));
            };
            // The length stands in front of what it counts, but is known only afterwards.
            let prefix = self.edits.len();
            self.edits.push(Edit::Length { at, width: (from - at) as u8, value: 0 });
            let inner = inside(self, from..to)?;
            if self.edits.len() == prefix + 1 {
                self.edits.truncate(prefix);
                continue;
            }
            let new = (to - from).wrapping_add_signed(inner);
            if let Some(Edit::Length { value, .. }) = self.edits.get_mut(prefix) {
                *value = new;
            }
            growth += inner + varint_len(new as u64).cast_signed() - (from - at).cast_signed();
        }
        Ok(growth)
    }
}

/// The message with its edits, of which it grows by `growth`.
fn rewrite(message: &[u8], edits: &[Edit], appended: &[u8], growth: Growth) -> Message {
    let mut frame = FrameBuffer::new(message.len().wrapping_add_signed(growth));
    let out = frame.message();
    let (mut done, mut rest) = (0, appended);
    for edit in edits {
        match *edit {
            Edit::Length { at, width, value } => {
                out.extend_from_slice(message.get(done..at).unwrap_or_default());
                put_varint(out, value as u64);
                done = at + usize::from(width);
            }
            Edit::Append { at, len } => {
                out.extend_from_slice(message.get(done..at).unwrap_or_default());
                let (new, later) = rest.split_at_checked(len).unwrap_or_default();
                out.extend_from_slice(new);
                (done, rest) = (at, later);
            }
        }
    }
    out.extend_from_slice(message.get(done..).unwrap_or_default());
    frame.finish()
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
