//! Reads the corpus and runs it through evidence, judge and counters, as the collector does.

use refusal_collector::config::model::LabelLimits;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::splice::splice;
use refusal_collector::otlp::visit::{Envelope, Visit};
use refusal_collector::otlp::wire::Malformed;
use refusal_collector::refusal::evidence::{Origin, read_log_record, read_span};
use refusal_collector::refusal::judge::{Rule, judge};
use refusal_collector::refusal::policy::Policy;
use refusal_collector::refusal::verdict::{Category, Class, Phase};
use refusal_collector::refusal::vocabulary::Vocabulary;
use refusal_collector::telemetry::metric::{Descriptor, Point, Sink, Value};
use refusal_collector::telemetry::responses::Responses;
use refusal_collector::telemetry::{Observation, RefusalLabels};
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One recorded call.
pub struct Case {
    /// `instrumentation/scenario`.
    pub name: String,
    pub instrumentation: String,
    pub truth: Truth,
    captured: Captured,
    traces: Option<PathBuf>,
    logs: Option<PathBuf>,
}

/// What the vendor answered.
#[derive(Deserialize)]
pub struct Truth {
    pub vendor: String,
    pub scenario: String,
    pub provider: Option<String>,
    pub stop_reason_raw: Option<String>,
    pub stop_reason_known: Option<bool>,
    pub is_refusal: bool,
    pub phase: Option<Phase>,
    pub category: Option<String>,
    pub shape: String,
}

#[derive(Deserialize)]
struct Expected {
    files: Option<Files>,
    truth: Truth,
    captured: Captured,
}

#[derive(Deserialize)]
struct Files {
    traces: Option<String>,
    logs: Option<String>,
}

#[derive(Deserialize)]
struct Captured {
    recoverable: bool,
    signal: String,
    category: Option<Recoverable>,
}

#[derive(Deserialize)]
struct Recoverable {
    recoverable: bool,
}

/// Where the recordings stand.
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// All recordings, in order.
pub fn all_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for directory in entries(&corpus()).into_iter().filter(|path| path.is_dir()) {
        let instrumentation = directory.file_name().unwrap().to_str().unwrap().to_owned();
        for path in entries(&directory) {
            let file = path.file_name().unwrap().to_str().unwrap();
            let Some(scenario) = file.strip_suffix(".expected.yaml") else { continue };
            let text = std::fs::read_to_string(&path).unwrap();
            let expected: Expected =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let files = expected.files.unwrap_or(Files { traces: None, logs: None });
            cases.push(Case {
                name: format!("{instrumentation}/{scenario}"),
                instrumentation: instrumentation.clone(),
                truth: expected.truth,
                captured: expected.captured,
                traces: files.traces.map(|file| directory.join(file)),
                logs: files.logs.map(|file| directory.join(file)),
            });
        }
    }
    assert!(cases.len() > 600, "only {} recordings found", cases.len());
    cases
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

impl Case {
    /// How many calls to a model were made while this was recorded, as far as anything of them was sent.
    pub fn calls(&self) -> usize {
        usize::from(self.truth.vendor != "plain" && self.captured.signal != "no_telemetry")
    }

    pub fn is_recoverable(&self) -> bool {
        self.captured.recoverable
    }

    /// Whether the vendor's stop word is one that it documents.
    pub fn is_known(&self) -> bool {
        self.truth.stop_reason_known.unwrap_or(!self.truth.scenario.contains("unknown"))
    }

    /// The vendor's stop word by itself: `incomplete:content_filter` is OpenAI's status and the reason for it.
    pub fn stop_word(&self) -> Option<&str> {
        let raw = self.truth.stop_reason_raw.as_deref()?;
        Some(raw.rsplit(':').next().unwrap_or(raw))
    }

    /// The vendor's word for the category, where it can be told from the recording.
    pub fn recoverable_category(&self) -> Option<&str> {
        let is_recoverable = self.captured.category.as_ref().is_some_and(|category| category.recoverable);
        self.truth.category.as_deref().filter(|_| is_recoverable)
    }

    /// Judges and counts the recording.
    pub fn judge(&self, vocabulary: &Vocabulary) -> Judged {
        self.judge_with(vocabulary, &|_| {})
    }

    /// Judges and counts the recording after `change` was made to each request of it.
    pub fn judge_with(&self, vocabulary: &Vocabulary, change: &dyn Fn(&mut [u8])) -> Judged {
        let responses = Responses::new(LabelLimits::default());
        let policy = Policy::default();
        let mut judged = Judged { items: Vec::new(), counted: 0, untouched: true, malformed: None };
        for (signal, path) in [(Signal::Traces, &self.traces), (Signal::Logs, &self.logs)] {
            let Some(path) = path else { continue };
            let mut message = std::fs::read(path).unwrap();
            change(&mut message);
            let mut tally = responses.tally();
            let mut judging = Judging {
                signal,
                vocabulary,
                policy: &policy,
                origin: Origin::default(),
                tally: &mut tally,
                items: &mut judged.items,
            };
            match splice(signal, &message, &mut judging) {
                Ok(outcome) => judged.untouched &= outcome.rewritten.is_none(),
                Err(error) => judged.malformed = Some(error),
            }
            responses.commit(tally);
        }
        let mut sum = Sum { is_responses: false, sum: 0 };
        responses.collect(&mut sum);
        judged.counted = sum.sum;
        judged
    }
}

/// What came of a recording.
pub struct Judged {
    pub items: Vec<Item>,
    /// How many responses were counted.
    pub counted: usize,
    /// Whether every request leaves as the bytes that came.
    pub untouched: bool,
    /// Why a request was refused.
    pub malformed: Option<Malformed>,
}

/// One item that was judged.
pub struct Item {
    pub class: Class,
    pub value: Option<String>,
    /// Of the refusal, or of the decline that a fallback made good.
    pub category: Option<Category>,
    pub vendor_category: Option<String>,
    pub phase: Option<Phase>,
    pub rule: Rule,
    pub signal: String,
    pub leaf: bool,
    pub provider: String,
    pub instrumentation: String,
}

impl Judged {
    /// The item that tells most, as the counters choose it.
    pub fn best(&self) -> Option<&Item> {
        self.items.iter().max_by_key(|item| {
            let category = match item.category {
                None => 0,
                Some(Category::Missing) => 1,
                Some(Category::Unspecified) => 2,
                Some(_) => 3,
            };
            let reason = match item.class {
                Class::Refusal => 5,
                Class::Unknown => 4,
                Class::Length | Class::ToolUse | Class::StopSequence | Class::Pause => 3,
                Class::Complete | Class::Other => 2,
                Class::Error => 1,
                Class::Missing => 0,
            };
            (category, reason, item.leaf)
        })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} by {:?} at {:?}", self.class, self.value, self.rule, self.signal)?;
        if let Some(category) = self.category {
            write!(f, ", category {category} ({:?})", self.vendor_category)?;
        }
        if let Some(phase) = self.phase {
            write!(f, ", {phase}")?;
        }
        let leaf = if self.leaf { "" } else { ", not a leaf" };
        write!(f, ", provider {:?}, scope {:?}{leaf}", self.provider, self.instrumentation)
    }
}

struct Judging<'m, 't> {
    signal: Signal,
    vocabulary: &'t Vocabulary,
    policy: &'t Policy,
    origin: Origin<'m>,
    tally: &'t mut refusal_collector::telemetry::tally::Tally,
    items: &'t mut Vec<Item>,
}

impl<'m> Visit<'m> for Judging<'m, '_> {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin = Origin::of_resource(resource)?;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin.enter_scope(scope)
    }

    fn item(&mut self, message: &'m [u8], item: Range<usize>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let read = match self.signal {
            Signal::Traces => read_span(message, item, &self.origin)?,
            Signal::Logs | Signal::Metrics => read_log_record(message, item, &self.origin)?,
        };
        let Some(evidence) = read else { return Ok(()) };
        let Some(judgment) = judge(&evidence, self.vocabulary, self.policy, "corpus") else { return Ok(()) };
        let verdict = &judgment.verdict;
        verdict.append(&evidence, out, self.signal.attributes_field().unwrap());
        let mut identity = evidence.identity();
        if let ("", Some(id)) = (identity.response_id, judgment.response_id.as_deref()) {
            identity.response_id = id;
        }
        let refusal = verdict.refusal.as_ref();
        let recovered = verdict.recovered.as_ref();
        let emitter = self.vocabulary.emitter(evidence.instrumentation());
        self.tally.add(&Observation {
            provider: &judgment.provider,
            model: evidence.model(),
            workload: "corpus",
            instrumentation: evidence.instrumentation(),
            class: verdict.class,
            value: verdict.value.as_deref(),
            vendor_category: verdict.vendor_category(),
            refusal: refusal.map(|refusal| RefusalLabels {
                category: refusal.category,
                actor: refusal.actor,
                phase: refusal.phase,
                delivery: refusal.delivery,
                action: refusal.action,
            }),
            recovered: recovered.map(|recovered| recovered.category),
            input_tokens: evidence.tokens().0,
            output_tokens: evidence.tokens().1,
            discard_output: refusal.is_some_and(|refusal| refusal.discard_output == Some(true)),
            blind_emitter: emitter.is_some_and(|emitter| emitter.blind),
            identity,
        });
        let word = refusal
            .map_or(recovered.and_then(|r| r.vendor_category.as_ref()), |r| r.vendor_category.as_ref());
        self.items.push(Item {
            class: verdict.class,
            value: verdict.value.as_deref().map(str::to_owned),
            category: refusal.map(|r| r.category).or(recovered.map(|r| r.category)),
            vendor_category: word.map(|word| word.clone().into_owned()),
            phase: refusal.map(|refusal| refusal.phase),
            rule: judgment.rule,
            signal: refusal.map_or_else(String::new, |refusal| refusal.signal.clone().into_owned()),
            leaf: identity.leaf,
            provider: judgment.provider.clone().into_owned(),
            instrumentation: evidence.instrumentation().to_owned(),
        });
        Ok(())
    }
}

/// Adds up `llm.responses`.
struct Sum {
    is_responses: bool,
    sum: usize,
}

impl Sink for Sum {
    fn metric(&mut self, metric: &Descriptor) {
        self.is_responses = metric.name == "llm.responses";
    }

    fn point(&mut self, point: &Point<'_>) {
        if let (true, Value::Integer(count)) = (self.is_responses, point.value) {
            self.sum += count as usize;
        }
    }
}

/// Recordings whose expectation is itself wrong, or means something else here: `tests/corpus/exceptions.yaml`.
pub struct Exceptions {
    entries: Vec<Exception>,
    used: RefCell<BTreeSet<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// Names of recordings; `*` stands for anything.
    cases: Vec<String>,
    /// How many responses are counted.
    responses: Option<usize>,
    /// The right class.
    class: Option<Class>,
    /// The right phase.
    phase: Option<Phase>,
    /// Why.
    #[allow(dead_code)]
    reason: String,
}

impl Exceptions {
    pub fn load() -> Self {
        let text = std::fs::read_to_string(corpus().join("exceptions.yaml")).unwrap();
        Exceptions { entries: serde_saphyr::from_str(&text).unwrap(), used: RefCell::default() }
    }

    pub fn responses(&self, case: &str) -> Option<usize> {
        self.find(case, |exception| exception.responses)
    }

    pub fn class(&self, case: &str) -> Option<Class> {
        self.find(case, |exception| exception.class)
    }

    pub fn phase(&self, case: &str) -> Option<Phase> {
        self.find(case, |exception| exception.phase)
    }

    /// Patterns of entries that no recording met.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let unused = self.entries.iter().enumerate().filter(|(index, _)| !used.contains(index));
        unused.flat_map(|(_, exception)| exception.cases.clone()).collect()
    }

    fn find<T>(&self, case: &str, tell: impl Fn(&Exception) -> Option<T>) -> Option<T> {
        self.entries.iter().enumerate().find_map(|(index, exception)| {
            let told = tell(exception)?;
            exception.cases.iter().any(|pattern| fits(pattern, case)).then(|| {
                self.used.borrow_mut().insert(index);
                told
            })
        })
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| fits(rest, tail)))
        }),
    }
}
