//! What was decided of the calls of one scope, for others of it that tell the same.

use crate::refusal::evidence::{Ending, Evidence, Likeness, SpanHead, Template};
use crate::telemetry::tally::Row;

/// The decisions of one scope of one request.
#[derive(Debug, Default)]
pub(super) struct Precedents<'m> {
    known: Vec<Known<'m>>,
    /// The one that was met last.
    last: usize,
    /// What the span that was like one of them last tells beyond it.
    likeness: Likeness<'m>,
    /// How many spans have been judged that nothing was noted of, because others may not follow.
    few: usize,
    /// How many decisions were noted since one was of use.
    in_vain: usize,
    /// The span that was looked for last, if it is like one of them and nothing had been decided of its ending.
    open: Option<Open<'m>>,
}

/// What was decided of a span, and holds for all that tell the same.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// As what it counts.
    pub(super) row: Row,
    /// What was appended to it.
    pub(super) appended: Box<[u8]>,
}

#[derive(Debug)]
struct Known<'m> {
    template: Template<'m>,
    decisions: Vec<(Ending<'m>, Decision)>,
}

#[derive(Debug)]
struct Open<'m> {
    /// Where the span starts in its request.
    span: usize,
    /// Which of the known it is like.
    known: usize,
    ending: Ending<'m>,
}

/// How many ways to look are told apart. More would be compared with in vain.
const MOST_TEMPLATES: usize = 4;

/// How many endings of each way to look.
const MOST_ENDINGS: usize = 16;

/// So many spans are judged sooner than precedents are made of them.
const FEW: usize = 8;

/// After so many decisions that were of no use, the spans of a scope have nothing in common.
const MOST_IN_VAIN: usize = 32;

impl<'m> Precedents<'m> {
    /// Forgets all: what comes is of another scope.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        (self.few, self.in_vain, self.open) = (0, 0, None);
    }

    /// What holds for a span.
    pub(super) fn find(&mut self, span: &SpanHead<'m>) -> Option<(&Decision, &Likeness<'m>)> {
        self.open = None;
        if self.in_vain > MOST_IN_VAIN {
            return None;
        }
        let at = self.like(span)?;
        self.last = at;
        let (decisions, ending) = (&self.known.get(at)?.decisions, &self.likeness.ending);
        let Some((_, decision)) = decisions.iter().find(|(known, _)| known == ending) else {
            self.open = Some(Open { span: span.start(), known: at, ending: ending.clone() });
            return None;
        };
        self.in_vain = 0;
        Some((decision, &self.likeness))
    }

    /// Notes what was decided of a span that was looked for, so far as there is room, and others can be known by it at all.
    pub(super) fn note(&mut self, evidence: &Evidence<'m>, decide: impl FnOnce() -> Decision) {
        if self.few < FEW {
            self.few += 1;
            return;
        }
        if self.in_vain > MOST_IN_VAIN {
            return;
        }
        self.in_vain += 1;
        if let Some(open) = self.open.take().filter(|open| open.span == evidence.item().start) {
            let known = self.known.get_mut(open.known);
            if let Some(known) = known.filter(|known| known.decisions.len() < MOST_ENDINGS) {
                known.decisions.push((open.ending, decide()));
            }
        } else if self.known.len() < MOST_TEMPLATES
            && let Some((template, likeness)) = Template::of(evidence)
        {
            self.last = self.known.len();
            self.known.push(Known { template, decisions: vec![(likeness.ending, decide())] });
        }
    }

    /// Which of them a span is like, the one first that the last one was like.
    fn like(&mut self, span: &SpanHead<'m>) -> Option<usize> {
        let Precedents { known, last, likeness, .. } = self;
        let mut is_like =
            |at: &usize| known.get_mut(*at).is_some_and(|known| known.template.fits(span, likeness));
        if is_like(last) {
            return Some(*last);
        }
        (0..MOST_TEMPLATES).filter(|at| at != last).find(is_like)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::evidence::{Origin, read_call};
    use crate::refusal::verdict::Class;
    use crate::telemetry::responses::Responses;
    use crate::telemetry::{Identity, Observation};
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    fn call(id: u8, model: &str, ending: &str) -> Vec<u8> {
        let attribute = |key: &str, text: &str| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) }),
            ..KeyValue::default()
        };
        let attributes = vec![
            attribute("gen_ai.operation.name", "chat"),
            attribute("gen_ai.request.model", model),
            attribute("gen_ai.response.id", &format!("msg_{id}")),
            attribute("session.id", &format!("session {id}")),
            attribute("gen_ai.response.finish_reasons", ending),
        ];
        let ids = Span { trace_id: vec![id; 16], span_id: vec![id; 8], ..Span::default() };
        let times = Span { start_time_unix_nano: 1, end_time_unix_nano: 2, ..ids };
        Span { name: "chat".to_owned(), kind: 3, attributes, ..times }.encode_to_vec()
    }

    /// How many spans are decided anew.
    fn judged(spans: &[Vec<u8>]) -> usize {
        let observation = Observation {
            provider: "openai",
            model: "gpt-5",
            workload: "checkout",
            instrumentation: "",
            class: Class::Complete,
            value: Some("stop"),
            vendor_category: None,
            refusal: None,
            recovered: None,
            input_tokens: None,
            output_tokens: None,
            discard_output: false,
            blind_emitter: false,
            identity: Identity::default(),
        };
        let row = Responses::new(Default::default()).tally().add(&observation);
        let message = spans.concat();
        let (mut precedents, mut judged, mut at) = (Precedents::default(), 0, 0);
        for span in spans {
            let range = at..at + span.len();
            at = range.end;
            if precedents.find(&SpanHead::read(&message, range.clone()).unwrap()).is_some() {
                continue;
            }
            judged += 1;
            let evidence = read_call(&message, range, &Origin::default()).unwrap().unwrap();
            precedents.note(&evidence, || Decision { row, appended: Box::default() });
        }
        judged
    }

    #[test]
    fn of_equal_calls_the_few_first_are_judged_and_one_more() {
        let spans: Vec<_> = (1..100).map(|id| call(id, "gpt-5", "stop")).collect();
        assert_eq!(judged(&spans), FEW + 1);
    }

    #[test]
    fn each_model_and_each_ending_is_judged_once() {
        let kinds = [("gpt-5", "stop"), ("gpt-5", "length"), ("o3", "stop"), ("o3", "content_filter")];
        let few = (1..=FEW as u8).map(|id| call(id, "gpt-5", "stop"));
        let mixed = (20..100).map(|id| {
            let (model, ending) = kinds[usize::from(id) % kinds.len()];
            call(id, model, ending)
        });
        assert_eq!(judged(&few.chain(mixed).collect::<Vec<_>>()), FEW + kinds.len());
    }

    #[test]
    fn calls_of_different_models_are_each_judged() {
        let spans: Vec<_> = (1..200).map(|id| call(id, &format!("model {id}"), "stop")).collect();
        assert_eq!(judged(&spans), spans.len());
    }
}
