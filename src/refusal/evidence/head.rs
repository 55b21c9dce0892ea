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
    /// Where the first attribute starts.
    rest_at: usize,
    end: usize,
    /// Whether nothing stands there but what stands there on all spans.
    pub(super) is_usual: bool,
}

impl<'m> SpanHead<'m> {
    /// Reads the span that stands at `span` of `message` up to its first attribute.
    pub(crate) fn read(message: &'m [u8], span: Range<usize>) -> Result<Self, Malformed> {
        match SpanHead::read_usual(message, &span) {
            Some(head) => Ok(head),
            None => SpanHead::read_any(message, span),
        }
    }

    /// Reads the fields in the order in which all SDKs write them; `None` where they stand otherwise.
    #[inline(always)]
    pub(crate) fn read_usual(message: &'m [u8], span: &Range<usize>) -> Option<Self> {
        let [0x0a, 16, rest @ ..] = message.get(span.clone())? else { return None };
        let (trace, rest) = rest.split_at_checked(16)?;
        let [0x12, 8, rest @ ..] = rest else { return None };
        let (own, rest) = rest.split_at_checked(8)?;
        let (parent, rest) = match rest {
            [0x22, 8, rest @ ..] => rest.split_at_checked(8)?,
            _ => rest.split_at(0),
        };
        let [0x2a, name_len @ ..0x80, rest @ ..] = rest else { return None };
        let (name, rest) = rest.split_at_checked(usize::from(*name_len))?;
        let [0x30, ..0x80, 0x39, rest @ ..] = rest else { return None };
        let (_start, rest) = rest.split_at_checked(8)?;
        let [0x41, rest @ ..] = rest else { return None };
        let (end, rest) = rest.split_at_checked(8)?;
        let [ATTRIBUTE_TAG, ..] = rest else { return None };
        Some(SpanHead {
            message,
            start: span.start,
            ids: Ids { trace, span: own, parent },
            has_ended: end != [0; 8],
            name,
            rest_at: span.end.wrapping_sub(rest.len()),
            end: span.end,
            is_usual: true,
        })
    }

    /// Reads the fields in any order.
    pub(crate) fn read_any(message: &'m [u8], span: Range<usize>) -> Result<Self, Malformed> {
        let mut head = SpanHead {
            message,
            start: span.start,
            ids: Ids::default(),
            has_ended: false,
            name: b"",
            rest_at: span.start,
            end: span.end,
            is_usual: true,
        };
        let mut fields = Fields::new(message, span);
        while fields.next_byte() != Some(ATTRIBUTE_TAG) {
            let Some(field) = fields.next_field()? else { break };
            match field.number {
                SPAN_TRACE_ID => head.ids.trace = content(message, &field)?,
                SPAN_ID => head.ids.span = content(message, &field)?,
                SPAN_PARENT_ID => head.ids.parent = content(message, &field)?,
                SPAN_NAME => head.name = content(message, &field)?,
                SPAN_END => head.has_ended |= !matches!(field.value, Value::Fixed64(0)),
                // In a longer form than it need have.
                SPAN_ATTRIBUTES => return Ok(SpanHead { rest_at: field.at, ..head }),
                SPAN_STATUS => {
                    field.content()?;
                    head.is_usual = false;
                }
                SPAN_TRACE_STATE | SPAN_START | SPAN_KIND => {}
                _ => head.is_usual = false,
            }
        }
        Ok(SpanHead { rest_at: fields.position(), ..head })
    }

    /// What stands from the first attribute on.
    #[inline(always)]
    pub(super) fn rest(&self) -> Fields<'m> {
        Fields::new(self.message, self.rest_at..self.end)
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
        let mut fields = self.rest();
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
pub(super) const ATTRIBUTE_TAG: u8 = (SPAN_ATTRIBUTES << 3 | 2) as u8;

const SPAN_TRACE_STATE: u32 = 3;
const SPAN_KIND: u32 = 6;
const SPAN_START: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    #[test]
    fn the_quick_way_reads_what_the_long_way_reads() {
        let whole = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            parent_span_id: vec![3; 8],
            name: "chat".into(),
            kind: 3,
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            attributes: vec![KeyValue { key: "gen_ai.system".into(), ..KeyValue::default() }],
            ..Span::default()
        };
        let spans = [
            whole.clone(),
            Span { parent_span_id: vec![], ..whole.clone() },
            Span { trace_state: "a=b".into(), ..whole.clone() },
            Span { end_time_unix_nano: 0, ..whole.clone() },
            Span { name: "n".repeat(200), ..whole.clone() },
            Span { attributes: vec![], ..whole.clone() },
            Span { trace_id: vec![1; 8], span_id: vec![], ..whole.clone() },
        ];
        let mut quick = 0;
        for span in &spans {
            let message = [b"before".to_vec(), span.encode_to_vec(), b"after".to_vec()].concat();
            let at = 6..message.len() - 5;
            for end in at.clone() {
                let by_any = SpanHead::read_any(&message, at.start..end).ok();
                if let Some(head) = SpanHead::read_usual(&message, &(at.start..end)) {
                    assert_eq!(format!("{:?}", Some(head)), format!("{by_any:?}"));
                    quick += 1;
                }
            }
        }
        assert!(quick > 10, "{quick}");
    }
}
