//! The collector's own traces and logs: what is told of a request, to whom, and that it does not go round.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/process.rs"]
mod process;

use backend::{Answer, Backend};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use process::Collector;
use prost::Message;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const TRACES: &str = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_http]}}";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn exporter(backend: &Backend) -> String {
    format!("{{otlp_http: {{endpoint: 'http://{}', retry_on_failure: {{enabled: false}}}}}}", backend.address)
}

fn processor(backend: &Backend, delay: u64) -> String {
    format!(
        "[{{batch: {{schedule_delay: {delay}, exporter: {{otlp: {{endpoint: 'http://{}'}}}}}}}}]",
        backend.address
    )
}

/// Posts a span of an LLM call; gives the status.
fn post(address: &str, traceparent: Option<&str>) -> u16 {
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10",
        "spanId":"0102030405060708","name":"chat","startTimeUnixNano":"1","endTimeUnixNano":"2","attributes":[
        {"key":"gen_ai.operation.name","value":{"stringValue":"chat"}}]}]}]}]}"#;
    let trace = traceparent.map(|value| format!("traceparent: {value}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n{trace}\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn spans(backend: &Backend) -> Vec<Span> {
    let requests = backend.accepted().into_iter().map(|request| {
        assert_eq!(request.path, "/v1/traces");
        assert!(request.header("traceparent").unwrap().ends_with("-00"), "it is to be traced by nobody");
        ExportTraceServiceRequest::decode(&request.message()[..]).unwrap()
    });
    let resources = requests.flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| {
        assert_eq!(text(&resource.resource.unwrap().attributes, "service.name"), "gateway");
        resource.scope_spans
    });
    scopes
        .flat_map(|scope| {
            assert_eq!(scope.scope.unwrap().name, "refusal-collector");
            scope.spans
        })
        .collect()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key).and_then(|a| a.value.clone());
    match found.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The three spans of a request, of which the first is the receiver's.
fn of_one_request(spans: &[Span]) -> [&Span; 3] {
    let named = |name: &str| {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    assert_eq!(spans.len(), 3, "{spans:#?}");
    [named("receiver/otlp/TraceDataReceived"), named("processor/refusal"), named("exporter/otlp_http/traces")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_followed_in_the_trace_of_its_sender_and_told_at_the_end() {
    let (backend, telling) = (Backend::start().await, Backend::start().await);
    let telemetry = format!(
        "resource: {{service.name: gateway}}, traces: {{processors: {}}}",
        processor(&telling, 3_600_000)
    );
    let mut collector = Collector::start_telling(&telemetry, &exporter(&backend), TRACES);
    assert_eq!(post(&collector.http, Some(&format!("00-{TRACE}-{PARENT}-01"))), 200);
    backend.wait_for_accepted(1).await;
    assert!(telling.requests().is_empty());
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0));

    let spans = spans(&telling);
    let [received, processed, exported] = of_one_request(&spans);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(hex(&received.parent_span_id), PARENT);
    assert_eq!((&processed.parent_span_id, &exported.parent_span_id), (&received.span_id, &received.span_id));
    assert_eq!((received.kind(), exported.kind()), (SpanKind::Server, SpanKind::Client));
    assert_eq!(text(&received.attributes, "transport"), "http");
    assert_eq!(text(&received.attributes, "items.accepted"), "1");
    assert_eq!(text(&exported.attributes, "items.sent"), "1");
    assert!(received.start_time_unix_nano <= processed.start_time_unix_nano);
    assert!(!collector.log().contains("receive{"), "spans do not make log lines longer: {}", collector.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_sender_does_not_trace_is_not_traced_and_what_has_none_is_sampled() {
    let backend = Backend::start().await;
    for (sampler, traceparent, traced) in [
        ("{parent_based: {root: {always_on: {}}}}", Some("-00"), 0),
        ("{parent_based: {root: {always_on: {}}}}", None, 3),
        ("{parent_based: {root: {always_off: }}}", None, 0),
        ("{parent_based: {root: {always_off: }}}", Some("-01"), 3),
        ("{trace_id_ratio_based: {ratio: 0}}", Some("-01"), 0),
        ("{always_on: }", Some("-00"), 3),
    ] {
        let telling = Backend::start().await;
        let telemetry = format!(
            "resource: {{service.name: gateway}}, traces: {{sampler: {sampler}, processors: {}}}",
            processor(&telling, 3_600_000)
        );
        let mut collector = Collector::start_telling(&telemetry, &exporter(&backend), TRACES);
        let traceparent = traceparent.map(|flags| format!("00-{TRACE}-{PARENT}{flags}"));
        assert_eq!(post(&collector.http, traceparent.as_deref()), 200);
        collector.signal("TERM");
        assert_eq!(collector.ended().code(), Some(0));
        assert_eq!(spans(&telling).len(), traced, "{sampler} {traceparent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_marked_as_failed() {
    let (backend, telling) = (Backend::start().await, Backend::start().await);
    backend.always(Answer::Http(400));
    let telemetry =
        format!("resource: {{service.name: gateway}}, traces: {{processors: {}}}", processor(&telling, 20));
    let collector = Collector::start_telling(&telemetry, &exporter(&backend), TRACES);
    assert_eq!(post(&collector.http, None), 200);
    telling.wait_until(|telling| spans(telling).len() == 3).await;
    let spans = spans(&telling);
    let [received, _, exported] = of_one_request(&spans);
    assert_eq!(received.status.clone().unwrap_or_default().code(), StatusCode::Unset);
    let status = exported.status.clone().unwrap();
    assert_eq!(status.code(), StatusCode::Error);
    assert!(status.message.contains("400"), "{status:?}");
    assert_eq!(text(&exported.attributes, "items.failed"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collectors_that_tell_each_other_of_themselves_come_to_rest() {
    let backend = Backend::start().await;
    // Each must know the other's port before it runs: the second listens also where the first was told that it would.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let telling = |address: &str| {
        format!(
            "traces: {{processors: [{{batch: {{schedule_delay: 20, exporter: {{otlp: {{endpoint: 'http://{address}'}}}}}}}}]}}"
        )
    };
    let first = Collector::start_telling(&telling(&format!("127.0.0.1:{port}")), &exporter(&backend), TRACES);
    let mut second = Collector::start_telling_at(port, &telling(&first.http), &exporter(&backend), TRACES);
    assert_eq!(post(&first.http, None), 200);
    let accepted = |collector: &Collector| collector.sum("otelcol_receiver_accepted_spans_total", &[]);
    // The application's span, and the three that the first collector tells of it.
    second.wait_until("it is told of the request", |second| accepted(second) == 3);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((accepted(&first), accepted(&second)), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_written_to_files_and_sent_with_its_fields() {
    let (backend, telling) = (Backend::start().await, Backend::start().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("collector.log");
    let telemetry = format!(
        "resource: {{service.name: gateway}}, logs: {{encoding: json, output_paths: [stderr, '{}'], \
         initial_fields: {{cluster: 'a \"b\"'}}, processors: {}}}",
        file.display(),
        processor(&telling, 3_600_000)
    );
    let mut collector = Collector::start_telling(&telemetry, &exporter(&backend), TRACES);
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0));

    let written = std::fs::read_to_string(file).unwrap();
    assert_eq!(written.lines().count(), collector.log().lines().count());
    let lines = written.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let messages: Vec<String> = lines
        .map(|line| {
            assert_eq!(line["cluster"], "a \"b\"");
            line["message"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(messages.contains(&"stopping".to_owned()), "{messages:?}");

    let mut records = records(&telling);
    records.sort_by_key(|record| record.observed_time_unix_nano);
    let sent: Vec<String> = records.iter().map(body).collect();
    assert_eq!(sent, messages, "what is written is sent, in the same order");
    let stopping = records.iter().find(|record| body(record) == "stopping").unwrap();
    assert_eq!(
        (stopping.severity_text.as_str(), text(&stopping.attributes, "signal")),
        ("INFO", "SIGTERM".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_takes_no_logs_is_told_of_once_and_to_nobody_but_the_reader() {
    let (backend, telling) = (Backend::start().await, Backend::start().await);
    telling.always(Answer::Http(400));
    let telemetry = format!("logs: {{level: debug, processors: {}}}", processor(&telling, 10));
    let mut collector = Collector::start_telling(&telemetry, &exporter(&backend), TRACES);
    collector.wait_until("it is told", |collector| collector.log().contains("own logs could not be sent"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let requests = telling.requests().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(telling.requests().len(), requests, "what is told of the sending is not sent");
    assert_eq!(collector.log().matches("could not be sent").count(), 1);
}

#[tokio::test]
async fn a_collector_is_not_told_to_tell_itself() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
        .args(["validate", "--set"])
        .arg("service.telemetry.traces.processors=[{batch: {exporter: {otlp: {endpoint: 'http://localhost:4318'}}}}]")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("data would go round for ever"), "{told}");
}

fn records(backend: &Backend) -> Vec<LogRecord> {
    let requests = backend.accepted().into_iter().map(|request| {
        assert_eq!(request.path, "/v1/logs");
        ExportLogsServiceRequest::decode(&request.message()[..]).unwrap()
    });
    let resources = requests.flat_map(|request| request.resource_logs);
    resources
        .flat_map(|resource| {
            assert_eq!(text(&resource.resource.unwrap().attributes, "service.name"), "gateway");
            resource.scope_logs
        })
        .flat_map(|scope| scope.log_records)
        .collect()
}

fn body(record: &LogRecord) -> String {
    match record.body.clone().and_then(|body| body.value) {
        Some(any_value::Value::StringValue(body)) => body,
        other => panic!("{other:?}"),
    }
}
