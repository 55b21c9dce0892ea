//! Where, on an item, pieces of the vendor's answer stand that take more than a look to read.

use super::read::SPAN_EVENTS;
use super::{Evidence, str};
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::wire::{Fields, Malformed};
use crate::refusal::dialects::{self, AgentEvent, Meaning, Meanings};
use crate::refusal::verdict::Side;
use std::ops::Range;

/// A value that may hold a vendor's answer or a piece of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) kind: PlaceKind<'a>,
    /// The attribute, or the event, under which it stands.
    pub(crate) name: &'a str,
    pub(crate) value: AnyValue<'a>,
    /// The bytes that it is encoded in, for a look at them without reading.
    pub(crate) raw: &'a [u8],
}

/// What a [`Place`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceKind<'a> {
    /// Messages with a finish reason each.
    Messages,
    /// An answer, written out again by a library.
    Body,
    /// An answer as it came.
    Verbatim,
    /// A piece of an answer's stream, as it came.
    Chunk,
    /// Pieces of an answer beside the stop word.
    Details,
    /// One field of an answer, under this path.
    Field(&'a str),
    /// Names of a guardrail's findings, by policy.
    Guardrail(Side),
    /// A word, in a span event.
    Reason,
    /// The text of the answer.
    Text,
    /// The type of a part of the answer.
    PartType,
}

/// Where pieces of the answer stand.
pub(crate) const PLACES: Meanings = Meanings::of(&[
    Meaning::Messages,
    Meaning::Body,
    Meaning::VerbatimBody,
    Meaning::Details,
    Meaning::InputGuardrail,
    Meaning::OutputGuardrail,
    Meaning::ContractField,
    Meaning::ForeignField,
    Meaning::RawField,
    Meaning::OutputText,
    Meaning::OutputPartType,
]);

impl<'a> Evidence<'a> {
    /// Tells every place, attributes first, then the log record's body, then span events.
    pub(crate) fn for_each_place(&self, mut tell: impl FnMut(Place<'a>)) {
        for entry in self.found.entries() {
            let name = self.found.key(entry);
            let kind = match entry.meaning {
                Meaning::Messages => PlaceKind::Messages,
                Meaning::Body => PlaceKind::Body,
                Meaning::VerbatimBody => PlaceKind::Verbatim,
                Meaning::Details => PlaceKind::Details,
                Meaning::ContractField | Meaning::ForeignField => {
                    PlaceKind::Field(dialects::nested_path(name))
                }
                Meaning::RawField => PlaceKind::Field(name.rsplit('.').next().unwrap_or(name)),
                Meaning::InputGuardrail => PlaceKind::Guardrail(Side::Input),
                Meaning::OutputGuardrail => PlaceKind::Guardrail(Side::Output),
                Meaning::OutputText => PlaceKind::Text,
                Meaning::OutputPartType => PlaceKind::PartType,
                _ => continue,
            };
            tell(Place { kind, name, value: self.found.value(entry), raw: self.found.bytes(entry.range()) });
        }
        if let Some(body) = self.body.clone() {
            self.log_body(body, &mut tell);
        }
        if self.has_events {
            self.for_each_event(|name, attribute, raw| {
                if let Some(kind) = in_event(name, attribute.key) {
                    let value = attribute.value().unwrap_or(AnyValue::Empty);
                    tell(Place { kind, name: event_name(name), value, raw });
                }
            });
        }
    }

    /// Tells what an `exception` event of the span, or a log record of one, says: type and sentence.
    pub(crate) fn for_each_exception(&self, mut tell: impl FnMut(&'a [u8], &'a str)) {
        self.for_each_event(|name, attribute, _| {
            if let (b"exception", b"exception.type" | b"exception.message") = (name, attribute.key)
                && let Ok(AnyValue::Str(text)) = attribute.value()
            {
                tell(attribute.key, str(text));
            }
        });
    }

    /// Whether more than attributes is to be looked at.
    pub(crate) fn has_more(&self) -> bool {
        self.has_events || self.body.is_some()
    }

    /// The status message of a span.
    pub(crate) fn status_message(&self) -> &'a str {
        str(self.status.message)
    }

    fn log_body(&self, range: Range<usize>, tell: &mut impl FnMut(Place<'a>)) {
        let raw = self.found.bytes(range.clone());
        let body = AnyValue::read(self.found.message, range).unwrap_or(AnyValue::Empty);
        let kind = match (self.event_name, self.agent_event) {
            ("gen_ai.choice", _) => PlaceKind::Messages,
            (_, Some(AgentEvent::Response)) if matches!(body, AnyValue::KeyValues(_)) => PlaceKind::Body,
            // Newer conventions put nothing there, older drafts the attributes of the event.
            ("gen_ai.client.inference.operation.details", _) if matches!(body, AnyValue::KeyValues(_)) => {
                PlaceKind::Body
            }
            _ => return,
        };
        tell(Place { kind, name: "body", value: body, raw });
    }

    /// Events whose form is broken tell nothing from there on.
    fn for_each_event(&self, mut tell: impl FnMut(&'a [u8], KeyValue<'a>, &'a [u8])) {
        let _: Result<(), Malformed> = self.walk_events(&mut tell);
    }

    fn walk_events(&self, tell: &mut impl FnMut(&'a [u8], KeyValue<'a>, &'a [u8])) -> Result<(), Malformed> {
        let mut fields = Fields::new(self.found.message, self.item.clone());
        while let Some(field) = fields.next_field()? {
            if field.number != SPAN_EVENTS {
                continue;
            }
            let event = field.content()?;
            let mut name: &[u8] = b"";
            let mut inner = Fields::new(self.found.message, event.clone());
            while let Some(field) = inner.next_field()? {
                if field.number == EVENT_NAME {
                    name = self.found.message.get(field.content()?).unwrap_or_default();
                }
            }
            let mut inner = Fields::new(self.found.message, event);
            while let Some(field) = inner.next_field()? {
                if field.number == EVENT_ATTRIBUTES {
                    let range = field.content()?;
                    tell(name, KeyValue::read(self.found.message, range.clone())?, self.found.bytes(range));
                }
            }
        }
        Ok(())
    }
}

/// What an attribute of a span event holds, if it tells of the answer's end.
fn in_event(event: &[u8], key: &[u8]) -> Option<PlaceKind<'static>> {
    let kind = match (event, key) {
        (b"gen_ai.choice", b"finish_reason") => PlaceKind::Reason,
        (b"gen_ai.choice", b"message" | b"gen_ai.event.content") => PlaceKind::Messages,
        (b"gen_ai.content.completion", b"gen_ai.completion") => PlaceKind::Messages,
        (b"gen_ai.client.inference.operation.details", b"gen_ai.output.messages") => PlaceKind::Messages,
        (b"gen_ai.client.inference.operation.details", b"gen_ai.response.finish_reasons") => {
            PlaceKind::Reason
        }
        (_, b"mlflow.chunk.value") if event.starts_with(b"mlflow.chunk.item.") => PlaceKind::Chunk,
        _ => return None,
    };
    Some(kind)
}

fn event_name(name: &[u8]) -> &str {
    match name {
        _ if name.starts_with(b"mlflow.chunk.item.") => "mlflow.chunk.item",
        _ => str(name),
    }
}

const EVENT_NAME: u32 = 2;
const EVENT_ATTRIBUTES: u32 = 3;
