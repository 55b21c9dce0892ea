//! LLM calls as telemetry tells them, and what comes of them.

#![allow(dead_code)] // Each test takes what it needs.

use crate::backend::{Backend, PATIENCE};
use crate::process::{Collector, Setup, free_addresses};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use refusal_collector::proto::v1 as proto;
use refusal_collector::proto::v1::refusal_service_client::RefusalServiceClient;
use refusal_collector::proto::v1::watch_response::Message as Told;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::{Code, Status, Streaming};

/// Stands in prompts, answers and explanations, and must stand nowhere else.
pub const SECRET: &str = "wrenchandsodium";

/// When all calls end.
const END: u64 = 1_700_000_000_000_000_000;

/// A call with ids that no other has.
#[derive(Clone, Debug)]
pub struct Call {
    reason: String,
    category: Option<&'static str>,
    provider: &'static str,
    model: &'static str,
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub end: u64,
}

impl Call {
    /// It ended for this reason; for none if that is empty.
    pub fn new(reason: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Call {
            reason: reason.to_owned(),
            category: None,
            provider: "anthropic",
            model: "claude-opus-4-5",
            trace_id: [id.to_be_bytes(), u64::from(std::process::id()).to_be_bytes()].concat(),
            span_id: id.to_be_bytes().to_vec(),
            end: END,
        }
    }

    pub fn category(self, category: &'static str) -> Self {
        Call { category: Some(category), ..self }
    }

    pub fn of(self, provider: &'static str, model: &'static str) -> Self {
        Call { provider, model, ..self }
    }

    fn span(&self) -> Span {
        let said = format!(
            r#"[{{"role":"assistant","parts":[{{"type":"text","content":"{SECRET}"}}],"finish_reason":"{}"}}]"#,
            self.reason
        );
        let mut attributes = vec![
            attribute("gen_ai.operation.name", text("chat")),
            attribute("gen_ai.provider.name", text(self.provider)),
            attribute("gen_ai.request.model", text(self.model)),
            attribute("gen_ai.input.messages", text(&format!(r#"[{{"role":"user","content":"{SECRET}"}}]"#))),
            attribute("gen_ai.system_instructions", text(SECRET)),
            attribute("llm.refusal.explanation", text(SECRET)),
            attribute("gen_ai.usage.output_tokens", AnyValue { value: Some(Value::IntValue(12)) }),
        ];
        if !self.reason.is_empty() {
            let reasons = Value::ArrayValue(ArrayValue { values: vec![text(&self.reason)] });
            attributes.push(attribute("gen_ai.response.finish_reasons", AnyValue { value: Some(reasons) }));
            attributes.push(attribute("gen_ai.output.messages", text(&said)));
        }
        if let Some(category) = self.category {
            attributes.push(attribute(
                "anthropic.stop_details",
                text(&format!(r#"{{"type":"refusal","category":"{category}","explanation":"{SECRET}"}}"#)),
            ));
        }
        Span {
            trace_id: self.trace_id.clone(),
            span_id: self.span_id.clone(),
            name: "chat".to_owned(),
            start_time_unix_nano: self.end - 1_000_000,
            end_time_unix_nano: self.end,
            attributes,
            ..Span::default()
        }
    }
}

pub fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Sends these calls as one request of `checkout` in `shop`; how the collector answers.
pub async fn export(endpoint: &str, calls: &[Call]) -> Code {
    let resource = Resource {
        attributes: [
            ("service.name", "checkout"),
            ("service.namespace", "shop"),
            ("service.instance.id", "checkout-0"),
            ("telemetry.sdk.name", "opentelemetry"),
        ]
        .map(|(key, value)| attribute(key, text(value)))
        .to_vec(),
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "my.llm.client".to_owned(), ..Default::default() };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans: calls.iter().map(Call::span).collect(),
        ..Default::default()
    };
    let group =
        ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], ..Default::default() };
    send(endpoint, ExportTraceServiceRequest { resource_spans: vec![group] }).await
}

pub async fn export_message(endpoint: &str, message: &[u8]) -> Code {
    send(endpoint, ExportTraceServiceRequest::decode(message).unwrap()).await
}

async fn send(endpoint: &str, request: ExportTraceServiceRequest) -> Code {
    let mut client = TraceServiceClient::connect(format!("http://{endpoint}")).await.unwrap();
    client.export(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

pub async fn export_logs(endpoint: &str, request: ExportLogsServiceRequest) {
    let mut client = LogsServiceClient::connect(format!("http://{endpoint}")).await.unwrap();
    client.export(request).await.unwrap();
}

/// A log record with what stands around it.
#[derive(Clone, Debug)]
pub struct Record {
    resource: Vec<KeyValue>,
    pub scope: String,
    pub log: LogRecord,
}

impl Record {
    pub fn resource(&self, key: &str) -> Option<String> {
        find(&self.resource, key)
    }

    pub fn attribute(&self, key: &str) -> Option<String> {
        find(&self.log.attributes, key)
    }
}

fn find(attributes: &[KeyValue], key: &str) -> Option<String> {
    let mut found = attributes.iter().filter(|attribute| attribute.key == key);
    let value = found.next()?.value.clone()?.value?;
    assert!(found.next().is_none(), "{key} twice");
    match value {
        Value::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

/// All log records that the backend has taken.
pub fn sent_logs(backend: &Backend) -> Vec<Record> {
    let requests = backend.accepted().into_iter().filter(|request| request.path.contains("logs"));
    let groups = requests
        .flat_map(|request| ExportLogsServiceRequest::decode(&request.message()[..]).unwrap().resource_logs);
    let mut records = Vec::new();
    for group in groups {
        let resource = group.resource.unwrap_or_default().attributes;
        for scope in group.scope_logs {
            let name = scope.scope.unwrap_or_default().name;
            records.extend(scope.log_records.into_iter().map(|log| Record {
                resource: resource.clone(),
                scope: name.clone(),
                log,
            }));
        }
    }
    records
}

/// The log records that the backend has taken, once there are so many.
pub async fn log_records(backend: &Backend, count: usize) -> Vec<Record> {
    backend.wait_until(|backend| sent_logs(backend).len() >= count).await;
    sent_logs(backend)
}

pub async fn watch(
    api: &str,
    request: proto::WatchRequest,
) -> Result<Streaming<proto::WatchResponse>, Status> {
    let mut client = RefusalServiceClient::connect(format!("http://{api}")).await.unwrap();
    Ok(client.watch(request).await?.into_inner())
}

pub async fn next_event(stream: &mut Streaming<proto::WatchResponse>) -> proto::RefusalEvent {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
    match next.unwrap().unwrap().message.unwrap() {
        Told::Event(event) => event,
        Told::Missed(missed) => panic!("missed {missed:?}"),
    }
}

pub fn addresses() -> [String; 5] {
    free_addresses()
}

/// A collector whose `refusal_api` is configured so.
pub fn start(traces: &Backend, logs: &Backend, refusal_api: &str, pipelines: &str) -> Collector {
    let exporter =
        |backend: &Backend| format!("{{endpoint: '{}', tls: {{insecure: true}}}}", backend.address);
    let exporters = format!("{{otlp_grpc/traces: {}, otlp_grpc/logs: {}}}", exporter(traces), exporter(logs));
    Collector::launch(Setup { refusal_api, exporters: &exporters, pipelines, ..Setup::default() })
}

pub fn wait_for_watcher(collector: &Collector) {
    let deadline = Instant::now() + PATIENCE;
    while collector.sum("refusal_collector_watchers", &[]) == 0 {
        assert!(Instant::now() < deadline, "nobody watches");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `refusal-collector tail` as a process. Dropped, it is killed.
pub struct Tail {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Tail {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Self::command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let output = Some(BufReader::new(child.stdout.take().unwrap()));
        Tail { child, output }
    }

    /// How it ends with these arguments, and what it says.
    pub fn fail(arguments: &[&str]) -> (Option<i32>, String) {
        let output = Self::command(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refusal-collector"));
        command.arg("tail").args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    pub fn close_output(&mut self) {
        self.output = None;
    }

    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap())
    }

    /// Its exit code after Ctrl-C.
    pub fn interrupted(&mut self) -> Option<i32> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap().code()
    }

    pub fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
