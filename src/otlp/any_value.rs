//! `AnyValue` and `KeyValue` of `opentelemetry/proto/common/v1/common.proto`, read where they stand.
//!
//! Nothing is copied and nothing is read ahead: a [`KeyValue`] finds its key and where its value stands, the value is
//! read when it is asked for, and lists are read while they are iterated. What is malformed inside a value that nobody
//! asks for is therefore not noticed here.
//!
//! Protobuf's rules for odd messages hold: fields in any order, unknown fields skipped, the last of repeated scalars
//! wins, the last member of a oneof wins, and repeated submessages are merged.

use crate::otlp::wire::{Field, Fields, Malformed, Value, short_length};
use std::iter::FusedIterator;
use std::ops::Range;

/// How many levels of arrays and key-value lists are looked into. Values that stand deeper read as
/// [`AnyValue::Empty`]: they pass through untouched, but nobody who follows a value down can be led further.
pub const MAX_DEPTH: u8 = 32;

/// The value of an attribute, or the body of a log record.
#[derive(Clone, Copy, Debug)]
pub enum AnyValue<'a> {
    /// No value is set (or only one of a kind that this program does not know).
    Empty,
    /// `string_value`: UTF-8 by specification, but not checked; see [`AnyValue::as_str`].
    Str(&'a [u8]),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `array_value`.
    Array(Array<'a>),
    /// `kvlist_value`.
    KeyValues(KeyValues<'a>),
    /// `bytes_value`.
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// The value that stands at `range` of `message`.
    pub fn read(message: &'a [u8], range: Range<usize>) -> Result<Self, Malformed> {
        Place::whole(message, range, 0).read()
    }

    /// The value in the optional field `number` of the message that stands at `range` of `message`; a field that came
    /// more than once is merged.
    pub fn read_field(message: &'a [u8], range: Range<usize>, number: u32) -> Result<Self, Malformed> {
        Place::pieces(message, range, number, 0).read()
    }

    /// The value that `content` holds, if that is nothing but a string of less than 2¹⁴ bytes or an integer below 2²¹, as
    /// nearly all are.
    #[inline(always)]
    pub fn at_a_glance(content: &'a [u8]) -> Option<Self> {
        let number = match content {
            [0x0a, text @ ..] => {
                let (said, text) = short_length(text)?;
                return (said == text.len()).then_some(AnyValue::Str(text));
            }
            [0x18, a @ 0..0x80] => i64::from(*a),
            [0x18, a @ 0x80..=0xff, b @ 0..0x80] => i64::from(a & 0x7f) | i64::from(*b) << 7,
            [0x18, a @ 0x80..=0xff, b @ 0x80..=0xff, c @ 0..0x80] => {
                i64::from(a & 0x7f) | i64::from(b & 0x7f) << 7 | i64::from(*c) << 14
            }
            _ => return None,
        };
        Some(AnyValue::Int(number))
    }

    /// The text of a string value; `None` for every other kind, and for a string that is not UTF-8.
    #[inline]
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            AnyValue::Str(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number of an integer value.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            AnyValue::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth of a boolean value.
    #[inline]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            AnyValue::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

/// An attribute.
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<'a> {
    /// UTF-8 by specification, but not checked: keys are compared, not shown.
    pub key: &'a [u8],
    value: Place<'a>,
}

impl<'a> KeyValue<'a> {
    /// The attribute that stands at `range` of `message`.
    #[inline(always)]
    pub fn read(message: &'a [u8], range: Range<usize>) -> Result<Self, Malformed> {
        Self::read_at_depth(message, range, 0)
    }

    /// The attribute's value; [`AnyValue::Empty`] when it has none.
    #[inline]
    pub fn value(&self) -> Result<AnyValue<'a>, Malformed> {
        self.value.read()
    }

    /// The beginning of an attribute in its usual form, nothing but a key and then a value: all that comes before the
    /// length of the value. `None` for every other form.
    pub fn head(content: &'a [u8]) -> Option<&'a [u8]> {
        let (key, _) = key_then_value(content)?;
        content.get(..key.len().checked_add(3)?)
    }

    /// The value of an attribute that begins with `head`, as [`Self::head`] gave it for another one; `None` if this one
    /// has another key or another form.
    #[inline(always)]
    pub fn value_behind(head: &[u8], content: &'a [u8]) -> Option<&'a [u8]> {
        let (said, value) = short_length(content.strip_prefix(head)?)?;
        (said == value.len()).then_some(value)
    }

    #[inline(always)]
    fn read_at_depth(message: &'a [u8], range: Range<usize>, depth: u8) -> Result<Self, Malformed> {
        let (key, value, field) = match message.get(range.clone()).and_then(key_then_value) {
            Some((key, value_len)) => (key, range.end.wrapping_sub(value_len)..range.end, 0),
            None => key_and_value_in_any_order(message, range)?,
        };
        Ok(KeyValue { key, value: Place::pieces(message, value, field, depth) })
    }
}

/// The usual form of a `KeyValue`, nothing but a key of less than 128 bytes and then a value: the key, and how many
/// bytes at the end are the value.
#[inline(always)]
fn key_then_value(content: &[u8]) -> Option<(&[u8], usize)> {
    let [0x0a, key_len @ 0..0x80, rest @ ..] = content else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    let [0x12, rest @ ..] = rest else { return None };
    let (said, value) = short_length(rest)?;
    (said == value.len()).then_some((key, said))
}

/// Any form of a `KeyValue`: the key, and the place of the value as [`Place`] has it, range and field.
#[cold]
#[inline(never)]
fn key_and_value_in_any_order(
    message: &[u8],
    range: Range<usize>,
) -> Result<(&[u8], Range<usize>, u32), Malformed> {
    let mut key = Default::default();
    let mut value = range.start..range.start;
    let mut values = 0usize;
    let mut fields = Fields::new(message, range.clone());
    while let Some(field) = fields.next_field()? {
        match field.number {
            KEY => key = message.get(field.content()?).unwrap_or_default(),
            VALUE => {
                value = field.content()?;
                values += 1;
            }
            _ => {}
        }
    }
    Ok(if values > 1 { (key, range, VALUE) } else { (key, value, 0) })
}

/// `ArrayValue`: values in order.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a>(List<'a>);

impl<'a> Array<'a> {
    /// The values, read one by one; ends after the first error.
    pub fn iter(&self) -> Values<'a> {
        Values(self.0.elements())
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Result<AnyValue<'a>, Malformed>;
    type IntoIter = Values<'a>;

    fn into_iter(self) -> Values<'a> {
        self.iter()
    }
}

/// Iterates over an [`Array`].
#[derive(Clone, Debug)]
pub struct Values<'a>(Elements<'a>);

impl<'a> Iterator for Values<'a> {
    type Item = Result<AnyValue<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (message, depth) = (self.0.message, self.0.depth);
        self.0.next_with(|range| Place::whole(message, range, depth).read())
    }
}

impl FusedIterator for Values<'_> {}

/// `KeyValueList`: attributes in order; the same key may come more than once.
#[derive(Clone, Copy, Debug)]
pub struct KeyValues<'a>(List<'a>);

impl<'a> KeyValues<'a> {
    /// The attributes, read one by one; ends after the first error.
    pub fn iter(&self) -> Attributes<'a> {
        Attributes(self.0.elements())
    }
}

impl<'a> IntoIterator for KeyValues<'a> {
    type Item = Result<KeyValue<'a>, Malformed>;
    type IntoIter = Attributes<'a>;

    fn into_iter(self) -> Attributes<'a> {
        self.iter()
    }
}

/// Iterates over [`KeyValues`].
#[derive(Clone, Debug)]
pub struct Attributes<'a>(Elements<'a>);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<KeyValue<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (message, depth) = (self.0.message, self.0.depth);
        self.0.next_with(|range| KeyValue::read_at_depth(message, range, depth))
    }
}

impl FusedIterator for Attributes<'_> {}

/// Where the fields of one `AnyValue` stand.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    /// The message up to the end of the `AnyValue`, or of the message around it.
    message: &'a [u8],
    from: usize,
    /// 0: the `AnyValue` itself stands here. Else a message stands here whose fields of this number are its pieces.
    field: u32,
    depth: u8,
}

impl<'a> Place<'a> {
    #[inline(always)]
    fn whole(message: &'a [u8], range: Range<usize>, depth: u8) -> Self {
        Self::pieces(message, range, 0, depth)
    }

    #[inline(always)]
    fn pieces(message: &'a [u8], range: Range<usize>, field: u32, depth: u8) -> Self {
        Place { message: message.get(..range.end).unwrap_or_default(), from: range.start, field, depth }
    }

    fn fields(&self) -> Pieces<'a, Fields<'a>> {
        let here = Fields::new(self.message, self.from..self.message.len());
        let (outer, current) =
            if self.field == 0 { (Fields::default(), here) } else { (here, Fields::default()) };
        Pieces { message: self.message, outer, number: self.field, current }
    }

    fn read(&self) -> Result<AnyValue<'a>, Malformed> {
        if self.depth > MAX_DEPTH {
            return Ok(AnyValue::Empty);
        }
        if let Some(value) = self.read_usual() {
            return Ok(value);
        }
        self.read_any_form()
    }

    /// A value that is nothing but one short member.
    #[inline]
    fn read_usual(&self) -> Option<AnyValue<'a>> {
        if self.field != 0 {
            return None;
        }
        let content = self.message.get(self.from..)?;
        AnyValue::at_a_glance(content).or_else(|| match content {
            [0x10, value @ 0..0x80] => Some(AnyValue::Bool(*value != 0)),
            [0x2a, len @ 0..0x80, list @ ..] if list.len() == usize::from(*len) => {
                let end = self.message.len();
                Some(AnyValue::Array(Array(List::whole(*self, end.wrapping_sub(list.len())..end))))
            }
            _ => None,
        })
    }

    fn read_any_form(&self) -> Result<AnyValue<'a>, Malformed> {
        let content = |range: Range<usize>| self.message.get(range).unwrap_or_default();
        let mut found = AnyValue::Empty;
        let mut fields = self.fields();
        while let Some(field) = fields.next_field()? {
            found = match (field.number, field.value) {
                (STRING_VALUE, Value::Len { from, to, .. }) => AnyValue::Str(content(from..to)),
                (BOOL_VALUE, Value::Varint(value)) => AnyValue::Bool(value != 0),
                (INT_VALUE, Value::Varint(value)) => AnyValue::Int(value.cast_signed()),
                (DOUBLE_VALUE, Value::Fixed64(bits)) => AnyValue::Double(f64::from_bits(bits)),
                (ARRAY_VALUE, Value::Len { from, to, .. }) => AnyValue::Array(Array(match found {
                    AnyValue::Array(Array(first)) => first.merged(*self, ARRAY_VALUE),
                    _ => List::whole(*self, from..to),
                })),
                (KVLIST_VALUE, Value::Len { from, to, .. }) => AnyValue::KeyValues(KeyValues(match found {
                    AnyValue::KeyValues(KeyValues(first)) => first.merged(*self, KVLIST_VALUE),
                    _ => List::whole(*self, from..to),
                })),
                (BYTES_VALUE, Value::Len { from, to, .. }) => AnyValue::Bytes(content(from..to)),
                (STRING_VALUE_STRINDEX, Value::Varint(_)) => AnyValue::Empty,
                (STRING_VALUE..=STRING_VALUE_STRINDEX, _) => return Err(Malformed::WireType(field.at)),
                _ => found,
            };
        }
        Ok(found)
    }
}

/// Where the elements of an `ArrayValue` or `KeyValueList` stand.
#[derive(Clone, Copy, Debug)]
struct List<'a> {
    /// The list itself, or the `AnyValue` that holds it in pieces.
    place: Place<'a>,
    /// 0: the list itself stands there. Else the number of its pieces in the `AnyValue`.
    field: u32,
    /// Elements in front of this are of an earlier member of the oneof, which was overwritten.
    since: usize,
}

impl<'a> List<'a> {
    fn whole(value: Place<'a>, range: Range<usize>) -> Self {
        let since = range.start;
        List { place: Place::whole(value.message, range, value.depth), field: 0, since }
    }

    /// This list, once it turns out that `value` holds more of it.
    fn merged(self, value: Place<'a>, field: u32) -> Self {
        List { place: value, field, since: self.since }
    }

    fn elements(&self) -> Elements<'a> {
        let message = self.place.message;
        let (outer, current) = match self.field {
            0 => (Pieces::default(), Fields::new(message, self.place.from..message.len())),
            _ => (self.place.fields(), Fields::default()),
        };
        let fields = Pieces { message, outer, number: self.field, current };
        Elements {
            message,
            fields,
            since: self.since,
            depth: self.place.depth.saturating_add(1),
            failed: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Elements<'a> {
    message: &'a [u8],
    fields: Pieces<'a, Pieces<'a, Fields<'a>>>,
    since: usize,
    depth: u8,
    failed: bool,
}

impl<'a> Elements<'a> {
    fn next_with<T>(
        &mut self,
        read: impl FnOnce(Range<usize>) -> Result<T, Malformed>,
    ) -> Option<Result<T, Malformed>> {
        if self.failed {
            return None;
        }
        let element = self.next_range().transpose()?.and_then(read);
        self.failed = element.is_err();
        Some(element)
    }

    fn next_range(&mut self) -> Result<Option<Range<usize>>, Malformed> {
        while let Some(field) = self.fields.next_field()? {
            if field.number == LIST_VALUES && field.at >= self.since {
                return field.content().map(Some);
            }
        }
        Ok(None)
    }
}

/// The fields of a submessage that stands in pieces: all fields `number` of the message around it.
#[derive(Clone, Debug, Default)]
struct Pieces<'a, Outer> {
    message: &'a [u8],
    outer: Outer,
    number: u32,
    current: Fields<'a>,
}

trait NextField {
    fn next_field(&mut self) -> Result<Option<Field>, Malformed>;
}

impl NextField for Fields<'_> {
    #[inline(always)]
    fn next_field(&mut self) -> Result<Option<Field>, Malformed> {
        Fields::next_field(self)
    }
}

impl<Outer: NextField> NextField for Pieces<'_, Outer> {
    #[inline]
    fn next_field(&mut self) -> Result<Option<Field>, Malformed> {
        loop {
            if let Some(field) = self.current.next_field()? {
                return Ok(Some(field));
            }
            let Some(piece) = self.outer.next_field()? else { return Ok(None) };
            if piece.number == self.number {
                self.current = Fields::new(self.message, piece.content()?);
            }
        }
    }
}

const KEY: u32 = 1;
const VALUE: u32 = 2;

const STRING_VALUE: u32 = 1;
const BOOL_VALUE: u32 = 2;
const INT_VALUE: u32 = 3;
const DOUBLE_VALUE: u32 = 4;
const ARRAY_VALUE: u32 = 5;
const KVLIST_VALUE: u32 = 6;
const BYTES_VALUE: u32 = 7;
/// Of profiles only; in other signals a value without meaning.
const STRING_VALUE_STRINDEX: u32 = 8;

/// `values` of `ArrayValue` and of `KeyValueList`.
const LIST_VALUES: u32 = 1;

#[cfg(test)]
mod tests;
