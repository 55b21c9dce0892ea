//! A first look at a span, which is enough for nearly all that have nothing to do with LLMs: nothing is noted of them.

use super::read::{
    SPAN_ATTRIBUTES, SPAN_END, SPAN_ID, SPAN_NAME, SPAN_PARENT_ID, SPAN_STATUS, SPAN_TRACE_ID, content,
};
use super::{Ids, Origin};
use crate::otlp::any_value::KeyValue;
use crate::otlp::wire::{Fields, Malformed, Value};
use crate::refusal::dialects::{self, Keys, ScopeKind};
use std::ops::Range;

/// What stands before the first attribute of a span.
#[derive(Clone, Debug)]
pub(crate) struct SpanHead<'m> {
    pub(super) message: &'m [u8],
    start: usize,
    pub(super) ids: Ids<'m>,
    pub(super) has_ended: bool,
    name: &'m [u8],
    /// From the first attribute on.
    pub(super) rest: Fields<'m>,
    /// Whether nothing stands there but what stands there on all spans.
    pub(super) is_usual: bool,
}

impl<'m> SpanHead<'m> {
    /// Reads the span that stands at `span` of `message` up to its first attribute.
    #[inline]
    pub(crate) fn read(message: &'m [u8], span: Range<usize>) -> Result<Self, Malformed> {
        let mut head = SpanHead {
            message,
            start: span.start,
            ids: Ids::default(),
            has_ended: false,
            name: b"",
            rest: Fields::new(message, span),
            is_usual: true,
        };
        while head.rest.next_byte() != Some(ATTRIBUTE_TAG) {
            let before = head.rest.clone();
            let Some(field) = head.rest.next_field()? else { break };
            match field.number {
                SPAN_TRACE_ID => head.ids.trace = content(message, &field)?,
                SPAN_ID => head.ids.span = content(message, &field)?,
                SPAN_PARENT_ID => head.ids.parent = content(message, &field)?,
                SPAN_NAME => head.name = content(message, &field)?,
                SPAN_END => head.has_ended |= !matches!(field.value, Value::Fixed64(0)),
                // In a longer form than it need have.
                SPAN_ATTRIBUTES => {
                    head.rest = before;
                    break;
                }
                SPAN_STATUS => {
                    field.content()?;
                    head.is_usual = false;
                }
                SPAN_TRACE_STATE | SPAN_START | SPAN_KIND => {}
                _ => head.is_usual = false,
            }
        }
        Ok(head)
    }

    /// Where the span starts in its request.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// Whether the span may stand for a call to a model. On LLM spans the look ends at the first attribute that marks
    /// them.
    #[inline]
    pub(crate) fn may_be_a_call(&self, origin: &Origin<'_>) -> Result<bool, Malformed> {
        let keys = Keys::get();
        let (message, mut name) = (self.message, self.name);
        let mut fields = self.rest.clone();
        while let Some(field) = fields.next_field()? {
            // Most are attributes: asked for first, they need no jump table.
            if field.number == SPAN_ATTRIBUTES {
                if keys.may_mark(KeyValue::read(message, field.content()?)?.key) {
                    return Ok(true);
                }
                continue;
            }
            match field.number {
                SPAN_NAME => name = content(message, &field)?,
                SPAN_TRACE_ID | SPAN_ID | SPAN_PARENT_ID | SPAN_STATUS => _ = field.content()?,
                _ => {}
            }
        }
        Ok(origin.kind == ScopeKind::CodingAgent
            || origin.kind.names_calls() && dialects::is_named_like_a_call(name))
    }
}

/// The tag of an attribute in its usual form.
const ATTRIBUTE_TAG: u8 = (SPAN_ATTRIBUTES << 3 | 2) as u8;

const SPAN_TRACE_STATE: u32 = 3;
const SPAN_KIND: u32 = 6;
const SPAN_START: u32 = 7;
