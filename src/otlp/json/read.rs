//! JSON text to wire form, in one pass.

use super::schema::{Field, Kind, Message, Rule};
use super::{JsonError, MAX_GROWTH, MAX_NESTING};
use crate::otlp::wire::{put_varint, varint_len};
use crate::payload::{self, GRPC_PREFIX};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Reads the text of a `request`.
pub(super) fn read(request: &'static Message, json: &[u8]) -> Result<payload::Message, JsonError> {
    // All at once, so that it never moves; what is not written to is not touched, and given back at the end.
    let mut out = Vec::with_capacity(json.len().saturating_mul(MAX_GROWTH).saturating_add(GRPC_PREFIX));
    out.extend([0; GRPC_PREFIX]);
    let mut writer = Writer { out, nesting: 0, wanted: ("the request", "an object"), too_deep: false };
    let mut text = serde_json::Deserializer::from_slice(json);
    let read =
        Content { writer: &mut writer, message: request }.deserialize(&mut text).and_then(|()| text.end());
    match read {
        Ok(()) => Ok(writer.finish()),
        Err(error) => Err(writer.explain(&error)),
    }
}

/// The wire form as far as it is written, and what explains an error.
struct Writer {
    out: Vec<u8>,
    nesting: usize,
    /// The field that is being read, and what it may hold.
    wanted: (&'static str, &'static str),
    too_deep: bool,
}

impl Writer {
    fn finish(mut self) -> payload::Message {
        self.out.shrink_to_fit();
        let len = self.out.len().saturating_sub(GRPC_PREFIX);
        match (u32::try_from(len), self.out.get_mut(1..GRPC_PREFIX)) {
            (Ok(len), Some(prefix)) => {
                prefix.copy_from_slice(&len.to_be_bytes());
                payload::Message::Framed(self.out.into())
            }
            _ => payload::Message::Bare(bytes::Bytes::from(self.out).slice(GRPC_PREFIX..)),
        }
    }

    /// The parser's own words may repeat content: only its position is used.
    fn explain(&self, error: &serde_json::Error) -> JsonError {
        let (line, column) = (error.line(), error.column());
        let (field, expected) = self.wanted;
        match error.classify() {
            serde_json::error::Category::Data if self.too_deep => JsonError::Nesting { line, column },
            serde_json::error::Category::Data => JsonError::Value { field, expected, line, column },
            _ => JsonError::Syntax { line, column },
        }
    }

    /// Enters an object or array.
    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        self.nesting += 1;
        self.too_deep = self.nesting > MAX_NESTING;
        if self.too_deep { Err(refused()) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.nesting -= 1;
    }

    /// A length-delimited field, around what `content` writes.
    fn delimited<E>(
        &mut self,
        field: &Field,
        content: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        put_varint(&mut self.out, u64::from(field.number) << 3 | 2);
        let from = self.out.len();
        content(self)?;
        let len = (self.out.len() - from) as u64;
        put_varint(&mut self.out, len);
        // The length was not known before: it goes in front now.
        if let Some(prefix_last) = self.out.get_mut(from..) {
            prefix_last.rotate_right(varint_len(len));
        }
        Ok(())
    }
}

/// An error that says nothing; [`Writer::explain`] does.
fn refused<E: de::Error>() -> E {
    E::custom("")
}

/// Reads an object and writes the content of a message.
struct Content<'w> {
    writer: &'w mut Writer,
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        self.writer.enter()?;
        while let Some(field) = object.next_key_seed(Name(self.message))? {
            let Some(field) = field else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            self.writer.wanted = (field.name, field.expected());
            object.next_value_seed(Value { writer: self.writer, field })?;
        }
        self.writer.leave();
        Ok(())
    }
}

/// Reads the name of a field.
struct Name(&'static Message);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_called(key))
    }
}

/// Reads the value of a field and writes all that it means.
struct Value<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.expected())
    }

    /// `null` is the same as no field.
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.field.rule {
            Rule::Repeated => json.deserialize_seq(self),
            Rule::Single | Rule::Optional | Rule::Oneof => {
                Element { writer: self.writer, field: self.field, packed: false }.deserialize(json)
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Value { writer, field } = self;
        writer.enter()?;
        let packed = field.kind.is_packed();
        let mut elements = |writer: &mut Writer| {
            loop {
                writer.wanted = (field.name, field.kind.expected());
                if list.next_element_seed(Element { writer, field, packed })?.is_none() {
                    return Ok(());
                }
            }
        };
        if packed {
            writer.delimited(field, elements)?
        } else {
            elements(writer)?
        }
        writer.leave();
        Ok(())
    }
}

/// Reads one value and writes it, with its tag unless it is one of a packed list.
struct Element<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
    packed: bool,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.field.kind {
            Kind::Message(message) => {
                self.writer.delimited(self.field, |writer| Content { writer, message }.deserialize(json))
            }
            // As bytes, because text that was cut in the middle of a character is no reason to refuse a request.
            Kind::Text | Kind::Id | Kind::Bytes => json.deserialize_bytes(self),
            _ => json.deserialize_any(self),
        }
    }
}

impl Visitor<'_> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.kind.expected())
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<(), E> {
        self.put(Scalar::Text(String::from_utf8_lossy(bytes)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.put(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.put(Scalar::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.put(Scalar::Integer(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.put(Scalar::Integer(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.put(Scalar::Float(value))
    }
}

impl Element<'_> {
    fn put<E: de::Error>(self, scalar: Scalar<'_>) -> Result<(), E> {
        let Element { writer, field, packed } = self;
        let encoded = scalar.encode(field.kind).ok_or_else(refused)?;
        if field.rule == Rule::Single && encoded.is_zero() {
            return Ok(());
        }
        if !packed {
            put_varint(&mut writer.out, u64::from(field.number) << 3 | encoded.wire_type());
        }
        encoded.put(&mut writer.out);
        Ok(())
    }
}

/// A value as JSON has it.
enum Scalar<'j> {
    Bool(bool),
    /// Wide enough for every integer that the parser gives.
    Integer(i128),
    Float(f64),
    Text(Cow<'j, str>),
}

impl<'j> Scalar<'j> {
    /// The value as a `kind`; `None` when it is none.
    fn encode(self, kind: Kind) -> Option<Encoded<'j>> {
        Some(match kind {
            Kind::Text => match self.text()? {
                Cow::Borrowed(text) => Encoded::Bytes(Cow::Borrowed(text.as_bytes())),
                Cow::Owned(text) => Encoded::Bytes(Cow::Owned(text.into_bytes())),
            },
            Kind::Id => Encoded::Bytes(Cow::Owned(hex(&self.text()?)?)),
            Kind::Bytes => Encoded::Bytes(Cow::Owned(base64(&self.text()?)?)),
            Kind::Bool => match self {
                Scalar::Bool(value) => Encoded::Varint(value.into()),
                _ => return None,
            },
            Kind::Uint32 => Encoded::Varint(u32::try_from(self.integer()?).ok()?.into()),
            Kind::Uint64 => Encoded::Varint(u64::try_from(self.integer()?).ok()?),
            Kind::Int32 => Encoded::Varint(i64::from(i32::try_from(self.integer()?).ok()?).cast_unsigned()),
            Kind::Int64 => Encoded::Varint(i64::try_from(self.integer()?).ok()?.cast_unsigned()),
            Kind::Sint32 => {
                let value = i32::try_from(self.integer()?).ok()?;
                Encoded::Varint(((value << 1) ^ (value >> 31)).cast_unsigned().into())
            }
            Kind::Fixed32 => Encoded::Fixed32(u32::try_from(self.integer()?).ok()?),
            Kind::Fixed64 => Encoded::Fixed64(u64::try_from(self.integer()?).ok()?),
            Kind::Sfixed64 => Encoded::Fixed64(i64::try_from(self.integer()?).ok()?.cast_unsigned()),
            Kind::Double => Encoded::Fixed64(self.float()?.to_bits()),
            Kind::Enum(names) => {
                let named = match &self {
                    Scalar::Text(text) => names.iter().position(|name| name == text),
                    _ => None,
                };
                let value = match named {
                    Some(value) => i32::try_from(value).ok()?,
                    None => i32::try_from(self.integer()?).ok()?,
                };
                Encoded::Varint(i64::from(value).cast_unsigned())
            }
            Kind::Message(_) => return None,
        })
    }

    fn text(self) -> Option<Cow<'j, str>> {
        match self {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    fn integer(self) -> Option<i128> {
        match self {
            Scalar::Bool(_) => None,
            Scalar::Integer(value) => Some(value),
            // JSON knows one kind of number, and some writers put a point or an exponent on every one.
            Scalar::Float(value) => {
                (value.fract() == 0.0 && value.abs() < 2f64.powi(65)).then_some(value as i128)
            }
            Scalar::Text(text) => text.parse().ok(),
        }
    }

    fn float(self) -> Option<f64> {
        match self {
            Scalar::Bool(_) => None,
            Scalar::Integer(value) => Some(value as f64),
            Scalar::Float(value) => Some(value),
            Scalar::Text(text) => text.parse().ok(),
        }
    }
}

/// A value as the wire has it.
enum Encoded<'j> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Cow<'j, [u8]>),
}

impl Encoded<'_> {
    fn wire_type(&self) -> u64 {
        match self {
            Encoded::Varint(_) => 0,
            Encoded::Fixed64(_) => 1,
            Encoded::Bytes(_) => 2,
            Encoded::Fixed32(_) => 5,
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Encoded::Varint(value) | Encoded::Fixed64(value) => *value == 0,
            Encoded::Fixed32(value) => *value == 0,
            Encoded::Bytes(bytes) => bytes.is_empty(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Encoded::Varint(value) => put_varint(out, *value),
            Encoded::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
            Encoded::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
            Encoded::Bytes(bytes) => {
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl Field {
    fn expected(&self) -> &'static str {
        match self.rule {
            Rule::Repeated => "a list",
            Rule::Single | Rule::Optional | Rule::Oneof => self.kind.expected(),
        }
    }
}

impl Kind {
    /// Whether a repeated field of this kind is one length-delimited field: so are all numbers in proto3.
    fn is_packed(self) -> bool {
        !matches!(self, Kind::Text | Kind::Id | Kind::Bytes | Kind::Message(_))
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

/// Protobuf's JSON mapping takes both alphabets, with padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
