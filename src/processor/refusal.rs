//! The `refusal` processor: judges every LLM response of a request, appends the verdict to it, and keeps a tally of
//! what is to be counted once the request has been taken.

use crate::config::model::RefusalProcessor;
use crate::otlp::Signal;
use crate::otlp::splice::{splice, splice_in_order};
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::Malformed;
use crate::payload::Payload;
use crate::processor::precedents::{Decision, Precedents};
use crate::processor::workload::{SELFTEST, Workload};
use crate::refusal::event::{Judged, Kind, Kinds, RefusalEvent};
use crate::refusal::evidence::{Evidence, Origin, SpanHead, read_call, read_log_record};
use crate::refusal::judge::{Judge, Judgment, Rule, decide_again, provider_of};
use crate::refusal::policy::{Policy, UnknownVendor};
use crate::refusal::verdict::Verdict;
use crate::refusal::vocabulary::{ANYBODY, Vocabulary, VocabularyError};
use crate::tap::{Exchange, Joined, Kin, Record, Tap};
use crate::telemetry::Identity;
use crate::telemetry::events::{Lesson, Pending, SCOPE, Wanted};
use crate::telemetry::tally::{Row, Tally};
use crate::telemetry::{Observation, RefusalLabels};
use arc_swap::ArcSwap;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// What became of a request.
#[derive(Debug)]
pub struct Processed {
    /// The request with its items counted and with verdicts appended, or as the very bytes that it was when there was
    /// nothing to judge in it.
    pub payload: Payload,
    /// Whether all of it is of the workload [`SELFTEST`], which is not exported.
    pub selftest: bool,
    /// The records of taps that its spans have joined; to be settled once the request was taken.
    pub joined: Vec<Joined>,
}

/// One `refusal` processor. Its rulebook can be exchanged while it works.
#[derive(Debug)]
pub struct Refusal {
    rulebook: ArcSwap<Rulebook>,
    workload: Workload,
    count_judged: bool,
    taps: Vec<Arc<Tap>>,
    /// Of which responses an event is exported.
    exported: Kinds,
}

/// By what it judges.
#[derive(Debug)]
pub struct Rulebook {
    vocabulary: Vocabulary,
    policy: Policy,
}

/// Why a configuration gives no rulebook.
#[derive(Debug, thiserror::Error)]
pub enum RulebookError {
    /// The vocabulary is broken.
    #[error("vocabulary: {0}")]
    Vocabulary(#[from] VocabularyError),
    /// The policy names a vendor that there is not.
    #[error(transparent)]
    Policy(#[from] UnknownVendor),
}

impl Rulebook {
    /// The embedded vocabulary with what the configuration adds, and its policy.
    pub fn new(config: &RefusalProcessor) -> Result<Self, RulebookError> {
        let vocabulary = Vocabulary::with(&config.vocabulary)?;
        let policy = Policy::new(&config.policy, &vocabulary)?;
        Ok(Rulebook { vocabulary, policy })
    }
}

impl Refusal {
    /// A processor as configured; `own_resource` is `OTEL_RESOURCE_ATTRIBUTES` of the collector.
    pub fn new(config: &RefusalProcessor, rulebook: Rulebook, own_resource: Option<&str>) -> Self {
        Refusal {
            rulebook: ArcSwap::from_pointee(rulebook),
            workload: Workload::new(&config.workload, own_resource),
            count_judged: config.count_judged,
            taps: Vec::new(),
            exported: Kinds::selected(&config.events),
        }
    }

    /// Joins spans to what these taps have seen.
    pub fn with_taps(mut self, taps: Vec<Arc<Tap>>) -> Self {
        self.taps = taps;
        self
    }

    /// The vocabulary that it judges by now.
    pub fn vocabulary(&self) -> Vocabulary {
        self.rulebook.load().vocabulary.clone()
    }

    /// Judges what a tap has seen.
    pub fn judge_exchange(&self, exchange: Exchange) -> Record {
        Record::judged(exchange, &self.rulebook.load().vocabulary, self.workload.otherwise())
    }

    /// What policy says of a record that no span has joined.
    pub fn decide(&self, record: &mut Record) {
        let Record { provider, model, workload, verdict, .. } = record;
        let refusal = verdict.refusal.take();
        let policy = &self.rulebook.load().policy;
        verdict.refusal = refusal.map(|refusal| decide_again(refusal, policy, (provider, model, workload)));
    }

    /// The event of a record that no span has joined, if it is one of these kinds. The tap exports it in its own way.
    pub fn event_of(&self, record: &Record, wanted: Kinds) -> Option<Pending> {
        let kind = Kind::of(&record.verdict).filter(|kind| wanted.has(*kind))?;
        Some(Pending { event: record.event(kind), is_exported: false })
    }

    /// Where its vocabulary would have to learn a word of this provider.
    pub fn lesson(&self, provider: &str) -> Lesson {
        lesson(&self.rulebook.load().vocabulary, provider)
    }

    /// From the next request on, `rulebook` counts.
    pub fn exchange(&self, rulebook: Rulebook) {
        self.rulebook.store(Arc::new(rulebook));
    }

    /// Judges the request. What is to be counted is added to `tally`.
    pub fn process(&self, mut payload: Payload, tally: &mut Tally) -> Result<Processed, Malformed> {
        let message = payload.message.protobuf();
        let rulebook = self.rulebook.load();
        let before = tally.clone();
        let mut judging = Judging {
            processor: self,
            vocabulary: &rulebook.vocabulary,
            policy: &rulebook.policy,
            judge: Judge::new(&rulebook.vocabulary, &rulebook.policy),
            precedents: Precedents::default(),
            signal: payload.signal,
            origin: Origin::default(),
            workload: String::new(),
            blind_emitter: false,
            others: false,
            resource: Envelope::default(),
            scope: Envelope::default(),
            is_own: false,
            wanted: tally.wanted_events(),
            tally,
            kin: match payload.signal {
                Signal::Traces => Kin::in_request(&self.taps, &message)?,
                Signal::Logs | Signal::Metrics => Kin::default(),
            },
            joined: Vec::new(),
        };
        let outcome = match splice_in_order(payload.signal, &message, &mut judging)? {
            Some(outcome) => outcome,
            None => {
                *judging.tally = before;
                judging.joined.clear();
                splice(payload.signal, &message, &mut judging)?
            }
        };
        let selftest = outcome.items > 0 && payload.signal != Signal::Metrics && !judging.others;
        payload.items = outcome.items;
        if let Some(rewritten) = outcome.rewritten {
            payload.message = rewritten;
            payload.arrived = None;
        }
        Ok(Processed { payload, selftest, joined: judging.joined })
    }
}

/// One walk over one request.
struct Judging<'m, 'p> {
    processor: &'p Refusal,
    vocabulary: &'p Vocabulary,
    policy: &'p Policy,
    judge: Judge<'m>,
    precedents: Precedents<'m>,
    signal: Signal,
    origin: Origin<'m>,
    workload: String,
    blind_emitter: bool,
    /// Whether a workload other than the selftest has been met.
    others: bool,
    resource: Envelope<'m>,
    scope: Envelope<'m>,
    /// Whether the scope is that of a collector's events.
    is_own: bool,
    /// Which kinds of events to make.
    wanted: Wanted,
    tally: &'p mut Tally,
    kin: Kin,
    joined: Vec<Joined>,
}

impl<'m> Visit<'m> for Judging<'m, '_> {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.precedents.clear();
        self.origin = Origin::of_resource(resource)?;
        self.processor.workload.name(resource, &mut self.workload)?;
        self.others |= self.workload != SELFTEST;
        self.resource.clone_from(resource);
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.precedents.clear();
        self.origin.enter_scope(scope)?;
        let emitter = self.vocabulary.emitter(self.origin.instrumentation());
        self.blind_emitter = emitter.is_some_and(|emitter| emitter.blind);
        self.is_own = is_of_events(scope, self.origin.instrumentation())?;
        self.scope.clone_from(scope);
        Ok(())
    }

    fn item(
        &mut self,
        message: &'m [u8],
        item: Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let Some(evidence) = self.read(message, &item, appended)? else { return Ok(()) };
        let item = Item { message, range: item, evidence: &evidence };
        if evidence.is_judged() {
            return self.count_judged(&item);
        }
        let Some(mut judgment) = self.judge.judge(&evidence, &self.workload) else {
            return Ok(());
        };
        let joined = self.join(&evidence, &mut judgment);
        judgment.verdict.append(&evidence, appended, self.attributes_field());
        let tokens = joined.as_ref().map_or((None, None), |joined| joined.waiting.record.tokens());
        let row = self.count(&item, &judgment, tokens, self.processor.exported)?;
        match joined {
            Some(joined) => self.joined.push(joined),
            None if self.wanted_kind(&judgment.verdict, self.processor.exported).is_some() => {}
            None => {
                self.precedents.note(&evidence, || Decision { row, appended: appended.as_slice().into() })
            }
        }
        Ok(())
    }
}

/// An item that tells of an LLM call.
struct Item<'m, 'e> {
    message: &'m [u8],
    range: Range<usize>,
    evidence: &'e Evidence<'m>,
}

impl<'m> Judging<'m, '_> {
    /// What an item tells, if it tells of a response that is still to be judged.
    fn read(
        &mut self,
        message: &'m [u8],
        item: &Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<Option<Evidence<'m>>, Malformed> {
        match self.signal {
            _ if self.is_own => Ok(None),
            Signal::Metrics => Ok(None),
            Signal::Logs => read_log_record(message, item.clone(), &self.origin),
            Signal::Traces => {
                // Each where it is read: to hand it on costs as much as to read it.
                let is_done = match SpanHead::read_usual(message, item) {
                    Some(head) => self.is_done(&head, appended)?,
                    None => self.is_done(&SpanHead::read_any(message, item.clone())?, appended)?,
                };
                if is_done { Ok(None) } else { read_call(message, item.clone(), &self.origin) }
            }
        }
    }

    /// Whether a span is no call, or tells the same as one that was judged.
    fn is_done(&mut self, span: &SpanHead<'m>, appended: &mut Vec<u8>) -> Result<bool, Malformed> {
        Ok(!span.may_be_a_call(&self.origin)? || self.decides_again(span, appended))
    }

    /// Whether a span tells the same as one that was judged, and so is done with. What taps have seen is another matter.
    fn decides_again(&mut self, span: &SpanHead<'m>, appended: &mut Vec<u8>) -> bool {
        if !self.processor.taps.iter().all(|tap| tap.is_empty()) {
            return false;
        }
        let Some((decision, likeness)) = self.precedents.find(span) else { return false };
        appended.extend_from_slice(&decision.appended);
        self.tally.add_to(decision.row, &likeness.identity, likeness.tokens);
        true
    }

    /// An item that another collector has judged is passed on as it is, and counted if the user wants that. Its event has
    /// been exported by the other one, if at all.
    fn count_judged(&mut self, item: &Item<'m, '_>) -> Result<(), Malformed> {
        if !self.processor.count_judged {
            return Ok(());
        }
        let Some(verdict) = Verdict::written_on(item.evidence) else { return Ok(()) };
        let provider = Cow::Borrowed(provider_of(item.evidence, self.vocabulary));
        let judgment = Judgment { verdict, rule: Rule::Application, provider, response_id: None };
        self.count(item, &judgment, (None, None), Kinds::NONE)?;
        Ok(())
    }

    /// What a tap has seen of the same call. It becomes the judgment, unless the application says better, or the tap
    /// itself saw no end.
    fn join(&self, evidence: &Evidence<'_>, judgment: &mut Judgment<'_>) -> Option<Joined> {
        let taps = || self.processor.taps.iter().filter(|tap| !tap.is_empty());
        taps().next()?;
        let identity = identity(evidence, judgment);
        let by_ids = taps().find_map(|tap| tap.find(&identity));
        let joined = by_ids.or_else(|| self.kin.of(identity.trace_id, identity.span_id).cloned())?;
        let record = &joined.waiting.record;
        let disagrees = record.disagrees_with(&judgment.verdict);
        if judgment.rule != Rule::Application && record.is_conclusive() {
            let model = if evidence.model().is_empty() { &record.model } else { evidence.model() };
            let subject = (&*record.provider, model, &*self.workload);
            judgment.verdict = record.verdict.clone();
            let refusal = record.verdict.refusal.clone();
            judgment.verdict.refusal = refusal.map(|refusal| decide_again(refusal, self.policy, subject));
            if !record.provider.is_empty() {
                judgment.provider = Cow::Owned(record.provider.to_string());
            }
        }
        if !record.response_id.is_empty() {
            judgment.response_id = Some(record.response_id.clone());
        }
        Some(joined.disagreeing(disagrees))
    }

    /// Adds a judged item to the tally; `tokens` are those that it does not tell itself.
    fn count(
        &mut self,
        item: &Item<'m, '_>,
        judgment: &Judgment<'_>,
        tokens: (Option<u64>, Option<u64>),
        exported: Kinds,
    ) -> Result<Row, Malformed> {
        let evidence = item.evidence;
        let Judgment { verdict, provider, .. } = judgment;
        let (input_tokens, output_tokens) = evidence.tokens();
        let refusal = verdict.refusal.as_ref();
        let observation = Observation {
            provider,
            model: evidence.model(),
            workload: &self.workload,
            instrumentation: evidence.instrumentation(),
            class: verdict.class,
            value: verdict.value.as_deref(),
            vendor_category: verdict.vendor_category(),
            refusal: refusal.map(RefusalLabels::of),
            recovered: verdict.recovered.as_ref().map(|recovered| recovered.category),
            input_tokens: input_tokens.or(tokens.0),
            output_tokens: output_tokens.or(tokens.1),
            discard_output: refusal.and_then(|refusal| refusal.discard_output).unwrap_or(false),
            blind_emitter: self.blind_emitter,
            identity: identity(evidence, judgment),
        };
        let row = match self.wanted_kind(verdict, exported) {
            None => self.tally.add(&observation),
            Some(kind) => {
                let judged = Judged {
                    evidence,
                    verdict,
                    provider,
                    response_id: observation.identity.response_id,
                    workload: &self.workload,
                    tokens: (observation.input_tokens, observation.output_tokens),
                    resource: &self.resource,
                    scope: &self.scope,
                    signal: self.signal,
                    message: item.message,
                    item: &item.range,
                };
                let event = RefusalEvent::of(kind, &judged)?;
                self.tally.add_with_event(&observation, Pending { event, is_exported: exported.has(kind) })
            }
        };
        self.tally.teach(row, || lesson(self.vocabulary, provider));
        Ok(row)
    }

    /// The kind of the event that somebody wants of a response, if there is one.
    fn wanted_kind(&self, verdict: &Verdict<'_>, exported: Kinds) -> Option<Kind> {
        Kind::of(verdict).filter(|kind| self.wanted.kinds(exported).has(*kind))
    }

    /// The field of an item that holds its attributes: `Span.attributes`, `LogRecord.attributes`.
    fn attributes_field(&self) -> u32 {
        match self.signal {
            Signal::Traces => 9,
            Signal::Logs | Signal::Metrics => 6,
        }
    }
}

/// Where the vocabulary would have to learn a word of this provider.
fn lesson(vocabulary: &Vocabulary, provider: &str) -> Lesson {
    let vendor = vocabulary.vendor_called(provider);
    Lesson {
        vendor: vendor.map_or(ANYBODY, |vendor| vocabulary.vendor_name(vendor)).into(),
        stop_field: vocabulary.usual_stop_field(vendor),
    }
}

/// Whether a scope is that of a collector's events, which stand for responses that were counted. Log records of taps, whose
/// scope says that they are, stand for themselves.
fn is_of_events(scope: &Envelope<'_>, name: &str) -> Result<bool, Malformed> {
    if name != SCOPE {
        return Ok(false);
    }
    let mut fields = scope.fields();
    while let Some(field) = fields.next_field()? {
        if field.number == SCOPE_ATTRIBUTES {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `InstrumentationScope.attributes`.
const SCOPE_ATTRIBUTES: u32 = 3;

/// By what a judged item is known again. A response id that stands only inside of an answer is the judgment's.
fn identity<'i>(evidence: &Evidence<'i>, judgment: &'i Judgment<'_>) -> Identity<'i> {
    let mut identity = evidence.identity();
    if let (true, Some(response_id)) = (identity.response_id.is_empty(), &judgment.response_id) {
        identity.response_id = response_id;
    }
    identity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Message, Permit};
    use crate::telemetry::responses::Responses;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
    use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
    use prost::Message as _;

    #[test]
    fn a_response_counts_once_and_for_its_scope_even_where_that_stands_behind_it() {
        let config = RefusalProcessor::default();
        let refusal = Refusal::new(&config, Rulebook::new(&config).unwrap(), None);
        let responses = Responses::new(Default::default());
        let counted = |by_scope: [ScopeSpans; 2]| {
            let by_scope: Vec<u8> = by_scope.iter().flat_map(ScopeSpans::encode_to_vec).collect();
            // A request of one group by resource of one group by scope.
            let by_resource = [&[0x12, by_scope.len() as u8][..], &by_scope].concat();
            let request = [&[0x0a, by_resource.len() as u8][..], &by_resource].concat();
            let payload = Payload {
                signal: Signal::Traces,
                message: Message::Bare(request.into()),
                arrived: None,
                items: 0,
                permit: Arc::new(Permit::default()),
                caller: Default::default(),
            };
            let mut tally = responses.tally();
            let judged = refusal.process(payload, &mut tally).unwrap();
            assert!(judged.payload.message.as_slice().windows(7).any(|bytes| bytes == b"missing"));
            format!("{tally:?}")
        };
        let operation = KeyValue {
            key: "gen_ai.operation.name".to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue("chat".to_owned())) }),
            ..Default::default()
        };
        let span = Span { end_time_unix_nano: 1, attributes: vec![operation], ..Default::default() };
        let spans = ScopeSpans { spans: vec![span], ..Default::default() };
        let scope = InstrumentationScope { name: "openlit.otel".to_owned(), ..Default::default() };
        let scope = ScopeSpans { scope: Some(scope), ..Default::default() };
        let told = counted([scope.clone(), spans.clone()]);
        assert!(told.contains("openlit.otel"), "{told}");
        assert_eq!(counted([spans, scope]), told);
    }
}
