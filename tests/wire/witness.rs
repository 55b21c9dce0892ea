//! A visitor that notes everything it is shown, by the reader under test, and marks some items.

use opentelemetry_proto::tonic::common::v1 as otlp;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::any_value::{AnyValue, KeyValue};
use refusal_collector::otlp::encode::AttributeWriter;
use refusal_collector::otlp::visit::{Envelope, Visit};
use refusal_collector::otlp::wire::{Fields, Malformed};
use std::ops::Range;

/// Items with this attribute get a mark.
pub const MARK: &str = "mark";

/// What was seen of one item.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    pub resource: Vec<(String, Option<Value>)>,
    pub scope: String,
    pub attributes: Vec<(String, Option<Value>)>,
    pub body: Option<Value>,
}

/// Appends to an item that wants it an attribute that tells all that was seen of it.
pub fn mark(signal: Signal, sighting: &Sighting, appended: &mut Vec<u8>) {
    if sighting.attributes.iter().any(|(key, _)| key == MARK) {
        let mut attributes = AttributeWriter::new(appended, signal.attributes_field().unwrap());
        attributes.string("marked", &format!("{sighting:?}"));
        attributes.bool("marked", true);
    }
}

pub struct Witness {
    pub signal: Signal,
    pub sightings: Vec<Sighting>,
    now: Sighting,
}

impl Witness {
    pub fn new(signal: Signal) -> Self {
        Witness { signal, sightings: Vec::new(), now: Sighting::default() }
    }
}

impl<'m> Visit<'m> for Witness {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.now.resource.clear();
        let mut fields = resource.fields();
        while let Some(field) = fields.next_field()? {
            if field.number == 1 {
                let attribute = KeyValue::read(resource.message(), field.content()?)?;
                self.now.resource.push(owned(attribute)?);
            }
        }
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.now.scope.clear();
        let mut fields = scope.fields();
        while let Some(field) = fields.next_field()? {
            if field.number == 1 {
                self.now.scope = text(&scope.message()[field.content()?]);
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        message: &'m [u8],
        item: Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut sighting = Sighting { attributes: Vec::new(), body: None, ..self.now.clone() };
        let mut fields = Fields::new(message, item.clone());
        while let Some(field) = fields.next_field()? {
            if Some(field.number) == self.signal.attributes_field() {
                sighting.attributes.push(owned(KeyValue::read(message, field.content()?)?)?);
            }
        }
        if self.signal == Signal::Logs {
            sighting.body = owned_value(AnyValue::read_field(message, item, 5)?)?;
        }
        mark(self.signal, &sighting, appended);
        self.sightings.push(sighting);
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn owned(attribute: KeyValue<'_>) -> Result<(String, Option<Value>), Malformed> {
    Ok((text(attribute.key), owned_value(attribute.value()?)?))
}

fn owned_value(value: AnyValue<'_>) -> Result<Option<Value>, Malformed> {
    Ok(Some(match value {
        AnyValue::Empty => return Ok(None),
        AnyValue::Str(bytes) => Value::StringValue(text(bytes)),
        AnyValue::Bool(value) => Value::BoolValue(value),
        AnyValue::Int(value) => Value::IntValue(value),
        AnyValue::Double(value) => Value::DoubleValue(value),
        AnyValue::Bytes(bytes) => Value::BytesValue(bytes.to_vec()),
        AnyValue::Array(array) => {
            let values = array.iter().map(|value| Ok(otlp::AnyValue { value: owned_value(value?)? }));
            Value::ArrayValue(otlp::ArrayValue { values: values.collect::<Result<_, _>>()? })
        }
        AnyValue::KeyValues(list) => {
            let values = list.iter().map(|attribute| {
                let (key, value) = owned(attribute?)?;
                Ok(otlp::KeyValue { key, value: Some(otlp::AnyValue { value }), ..Default::default() })
            });
            Value::KvlistValue(otlp::KeyValueList { values: values.collect::<Result<_, _>>()? })
        }
    }))
}
