//! `debug`: writes what goes out to the log, for people who set up a pipeline.
//!
//! Only `verbosity: detailed` shows message content. `normal` shows what the collector itself has found out: a line per
//! item with its name and the attributes of the vocabulary, and no other attribute, for many of those are content.

use crate::config::model::{ComponentId, DebugExporter, Verbosity};
use crate::otlp::Signal;
use crate::payload::Payload;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use parking_lot::Mutex;
use prost::{DecodeError, Message};
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Writes to the log at level info.
#[derive(Debug)]
pub struct Debug {
    exporter: ComponentId,
    verbosity: Verbosity,
    sampler: Mutex<Sampler>,
}

impl Debug {
    /// Nothing written yet.
    pub fn new(exporter: ComponentId, config: &DebugExporter) -> Self {
        let sampler = Sampler::new(config.sampling_initial, config.sampling_thereafter, Instant::now());
        Debug { exporter, verbosity: config.verbosity, sampler: Mutex::new(sampler) }
    }

    /// Writes about one request, unless it is left out by sampling.
    pub fn write(&self, payload: &Payload) {
        if !self.sampler.lock().takes(Instant::now()) {
            return;
        }
        for line in lines(payload, self.verbosity) {
            tracing::info!(exporter = %self.exporter, signal = %payload.signal, "{line}");
        }
    }
}

/// What is written about a request, one log record each.
fn lines(payload: &Payload, verbosity: Verbosity) -> Vec<String> {
    let summary = format!("{} {}, {} bytes", payload.items, payload.signal.items(), payload.message.len());
    let details = match verbosity {
        Verbosity::Basic => Ok(Vec::new()),
        Verbosity::Normal => items(payload),
        Verbosity::Detailed => everything(payload).map(|text| vec![text]),
    };
    let details = details.unwrap_or_else(|error| vec![format!("not decodable: {error}")]);
    std::iter::once(summary).chain(details).collect()
}

/// A line for each item.
fn items(payload: &Payload) -> Result<Vec<String>, DecodeError> {
    let bytes = payload.message.as_slice();
    Ok(match payload.signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(bytes)?;
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            let spans = scopes.flat_map(|scope| scope.spans);
            spans.map(|s| line(&s.name, &s.trace_id, &s.span_id, &s.attributes)).collect()
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(bytes)?;
            let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
            let records = scopes.flat_map(|scope| scope.log_records);
            records.map(|r| line(&r.event_name, &r.trace_id, &r.span_id, &r.attributes)).collect()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(bytes)?;
            let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            scopes.flat_map(|scope| scope.metrics).map(|metric| line(&metric.name, &[], &[], &[])).collect()
        }
    })
}

fn line(name: &str, trace_id: &[u8], span_id: &[u8], attributes: &[KeyValue]) -> String {
    let mut line = if name.is_empty() { "(no name)".to_owned() } else { super::quote::one_line(name) };
    for (key, id) in [("trace_id", trace_id), ("span_id", span_id)] {
        if !id.is_empty() {
            let _ = write!(line, " {key}=");
            for byte in id {
                let _ = write!(line, "{byte:02x}");
            }
        }
    }
    for attribute in attributes.iter().filter(|attribute| VOCABULARY.contains(&attribute.key.as_str())) {
        let _ = write!(line, " {}={}", attribute.key, shown(attribute.value.as_ref()));
    }
    line
}

/// The attributes that verdicts are written as. Others that begin with `llm.` come from instrumentations, and hold prompts.
const VOCABULARY: [&str; 17] = [
    "llm.stop_reason.class",
    "llm.stop_reason.value",
    "llm.refusal.category",
    "llm.refusal.categories",
    "llm.refusal.vendor_category",
    "llm.refusal.actor",
    "llm.refusal.side",
    "llm.refusal.phase",
    "llm.refusal.delivery",
    "llm.refusal.billing",
    "llm.refusal.discard_output",
    "llm.refusal.signal",
    "llm.refusal.action",
    "llm.refusal.fallback_model",
    "llm.refusal.recovered",
    "llm.refusal.recovered_by",
    "llm.workload",
];

fn shown(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => super::quote::one_line(text),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::ArrayValue(array)) => {
            array.values.iter().map(|value| shown(Some(value))).collect::<Vec<_>>().join(",")
        }
        // The vocabulary has no others.
        _ => "?".to_owned(),
    }
}

/// The whole request, as OTLP/JSON.
fn everything(payload: &Payload) -> Result<String, DecodeError> {
    fn json(request: impl Serialize) -> String {
        serde_json::to_string_pretty(&request).unwrap_or_else(|error| format!("not printable: {error}"))
    }
    let bytes = payload.message.as_slice();
    Ok(match payload.signal {
        Signal::Traces => json(ExportTraceServiceRequest::decode(bytes)?),
        Signal::Logs => json(ExportLogsServiceRequest::decode(bytes)?),
        Signal::Metrics => json(ExportMetricsServiceRequest::decode(bytes)?),
    })
}

/// Of the requests in each second the first `initial` are taken, then each `thereafter`-th; 0 takes none of those.
#[derive(Debug)]
struct Sampler {
    initial: u64,
    thereafter: u64,
    second_began: Instant,
    seen: u64,
}

impl Sampler {
    fn new(initial: u64, thereafter: u64, now: Instant) -> Self {
        Sampler { initial, thereafter, second_began: now, seen: 0 }
    }

    fn takes(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second_began) >= Duration::from_secs(1) {
            self.second_began = now;
            self.seen = 0;
        }
        self.seen = self.seen.saturating_add(1);
        match self.seen.checked_sub(self.initial) {
            None | Some(0) => true,
            Some(beyond) => beyond.checked_rem(self.thereafter) == Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;
    use crate::telemetry::spans::Caller;
    use opentelemetry_proto::tonic::{
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use std::sync::Arc;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn attributes() -> Vec<KeyValue> {
        vec![
            attribute("llm.stop_reason.class", Value::StringValue("refusal".into())),
            attribute("llm.refusal.discard_output", Value::BoolValue(true)),
            attribute("llm.input_messages.0.message.content", Value::StringValue("a secret prompt".into())),
            attribute("gen_ai.prompt", Value::StringValue("a secret prompt".into())),
        ]
    }

    fn payload(signal: Signal, bytes: Vec<u8>) -> Payload {
        let message = payload::Message::Bare(bytes.into());
        Payload {
            signal,
            message,
            arrived: None,
            items: 1,
            permit: Arc::default(),
            caller: Caller::default(),
        }
    }

    fn traces() -> Payload {
        let span = Span {
            name: "chat".into(),
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            attributes: attributes(),
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        payload(Signal::Traces, ExportTraceServiceRequest { resource_spans }.encode_to_vec())
    }

    fn logs() -> Payload {
        let record = LogRecord {
            event_name: "gen_ai.choice".into(),
            body: Some(AnyValue { value: Some(Value::StringValue("a secret prompt".into())) }),
            attributes: attributes(),
            ..LogRecord::default()
        };
        let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        payload(Signal::Logs, ExportLogsServiceRequest { resource_logs }.encode_to_vec())
    }

    #[test]
    fn basic_says_how_much() {
        let payload = traces();
        let expected = format!("1 spans, {} bytes", payload.message.len());
        assert_eq!(lines(&payload, Verbosity::Basic), [expected]);
    }

    #[test]
    fn normal_shows_names_and_verdicts() {
        let verdict = "llm.stop_reason.class=refusal llm.refusal.discard_output=true";
        let ids = "trace_id=abababababababababababababababab span_id=0101010101010101";
        assert_eq!(lines(&traces(), Verbosity::Normal)[1], format!("chat {ids} {verdict}"));
        assert_eq!(lines(&logs(), Verbosity::Normal)[1], format!("gen_ai.choice {verdict}"));
    }

    #[test]
    fn only_detailed_shows_content() {
        for payload in [traces(), logs()] {
            for (verbosity, shows) in
                [(Verbosity::Basic, false), (Verbosity::Normal, false), (Verbosity::Detailed, true)]
            {
                let text = lines(&payload, verbosity).join("\n");
                assert_eq!(text.contains("a secret prompt"), shows, "{verbosity:?}: {text}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_request_are_said_to_be_so() {
        let payload = payload(Signal::Metrics, vec![0xff; 10]);
        assert!(lines(&payload, Verbosity::Detailed)[1].starts_with("not decodable"));
    }

    #[test]
    fn sampling_takes_the_first_of_a_second_and_then_each_nth() {
        let start = Instant::now();
        let taken = |initial, thereafter, count| {
            let mut sampler = Sampler::new(initial, thereafter, start);
            (1..=count).filter(|_| sampler.takes(start)).count()
        };
        assert_eq!(taken(2, 1, 10), 10);
        assert_eq!(taken(2, 4, 10), 2 + 2);
        assert_eq!(taken(2, 0, 10), 2);
        assert_eq!(taken(0, 0, 10), 0);
        let mut sampler = Sampler::new(1, 0, start);
        assert_eq!(
            [0, 0, 1, 1].map(|s| sampler.takes(start + Duration::from_secs(s))),
            [true, false, true, false]
        );
    }
}
