//! The ledger of unknowns: which stop reasons and categories nobody knows, who has seen them, and the line of
//! configuration that teaches each.
//!
//! It is in memory and bounded: so many values, each with so many workloads and scopes. A value that comes when it is
//! full is counted and not listed.

use crate::refusal::event::{Kind, hex};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The values that nobody knows. One per process.
#[derive(Debug)]
pub struct Ledger {
    limit: usize,
    entries: Mutex<HashMap<Key, Entry>>,
    overflow: AtomicU64,
}

/// What the vocabulary would have to say so that a value is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Whose word it is: the name of a vendor in the vocabulary; `any` where the vendor is unknown itself.
    pub vendor: Box<str>,
    /// The field of the vendor's API that stop reasons stand in.
    pub stop_field: &'static str,
}

/// Responses of one request that have the same unknown value and come from the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encounter {
    /// What kind of value it is.
    pub kind: ValueKind,
    /// The value as it arrived.
    pub value: Box<str>,
    /// `gen_ai.provider.name`; may be empty.
    pub provider: Box<str>,
    /// `llm.workload`.
    pub workload: Box<str>,
    /// `llm.instrumentation`; may be empty.
    pub scope: Box<str>,
    /// The newest of them that has a trace.
    pub trace_id: Option<[u8; 16]>,
    /// How many they are.
    pub responses: u64,
    /// When they were counted.
    pub time: SystemTime,
    /// What would teach the value.
    pub lesson: Lesson,
}

/// What kind of value is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// `llm.stop_reason.value`.
    StopReason,
    /// `llm.refusal.vendor_category`.
    Category,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: ValueKind,
    provider: Box<str>,
    value: Box<str>,
}

#[derive(Clone, Debug)]
struct Entry {
    vendor: Box<str>,
    teach: String,
    first_seen: SystemTime,
    last_seen: SystemTime,
    count: u64,
    workloads: Vec<Box<str>>,
    scopes: Vec<Box<str>>,
    trace_id: Option<[u8; 16]>,
}

/// One value, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// What kind of value it is.
    pub kind: ValueKind,
    /// The value as it arrived.
    pub value: String,
    /// The vendor by its name in the vocabulary; `any` where it is unknown.
    pub vendor: String,
    /// `gen_ai.provider.name`; may be empty.
    pub provider: String,
    /// The first workloads that met it.
    pub workloads: Vec<String>,
    /// The first instrumentation scopes that told of it.
    pub scopes: Vec<String>,
    /// Responses that had it.
    pub count: u64,
    /// RFC 3339.
    pub first_seen: String,
    /// RFC 3339.
    pub last_seen: String,
    /// A trace with such a response: the last one that had a trace; may be empty.
    pub trace_id: String,
    /// What to write into the configuration so that it is known; the class or category to be chosen.
    pub teach: String,
}

/// How many workloads and scopes are listed of each value.
const MOST_PLACES: usize = 8;

/// The longest workload or scope that is listed, in bytes.
const LONGEST_PLACE: usize = 64;

impl Ledger {
    /// An empty one that lists `limit` values.
    pub fn new(limit: usize) -> Self {
        Ledger { limit, entries: Mutex::default(), overflow: AtomicU64::new(0) }
    }

    /// Notes an unknown value, and tells it in the log when it is new.
    pub fn note(&self, met: &Encounter) {
        let key = Key { kind: met.kind, provider: met.provider.clone(), value: met.value.clone() };
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(&key) {
            entry.see(met);
            return;
        }
        if entries.len() >= self.limit {
            drop(entries);
            if self.overflow.fetch_add(met.responses, Relaxed) == 0 {
                tracing::warn!(
                    limit = self.limit,
                    "the ledger of unknown values is full: more are counted and not listed"
                );
            }
            return;
        }
        let mut entry = Entry {
            vendor: met.lesson.vendor.clone(),
            teach: met.lesson.line(met.kind, &met.value),
            first_seen: met.time,
            last_seen: met.time,
            count: 0,
            workloads: Vec::new(),
            scopes: Vec::new(),
            trace_id: None,
        };
        entry.see(met);
        entries.insert(key, entry.clone());
        drop(entries);
        tell(met, &entry);
    }

    /// All values, the newest first.
    pub fn list(&self) -> Vec<Unknown> {
        let mut entries: Vec<_> =
            self.entries.lock().iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        entries.sort_by(|(one_key, one), (other_key, other)| {
            let newest_first = other.first_seen.cmp(&one.first_seen);
            newest_first.then_with(|| one_key.value.cmp(&other_key.value))
        });
        let texts = |texts: Vec<Box<str>>| texts.into_iter().map(String::from).collect();
        let listed = entries.into_iter().map(|(key, entry)| Unknown {
            kind: key.kind,
            value: key.value.into(),
            vendor: entry.vendor.into(),
            provider: key.provider.into(),
            workloads: texts(entry.workloads),
            scopes: texts(entry.scopes),
            count: entry.count,
            first_seen: rfc3339(entry.first_seen),
            last_seen: rfc3339(entry.last_seen),
            trace_id: entry.trace_id.map_or_else(String::new, |id| hex(&id)),
            teach: entry.teach,
        });
        listed.collect()
    }

    /// How many values are listed.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many responses had a value that is not listed.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Relaxed)
    }
}

impl Entry {
    fn see(&mut self, met: &Encounter) {
        self.count += met.responses;
        self.last_seen = met.time;
        self.trace_id = met.trace_id.or(self.trace_id);
        note_place(&mut self.workloads, &met.workload);
        note_place(&mut self.scopes, &met.scope);
    }
}

fn note_place(places: &mut Vec<Box<str>>, place: &str) {
    let place = crate::refusal::evidence::start(place, LONGEST_PLACE);
    if !place.is_empty() && places.len() < MOST_PLACES && !places.iter().any(|known| **known == *place) {
        places.push(place.into());
    }
}

impl ValueKind {
    /// The kind of the events that tell of such a value.
    pub fn of_events(self) -> Kind {
        match self {
            ValueKind::StopReason => Kind::StopReasonUnknown,
            ValueKind::Category => Kind::CategoryUnknown,
        }
    }
}

impl Lesson {
    /// One line of YAML that would be right if the word were an ordinary refusal of no particular kind.
    fn line(&self, kind: ValueKind, value: &str) -> String {
        let (vendor, value) = (yaml(&self.vendor), yaml(value));
        let field = self.stop_field;
        let lesson = match kind {
            ValueKind::StopReason => format!("{{stop: {{{field}: {{{value}: refusal}}}}}}"),
            ValueKind::Category => format!("{{categories: {{{value}: other}}}}"),
        };
        format!("processors: {{refusal: {{vocabulary: {{{vendor}: {lesson}}}}}}}")
    }
}

fn tell(met: &Encounter, entry: &Entry) {
    let what = match met.kind {
        ValueKind::StopReason => "a stop reason that nobody knows; say what it means",
        ValueKind::Category => "a refusal category that nobody knows; say what it means",
    };
    let of = |places: &[Box<str>]| places.first().map(|place| place.to_string()).unwrap_or_default();
    tracing::warn!(
        value = &*met.value,
        provider = &*met.provider,
        workload = of(&entry.workloads),
        scope = of(&entry.scopes),
        trace_id = entry.trace_id.map_or_else(String::new, |id| hex(&id)),
        "{what}: {}",
        entry.teach
    );
}

/// A word as a key in YAML's flow style: as it is where that is plain, else as JSON, which YAML reads.
fn yaml(word: &str) -> String {
    let is_plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !matches!(
            word.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain { word.to_owned() } else { serde_json::to_string(word).unwrap_or_default() }
}

fn rfc3339(time: SystemTime) -> String {
    // What cannot be written so is an error of the clock.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LATEST);
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// The last second of the year 9999.
const LATEST: Duration = Duration::from_secs(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(value: &str, workload: &str) -> Encounter {
        Encounter {
            kind: ValueKind::StopReason,
            value: value.into(),
            provider: "anthropic".into(),
            workload: workload.into(),
            scope: "my.llm.client".into(),
            trace_id: Some([0xab; 16]),
            responses: 1,
            time: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            lesson: Lesson { vendor: "anthropic".into(), stop_field: "stop_reason" },
        }
    }

    #[test]
    fn a_value_is_one_entry_with_all_who_met_it() {
        let ledger = Ledger::new(10);
        for workload in ["checkout", "search", "checkout"] {
            ledger.note(&unknown("halt", workload));
        }
        ledger.note(&Encounter { responses: 4, trace_id: None, ..unknown("halt", "search") });
        let [entry] = ledger.list().try_into().unwrap();
        assert_eq!((entry.value.as_str(), entry.count), ("halt", 7));
        assert_eq!(entry.workloads, ["checkout", "search"]);
        assert_eq!(entry.scopes, ["my.llm.client"]);
        assert_eq!(entry.trace_id, "ab".repeat(16));
        assert_eq!(entry.first_seen, "2023-11-14T22:13:20.000Z");
        assert_eq!(
            entry.teach,
            "processors: {refusal: {vocabulary: {anthropic: {stop: {stop_reason: {halt: refusal}}}}}}"
        );
    }

    #[test]
    fn hostile_values_fill_it_and_no_more() {
        let ledger = Ledger::new(100);
        for number in 0..10_000 {
            let (value, workload) = (format!("value {number}"), "w".repeat(number));
            ledger.note(&unknown(&value, &workload));
        }
        assert_eq!((ledger.len(), ledger.overflow()), (100, 9_900));
        let longest = ledger.list().iter().flat_map(|entry| &entry.workloads).map(String::len).max();
        assert_eq!(longest, Some(LONGEST_PLACE));
    }

    #[test]
    fn words_that_yaml_would_read_otherwise_stand_in_quotes() {
        for (word, written) in [
            ("policy_hold", "policy_hold"),
            ("no", "\"no\""),
            ("4", "\"4\""),
            ("a: b, {c}\n\"d\"", r#""a: b, {c}\n\"d\"""#),
            ("", "\"\""),
        ] {
            assert_eq!(yaml(word), written);
        }
    }
}
