//! Records that no span has joined, as telemetry: log records or spans with the trace context of the call. The verdict is
//! on them, so that no collector judges them again.

use super::record::{Parent, Record, SOURCE};
use crate::otlp::Signal;
use crate::refusal::event::Kind;
use crate::refusal::verdict::Class;
use crate::telemetry::events::severity;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is made of records that no span has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A log record, for what a refusal event tells of: refusals, unknown and missing reasons.
    Log,
    /// A client's span, for each of them.
    Span,
}

impl Form {
    /// As which signal they leave.
    pub fn signal(self) -> Signal {
        match self {
            Form::Log => Signal::Logs,
            Form::Span => Signal::Traces,
        }
    }

    /// An export request with all of `records` that are told of in this form; none if there are none. `resource` is what
    /// is known of the collector's own resource.
    pub fn request(self, records: &[&Record], resource: &[(String, String)]) -> Option<Vec<u8>> {
        match self {
            Form::Log => logs(records, resource),
            Form::Span => spans(records, resource),
        }
    }
}

fn logs(records: &[&Record], resource: &[(String, String)]) -> Option<Vec<u8>> {
    let group = |record: &&Record| {
        let kind = Kind::of(&record.verdict)?;
        Some(ResourceLogs {
            resource: Some(resource_of(record, resource)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: vec![log_record(record, kind)],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        })
    };
    let resource_logs: Vec<_> = records.iter().filter_map(group).collect();
    (!resource_logs.is_empty()).then(|| ExportLogsServiceRequest { resource_logs }.encode_to_vec())
}

fn spans(records: &[&Record], resource: &[(String, String)]) -> Option<Vec<u8>> {
    let group = |record: &&Record| ResourceSpans {
        resource: Some(resource_of(record, resource)),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope()),
            spans: vec![span(record)],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let resource_spans: Vec<_> = records.iter().map(group).collect();
    (!resource_spans.is_empty()).then(|| ExportTraceServiceRequest { resource_spans }.encode_to_vec())
}

fn log_record(record: &Record, kind: Kind) -> LogRecord {
    let parent = record.parent;
    let (severity, severity_text) = severity(Some(kind));
    let mut bytes = LogRecord {
        time_unix_nano: nanoseconds(record.times.ended),
        observed_time_unix_nano: nanoseconds(record.times.ended),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        event_name: kind.as_str().to_owned(),
        attributes: attributes(record),
        trace_id: parent.map_or_else(Vec::new, |parent| parent.trace_id.to_vec()),
        span_id: parent.map_or_else(Vec::new, |parent| parent.span_id.to_vec()),
        flags: parent.map_or(0, |parent| parent.flags.into()),
        ..LogRecord::default()
    }
    .encode_to_vec();
    record.verdict.append_all(&mut bytes, LOG_RECORD_ATTRIBUTES);
    // What was appended is elements of a repeated field.
    LogRecord::decode(bytes.as_slice()).unwrap_or_default()
}

fn span(record: &Record) -> Span {
    let has_failed =
        record.verdict.class == Class::Error || record.status.is_some_and(|status| status >= 400);
    let (trace_id, parent_span_id) = match record.parent {
        Some(Parent { trace_id, span_id, .. }) => (trace_id.to_vec(), span_id.to_vec()),
        None => ([random().to_be_bytes(), random().to_be_bytes()].concat(), Vec::new()),
    };
    let mut bytes = Span {
        trace_id,
        span_id: random().to_be_bytes().to_vec(),
        parent_span_id,
        flags: record.parent.map_or(0, |parent| parent.flags.into()),
        name: format!("chat {}", record.model).trim_end().to_owned(),
        kind: span::SpanKind::Client.into(),
        start_time_unix_nano: nanoseconds(record.times.started),
        end_time_unix_nano: nanoseconds(record.times.ended),
        attributes: attributes(record),
        status: has_failed.then(|| Status { code: status::StatusCode::Error.into(), ..Status::default() }),
        ..Span::default()
    }
    .encode_to_vec();
    record.verdict.append_all(&mut bytes, SPAN_ATTRIBUTES);
    Span::decode(bytes.as_slice()).unwrap_or_default()
}

/// `LogRecord.attributes` and `Span.attributes`.
const LOG_RECORD_ATTRIBUTES: u32 = 6;
const SPAN_ATTRIBUTES: u32 = 9;

/// What the record knows of the call, under OpenTelemetry's names.
fn attributes(record: &Record) -> Vec<KeyValue> {
    let texts = [
        ("gen_ai.provider.name", &record.provider),
        ("gen_ai.request.model", &record.model),
        ("gen_ai.response.model", &record.response_model),
        ("gen_ai.response.id", &record.response_id),
        ("error.type", &record.error),
    ];
    let numbers = [
        ("http.response.status_code", record.status.map(u64::from)),
        ("gen_ai.usage.input_tokens", record.input_tokens),
        ("gen_ai.usage.output_tokens", record.output_tokens),
    ];
    let mut attributes = vec![attribute("gen_ai.operation.name", Value::StringValue("chat".to_owned()))];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    attributes.extend(texts.map(|(key, text)| attribute(key, Value::StringValue(text.to_string()))));
    let numbers = numbers.into_iter().filter_map(|(key, number)| Some((key, i64::try_from(number?).ok()?)));
    attributes.extend(numbers.map(|(key, number)| attribute(key, Value::IntValue(number))));
    attributes
}

fn resource_of(record: &Record, resource: &[(String, String)]) -> Resource {
    let own = resource.iter().filter(|_| !record.workload_named);
    let mut attributes: Vec<_> =
        own.map(|(key, value)| attribute(key, Value::StringValue(value.clone()))).collect();
    if !attributes.iter().any(|attribute| attribute.key == "service.name") {
        attributes.push(attribute("service.name", Value::StringValue(record.workload.to_string())));
    }
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attributes: vec![attribute("llm.refusal.source", Value::StringValue(SOURCE.to_owned()))],
        ..InstrumentationScope::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or_default()
}

/// A number that nobody else has, for ids.
fn random() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(SystemTime::now()).max(1)
}
