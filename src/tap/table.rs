//! Records that wait for the spans of their calls.
//!
//! A span is of the same call as a record
//! 1. by the vendor's response id;
//! 2. by the vendor's request id;
//! 3. by the span that the request was made in, if that is the call's own;
//! 4. by kinship (module `kin`): the request was made in an HTTP client's span that is right below it or right beside it.
//!
//! The last three hold only where the response ids do not say otherwise, and where exactly one record fits: never is one
//! chosen out of two. A response id under 16 bytes is some proxy's or test's counter and counts only within one trace.

use super::record::{Parent, Record};
use crate::telemetry::Identity;
use crate::telemetry::own::{JoinRule, TapMetrics};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// The records of one receiver that wait.
#[derive(Debug)]
pub struct Tap {
    wait: Duration,
    most: usize,
    metrics: Arc<TapMetrics>,
    len: AtomicUsize,
    table: Mutex<Table>,
}

/// A record, and whether a span has joined it.
#[derive(Debug)]
pub struct Waiting {
    /// What was seen.
    pub record: Record,
    joined: AtomicBool,
}

impl Waiting {
    /// Whether telemetry that was taken speaks of this call.
    pub fn is_joined(&self) -> bool {
        self.joined.load(Relaxed)
    }
}

/// A record that turned out to be of the same call as a span.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The record.
    pub waiting: Arc<Waiting>,
    /// By which rule.
    pub rule: JoinRule,
    metrics: Arc<TapMetrics>,
    disagrees: bool,
}

impl Joined {
    /// Notes whether the span by itself would have come to another verdict.
    pub fn disagreeing(mut self, disagrees: bool) -> Self {
        self.disagrees = disagrees;
        self
    }

    /// The request with the span was taken: the record has been told of, and is counted with it.
    pub fn settle(&self) {
        if !self.waiting.joined.swap(true, Relaxed) {
            self.metrics.joined(self.rule);
            if self.disagrees {
                self.metrics.disagreed();
            }
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
    by_response: HashMap<Box<str>, Numbers>,
    by_request: HashMap<Box<str>, Numbers>,
    by_span: HashMap<([u8; 16], [u8; 8]), Numbers>,
    by_trace: HashMap<[u8; 16], Numbers>,
    order: VecDeque<(Instant, u64)>,
}

type Numbers = SmallVec<[u64; 1]>;

#[derive(Debug)]
struct Entry {
    waiting: Arc<Waiting>,
    /// The span above the one that the request was made in, once that one has come.
    above: Option<[u8; 8]>,
}

impl Tap {
    /// A tap where at most `most` records wait, each for `wait`.
    pub fn new(wait: Duration, most: usize, metrics: Arc<TapMetrics>) -> Self {
        Tap { wait, most: most.max(1), metrics, len: AtomicUsize::new(0), table: Mutex::default() }
    }

    /// The account of this tap.
    pub fn metrics(&self) -> &Arc<TapMetrics> {
        &self.metrics
    }

    /// Lets a record wait. Where there is no room, the one that has waited longest is given back.
    pub fn insert(&self, record: Record) -> Option<Arc<Waiting>> {
        let mut table = self.table.lock();
        let evicted = if table.entries.len() >= self.most { table.remove_first() } else { None };
        table.insert(record, Instant::now() + self.wait);
        self.note_len(&table);
        evicted
    }

    /// Takes out the records that have waited long enough.
    pub fn take_expired(&self, now: Instant) -> Vec<Arc<Waiting>> {
        let mut table = self.table.lock();
        let mut expired = Vec::new();
        while table.order.front().is_some_and(|(deadline, _)| *deadline <= now) {
            expired.extend(table.remove_first());
        }
        self.note_len(&table);
        expired
    }

    /// Takes out all records.
    pub fn take_all(&self) -> Vec<Arc<Waiting>> {
        let mut table = self.table.lock();
        let all = std::iter::from_fn(|| (!table.order.is_empty()).then(|| table.remove_first()))
            .flatten()
            .collect();
        self.note_len(&table);
        all
    }

    /// When the next record has waited long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.table.lock().order.front().map(|(deadline, _)| *deadline)
    }

    /// Whether no record waits.
    pub fn is_empty(&self) -> bool {
        self.len.load(Relaxed) == 0
    }

    /// The record of the same call, by rules 1 to 3.
    pub fn find(&self, identity: &Identity<'_>) -> Option<Joined> {
        let table = self.table.lock();
        let (waiting, rule) = table.find(identity)?;
        Some(self.joined(waiting, rule))
    }

    pub(super) fn joined(&self, waiting: Arc<Waiting>, rule: JoinRule) -> Joined {
        Joined { waiting, rule, metrics: self.metrics.clone(), disagrees: false }
    }

    /// Notes that the span `parent` has another above it. Whether some record's request was made in it.
    pub(super) fn note_above(&self, span: &([u8; 16], [u8; 8]), above: [u8; 8]) -> bool {
        let mut table = self.table.lock();
        let Table { by_span, entries, .. } = &mut *table;
        let Some(numbers) = by_span.get(span) else { return false };
        for number in numbers {
            if let Some(entry) = entries.get_mut(number) {
                entry.above = Some(above);
            }
        }
        true
    }

    /// Whether some record is of this trace.
    pub(super) fn knows_trace(&self, trace: &[u8; 16]) -> bool {
        self.table.lock().by_trace.contains_key(trace)
    }

    /// The records of a trace that no span has joined and whose client's span was seen, with the span above that; none
    /// where there are so many that they cannot be told apart.
    pub(super) fn kin_of(&self, trace: &[u8; 16]) -> Vec<(Arc<Waiting>, [u8; 8])> {
        let table = self.table.lock();
        let numbers = table.by_trace.get(trace).filter(|numbers| numbers.len() <= MAX_KIN);
        let entries = numbers.into_iter().flatten().filter_map(|number| table.entries.get(number));
        let kin = entries.filter(|entry| !entry.waiting.is_joined());
        kin.filter_map(|entry| Some((entry.waiting.clone(), entry.above?))).collect()
    }

    fn note_len(&self, table: &Table) {
        self.len.store(table.entries.len(), Relaxed);
        self.metrics.set_waiting(table.entries.len());
    }
}

/// How many records of one trace are told apart.
const MAX_KIN: usize = 64;

impl Table {
    fn insert(&mut self, record: Record, deadline: Instant) {
        let number = self.next;
        self.next += 1;
        if !record.response_id.is_empty() {
            self.by_response.entry(record.response_id.clone()).or_default().push(number);
        }
        if !record.request_id.is_empty() {
            self.by_request.entry(record.request_id.clone()).or_default().push(number);
        }
        if let Some(Parent { trace_id, span_id, .. }) = record.parent {
            self.by_span.entry((trace_id, span_id)).or_default().push(number);
            self.by_trace.entry(trace_id).or_default().push(number);
        }
        let waiting = Arc::new(Waiting { record, joined: AtomicBool::new(false) });
        self.entries.insert(number, Entry { waiting, above: None });
        self.order.push_back((deadline, number));
    }

    fn remove_first(&mut self) -> Option<Arc<Waiting>> {
        let (_, number) = self.order.pop_front()?;
        let Entry { waiting, .. } = self.entries.remove(&number)?;
        let record = &waiting.record;
        forget(&mut self.by_response, &record.response_id, number);
        forget(&mut self.by_request, &record.request_id, number);
        if let Some(Parent { trace_id, span_id, .. }) = record.parent {
            forget(&mut self.by_span, &(trace_id, span_id), number);
            forget(&mut self.by_trace, &trace_id, number);
        }
        Some(waiting)
    }

    fn find(&self, identity: &Identity<'_>) -> Option<(Arc<Waiting>, JoinRule)> {
        let trace: Option<[u8; 16]> = identity.trace_id.try_into().ok();
        let response = identity.response_id;
        if !response.is_empty() {
            let named = self.records(self.by_response.get(response));
            let same_trace = || named.clone().filter(|waiting| waiting.record.is_of(trace));
            if let Some(waiting) =
                only(same_trace()).or_else(|| only(named.clone().filter(|_| response.len() >= 16)))
            {
                return Some((waiting.clone(), JoinRule::ResponseId));
            }
        }
        let may_be = |waiting: &&Arc<Waiting>| may_be_one(response, &waiting.record.response_id);
        if !identity.request_id.is_empty() {
            let named = self.records(self.by_request.get(identity.request_id)).filter(may_be);
            if let Some(waiting) = only(named) {
                return Some((waiting.clone(), JoinRule::RequestId));
            }
        }
        let span = (trace?, identity.span_id.try_into().ok()?);
        let is_call = identity.is_span && identity.leaf;
        let made_in = self.records(self.by_span.get(&span).filter(|_| is_call)).filter(may_be);
        only(made_in).map(|waiting| (waiting.clone(), JoinRule::Span))
    }

    fn records<'t>(&'t self, numbers: Option<&'t Numbers>) -> impl Iterator<Item = &'t Arc<Waiting>> + Clone {
        let numbers = numbers.into_iter().flatten();
        numbers.filter_map(|number| self.entries.get(number).map(|entry| &entry.waiting))
    }
}

impl Record {
    fn is_of(&self, trace: Option<[u8; 16]>) -> bool {
        self.parent.is_some_and(|parent| Some(parent.trace_id) == trace)
    }
}

/// Whether two responses with these ids may be one.
pub(super) fn may_be_one(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

/// The only one there is.
fn only<'t>(mut records: impl Iterator<Item = &'t Arc<Waiting>>) -> Option<&'t Arc<Waiting>> {
    let first = records.next()?;
    records.next().is_none().then_some(first)
}

fn forget<K, Q>(index: &mut HashMap<K, Numbers>, key: &Q, number: u64)
where
    K: Eq + Hash + std::borrow::Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    if let Some(numbers) = index.get_mut(key) {
        numbers.retain(|known| *known != number);
        if numbers.is_empty() {
            index.remove(key);
        }
    }
}
