//! The `refusal` processor: judges every LLM response of a request, appends the verdict to it, and keeps a tally of
//! what is to be counted once the request has been taken.

use crate::config::model::RefusalProcessor;
use crate::otlp::Signal;
use crate::otlp::splice::splice;
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::Malformed;
use crate::payload::Payload;
use crate::processor::workload::{SELFTEST, Workload};
use crate::refusal::evidence::{Evidence, Origin, read_log_record, read_span};
use crate::refusal::judge::{Judge, Judgment, Rule, decide_again, provider_of};
use crate::refusal::policy::{Policy, UnknownVendor};
use crate::refusal::verdict::Verdict;
use crate::refusal::vocabulary::{Vocabulary, VocabularyError};
use crate::tap::{Exchange, Joined, Kin, Record, Tap};
use crate::telemetry::Identity;
use crate::telemetry::tally::Tally;
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
        let vocabulary = Vocabulary::embedded()?.extended(&config.vocabulary)?;
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

    /// From the next request on, `rulebook` counts.
    pub fn exchange(&self, rulebook: Rulebook) {
        self.rulebook.store(Arc::new(rulebook));
    }

    /// Judges the request. What is to be counted is added to `tally`.
    pub fn process(&self, mut payload: Payload, tally: &mut Tally) -> Result<Processed, Malformed> {
        let message = payload.message.protobuf();
        let rulebook = self.rulebook.load();
        let mut judging = Judging {
            processor: self,
            vocabulary: &rulebook.vocabulary,
            policy: &rulebook.policy,
            judge: Judge::new(&rulebook.vocabulary, &rulebook.policy),
            signal: payload.signal,
            origin: Origin::default(),
            workload: String::new(),
            blind_emitter: false,
            others: false,
            tally,
            kin: match payload.signal {
                Signal::Traces => Kin::in_request(&self.taps, &message)?,
                Signal::Logs | Signal::Metrics => Kin::default(),
            },
            joined: Vec::new(),
        };
        let outcome = splice(payload.signal, &message, &mut judging)?;
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
    signal: Signal,
    origin: Origin<'m>,
    workload: String,
    blind_emitter: bool,
    /// Whether a workload other than the selftest has been met.
    others: bool,
    tally: &'p mut Tally,
    kin: Kin,
    joined: Vec<Joined>,
}

impl<'m> Visit<'m> for Judging<'m, '_> {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin = Origin::of_resource(resource)?;
        self.processor.workload.name(resource, &mut self.workload)?;
        self.others |= self.workload != SELFTEST;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin.enter_scope(scope)?;
        let emitter = self.vocabulary.emitter(self.origin.instrumentation());
        self.blind_emitter = emitter.is_some_and(|emitter| emitter.blind);
        Ok(())
    }

    fn item(
        &mut self,
        message: &'m [u8],
        item: Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let evidence = match self.signal {
            Signal::Traces => read_span(message, item, &self.origin)?,
            Signal::Logs => read_log_record(message, item, &self.origin)?,
            Signal::Metrics => None,
        };
        let Some(evidence) = evidence else { return Ok(()) };
        if evidence.is_judged() {
            self.count_judged(&evidence);
            return Ok(());
        }
        let Some(mut judgment) = self.judge.judge(&evidence, &self.workload) else {
            return Ok(());
        };
        let joined = self.join(&evidence, &mut judgment);
        judgment.verdict.append(&evidence, appended, self.attributes_field());
        let tokens = joined.as_ref().map_or((None, None), |joined| joined.waiting.record.tokens());
        self.count(&evidence, &judgment, tokens);
        self.joined.extend(joined);
        Ok(())
    }
}

impl Judging<'_, '_> {
    /// An item that another collector has judged is passed on as it is, and counted if the user wants that.
    fn count_judged(&mut self, evidence: &Evidence<'_>) {
        if !self.processor.count_judged {
            return;
        }
        if let Some(verdict) = Verdict::written_on(evidence) {
            let provider = Cow::Borrowed(provider_of(evidence, self.vocabulary));
            let judgment = Judgment { verdict, rule: Rule::Application, provider, response_id: None };
            self.count(evidence, &judgment, (None, None));
        }
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
        evidence: &Evidence<'_>,
        judgment: &Judgment<'_>,
        tokens: (Option<u64>, Option<u64>),
    ) {
        let Judgment { verdict, provider, .. } = judgment;
        let (input_tokens, output_tokens) = evidence.tokens();
        let refusal = verdict.refusal.as_ref();
        self.tally.add(&Observation {
            provider,
            model: evidence.model(),
            workload: &self.workload,
            instrumentation: evidence.instrumentation(),
            class: verdict.class,
            value: verdict.value.as_deref(),
            refusal: refusal.map(RefusalLabels::of),
            recovered: verdict.recovered.as_ref().map(|recovered| recovered.category),
            input_tokens: input_tokens.or(tokens.0),
            output_tokens: output_tokens.or(tokens.1),
            discard_output: refusal.and_then(|refusal| refusal.discard_output).unwrap_or(false),
            blind_emitter: self.blind_emitter,
            identity: identity(evidence, judgment),
        });
    }

    /// The field of an item that holds its attributes: `Span.attributes`, `LogRecord.attributes`.
    fn attributes_field(&self) -> u32 {
        match self.signal {
            Signal::Traces => 9,
            Signal::Logs | Signal::Metrics => 6,
        }
    }
}

/// By what a judged item is known again. A response id that stands only inside of an answer is the judgment's.
fn identity<'i>(evidence: &Evidence<'i>, judgment: &'i Judgment<'_>) -> Identity<'i> {
    let mut identity = evidence.identity();
    if let (true, Some(response_id)) = (identity.response_id.is_empty(), &judgment.response_id) {
        identity.response_id = response_id;
    }
    identity
}
