//! Appends attributes in protobuf's wire form.

use crate::otlp::wire::{put_varint, varint_len};

/// Appends `KeyValue` messages to a buffer, as elements of one repeated field of the message around them.
#[derive(Debug)]
pub struct AttributeWriter<'o> {
    out: &'o mut Vec<u8>,
    field: u32,
}

impl<'o> AttributeWriter<'o> {
    /// Appends to `out`; `field` is the number of the attributes field in the message that `out` becomes part of, as
    /// [`Signal::attributes_field`](crate::otlp::Signal::attributes_field) tells it.
    pub fn new(out: &'o mut Vec<u8>, field: u32) -> Self {
        AttributeWriter { out, field }
    }

    /// Appends a string.
    pub fn string(&mut self, key: &str, value: &str) {
        // Nearly all attributes are so short that each tag and length takes one byte.
        let entry = (key.len() + value.len()).saturating_add(6);
        if let (Ok(entry @ 0..0x80), Ok(tag @ 0..0x80)) = (u8::try_from(entry), u8::try_from(self.tag())) {
            let (key_len, value_len) = (key.len() as u8, value.len() as u8);
            self.out.reserve(usize::from(entry) + 2);
            self.out.extend_from_slice(&[tag, entry, KEY << 3 | LEN, key_len]);
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(&[
                VALUE << 3 | LEN,
                value_len + 2,
                STRING_VALUE << 3 | LEN,
                value_len,
            ]);
            self.out.extend_from_slice(value.as_bytes());
            return;
        }
        self.key(key, len_delimited(value.len()));
        self.bytes(STRING_VALUE, value.as_bytes());
    }

    /// Appends a boolean.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 2);
        self.out.extend_from_slice(&[BOOL_VALUE << 3, u8::from(value)]);
    }

    /// Appends an integer.
    pub fn int(&mut self, key: &str, value: i64) {
        let value = value.cast_unsigned();
        self.key(key, 1 + varint_len(value));
        self.out.push(INT_VALUE << 3);
        put_varint(self.out, value);
    }

    /// Appends an array of strings. The iterator runs three times.
    pub fn strings<'s>(&mut self, key: &str, values: impl Iterator<Item = &'s str> + Clone) {
        let array = values.clone().map(|value| len_delimited(len_delimited(value.len()))).sum();
        self.key(key, len_delimited(array));
        self.header(ARRAY_VALUE, array);
        for value in values {
            self.header(ARRAY_VALUES, len_delimited(value.len()));
            self.bytes(STRING_VALUE, value.as_bytes());
        }
    }

    /// Everything in front of the content of the `AnyValue`, which is `value` bytes long.
    fn key(&mut self, key: &str, value: usize) {
        let entry = len_delimited(key.len()) + len_delimited(value);
        self.out.reserve(entry + MAX_HEADER);
        put_varint(self.out, self.tag());
        put_varint(self.out, entry as u64);
        self.bytes(KEY, key.as_bytes());
        self.header(VALUE, value);
    }

    fn tag(&self) -> u64 {
        u64::from(self.field) << 3 | u64::from(LEN)
    }

    fn bytes(&mut self, field: u8, content: &[u8]) {
        self.header(field, content.len());
        self.out.extend_from_slice(content);
    }

    fn header(&mut self, field: u8, len: usize) {
        self.out.push(field << 3 | LEN);
        put_varint(self.out, len as u64);
    }
}

/// What a length-delimited field with a number below 16 takes, tag and length included.
fn len_delimited(content: usize) -> usize {
    1 + varint_len(content as u64) + content
}

/// The longest tag and length.
const MAX_HEADER: usize = 5 + 10;

/// The wire type of strings and messages.
const LEN: u8 = 2;

// Fields of `KeyValue`.
const KEY: u8 = 1;
const VALUE: u8 = 2;

// Fields of `AnyValue`.
const STRING_VALUE: u8 = 1;
const BOOL_VALUE: u8 = 2;
const INT_VALUE: u8 = 3;
const ARRAY_VALUE: u8 = 5;

/// Field of `ArrayValue`.
const ARRAY_VALUES: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
    }

    #[test]
    fn what_is_appended_is_what_prost_reads() {
        let long = "x".repeat(20_000);
        let at_the_edge = ["x".repeat(100), "x".repeat(101), "x".repeat(102)];
        let texts = ["cyber", "", &at_the_edge[0], &at_the_edge[1], &at_the_edge[2], &long];
        let mut out = Vec::new();
        for field in [6, 9] {
            out.clear();
            let mut attributes = AttributeWriter::new(&mut out, field);
            let mut expected = Vec::new();
            for text in texts {
                attributes.string("llm.stop_reason.value", text);
                expected.push(attribute("llm.stop_reason.value", Value::StringValue(text.to_owned())));
            }
            for truth in [true, false] {
                attributes.bool("llm.refusal.discard_output", truth);
                expected.push(attribute("llm.refusal.discard_output", Value::BoolValue(truth)));
            }
            for number in [0, 1, -1, i64::MAX, i64::MIN] {
                attributes.int("count", number);
                expected.push(attribute("count", Value::IntValue(number)));
            }
            for some in [&texts[..], &texts[..1], &[]] {
                attributes.strings("llm.refusal.categories", some.iter().copied());
                let values = some
                    .iter()
                    .map(|text| AnyValue { value: Some(Value::StringValue((*text).to_owned())) })
                    .collect();
                expected.push(attribute("llm.refusal.categories", Value::ArrayValue(ArrayValue { values })));
            }
            let read = match field {
                6 => LogRecord::decode(&out[..]).unwrap().attributes,
                _ => Span::decode(&out[..]).unwrap().attributes,
            };
            assert_eq!(read, expected);
        }
    }
}
