//! An event as an OTLP log record.

use crate::refusal::event::{Kind, RefusalEvent, Value};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The scope of the collector's own log records. Nothing in it is ever judged.
pub const SCOPE: &str = "refusal-collector";

/// The log record of an event, under the resource of the response that it is about.
pub fn log_record(event: &RefusalEvent) -> ResourceLogs {
    let mut attributes = Vec::with_capacity(20);
    event.for_each_attribute(|key, value| attributes.push(attribute(key, any(value))));
    let (severity, severity_text) = severity(Kind::of_event(event));
    let record = LogRecord {
        time_unix_nano: event.time_unix_nano,
        observed_time_unix_nano: event.observed_time_unix_nano,
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Any::StringValue(event.summary())) }),
        attributes,
        trace_id: event.trace_id.clone(),
        span_id: event.span_id.clone(),
        event_name: event.name().to_owned(),
        ..LogRecord::default()
    };
    let text = |text: &str| Any::StringValue(text.to_owned());
    let resource = event.resource_attributes().map(|(key, value)| attribute(key, text(value)));
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ResourceLogs {
        resource: Some(Resource { attributes: resource.collect(), ..Resource::default() }),
        scope_logs: vec![ScopeLogs { scope: Some(scope), log_records: vec![record], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

/// A word that nobody knows is an error of ours or the vendor's; a refusal, or telemetry without a reason, a warning.
/// Of an event of this kind; of none that this version knows, a warning.
pub fn severity(kind: Option<Kind>) -> (SeverityNumber, &'static str) {
    match kind {
        Some(Kind::StopReasonUnknown | Kind::CategoryUnknown) => (SeverityNumber::Error, "ERROR"),
        Some(Kind::Refused | Kind::StopReasonMissing) | None => (SeverityNumber::Warn, "WARN"),
    }
}

fn any(value: Value<'_>) -> Any {
    match value {
        Value::Text(text) => Any::StringValue(text.into_owned()),
        Value::Texts(texts) => Any::ArrayValue(ArrayValue {
            values: texts
                .into_iter()
                .map(|text| AnyValue { value: Some(Any::StringValue(text.into_owned())) })
                .collect(),
        }),
        Value::Flag(flag) => Any::BoolValue(flag),
        Value::Number(number) => Any::IntValue(number.cast_signed()),
    }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
