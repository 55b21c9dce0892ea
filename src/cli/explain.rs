//! `explain`: reads recorded telemetry, or a saved vendor answer, and says what the collector makes of it and why.

use super::{Exit, print};
use crate::otlp::Signal;
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::json::{self, JsonError};
use crate::otlp::splice::splice;
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::{Fields, Malformed, Value};
use crate::refusal::answer::Reader;
use crate::refusal::answer::coding::{Bounds, Coding, Decoder, Undecodable, UnknownCoding};
use crate::refusal::event::hex;
use crate::refusal::evidence::{Evidence, Origin, Shown, read_log_record, read_span};
use crate::refusal::judge::{Call, Judgment, judge, judge_answer};
use crate::refusal::policy::Policy;
use crate::refusal::verdict::Verdict;
use crate::refusal::vocabulary::Vocabulary;
use clap::{Args, ValueEnum};
use serde_json::{Map, json};
use std::fmt::Write;
use std::io::Read;
use std::ops::Range;

/// Say how the collector judges recorded telemetry, and why.
///
/// Reads OTLP requests as protobuf, as JSON, or as JSON lines (what the OpenTelemetry Collector's file exporter writes)
/// and prints, for each LLM response, the evidence found, the rule that fired and the verdict. Texts of prompts and
/// answers are not printed. With --body the files are answers of a vendor instead, as they came over the wire.
#[derive(Args, Debug)]
pub struct Explain {
    /// Files to read; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Print one JSON object per response, for machines.
    #[arg(long)]
    json: bool,
    /// What protobuf files hold; without it, that is found out from what is in them.
    #[arg(long, value_name = "SIGNAL", conflicts_with = "body")]
    signal: Option<Kind>,
    /// The files are vendor answers: JSON, or a stream of events.
    #[arg(long)]
    body: bool,
    /// Whose answers they are, as in gen_ai.provider.name; without it, their shape tells.
    #[arg(long, value_name = "NAME", requires = "body")]
    provider: Option<String>,
    /// The HTTP status that the answers came with.
    #[arg(long, value_name = "STATUS", requires = "body")]
    status: Option<u16>,
    /// The answers were streamed.
    #[arg(long, requires = "body")]
    stream: bool,
    /// The answers are still coded, as content-encoding says: gzip, deflate, br or zstd.
    #[arg(long, value_name = "CODING", requires = "body")]
    encoding: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Traces,
    Logs,
}

/// Why a file cannot be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("{0}")]
    Read(#[from] std::io::Error),
    #[error("neither resourceSpans nor resourceLogs in it")]
    NoSignal,
    #[error("line {line}: {error}")]
    Json { line: usize, error: JsonError },
    #[error("no OTLP protobuf: {0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    UnknownCoding(#[from] UnknownCoding),
    #[error("{0}")]
    Undecodable(#[from] Undecodable),
}

pub fn execute(explain: &Explain) -> Exit {
    let vocabulary = match Vocabulary::embedded() {
        Ok(vocabulary) => vocabulary,
        Err(error) => {
            eprintln!("error: the built-in vocabulary is broken: {error}");
            return Exit::Failure;
        }
    };
    let mut exit = Exit::Clean;
    for file in &explain.files {
        match explain.file(file, &vocabulary) {
            Ok(text) => print(&text),
            Err(error) => {
                eprintln!("error: {file}: {error}");
                exit = Exit::Failure;
            }
        }
    }
    exit
}

impl Explain {
    /// What is to be said of one file.
    fn file(&self, file: &str, vocabulary: &Vocabulary) -> Result<String, ExplainError> {
        let bytes = match file {
            "-" => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes)?;
                bytes
            }
            path => std::fs::read(path)?,
        };
        let mut explained = Explained {
            vocabulary,
            policy: &Policy::default(),
            as_json: self.json,
            file,
            text: String::new(),
        };
        if self.body {
            explained.answer(&self.decoded(bytes)?, self);
            return Ok(explained.text);
        }
        let (mut items, mut responses) = (0, 0);
        for (signal, message) in self.requests(&bytes)? {
            let mut judging =
                Judging { signal, origin: Origin::default(), explained: &mut explained, responses: 0 };
            items += splice(signal, &message, &mut judging)?.items;
            responses += judging.responses;
        }
        if !self.json {
            let _ = writeln!(
                explained.text,
                "{file}: {items} items, {responses} of them tell how a response ended"
            );
        }
        Ok(explained.text)
    }

    /// A vendor's answer without its content coding, as far as it is there.
    fn decoded(&self, bytes: Vec<u8>) -> Result<Vec<u8>, ExplainError> {
        let header = self.encoding.as_deref().unwrap_or_default();
        let Some(coding) = Coding::of_header(header.as_bytes())? else { return Ok(bytes) };
        let mut text = Vec::new();
        let mut decoder = Decoder::new(coding, Bounds::default());
        decoder.feed(&bytes, |_| true, |piece| text.extend_from_slice(piece))?;
        Ok(text)
    }

    /// The requests in a file, as protobuf.
    fn requests(&self, bytes: &[u8]) -> Result<Vec<(Signal, Vec<u8>)>, ExplainError> {
        if !bytes.trim_ascii_start().starts_with(b"{") {
            let signal = match self.signal {
                Some(Kind::Traces) => Signal::Traces,
                Some(Kind::Logs) => Signal::Logs,
                None => signal_of(bytes)?,
            };
            return Ok(vec![(signal, bytes.to_vec())]);
        }
        // One document over many lines, or one on each.
        if let Some(signal) = signal_named(bytes)
            && let Ok(message) = json::decode(signal, bytes)
        {
            return Ok(vec![(signal, message.as_slice().to_vec())]);
        }
        let mut requests = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let signal = signal_named(line).ok_or(ExplainError::NoSignal)?;
            let decoded = json::decode(signal, line);
            let message = decoded.map_err(|error| ExplainError::Json { line: index + 1, error })?;
            requests.push((signal, message.as_slice().to_vec()));
        }
        Ok(requests)
    }
}

/// Which signal a JSON text names first.
fn signal_named(json: &[u8]) -> Option<Signal> {
    let at =
        |names: [&str; 2]| names.iter().filter_map(|name| memchr::memmem::find(json, name.as_bytes())).min();
    let spans = at(["resourceSpans", "resource_spans"]);
    let logs = at(["resourceLogs", "resource_logs"]);
    match (spans, logs) {
        (None, None) => None,
        (Some(spans), Some(logs)) if logs < spans => Some(Signal::Logs),
        (Some(_), _) => Some(Signal::Traces),
        (None, Some(_)) => Some(Signal::Logs),
    }
}

/// Which signal a protobuf request is of: spans and log records have fields of the same numbers and other types.
fn signal_of(message: &[u8]) -> Result<Signal, Malformed> {
    struct First(Option<Signal>);
    impl<'m> Visit<'m> for First {
        fn resource(&mut self, _: &Envelope<'m>) -> Result<(), Malformed> {
            Ok(())
        }
        fn scope(&mut self, _: &Envelope<'m>) -> Result<(), Malformed> {
            Ok(())
        }
        fn item(&mut self, message: &'m [u8], item: Range<usize>, _: &mut Vec<u8>) -> Result<(), Malformed> {
            let mut fields = Fields::new(message, item);
            while let (None, Some(field)) = (self.0, fields.next_field()?) {
                self.0 = match (field.number, field.value) {
                    // Ids and times of a span; none of them may be there in a log record.
                    (1 | 2, Value::Len { .. }) | (7 | 8, Value::Fixed64(_)) => Some(Signal::Traces),
                    // Times, severity and flags of a log record.
                    (1 | 11, Value::Fixed64(_)) | (2, Value::Varint(_)) | (8, Value::Fixed32(_)) => {
                        Some(Signal::Logs)
                    }
                    _ => None,
                };
            }
            Ok(())
        }
    }
    let mut first = First(None);
    splice(Signal::Traces, message, &mut first)?;
    Ok(first.0.unwrap_or(Signal::Traces))
}

struct Explained<'v> {
    vocabulary: &'v Vocabulary,
    policy: &'v Policy,
    as_json: bool,
    file: &'v str,
    text: String,
}

impl Explained<'_> {
    /// Explains a vendor's answer.
    fn answer(&mut self, bytes: &[u8], options: &Explain) {
        let mut reader = Reader::new();
        if let Some(status) = options.status {
            reader.http_status(status);
        }
        reader.feed(bytes);
        let answer = reader.finish();
        let mut evidence: Vec<(String, Shown)> = Vec::new();
        let mut fact = |name: &str, value: String| evidence.push((name.to_owned(), Shown::Value(value)));
        if let Some(shape) = answer.shape {
            fact("shape", format!("{shape:?}"));
        }
        answer.stops.iter().for_each(|stop| fact(&format!("{:?}", stop.field), stop.word.to_string()));
        answer.categories.iter().for_each(|word| fact(&format!("{:?}", word.source), word.word.to_string()));
        if answer.category_null {
            fact("category", "null".to_owned());
        }
        fact("content", format!("{:?}", answer.content));
        if answer.refusal_part {
            fact("refusal in words", "yes".to_owned());
        }
        if let Some(error) = &answer.error {
            fact("error", format!("{error:?}"));
        }
        if answer.incomplete {
            fact("cut off", "yes".to_owned());
        }
        let call = Call {
            source: "body",
            provider: options.provider.as_deref().unwrap_or_default(),
            http_status: options.status,
            streamed: options.stream,
            ..Call::default()
        };
        let judgment = judge_answer(answer, &call, self.vocabulary, self.policy);
        let attributes = judgment.verdict.attributes();
        self.say(&json!({}), "answer", &evidence, &judgment, &attributes);
    }

    /// Explains an item.
    fn item(&mut self, signal: Signal, evidence: &Evidence<'_>, judgment: &Judgment<'_>, attributes: &[u8]) {
        let identity = evidence.identity();
        let kind = if signal == Signal::Traces { "span" } else { "log record" };
        let who = json!({
            "signal": signal.name(),
            "trace_id": hex(identity.trace_id),
            "span_id": hex(identity.span_id),
            "response_id": identity.response_id,
            "request_id": identity.request_id,
            "instrumentation": evidence.instrumentation(),
            "model": evidence.model(),
            "is_call": identity.leaf,
        });
        let facts = evidence.facts().into_iter().map(|fact| (fact.name.to_owned(), fact.shown));
        let facts: Vec<_> = facts.collect();
        let title = format!("{kind} {} of {:?}", hex(identity.span_id), evidence.instrumentation());
        self.say(&who, &title, &facts, judgment, attributes);
    }

    fn say(
        &mut self,
        who: &serde_json::Value,
        title: &str,
        evidence: &[(String, Shown)],
        judgment: &Judgment<'_>,
        attributes: &[u8],
    ) {
        let verdict = verdict_of(attributes);
        if self.as_json {
            let fact = |(name, shown): &(String, Shown)| match shown {
                Shown::Value(value) => json!({"name": name, "value": value}),
                Shown::Bytes(bytes) => json!({"name": name, "bytes": bytes}),
            };
            let evidence: Vec<_> = evidence.iter().map(fact).collect();
            let mut response = json!({
                "file": self.file,
                "provider": judgment.provider,
                "evidence": evidence,
                "rule": judgment.rule.describe(),
                "verdict": verdict,
            });
            if let (Some(response), Some(who)) = (response.as_object_mut(), who.as_object()) {
                response.extend(who.clone());
            }
            let _ = writeln!(self.text, "{response}");
            return;
        }
        let width = evidence
            .iter()
            .map(|(name, _)| name.len())
            .chain(verdict.keys().map(String::len))
            .max()
            .unwrap_or(0);
        let _ = writeln!(self.text, "{}: {title}, provider {:?}", self.file, judgment.provider);
        let _ = writeln!(self.text, "  evidence");
        for (name, shown) in evidence {
            let _ = match shown {
                Shown::Value(value) => writeln!(self.text, "    {name:width$}  {value}"),
                Shown::Bytes(bytes) => writeln!(self.text, "    {name:width$}  ({bytes} bytes)"),
            };
        }
        let _ = writeln!(self.text, "  rule\n    {}", judgment.rule.describe());
        let _ = writeln!(self.text, "  verdict");
        for (name, value) in &verdict {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(self.text, "    {name:width$}  {value}");
        }
        let _ = writeln!(self.text);
    }
}

/// One walk over a request.
struct Judging<'m, 'e, 'v> {
    signal: Signal,
    origin: Origin<'m>,
    explained: &'e mut Explained<'v>,
    responses: usize,
}

impl<'m> Visit<'m> for Judging<'m, '_, '_> {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin = Origin::of_resource(resource)?;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.origin.enter_scope(scope)
    }

    fn item(&mut self, message: &'m [u8], item: Range<usize>, _: &mut Vec<u8>) -> Result<(), Malformed> {
        let read = match self.signal {
            Signal::Traces => read_span(message, item, &self.origin)?,
            Signal::Logs => read_log_record(message, item, &self.origin)?,
            Signal::Metrics => None,
        };
        let Some(evidence) = read else { return Ok(()) };
        let explained = &mut *self.explained;
        let judged = judge(&evidence, explained.vocabulary, explained.policy, "");
        if let Some(judgment) = judged {
            self.responses += 1;
            let attributes = judgment.verdict.attributes();
            explained.item(self.signal, &evidence, &judgment, &attributes);
        }
        Ok(())
    }
}

impl Verdict<'_> {
    /// All attributes of the verdict, as elements of a repeated field of `KeyValue`.
    fn attributes(&self) -> Vec<u8> {
        let mut attributes = Vec::new();
        self.append_all(&mut attributes, FIELD);
        attributes
    }
}

/// The attributes as they are written on items.
fn verdict_of(attributes: &[u8]) -> Map<String, serde_json::Value> {
    let mut verdict = Map::new();
    let mut fields = Fields::new(attributes, 0..attributes.len());
    while let Ok(Some(field)) = fields.next_field() {
        let attribute = field.content().and_then(|range| KeyValue::read(attributes, range));
        let Ok(attribute) = attribute else { break };
        let value = attribute.value().unwrap_or(AnyValue::Empty);
        verdict.insert(String::from_utf8_lossy(attribute.key).into_owned(), as_json(value));
    }
    verdict
}

fn as_json(value: AnyValue<'_>) -> serde_json::Value {
    match value {
        AnyValue::Str(text) => String::from_utf8_lossy(text).into(),
        AnyValue::Bool(truth) => truth.into(),
        AnyValue::Int(number) => number.into(),
        AnyValue::Double(number) => number.into(),
        AnyValue::Array(array) => array.iter().filter_map(Result::ok).map(as_json).collect(),
        AnyValue::Empty | AnyValue::KeyValues(_) | AnyValue::Bytes(_) => serde_json::Value::Null,
    }
}

/// Any field will do: what is written is read back at once.
const FIELD: u32 = 1;
