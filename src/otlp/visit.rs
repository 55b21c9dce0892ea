//! What a walk over an export request tells on its way.

use crate::otlp::layout::ENVELOPE;
use crate::otlp::wire::{Field, Fields, Malformed};
use smallvec::SmallVec;
use std::ops::Range;

/// Somebody who is led through a request of spans or log records. Resource and scope come before their items, wherever
/// they stand on the wire.
pub trait Visit<'m> {
    /// A group of one resource begins; also called, without parts, when the group has no resource.
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed>;

    /// A group of one scope begins, within the resource last told; also called, without parts, when it has no scope.
    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed>;

    /// A span or log record stands at `item` of `message`. What is pushed to `appended`, whole fields in protobuf's
    /// wire form, is appended to it.
    fn item(
        &mut self,
        message: &'m [u8],
        item: Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<(), Malformed>;
}

/// The resource or scope of a group.
///
/// It usually stands in one part. It has none when it is absent, and several when the sender repeated the field, which
/// protobuf says to merge: read in order, their fields are the fields of the one message.
#[derive(Clone, Debug, Default)]
pub struct Envelope<'m> {
    message: &'m [u8],
    parts: SmallVec<[Range<usize>; 1]>,
}

impl<'m> Envelope<'m> {
    /// The message that [`Envelope::parts`] and the fields' positions refer to.
    pub fn message(&self) -> &'m [u8] {
        self.message
    }

    /// Where the parts stand.
    pub fn parts(&self) -> &[Range<usize>] {
        &self.parts
    }

    /// The fields of all parts, in order.
    pub fn fields(&self) -> EnvelopeFields<'m, '_> {
        EnvelopeFields { message: self.message, current: Fields::default(), rest: self.parts.iter() }
    }

    /// Collects the parts that stand in the group at `group`. With `until`, those behind the first field of that number
    /// are not looked for.
    pub(super) fn collect(
        &mut self,
        message: &'m [u8],
        group: Range<usize>,
        until: Option<u32>,
    ) -> Result<(), Malformed> {
        self.message = message;
        self.parts.clear();
        let mut fields = Fields::new(message, group);
        while let Some(field) = fields.next_field()? {
            if Some(field.number) == until {
                break;
            }
            if field.number == ENVELOPE {
                self.parts.push(field.content()?);
            }
        }
        Ok(())
    }
}

/// The fields of an [`Envelope`].
#[derive(Clone, Debug)]
pub struct EnvelopeFields<'m, 'e> {
    message: &'m [u8],
    current: Fields<'m>,
    rest: std::slice::Iter<'e, Range<usize>>,
}

impl EnvelopeFields<'_, '_> {
    /// The next field, or `None` at the end of the last part.
    pub fn next_field(&mut self) -> Result<Option<Field>, Malformed> {
        loop {
            if let Some(field) = self.current.next_field()? {
                return Ok(Some(field));
            }
            let Some(part) = self.rest.next() else { return Ok(None) };
            self.current = Fields::new(self.message, part.clone());
        }
    }
}
