//! Wire form to JSON text.

use super::schema::{Field, Kind, Message, Rule};
use super::{EncodeError, MAX_NESTING};
use crate::otlp::wire::{Fields, Malformed, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smallvec::{SmallVec, smallvec};
use std::fmt::{Display, Write};
use std::ops::Range;

/// Writes the text of the `request` that `message` is.
pub(super) fn write(request: &Message, message: &[u8]) -> Result<String, EncodeError> {
    let mut writer = Writer { message, json: String::with_capacity(message.len() * 2), nesting: 0 };
    let whole = 0..message.len();
    writer.object(request, &smallvec![whole])?;
    Ok(writer.json)
}

/// Where a message stands: one place, or several when its field came in pieces that protobuf merges.
type Pieces = SmallVec<[Range<usize>; 1]>;

struct Writer<'m> {
    message: &'m [u8],
    json: String,
    nesting: usize,
}

impl Writer<'_> {
    fn object(&mut self, message: &Message, pieces: &Pieces) -> Result<(), EncodeError> {
        self.enter('{')?;
        let oneof = self.last_of_oneof(message, pieces)?;
        let start = self.json.len();
        for field in message.fields {
            let since = match (field.rule, oneof) {
                (Rule::Oneof, Some((number, since))) if number == field.number => since,
                (Rule::Oneof, _) => continue,
                (Rule::Single | Rule::Optional | Rule::Repeated, _) => 0,
            };
            let separated = self.json.len();
            let comma = if separated == start { "" } else { "," };
            self.put(format_args!("{comma}\"{}\":", field.name));
            let found = match field.rule {
                Rule::Repeated => self.list(field, pieces)?,
                Rule::Single | Rule::Optional | Rule::Oneof => self.once(field, pieces, since)?,
            };
            if !found {
                self.json.truncate(separated);
            }
        }
        self.leave('}');
        Ok(())
    }

    /// The number of the member that a oneof has, and where the last run of its fields begins.
    fn last_of_oneof(&self, message: &Message, pieces: &Pieces) -> Result<Option<(u32, usize)>, Malformed> {
        let is_member = |number| message.fields.iter().any(|f| f.number == number && f.rule == Rule::Oneof);
        let mut last: Option<(u32, usize)> = None;
        if !message.fields.iter().any(|field| field.rule == Rule::Oneof) {
            return Ok(last);
        }
        for piece in pieces {
            let mut fields = Fields::new(self.message, piece.clone());
            while let Some(field) = fields.next_field()? {
                if is_member(field.number) && last.is_none_or(|(number, _)| number != field.number) {
                    last = Some((field.number, field.at));
                }
            }
        }
        Ok(last)
    }

    /// Writes a field that counts once: the last one, or for messages all of them merged. Says whether there was one
    /// that differs from none.
    fn once(&mut self, field: &Field, pieces: &Pieces, since: usize) -> Result<bool, EncodeError> {
        let (mut last, mut merged) = (None, Pieces::new());
        for piece in pieces {
            let mut fields = Fields::new(self.message, piece.clone());
            while let Some(found) = fields.next_field()? {
                if found.number != field.number || found.at < since {
                    continue;
                }
                match field.kind {
                    Kind::Message(_) => merged.push(found.content()?),
                    _ => last = Some((found.at, found.value)),
                }
            }
        }
        match (field.kind, last) {
            (Kind::Message(message), _) if !merged.is_empty() => self.object(message, &merged)?,
            (_, Some((_, value))) if field.rule == Rule::Single && is_zero(value) => return Ok(false),
            (_, Some((at, value))) => self.scalar(field.kind, value, at)?,
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    /// Writes all fields of this number as a list. Says whether there was one.
    fn list(&mut self, field: &Field, pieces: &Pieces) -> Result<bool, EncodeError> {
        self.enter('[')?;
        let start = self.json.len();
        for piece in pieces {
            let mut fields = Fields::new(self.message, piece.clone());
            while let Some(found) = fields.next_field()? {
                if found.number != field.number {
                    continue;
                }
                match (field.kind, found.value) {
                    (Kind::Message(message), _) => {
                        self.comma_after(start);
                        self.object(message, &smallvec![found.content()?])?;
                    }
                    (Kind::Uint64, Value::Len { from, to, .. }) => {
                        let mut packed = Fields::new(self.message, from..to);
                        while let Some(value) = packed.next_packed_varint()? {
                            self.comma_after(start);
                            self.scalar(field.kind, Value::Varint(value), found.at)?;
                        }
                    }
                    (Kind::Fixed64 | Kind::Double, Value::Len { from, to, .. }) => {
                        let mut packed = Fields::new(self.message, from..to);
                        while let Some(value) = packed.next_packed_fixed64()? {
                            self.comma_after(start);
                            self.scalar(field.kind, Value::Fixed64(value), found.at)?;
                        }
                    }
                    (kind, value) => {
                        self.comma_after(start);
                        self.scalar(kind, value, found.at)?;
                    }
                }
            }
        }
        let found = self.json.len() > start;
        self.leave(']');
        Ok(found)
    }

    fn scalar(&mut self, kind: Kind, value: Value, at: usize) -> Result<(), Malformed> {
        match (kind, value) {
            (Kind::Text, Value::Len { from, to, .. }) => {
                let text = String::from_utf8_lossy(self.bytes(from..to)).into_owned();
                self.put(serde_json::Value::String(text));
            }
            (Kind::Id, Value::Len { from, to, .. }) => {
                self.json.push('"');
                for byte in self.message.get(from..to).unwrap_or_default() {
                    self.put(format_args!("{byte:02x}"));
                }
                self.json.push('"');
            }
            (Kind::Bytes, Value::Len { from, to, .. }) => {
                let text = STANDARD.encode(self.bytes(from..to));
                self.put(format_args!("\"{text}\""));
            }
            (Kind::Bool, Value::Varint(value)) => self.put(value != 0),
            (Kind::Uint32, Value::Varint(value)) => self.put(value as u32),
            (Kind::Int32 | Kind::Enum(_), Value::Varint(value)) => self.put(value as i32),
            (Kind::Sint32, Value::Varint(value)) => {
                let value = value as u32;
                self.put((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            (Kind::Fixed32, Value::Fixed32(value)) => self.put(value),
            (Kind::Uint64, Value::Varint(value)) | (Kind::Fixed64, Value::Fixed64(value)) => {
                self.put(format_args!("\"{value}\""));
            }
            (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
                self.put(format_args!("\"{}\"", value.cast_signed()));
            }
            (Kind::Double, Value::Fixed64(bits)) => match f64::from_bits(bits) {
                value if value.is_nan() => self.put("\"NaN\""),
                f64::INFINITY => self.put("\"Infinity\""),
                f64::NEG_INFINITY => self.put("\"-Infinity\""),
                value => self.put(serde_json::Value::from(value)),
            },
            _ => return Err(Malformed::WireType(at)),
        }
        Ok(())
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.message.get(range).unwrap_or_default()
    }

    fn comma_after(&mut self, start: usize) {
        if self.json.len() > start {
            self.json.push(',');
        }
    }

    fn enter(&mut self, bracket: char) -> Result<(), EncodeError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(EncodeError::Nesting);
        }
        self.json.push(bracket);
        Ok(())
    }

    fn leave(&mut self, bracket: char) {
        self.nesting -= 1;
        self.json.push(bracket);
    }

    fn put(&mut self, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.json, "{value}");
    }
}

fn is_zero(value: Value) -> bool {
    match value {
        Value::Varint(value) | Value::Fixed64(value) => value == 0,
        Value::Fixed32(value) => value == 0,
        Value::Len { from, to, .. } => from == to,
    }
}
