//! The responses of one request, before they are counted.
//!
//! A request that a full queue pushes back must leave no trace in the counters, so its responses are gathered here and
//! counted by [`Responses::commit`](super::responses::Responses::commit) once the request is taken. Most responses of
//! a request share all their labels: these are compared with those of the last one before anything is hashed or
//! copied. What is kept of a response is its group, its ids as hashes, and its trace for the exemplar.

use crate::refusal::verdict::{Category, Class};
use crate::telemetry::events::{Lesson, Pending, ValueKind, Wanted};
use crate::telemetry::label::MAX_BYTES;
use crate::telemetry::seen::{Keys, Sighting};
use crate::telemetry::{Identity, Observation, RefusalLabels};
use std::collections::HashMap;

/// The responses of one request.
#[derive(Clone, Debug)]
pub struct Tally {
    hash: ahash::RandomState,
    most_sightings: usize,
    /// How many sightings to make room for.
    expected: usize,
    sources: Vec<Source>,
    source_by_hash: HashMap<u64, u32, ahash::RandomState>,
    last_source: u32,
    groups: Vec<Group>,
    group_by_hash: HashMap<u64, u32, ahash::RandomState>,
    pub(super) sightings: Vec<Sighting>,
    pub(super) details: Vec<Detail>,
    /// By their sightings.
    pub(super) events: Vec<(usize, Pending)>,
    pub(super) events_left_out: u64,
    wanted: Wanted,
}

/// How a response is counted: the same for all of one request that share their labels and tell as much.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    group: u32,
    content: u64,
    ending: u16,
    richness: u32,
    is_span: bool,
    leaf: bool,
    has_model: bool,
    /// Whether the tokens were thrown away.
    discards: bool,
}

/// The labels that most responses of a request share.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Provider, model, workload and instrumentation in one piece.
    text: Box<str>,
    ends: [usize; 3],
    pub(super) is_blind: bool,
    hash: u64,
    /// The groups of endings that have no further labels, by class.
    plain: [u32; Class::ALL.len()],
}

/// The responses that share all labels.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) source: u32,
    pub(super) ending: Ending,
    /// What would teach its unlisted word.
    pub(super) lesson: Option<Lesson>,
    hash: u64,
    /// What came after `most_sightings`.
    pub(super) unidentified: Count,
}

/// How a response ended, as far as it is a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) class: Class,
    /// The word that nobody lists: the stop reason or, of a refusal, the vendor's category.
    pub(super) unlisted: Option<Box<str>>,
    pub(super) refusal: Option<RefusalLabels>,
    pub(super) recovered: Option<Category>,
}

/// What is counted of responses that share all labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) responses: u64,
    /// Tokens that were thrown away.
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// What is needed of one sighting if it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail {
    pub(super) group: u32,
    /// Tokens that were thrown away.
    input_tokens: u32,
    output_tokens: u32,
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
}

impl Detail {
    /// What is counted of it.
    pub(super) fn count(&self) -> Count {
        let (input_tokens, output_tokens) = (self.input_tokens.into(), self.output_tokens.into());
        Count { responses: 1, input_tokens, output_tokens }
    }

    /// Whether it can be an exemplar.
    pub(super) fn has_trace(&self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }
}

const NONE: u32 = u32::MAX;

/// More events of one request are left out, which bounds the memory for a request that is made of nothing but refusals.
const MOST_EVENTS: usize = 4096;

/// Room for so many responses is made at once where the last request had as many.
const USUAL_SIGHTINGS: usize = 1024;

impl Tally {
    /// Nothing yet, and nothing allocated; `expected` is how many sightings there may be. Responses beyond `most_sightings` are counted without being known again:
    /// that bounds the memory for a request that is made of nothing but responses.
    pub(super) fn new(hash: ahash::RandomState, most_sightings: usize, expected: usize) -> Self {
        Tally {
            source_by_hash: HashMap::with_hasher(hash.clone()),
            group_by_hash: HashMap::with_hasher(hash.clone()),
            hash,
            most_sightings,
            expected: expected.min(USUAL_SIGHTINGS).min(most_sightings),
            sources: Vec::new(),
            last_source: 0,
            groups: Vec::new(),
            sightings: Vec::new(),
            details: Vec::new(),
            events: Vec::new(),
            events_left_out: 0,
            wanted: Wanted::default(),
        }
    }

    /// With the events that are wanted.
    pub fn with_events(self, wanted: Wanted) -> Self {
        Tally { wanted, ..self }
    }

    /// Which events to make.
    pub fn wanted_events(&self) -> Wanted {
        self.wanted
    }

    /// Whether there is nothing to count.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Adds one judged response. `event` is published if it counts.
    pub fn add_with_event(&mut self, observation: &Observation<'_>, event: Pending) -> Row {
        let sighting = self.sightings.len();
        let row = self.add(observation);
        if sighting < self.sightings.len() && self.events.len() < MOST_EVENTS {
            self.events.push((sighting, event));
        } else {
            self.events_left_out += 1;
        }
        row
    }

    /// Adds one judged response, and gives the row for others that are like it.
    pub fn add(&mut self, observation: &Observation<'_>) -> Row {
        let row = self.row(observation);
        self.add_to(row, &observation.identity, (observation.input_tokens, observation.output_tokens));
        row
    }

    /// Adds a response that differs from the one whose row this is in nothing but its ids and how many tokens it took.
    pub fn add_to(
        &mut self,
        row: Row,
        identity: &Identity<'_>,
        (input_tokens, output_tokens): (Option<u64>, Option<u64>),
    ) {
        // More than fits are no number of tokens; counted, they would make the counter useless.
        let tokens = |tokens: Option<u64>| match tokens {
            Some(tokens) if row.discards => u32::try_from(tokens).unwrap_or_default(),
            _ => 0,
        };
        let detail = Detail {
            group: row.group,
            input_tokens: tokens(input_tokens),
            output_tokens: tokens(output_tokens),
            trace_id: identity.trace_id.try_into().unwrap_or_default(),
            span_id: identity.span_id.try_into().unwrap_or_default(),
        };
        if self.sightings.len() >= self.most_sightings {
            if let Some(group) = self.groups.get_mut(row.group as usize) {
                group.unidentified.add(detail.count());
            }
            return;
        }
        if self.sightings.is_empty() {
            self.sightings.reserve(self.expected);
            self.details.reserve(self.expected);
        }
        self.sightings.push(Sighting {
            keys: Keys::new(identity, &self.hash),
            is_span: row.is_span,
            leaf: row.leaf,
            has_model: row.has_model,
            ending: row.ending,
            richness: row.richness,
            content: row.content,
        });
        self.details.push(detail);
    }

    /// Says what would teach the unlisted word of a row. It is asked for once, where there is such a word.
    pub fn teach(&mut self, row: Row, lesson: impl FnOnce() -> Lesson) {
        if let Some(group) = self.groups.get_mut(row.group as usize)
            && group.ending.unlisted.is_some()
        {
            group.lesson.get_or_insert_with(lesson);
        }
    }

    fn row(&mut self, observation: &Observation<'_>) -> Row {
        let source = self.source(observation);
        let group = self.group(source, observation);
        Row {
            group,
            content: self.groups.get(group as usize).map_or(0, |group| group.hash),
            ending: ending_code(observation),
            richness: richness(observation),
            is_span: observation.identity.is_span,
            leaf: observation.identity.leaf,
            has_model: !observation.model.is_empty(),
            discards: observation.discard_output && observation.refusal.is_some(),
        }
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(super) fn group_and_source(&self, detail: &Detail) -> Option<(&Group, &Source)> {
        let group = self.groups.get(detail.group as usize)?;
        Some((group, self.sources.get(group.source as usize)?))
    }

    fn source(&mut self, observation: &Observation<'_>) -> u32 {
        let labels = source_labels(observation);
        if let Some(last) = self.sources.get(self.last_source as usize)
            && last.is(labels, observation.blind_emitter)
        {
            return self.last_source;
        }
        let hash = self.hash.hash_one((labels, observation.blind_emitter));
        if let Some(known) = self.source_by_hash.get(&hash)
            && let Some(source) = self.sources.get(*known as usize)
            && source.is(labels, observation.blind_emitter)
        {
            self.last_source = *known;
            return *known;
        }
        self.last_source = self.sources.len() as u32;
        self.source_by_hash.insert(hash, self.last_source);
        self.sources.push(Source::new(labels, observation.blind_emitter, hash));
        self.last_source
    }

    fn group(&mut self, source: u32, observation: &Observation<'_>) -> u32 {
        let class = observation.class;
        let unlisted = observation.unlisted();
        let (refusal, recovered) = (observation.refusal, observation.recovered);
        let is_plain = class != Class::Unknown && refusal.is_none() && recovered.is_none();
        let Some(of_source) = self.sources.get_mut(source as usize) else { return NONE };
        let next = self.groups.len() as u32;
        if is_plain && let Some(plain) = of_source.plain.get_mut(class as usize) {
            if *plain != NONE {
                return *plain;
            }
            *plain = next;
        }
        let hash = self.hash.hash_one((of_source.hash, class, unlisted, refusal, recovered));
        if !is_plain {
            if let Some(known) = self.group_by_hash.get(&hash)
                && let Some(group) = self.groups.get(*known as usize)
                && group.source == source
                && group.ending.is(class, unlisted, refusal, recovered)
            {
                return *known;
            }
            self.group_by_hash.insert(hash, next);
        }
        let ending = Ending { class, unlisted: unlisted.map(Box::from), refusal, recovered };
        self.groups.push(Group { source, ending, lesson: None, hash, unidentified: Count::default() });
        next
    }
}

impl Source {
    fn new(labels: [&str; 4], is_blind: bool, hash: u64) -> Self {
        let [provider, model, workload, _] = labels.map(str::len);
        let ends = [provider, provider + model, provider + model + workload];
        Source { text: labels.concat().into(), ends, is_blind, hash, plain: [NONE; Class::ALL.len()] }
    }

    fn is(&self, labels: [&str; 4], is_blind: bool) -> bool {
        self.labels() == labels && self.is_blind == is_blind
    }

    /// Provider, model, workload and instrumentation, each cut to what a label holds.
    pub(super) fn labels(&self) -> [&str; 4] {
        let [a, b, c] = self.ends;
        [
            self.text.get(..a).unwrap_or_default(),
            self.text.get(a..b).unwrap_or_default(),
            self.text.get(b..c).unwrap_or_default(),
            self.text.get(c..).unwrap_or_default(),
        ]
    }
}

impl Ending {
    /// The word that nobody lists, and what kind of word it is.
    pub(super) fn unlisted(&self) -> Option<(ValueKind, &str)> {
        let kind = if self.class == Class::Unknown { ValueKind::StopReason } else { ValueKind::Category };
        Some((kind, self.unlisted.as_deref()?))
    }

    fn is(
        &self,
        class: Class,
        unlisted: Option<&str>,
        refusal: Option<RefusalLabels>,
        recovered: Option<Category>,
    ) -> bool {
        (self.class, self.unlisted.as_deref(), self.refusal, self.recovered)
            == (class, unlisted, refusal, recovered)
    }
}

impl Count {
    pub(super) fn add(&mut self, other: Count) {
        self.responses += other.responses;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
    }
}

/// What becomes of a longer value does not depend on what is cut here: escaping only makes it longer.
fn source_labels<'a>(observation: &Observation<'a>) -> [&'a str; 4] {
    [observation.provider, observation.model, observation.workload, observation.instrumentation].map(start_of)
}

/// At most [`MAX_BYTES`] and one character of `text`: enough to see that it is too long.
fn start_of(text: &str) -> &str {
    let is_end = |end: &usize| text.is_char_boundary(*end);
    let end = (MAX_BYTES + 1..MAX_BYTES + 5).find(is_end).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

fn ending_code(observation: &Observation<'_>) -> u16 {
    let category = observation.refusal.map_or(0, |refusal| refusal.category as u16 + 1);
    (category << 8) | observation.class as u16
}

/// How much a sighting tells, as the module `seen` orders it.
fn richness(observation: &Observation<'_>) -> u32 {
    let category = match observation.refusal.map(|refusal| refusal.category) {
        None => 0,
        Some(Category::Missing) => 1,
        Some(Category::Unspecified) => 2,
        Some(_) => 3,
    };
    let reason = match observation.class {
        Class::Refusal => 5,
        Class::Unknown => 4,
        Class::Length | Class::ToolUse | Class::StopSequence | Class::Pause => 3,
        Class::Complete | Class::Other => 2,
        Class::Error => 1,
        Class::Missing => 0,
    };
    let has_tokens = observation.input_tokens.is_some() || observation.output_tokens.is_some();
    [
        (u32::from(observation.recovered.is_some()), 1),
        (u32::from(!observation.blind_emitter), 1),
        (u32::from(observation.identity.leaf), 1),
        (u32::from(has_tokens), 1),
        (u32::from(observation.identity.is_span), 1),
    ]
    .into_iter()
    .fold((category << 3) | reason, |all, (one, bits)| (all << bits) | one)
}
