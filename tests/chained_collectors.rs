//! An OpenTelemetry Collector before this one and another behind it, under pressure: the backend behind all of them fails,
//! is slow, and goes away; the last collector is stopped and started again. Whatever the first one took arrives, and only
//! verdicts were added to it.
//!
//! It needs `scripts/peers/otelcol`, and runs only with `REFUSAL_COLLECTOR_FULL=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/process.rs"]
mod process;

use backend::{Answer, Backend};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use process::Collector;
use prost::Message;
use refusal_collector::otlp::Signal;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

/// How many requests of each signal are sent, and how many items each of them has.
const REQUESTS: u32 = 150;
const ITEMS: u32 = 8;

/// Longer than all that was held up takes to arrive.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Grpc,
    Http,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_collectors_by_grpc() {
    chain(Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_collectors_by_http() {
    chain(Protocol::Http).await;
}

async fn chain(protocol: Protocol) {
    let Some(program) = otelcol() else { return };
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let last_address = free_address();
    // The last one answers its sender with what the backend says; ours has a short queue that pushes back; the first one has
    // one on disk that makes its senders wait.
    let last = |program: &Path| {
        let to = backend.address.to_string();
        Peer::start(program, directory.path(), "last", protocol, &last_address, &to, "{enabled: false}")
    };
    let mut behind = last(&program);
    // Without events: they are log records more than were sent.
    let ours = Collector::start_with(
        "{refusal: {events: []}}",
        &exporter(protocol, &last_address, "{queue_size: 10, num_consumers: 2}"),
        &pipelines("[refusal]", exporter_id(protocol)),
        "",
    );
    let address = match protocol {
        Protocol::Grpc => &ours.grpc,
        Protocol::Http => &ours.http,
    };
    let queue = "{queue_size: 30, block_on_overflow: true, num_consumers: 20, storage: file_storage}";
    let first_address = free_address();
    let before = Peer::start(&program, directory.path(), "first", protocol, &first_address, address, queue);

    let pressure = async {
        backend.always(Answer::Grpc(Code::Unavailable, "not now"));
        if protocol == Protocol::Http {
            backend.always(Answer::Http(503));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        backend.always(Answer::After(Duration::from_millis(20)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        behind.stop();
        tokio::time::sleep(Duration::from_secs(1)).await;
        behind = last(&program);
        backend.always(Answer::Accept);
    };
    let (sent, ()) = tokio::join!(send_all(before.http.clone()), pressure);

    let deadline = Instant::now() + PATIENCE;
    let mut arrived = arrivals(&backend);
    while arrived.len() < sent.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        arrived = arrivals(&backend);
    }
    let missing: Vec<_> = sent.keys().filter(|name| !arrived.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{} of {} are lost: {missing:?}\n{}", missing.len(), sent.len(), ours.log());
    for (name, versions) in &arrived {
        for version in versions {
            assert_eq!(version, &sent[name], "{name} was changed");
        }
    }
    let count = |what: &str| ours.sum(&format!("refusal_collector_exporter_{what}_items_total"), &[]);
    assert_eq!((count("dropped"), count("rejected")), (0, 0), "{}", ours.log());
    assert_eq!(count("accepted"), count("exported"));
    // What was pushed back and sent again counts once: all spans and every other log record are responses.
    let responses = u64::from(REQUESTS * ITEMS) * 3 / 2;
    assert_eq!(ours.sum("llm_responses_total", &[]), responses);
    let pushed_back = ["spans", "log_records", "metric_points"]
        .map(|items| ours.sum(&format!("otelcol_receiver_refused_{items}_total"), &[]));
    assert!(pushed_back.iter().all(|items| *items > 0), "there was no pressure: {pushed_back:?}");
}

/// The OpenTelemetry Collector's program, where it can be had and is wanted.
fn otelcol() -> Option<PathBuf> {
    if std::env::var_os("REFUSAL_COLLECTOR_FULL").is_none() {
        eprintln!("skipped: REFUSAL_COLLECTOR_FULL is not set");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/peers/otelcol");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    if output.status.code() == Some(77) {
        eprintln!("skipped: the OpenTelemetry Collector cannot be built here");
        return None;
    }
    assert!(output.status.success());
    Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}

/// A running OpenTelemetry Collector. Dropped, it is killed.
struct Peer {
    child: Child,
    http: String,
}

impl Peer {
    fn start(
        program: &Path,
        directory: &Path,
        name: &str,
        protocol: Protocol,
        address: &str,
        to: &str,
        queue: &str,
    ) -> Self {
        let other = free_address();
        let (grpc, http) = match protocol {
            Protocol::Grpc => (address, other.as_str()),
            Protocol::Http => (other.as_str(), address),
        };
        let storage = directory.join(name);
        let config = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{grpc}'}}, http: {{endpoint: '{http}'}}}}}}}}
extensions: {{file_storage: {{directory: '{}', create_directory: true}}}}
exporters: {}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {}
",
            storage.display(),
            exporter(protocol, to, queue),
            pipelines("[]", exporter_id(protocol)),
        );
        let child = Command::new(program).args(["--config", &format!("yaml:{config}")]).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() || std::net::TcpStream::connect(http).is_err() {
            assert!(Instant::now() < deadline, "the {name} collector does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Peer { child, http: http.to_owned() }
    }

    /// As an orchestrator does.
    fn stop(&mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exporter_id(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "otlp_grpc",
        Protocol::Http => "otlp_http",
    }
}

fn exporter(protocol: Protocol, to: &str, queue: &str) -> String {
    format!(
        "{{{}: {{endpoint: 'http://{to}', tls: {{insecure: true}}, sending_queue: {queue},
  retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms, max_elapsed_time: 0s}}}}}}",
        exporter_id(protocol)
    )
}

fn pipelines(processors: &str, exporter: &str) -> String {
    let pipeline = |processors: &str| {
        format!("{{receivers: [otlp], processors: {processors}, exporters: [{exporter}]}}")
    };
    format!("{{traces: {0}, logs: {0}, metrics: {1}}}", pipeline(processors), pipeline("[]"))
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Items by name, encoded.
type Items = BTreeMap<String, Vec<u8>>;

/// Sends each request again until it is taken; tells which items they hold.
async fn send_all(address: String) -> Items {
    let mut senders = tokio::task::JoinSet::new();
    for signal in Signal::ALL {
        let address = address.clone();
        senders.spawn(async move {
            let mut sent = Items::new();
            for number in 0..REQUESTS {
                let request = request(signal, number * ITEMS..(number + 1) * ITEMS);
                while !post(&address, signal, &request).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                sent.extend(items(signal, &request));
            }
            sent
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

/// Whether the request was answered with 200.
async fn post(address: &str, signal: Signal, body: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: collector\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        signal.http_path(),
        body.len()
    );
    let mut answer = Vec::new();
    stream.write_all(&[head.as_bytes(), body].concat()).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

/// What the backend has taken: all versions of each item, without verdicts.
fn arrivals(backend: &Backend) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut arrived = BTreeMap::<String, Vec<Vec<u8>>>::new();
    for request in backend.accepted() {
        let paths =
            |signal: &Signal| [signal.grpc_path(), signal.http_path()].contains(&request.path.as_str());
        let signal = Signal::ALL.into_iter().find(paths).unwrap();
        for (name, item) in items(signal, &request.message()) {
            arrived.entry(name).or_default().push(item);
        }
    }
    arrived
}

fn request(signal: Signal, numbers: std::ops::Range<u32>) -> Vec<u8> {
    let resource = Some(Resource {
        attributes: vec![text("service.name", "checkout"), text("host.name", "a")],
        ..Resource::default()
    });
    match signal {
        Signal::Traces => {
            let spans = numbers.map(span).collect();
            let scope_spans = vec![ScopeSpans { spans, schema_url: "s".into(), ..ScopeSpans::default() }];
            let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
            ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
        }
        Signal::Logs => {
            let records = numbers.map(record).collect();
            let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
            let group = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
            ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec()
        }
        Signal::Metrics => {
            let metrics = numbers.map(metric).collect();
            let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
            let group = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
            ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
        }
    }
}

fn call(number: u32) -> Vec<KeyValue> {
    let reason = ["end_turn", "refusal", "quantum_halt"][number as usize % 3];
    let reasons = ArrayValue { values: vec![AnyValue { value: Some(Value::StringValue(reason.into())) }] };
    vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.request.model", "claude-opus-4-5"),
        text("gen_ai.response.id", &format!("msg_{number}")),
        attribute("gen_ai.response.finish_reasons", Value::ArrayValue(reasons)),
        attribute("gen_ai.request.temperature", Value::DoubleValue(0.1)),
        attribute("nothing", Value::BytesValue(vec![0, 255])),
    ]
}

fn span(number: u32) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: u64::from(number + 1).to_be_bytes().to_vec(),
        trace_state: "a=b".into(),
        flags: 257,
        name: format!("span {number}"),
        start_time_unix_nano: 1_795_000_000_000_000_000,
        end_time_unix_nano: 1_795_000_001_000_000_000,
        attributes: call(number),
        dropped_attributes_count: 3,
        // A Collector writes an absent status as an empty one.
        status: Some(Status::default()),
        ..Span::default()
    }
}

fn record(number: u32) -> LogRecord {
    LogRecord {
        time_unix_nano: 1_795_000_000_000_000_000,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(AnyValue { value: Some(Value::StringValue(format!("record {number}"))) }),
        attributes: if number.is_multiple_of(2) { call(number + 1_000_000) } else { vec![text("k", "v")] },
        trace_id: vec![7; 16],
        span_id: u64::from(number + 1).to_be_bytes().to_vec(),
        ..LogRecord::default()
    }
}

fn metric(number: u32) -> Metric {
    let point = NumberDataPoint {
        attributes: vec![text("gen_ai.response.finish_reasons", "refusal")],
        time_unix_nano: 1_795_000_000_000_000_000 + u64::from(number),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    Metric { name: format!("metric {number}"), unit: "1".into(), data, ..Metric::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The items of a request by their names, without verdicts, with all that they stand in.
fn items(signal: Signal, request: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut items = Vec::new();
    match signal {
        Signal::Traces => {
            for group in ExportTraceServiceRequest::decode(request).unwrap().resource_spans {
                for scope in group.scope_spans {
                    for mut span in scope.spans {
                        without_verdict(&mut span.attributes);
                        let encoded = [resource(&group.resource), span.encode_to_vec()].concat();
                        items.push((span.name, encoded));
                    }
                }
            }
        }
        Signal::Logs => {
            for group in ExportLogsServiceRequest::decode(request).unwrap().resource_logs {
                for mut record in group.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                    without_verdict(&mut record.attributes);
                    let Some(Value::StringValue(name)) = record.body.clone().and_then(|body| body.value)
                    else {
                        panic!("a record without its name: {record:?}")
                    };
                    items.push((name, [resource(&group.resource), record.encode_to_vec()].concat()));
                }
            }
        }
        Signal::Metrics => {
            for group in ExportMetricsServiceRequest::decode(request).unwrap().resource_metrics {
                for metric in group.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                    let encoded = [resource(&group.resource), metric.encode_to_vec()].concat();
                    items.push((metric.name, encoded));
                }
            }
        }
    }
    items
}

fn resource(resource: &Option<Resource>) -> Vec<u8> {
    resource.as_ref().unwrap().encode_to_vec()
}

fn without_verdict(attributes: &mut Vec<KeyValue>) {
    attributes.retain(|attribute| {
        !attribute.key.starts_with("llm.stop_reason.") && !attribute.key.starts_with("llm.refusal.")
    });
}
