//! Rule 4: the request was made in the span of an HTTP client, and the call's own span is right above that one or right
//! beside it.
//!
//! Which span is above the client's is told only by the client's span, so those are looked for too. It always ends before
//! the call's, so that it comes in the same request or in an earlier one.

use super::record::Record;
use super::table::{Joined, Tap, Waiting, may_be_one};
use crate::otlp::Signal;
use crate::otlp::splice::splice;
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::{Fields, Malformed, Value};
use crate::refusal::evidence::{Origin, read_span};
use crate::telemetry::own::JoinRule;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which spans of one request belong to which records, by kinship.
#[derive(Debug, Default)]
pub struct Kin {
    joined: HashMap<SpanKey, Joined>,
}

type SpanKey = ([u8; 16], [u8; 8]);

impl Kin {
    /// Looks through a request of spans. Costs a walk over it, but only while records of traces wait.
    pub fn in_request(taps: &[Arc<Tap>], message: &[u8]) -> Result<Kin, Malformed> {
        let mut kin = Kin::default();
        for tap in taps.iter().filter(|tap| !tap.is_empty()) {
            let mut search = Search { tap, origin: Origin::default(), candidates: Vec::new() };
            splice(Signal::Traces, message, &mut search)?;
            search.decide(&mut kin.joined);
        }
        Ok(kin)
    }

    /// The record of a span.
    pub fn of(&self, trace_id: &[u8], span_id: &[u8]) -> Option<&Joined> {
        self.joined.get(&(trace_id.try_into().ok()?, span_id.try_into().ok()?))
    }
}

struct Search<'t, 'm> {
    tap: &'t Tap,
    origin: Origin<'m>,
    candidates: Vec<Candidate<'m>>,
}

/// A call's span that no other rule has joined.
struct Candidate<'m> {
    span: Span,
    response_id: &'m str,
}

#[derive(Clone, Copy, Default)]
struct Span {
    trace: [u8; 16],
    span: [u8; 8],
    parent: [u8; 8],
    start: u64,
    end: u64,
}

impl<'m> Visit<'m> for Search<'_, 'm> {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin = Origin::of_resource(resource)?;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin.enter_scope(scope)
    }

    fn item(&mut self, message: &'m [u8], item: Range<usize>, _: &mut Vec<u8>) -> Result<(), Malformed> {
        let span = Span::read(message, item.clone())?;
        if !self.tap.knows_trace(&span.trace) {
            return Ok(());
        }
        self.tap.note_above(&(span.trace, span.span), span.parent);
        let Some(evidence) = read_span(message, item, &self.origin)? else { return Ok(()) };
        let identity = evidence.identity();
        let has_room = self.candidates.len() < MAX_CANDIDATES;
        if has_room && identity.leaf && !evidence.is_judged() && self.tap.find(&identity).is_none() {
            self.candidates.push(Candidate { span, response_id: identity.response_id });
        }
        Ok(())
    }
}

impl Search<'_, '_> {
    /// Joins those that have exactly one record, which has no other.
    fn decide(self, joined: &mut HashMap<SpanKey, Joined>) {
        let mut pairs: Vec<(SpanKey, Arc<Waiting>)> = Vec::new();
        let (mut of_span, mut of_record): (HashMap<SpanKey, u32>, HashMap<*const Waiting, u32>) =
            Default::default();
        for candidate in &self.candidates {
            let key = (candidate.span.trace, candidate.span.span);
            for (waiting, above) in self.tap.kin_of(&candidate.span.trace) {
                if candidate.is_kin(&waiting.record, above) {
                    *of_span.entry(key).or_default() += 1;
                    *of_record.entry(Arc::as_ptr(&waiting)).or_default() += 1;
                    pairs.push((key, waiting));
                }
            }
        }
        for (key, waiting) in pairs {
            if of_span.get(&key) == Some(&1) && of_record.get(&Arc::as_ptr(&waiting)) == Some(&1) {
                joined.insert(key, self.tap.joined(waiting, JoinRule::Relative));
            }
        }
    }
}

impl Candidate<'_> {
    fn is_kin(&self, record: &Record, above: [u8; 8]) -> bool {
        let Span { span, parent, start, end, .. } = self.span;
        let started = nanoseconds(record.times.started);
        (span == above || parent == above)
            && above != [0; 8]
            && may_be_one(self.response_id, &record.response_id)
            && started >= start.saturating_sub(SLACK)
            && started <= end.saturating_add(SLACK)
    }
}

/// How many spans of one request are looked at; a request has fewer calls, or is made to cost much.
const MAX_CANDIDATES: usize = 1024;

/// By how much two clocks of one machine may differ, and how long a request takes from the client's span to Envoy.
const SLACK: u64 = Duration::from_millis(50).as_nanos() as u64;

fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

impl Span {
    /// Reads ids and times: fields 1, 2, 4, 7 and 8 of `Span`.
    fn read(message: &[u8], item: Range<usize>) -> Result<Span, Malformed> {
        let mut span = Span::default();
        let mut fields = Fields::new(message, item);
        while let Some(field) = fields.next_field()? {
            let id = || Ok::<_, Malformed>(message.get(field.content()?).unwrap_or_default());
            match (field.number, field.value) {
                (1, Value::Len { .. }) => span.trace = id()?.try_into().unwrap_or_default(),
                (2, Value::Len { .. }) => span.span = id()?.try_into().unwrap_or_default(),
                (4, Value::Len { .. }) => span.parent = id()?.try_into().unwrap_or_default(),
                (7, Value::Fixed64(time)) => span.start = time,
                (8, Value::Fixed64(time)) => span.end = time,
                _ => {}
            }
        }
        Ok(span)
    }
}
