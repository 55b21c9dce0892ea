//! A reader of protobuf's wire form that borrows, cannot panic and allocates nothing.
//!
//! Positions are offsets into the whole message, so that whoever finds something can later splice there.

use std::ops::Range;

/// Why bytes are not the protobuf message that they should be. The offset counts from the start of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field, length or varint reaches beyond the end of the message that holds it.
    #[error("truncated at byte {0}")]
    Truncated(usize),
    /// A varint is longer than ten bytes.
    #[error("varint longer than ten bytes at byte {0}")]
    Varint(usize),
    /// A field number of 0, or a wire type that does not exist or is no longer supported here (groups).
    #[error("invalid tag at byte {0}")]
    Tag(usize),
    /// A field that OTLP defines as a message, string or number came with another wire type.
    #[error("unexpected wire type at byte {0}")]
    WireType(usize),
}

/// The payload of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little endian.
    Fixed64(u64),
    /// Wire type 2: a string, bytes, message or packed numbers; where its content stands.
    Len {
        /// Offset of the first byte of the length prefix.
        length_at: usize,
        /// Offset of the first byte of the content.
        from: usize,
        /// Offset behind the last byte of the content.
        to: usize,
    },
    /// Wire type 5, little endian.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field number, at least 1.
    pub number: u32,
    /// Offset of the first byte of the tag.
    pub at: usize,
    /// What it holds.
    pub value: Value,
}

impl Field {
    /// Where the content of a string, bytes or message field stands; an error for every other wire type.
    #[inline(always)]
    pub fn content(&self) -> Result<Range<usize>, Malformed> {
        match self.value {
            Value::Len { from, to, .. } => Ok(from..to),
            Value::Varint(_) | Value::Fixed64(_) | Value::Fixed32(_) => Err(Malformed::WireType(self.at)),
        }
    }
}

/// The fields of the message that stands at a range of a larger buffer, in the order in which they stand.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// Offset behind the last byte of the message.
    end: usize,
}

impl<'a> Fields<'a> {
    /// The fields of the message at `range` of `bytes`; a range that is not inside of `bytes` is an empty message.
    #[inline]
    pub fn new(bytes: &'a [u8], range: Range<usize>) -> Self {
        Fields { rest: bytes.get(range.clone()).unwrap_or_default(), end: range.end }
    }

    /// The next field, or `None` at the end of the message.
    #[inline(always)]
    pub fn next_field(&mut self) -> Result<Option<Field>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.position();
        let tag = self.varint()?;
        let number = tag >> 3;
        if number.wrapping_sub(1) >= MAX_FIELD_NUMBER {
            return Err(Malformed::Tag(at));
        }
        let value = match tag & 7 {
            2 => self.len()?,
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed::Tag(at)),
        };
        Ok(Some(Field { number: number as u32, at, value }))
    }

    /// The next number of a packed list of varints, which stands here instead of fields; `None` at its end.
    pub fn next_packed_varint(&mut self) -> Result<Option<u64>, Malformed> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    /// The next number of a packed list of 8 bytes each, which stands here instead of fields; `None` at its end.
    pub fn next_packed_fixed64(&mut self) -> Result<Option<u64>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.array().map(|bytes| Some(u64::from_le_bytes(bytes)))
    }

    /// The first byte of the next field; `None` at the end of the message.
    #[inline(always)]
    pub fn next_byte(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The content of the next field, if that is a string, bytes or a message whose tag is the one byte `tag` and whose
    /// length is [short](short_length); goes past it then.
    #[inline(always)]
    pub fn next_content(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (first, rest) = self.rest.split_first()?;
        let (length, rest) = short_length(rest).filter(|_| *first == tag)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(content)
    }

    /// Goes past `bytes`, which must be whole fields, if they stand next; whether they do.
    #[inline(always)]
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        if self.rest.first() != bytes.first() {
            return false;
        }
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Where the next field starts, or the end of the message.
    #[inline(always)]
    pub fn position(&self) -> usize {
        self.end.wrapping_sub(self.rest.len())
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all tags and lengths have one or two bytes.
        let (value, rest) = match self.rest {
            [a @ 0..0x80, rest @ ..] => (u64::from(*a), rest),
            [a, b @ 0..0x80, rest @ ..] => (u64::from(a & 0x7f) | u64::from(*b) << 7, rest),
            // By value: a reference to `self` would keep it in memory on the quick way too.
            rest => long_varint(rest, self.end)?,
        };
        self.rest = rest;
        Ok(value)
    }

    #[inline(always)]
    fn len(&mut self) -> Result<Value, Malformed> {
        let length_at = self.position();
        let length = self.varint()?;
        let from = self.position();
        let content = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((_, rest)) = content else { return Err(Malformed::Truncated(length_at)) };
        self.rest = rest;
        Ok(Value::Len { length_at, from, to: self.position() })
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((array, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Malformed::Truncated(self.position()));
        };
        self.rest = rest;
        Ok(*array)
    }
}

/// A length of one or two bytes at the start of `bytes`, as nearly all are, and what stands behind it.
#[inline(always)]
pub fn short_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [a @ 0..0x80, rest @ ..] => Some((usize::from(*a), rest)),
        [a, b @ 0..0x80, rest @ ..] => Some((usize::from(a & 0x7f) | usize::from(*b) << 7, rest)),
        _ => None,
    }
}

/// A varint of any length at the start of `bytes`, which end at offset `end`, and what stands behind it.
#[cold]
#[inline(never)]
fn long_varint(bytes: &[u8], end: usize) -> Result<(u64, &[u8]), Malformed> {
    let start = end.wrapping_sub(bytes.len());
    let (mut value, mut rest) = (0u64, bytes);
    for shift in (0..70).step_by(7) {
        let Some((byte, behind)) = rest.split_first() else { return Err(Malformed::Truncated(start)) };
        if shift == 63 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        rest = behind;
        if *byte < 0x80 {
            return Ok((value, rest));
        }
    }
    Err(Malformed::Varint(start))
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes of `value` as a varint.
pub fn varint(value: u64) -> impl Iterator<Item = u8> {
    let groups = std::iter::successors(Some(value), |rest| Some(rest >> 7).filter(|rest| *rest > 0));
    groups.map(|rest| if rest < 0x80 { rest as u8 } else { rest as u8 | 0x80 })
}

/// How many bytes `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Protobuf's own bound on field numbers.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = vec![0x08];
                put_varint(&mut bytes, value);
                assert_eq!(bytes.len(), 1 + varint_len(value));
                assert!(varint(value).eq(bytes[1..].iter().copied()));
                let field = Fields::new(&bytes, 0..bytes.len()).next_field().unwrap().unwrap();
                assert_eq!(field.value, Value::Varint(value));
            }
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let bytes = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(Fields::new(&bytes, 0..bytes.len()).next_field(), Err(Malformed::Varint(1)));
    }

    #[test]
    fn a_length_beyond_the_message_is_refused_even_when_the_buffer_goes_on() {
        let bytes = [0x0a, 0x03, 1, 2, 3];
        assert_eq!(Fields::new(&bytes, 0..4).next_field(), Err(Malformed::Truncated(1)));
    }
}
