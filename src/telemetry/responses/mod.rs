//! The refusal counters: how many responses ended how, for whom, and why they were refused.
//!
//! Counters are cumulative and never expire while the process lives. `llm.responses` is born at 0 for all classes as
//! soon as a provider, model and workload are first seen together; all others are born with their event.
//!
//! # Bounds
//!
//! The values of each free label are capped ([`LabelLimits`]); more become `_other` while all other labels stay. The
//! series of all these metrics together have a budget. Of it `llm.responses` takes half with their models; beyond that
//! new series have the model `_other`, and beyond three quarters also the workload `_other`. The rest is for the events,
//! which give up the model in the last eighth and the workload when all is used up, a refusal then also actor, phase,
//! delivery and action. Stop-reason value, provider, class and category are never given up, so that the first unknown
//! reason and the first refusal of a category are seen whatever else is going on; what that needs is taken beyond the
//! budget, and bounded by the caps. What is folded is counted by `refusal_collector.label_overflow`.

mod labels;
#[cfg(test)]
mod tests;

use crate::config::model::LabelLimits;
use crate::refusal::event::RefusalEvent;
use crate::refusal::verdict::Class;
use crate::telemetry::events::{Counted, Encounter};
use crate::telemetry::label::{Cap, Label};
use crate::telemetry::metric::{Descriptor, Exemplar, Point, Sink, Unit, Value};
use crate::telemetry::seen::{Seen, cluster};
use crate::telemetry::series::{Family, Series, SeriesBudget};
use crate::telemetry::tally::{Count, Detail, Ending, Group, Source, Tally};
use labels::{
    BlindLabels, DiscardedLabels, Fold, Free, MissingLabels, Others, Place, RecoveryLabels, RefusalSeries,
    ResponseLabels, TokenType, UnknownLabels,
};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// The workload of responses whose resource does not tell.
pub const UNKNOWN_WORKLOAD: &str = "unknown_service";

/// The provider, model or instrumentation of responses that do not tell.
const UNKNOWN: &str = "_unknown";

/// A stop reason that is there and empty.
const EMPTY: &str = "_empty";

const RESPONSES: Descriptor =
    Descriptor::counter("llm.responses", Unit::Things("{response}"), "LLM responses by how they ended.");
const REFUSALS: Descriptor =
    Descriptor::counter("llm.refusals", Unit::Things("{refusal}"), "LLM responses that are refusals.");
const RECOVERIES: Descriptor = Descriptor::counter(
    "llm.refusal.recoveries",
    Unit::Things("{refusal}"),
    "Refusals after which a fallback model served the request.",
);
const UNKNOWN_REASONS: Descriptor = Descriptor::counter(
    "llm.stop_reason.unknown",
    Unit::Things("{response}"),
    "LLM responses with a stop reason that the vocabulary does not list.",
);
const UNKNOWN_LAST_SEEN: Descriptor = Descriptor::gauge(
    "llm.stop_reason.unknown_last_seen_timestamp",
    Unit::Seconds,
    "When an unknown stop reason was seen last, in seconds since 1970.",
);
const MISSING_REASONS: Descriptor = Descriptor::counter(
    "llm.stop_reason.missing",
    Unit::Things("{response}"),
    "Finished LLM responses whose telemetry carries no stop reason.",
);
const DISCARDED_TOKENS: Descriptor = Descriptor::counter(
    "llm.refusal.discarded_tokens",
    Unit::Things("{token}"),
    "Tokens of refused responses whose output must be thrown away.",
);
const BLIND_EMITTERS: Descriptor = Descriptor::counter(
    "llm.refusal.blind_emitter_responses",
    Unit::Things("{response}"),
    "LLM responses told of by instrumentations that hide unknown stop reasons.",
);
const LABEL_OVERFLOW: Descriptor = Descriptor::counter(
    "refusal_collector.label_overflow",
    Unit::Things("{response}"),
    "LLM responses that were counted with _other in a label.",
);
const REPEATED_SIGHTINGS: Descriptor = Descriptor::counter(
    "refusal_collector.repeated_sightings",
    Unit::Things("{sighting}"),
    "Spans and log records of LLM responses that were counted already.",
);
const SERIES: Descriptor =
    Descriptor::gauge("refusal_collector.series", Unit::Things("{series}"), "Series of all llm metrics.");
const SERIES_BUDGET: Descriptor = Descriptor::gauge(
    "refusal_collector.series_budget",
    Unit::Things("{series}"),
    "Series of all llm metrics beyond which labels are folded.",
);

/// The refusal counters and the seen-table. One per process.
#[derive(Debug)]
pub struct Responses {
    hash: ahash::RandomState,
    limits: LabelLimits,
    started: SystemTime,
    seen: Mutex<Seen>,

    providers: Cap,
    models: Cap,
    workloads: Cap,
    instrumentations: Cap,
    values: RwLock<HashMap<Label, Arc<Cap>>>,
    others: Others,
    budget: SeriesBudget,

    responses: Family<ResponseLabels>,
    refusals: Family<RefusalSeries>,
    recoveries: Family<RecoveryLabels>,
    unknown: Family<UnknownLabels>,
    unknown_last_seen: Family<UnknownLabels>,
    missing: Family<MissingLabels>,
    discarded: Family<DiscardedLabels>,
    blind: Family<BlindLabels>,
    overflow: [AtomicU64; Free::ALL.len()],
    repeated: AtomicU64,
    /// Sightings of the last request that had any.
    expected: AtomicUsize,
}

impl Responses {
    /// Counters that nothing was counted in.
    pub fn new(limits: LabelLimits) -> Self {
        let (models, workloads) =
            (Cap::new(limits.models, UNKNOWN), Cap::new(limits.workloads, UNKNOWN_WORKLOAD));
        Responses {
            hash: ahash::RandomState::new(),
            limits,
            started: SystemTime::now(),
            seen: Mutex::new(Seen::new(limits.seen_responses)),
            others: Others { model: models.other().clone(), workload: workloads.other().clone() },
            providers: Cap::new(limits.providers, UNKNOWN),
            models,
            workloads,
            instrumentations: Cap::new(limits.instrumentations, UNKNOWN),
            values: RwLock::default(),
            budget: SeriesBudget::new(limits.series),
            responses: Family::new(RESPONSES),
            refusals: Family::new(REFUSALS),
            recoveries: Family::new(RECOVERIES),
            unknown: Family::new(UNKNOWN_REASONS),
            unknown_last_seen: Family::new(UNKNOWN_LAST_SEEN),
            missing: Family::new(MISSING_REASONS),
            discarded: Family::new(DISCARDED_TOKENS),
            blind: Family::new(BLIND_EMITTERS),
            overflow: Default::default(),
            repeated: AtomicU64::new(0),
            expected: AtomicUsize::new(0),
        }
    }

    /// A tally for one request.
    pub fn tally(&self) -> Tally {
        Tally::new(self.hash.clone(), self.limits.seen_responses, self.expected.load(Relaxed))
    }

    /// Counts the responses of a request that was taken: each one once, by whatever it was seen before. Says which of its
    /// events are to be published: those of responses that counted.
    pub fn commit(&self, tally: Tally) -> Counted {
        if tally.is_empty() { Counted::default() } else { self.commit_at(tally, SystemTime::now()) }
    }

    fn commit_at(&self, mut tally: Tally, now: SystemTime) -> Counted {
        let pending = mem::take(&mut tally.events);
        // Of the sightings with an event those that counted, with those that describe them.
        let mut evented = HashMap::new();
        let mut counts: Vec<(Count, Option<&Detail>)> =
            tally.groups().iter().map(|group| (group.unidentified, None)).collect();
        // Responses whose place another sighting tells: rare, and counted one by one.
        let mut described_by_another = Vec::new();
        let clusters = cluster(&tally.sightings);
        let mut new = 0;
        self.seen.lock().admit(&tally.sightings, &clusters, |response| {
            new += 1;
            if !pending.is_empty() {
                evented.insert(response.richest, response.described);
            }
            let Some(detail) = tally.details.get(response.richest) else { return };
            if response.described != response.richest {
                described_by_another.push((detail, response.described));
            } else if let Some((count, newest)) = counts.get_mut(detail.group as usize) {
                count.add(detail.count());
                *newest = if detail.has_trace() { Some(detail) } else { *newest };
            }
        });
        self.repeated.fetch_add((tally.sightings.len() - new) as u64, Relaxed);
        self.expected.store(tally.sightings.len(), Relaxed);

        let mut unknown = Vec::new();
        let mut last: Option<(u32, Place)> = None;
        for (group, (count, trace)) in tally.groups().iter().zip(counts) {
            if count.responses == 0 {
                continue;
            }
            let Some(source) = tally.sources().get(group.source as usize) else { continue };
            let place = match last.take() {
                Some((known, place)) if known == group.source => place,
                _ => self.place(source),
            };
            let event = Event { count, trace, now };
            self.count(&place, source, &group.ending, &event);
            unknown.extend(encounter(group, source, &event));
            last = Some((group.source, place));
        }
        for (detail, described) in described_by_another {
            let Some((group, source)) = tally.group_and_source(detail) else { continue };
            let describing = tally.details.get(described).and_then(|detail| tally.group_and_source(detail));
            let describing = describing.map_or(source, |(_, source)| source);
            let trace = Some(detail).filter(|detail| detail.has_trace());
            let event = Event { count: detail.count(), trace, now };
            self.count(&self.place(describing), source, &group.ending, &event);
            unknown.extend(encounter(group, describing, &event));
        }
        let events = pending.into_iter().filter_map(|(sighting, mut pending)| {
            let described = *evented.get(&sighting)?;
            pending.event.observed_time_unix_nano = nanos(now);
            if described != sighting
                && let Some((_, source)) =
                    tally.details.get(described).and_then(|detail| tally.group_and_source(detail))
            {
                describe(&mut pending.event, source);
            }
            Some(pending)
        });
        Counted { events: events.collect(), unknown, left_out: tally.events_left_out }
    }

    fn place(&self, source: &Source) -> Place {
        let [provider, model, workload, _] = source.labels();
        Place {
            provider: self.providers.label(provider),
            model: self.models.label(model),
            workload: self.workloads.label(workload),
        }
    }

    /// Counts responses that share all labels: those of `place`, and of `source` who told of them.
    fn count(&self, place: &Place, source: &Source, ending: &Ending, event: &Event<'_>) {
        let mut folded = Folded::default();
        let Ending { class, unlisted, refusal, recovered } = ending;
        let responses = event.count.responses;
        folded.note(Free::Provider, place.provider == *self.providers.other());
        folded.note(Free::Model, place.model == *self.models.other());
        folded.note(Free::Workload, place.workload == *self.workloads.other());

        let labels = ResponseLabels { place: place.clone(), class: *class };
        let (series, ResponseLabels { place, .. }) = self.series(&self.responses, labels, event, &mut folded);
        event.add(&series, |count| count.responses);

        if let Some(detail) = *refusal {
            let category = detail.category;
            let labels = RefusalSeries { place: place.clone(), category, detail: Some(detail) };
            let (series, RefusalSeries { place, .. }) =
                self.series(&self.refusals, labels, event, &mut folded);
            event.add(&series, |count| count.responses);
            for token_type in [TokenType::Input, TokenType::Output] {
                if token_type.of(&event.count) > 0 {
                    let labels = DiscardedLabels { place: place.clone(), category, token_type };
                    let (series, _) = self.series(&self.discarded, labels, event, &mut folded);
                    event.add(&series, |count| token_type.of(count));
                }
            }
        }
        if let Some(category) = *recovered {
            let labels = RecoveryLabels { place: place.clone(), category };
            let (series, _) = self.series(&self.recoveries, labels, event, &mut folded);
            event.add(&series, |count| count.responses);
        }
        let Place { provider, workload, .. } = place;
        if *class == Class::Unknown {
            let values = self.values_of(&provider);
            let value = values.label(unlisted.as_deref().unwrap_or_default());
            folded.note(Free::Value, value == *values.other());
            let labels = UnknownLabels { provider: provider.clone(), workload: workload.clone(), value };
            let (series, labels) = self.series(&self.unknown, labels, event, &mut folded);
            event.add(&series, |count| count.responses);
            let (series, _) = self.series(&self.unknown_last_seen, labels, event, &mut folded);
            series.raise(event.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        }
        if *class == Class::Missing || source.is_blind {
            let [.., instrumentation] = source.labels();
            let instrumentation = self.instrumentations.label(instrumentation);
            folded.note(Free::Instrumentation, instrumentation == *self.instrumentations.other());
            if source.is_blind {
                let labels = BlindLabels { instrumentation: instrumentation.clone() };
                let (series, _) = self.series(&self.blind, labels, event, &mut folded);
                event.add(&series, |count| count.responses);
            }
            if *class == Class::Missing {
                let labels = MissingLabels { provider, workload, instrumentation };
                let (series, _) = self.series(&self.missing, labels, event, &mut folded);
                event.add(&series, |count| count.responses);
            }
        }
        for (overflow, is_folded) in self.overflow.iter().zip(folded.0) {
            if is_folded {
                overflow.fetch_add(responses, Relaxed);
            }
        }
    }

    /// The series with these labels, or with as few of them given up as the budget makes necessary.
    fn series<K: Fold>(
        &self,
        family: &Family<K>,
        mut labels: K,
        event: &Event<'_>,
        folded: &mut Folded,
    ) -> (Arc<Series>, K) {
        loop {
            if let Some(series) = family.get(&labels) {
                return (series, labels);
            }
            let eighths = labels.eighths(&self.others);
            let admits = |births| self.budget.try_take(births, eighths);
            if let Some(series) = family.get_or_open(&labels.births(), event.now, admits) {
                return (series, labels);
            }
            let Some((coarser, label)) = labels.folded(&self.others) else { break };
            labels = coarser;
            if let Some(label) = label {
                folded.note(label, true);
            }
        }
        let takes = |births| {
            self.budget.take(births);
            true
        };
        let opened = family.get_or_open(&labels.births(), event.now, takes);
        (opened.unwrap_or_else(|| Arc::new(Series::new(event.now))), labels)
    }

    /// The stop-reason values of one provider.
    fn values_of(&self, provider: &Label) -> Arc<Cap> {
        if let Some(values) = self.values.read().get(provider) {
            return values.clone();
        }
        let new = || Arc::new(Cap::new(self.limits.stop_reason_values, EMPTY));
        self.values.write().entry(provider.clone()).or_insert_with(new).clone()
    }

    /// Gives all metrics to `sink`.
    pub fn collect(&self, sink: &mut impl Sink) {
        self.responses.collect(sink);
        self.refusals.collect(sink);
        self.recoveries.collect(sink);
        self.unknown.collect(sink);
        self.unknown_last_seen.collect(sink);
        self.missing.collect(sink);
        self.discarded.collect(sink);
        self.blind.collect(sink);
        self.collect_own(sink);
    }

    fn collect_own(&self, sink: &mut impl Sink) {
        sink.metric(&LABEL_OVERFLOW);
        for (label, count) in Free::ALL.iter().zip(&self.overflow) {
            let (labels, value) = ([("label", label.attribute())], Value::Integer(count.load(Relaxed)));
            sink.point(&Point { labels: &labels, value, start: Some(self.started), exemplar: None });
        }
        sink.metric(&REPEATED_SIGHTINGS);
        let value = Value::Integer(self.repeated.load(Relaxed));
        sink.point(&Point { labels: &[], value, start: Some(self.started), exemplar: None });
        for (metric, value) in [(SERIES, self.budget.used()), (SERIES_BUDGET, self.limits.series)] {
            sink.metric(&metric);
            sink.point(&Point {
                labels: &[],
                value: Value::Integer(value as u64),
                start: None,
                exemplar: None,
            });
        }
    }
}

/// Says in an event where its response comes from, as another sighting tells it.
fn describe(event: &mut RefusalEvent, source: &Source) {
    let [provider, model, workload, _] = source.labels();
    event.provider = provider.to_owned();
    event.model = model.to_owned();
    if let Some(resource) = &mut event.resource {
        resource.workload = workload.to_owned();
    }
}

/// What the ledger is told of responses of one group that counted: `source` says where they come from.
fn encounter(group: &Group, source: &Source, event: &Event<'_>) -> Option<Encounter> {
    let (kind, value) = group.ending.unlisted()?;
    let lesson = group.lesson.clone()?;
    let [provider, _, workload, scope] = source.labels().map(Box::from);
    Some(Encounter {
        kind,
        value: value.into(),
        provider,
        workload,
        scope,
        trace_id: event.trace.map(|detail| detail.trace_id),
        responses: event.count.responses,
        time: event.now,
        lesson,
    })
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Responses of one group, and the trace of the newest.
struct Event<'a> {
    count: Count,
    trace: Option<&'a Detail>,
    now: SystemTime,
}

impl Event<'_> {
    /// Adds one of the numbers of a [`Count`].
    fn add(&self, series: &Series, number: impl Fn(&Count) -> u64) {
        let exemplar = self.trace.map(|trace| Exemplar {
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            value: number(&trace.count()),
            time: self.now,
        });
        series.add(number(&self.count), exemplar);
    }
}

/// Which free labels of a group are `_other`.
#[derive(Default)]
struct Folded([bool; Free::ALL.len()]);

impl Folded {
    fn note(&mut self, label: Free, is_folded: bool) {
        if let Some(folded) = self.0.get_mut(label as usize) {
            *folded |= is_folded;
        }
    }
}
