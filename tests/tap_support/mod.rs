//! A collector with a tap, in this process, and an Envoy that is none: it sends what Envoy sends for a call.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/backend.rs"]
pub mod backend;

use backend::Backend;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse,
};
use envoy_types::pb::google::protobuf;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use refusal_collector::config::{self, Sources};
use refusal_collector::pipeline::Collector;
use refusal_collector::telemetry::own::TapSnapshot;
use refusal_collector::telemetry::text::Form;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// A collector with a tap, and its backend.
pub struct Tapped {
    pub collector: Collector,
    pub backend: Backend,
    pub tap: ExternalProcessorClient<Channel>,
    pub otlp: String,
}

impl Tapped {
    /// `tap` are keys of the receiver, `exporter` of the exporter.
    pub async fn start(tap: &str, exporter: &str) -> Tapped {
        let backend = Backend::start().await;
        let text = format!(
            "
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}
  ext_proc: {{endpoint: '127.0.0.1:0', {tap}}}
processors: {{refusal: }}
exporters: {{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, {exporter}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp, ext_proc], processors: [refusal], exporters: [otlp_grpc]}}
    logs: {{receivers: [otlp, ext_proc], processors: [refusal], exporters: [otlp_grpc]}}
",
            backend.address
        );
        let sources = Sources { config: vec![format!("yaml:{text}")], ..Sources::default() };
        let loaded = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let collector = Collector::start(loaded.config).await.unwrap();
        let port = |kind: &str| {
            let port = collector.ports().iter().find(|port| port.receiver.kind == kind).unwrap();
            format!("http://{}", port.address)
        };
        let channel = Channel::from_shared(port("ext_proc")).unwrap().connect().await.unwrap();
        let (tap, otlp) = (ExternalProcessorClient::new(channel), port("otlp"));
        Tapped { collector, backend, tap, otlp }
    }

    /// Sends the copy of a call, and what came back.
    pub async fn copy(&self, call: &Call) -> Vec<ProcessingResponse> {
        let mut replies = self.open(call.messages()).await.unwrap();
        let mut all = Vec::new();
        while let Some(reply) = replies.message().await.unwrap() {
            all.push(reply);
        }
        all
    }

    pub async fn open(
        &self,
        messages: Vec<ProcessingRequest>,
    ) -> Result<Streaming<ProcessingResponse>, Status> {
        let messages = futures_util::stream::iter(messages);
        Ok(self.tap.clone().process(messages).await?.into_inner())
    }

    pub fn account(&self) -> TapSnapshot {
        self.collector.own().snapshot().taps.remove(0)
    }

    pub async fn wait_until(&self, what: &str, is_so: impl Fn(&Tapped) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:#?}", self.account());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The sum of a metric's series with all these labels.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.metrics();
        let lines = text.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    pub fn metrics(&self) -> String {
        self.collector.registry().text(Form::Prometheus, false)
    }

    /// Sends spans of one scope.
    pub async fn send(&self, scope: &str, spans: Vec<Span>) {
        use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
        use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
        use opentelemetry_proto::tonic::resource::v1::Resource;
        use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
        let scope = InstrumentationScope { name: scope.into(), ..Default::default() };
        let resource = Resource { attributes: vec![text("service.name", "checkout")], ..Default::default() };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
                ..Default::default()
            }],
        };
        let channel = Channel::from_shared(self.otlp.clone()).unwrap().connect().await.unwrap();
        TraceServiceClient::new(channel).export(request).await.unwrap();
    }

    /// All spans that the backend has taken.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.backend.accepted();
        let traces = requests.iter().filter(|request| request.path.contains("TraceService"));
        let groups =
            traces.flat_map(|r| ExportTraceServiceRequest::decode(&*r.message()).unwrap().resource_spans);
        groups.flat_map(|group| group.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// All log records that the backend has taken.
    pub fn logs(&self) -> Vec<LogRecord> {
        let requests = self.backend.accepted();
        let logs = requests.iter().filter(|request| request.path.contains("LogsService"));
        let groups =
            logs.flat_map(|r| ExportLogsServiceRequest::decode(&*r.message()).unwrap().resource_logs);
        groups.flat_map(|group| group.scope_logs).flat_map(|scope| scope.log_records).collect()
    }
}

/// A call as Envoy tells of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub request: Vec<(String, String)>,
    pub route: String,
    pub response: Vec<(String, String)>,
    pub chunks: Vec<Vec<u8>>,
    /// Whether the end of the answer is told.
    pub ends: bool,
    pub observing: bool,
}

impl Call {
    pub fn new(route: &str, path: &str, status: u16, content_type: &str, body: &[u8]) -> Call {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Call {
            request: [(":path", path), (":authority", "127.0.0.1:15001"), (":method", "POST")]
                .map(pair)
                .to_vec(),
            route: route.to_owned(),
            response: [(":status", &*status.to_string()), ("content-type", content_type)].map(pair).to_vec(),
            chunks: vec![body.to_vec()],
            ends: true,
            observing: true,
        }
    }

    pub fn request_header(mut self, name: &str, value: &str) -> Call {
        self.request.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn response_header(mut self, name: &str, value: &str) -> Call {
        self.response.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn traceparent(self, trace: u128, span: u64) -> Call {
        self.request_header("traceparent", &format!("00-{trace:032x}-{span:016x}-01"))
    }

    /// Splits what there is of the body into chunks of this size.
    pub fn split(mut self, size: usize) -> Call {
        self.chunks = self.chunks.concat().chunks(size).map(<[u8]>::to_vec).collect();
        self
    }

    /// Compresses the body.
    pub fn coded(mut self, encoding: &str) -> Call {
        self.chunks = vec![encode(encoding, &self.chunks.concat())];
        self.response_header("content-encoding", encoding)
    }

    pub fn messages(&self) -> Vec<ProcessingRequest> {
        let headers = |list: &[(String, String)]| {
            let header = |(key, value): &(String, String)| HeaderValue {
                key: key.clone(),
                raw_value: value.clone().into_bytes(),
                ..Default::default()
            };
            let headers = HeaderMap { headers: list.iter().map(header).collect() };
            HttpHeaders { headers: Some(headers), ..Default::default() }
        };
        let body = |body: &[u8], end_of_stream| {
            Request::ResponseBody(HttpBody { body: body.to_vec(), end_of_stream, ..Default::default() })
        };
        let mut messages = vec![
            Request::RequestHeaders(headers(&self.request)),
            Request::ResponseHeaders(headers(&self.response)),
        ];
        messages.extend(self.chunks.iter().map(|chunk| body(chunk, false)));
        messages.extend(self.ends.then(|| body(b"", true)));
        let mut messages: Vec<_> = messages
            .into_iter()
            .map(|request| ProcessingRequest {
                request: Some(request),
                observability_mode: self.observing,
                ..Default::default()
            })
            .collect();
        let kind = Some(protobuf::value::Kind::StringValue(self.route.clone()));
        let fields = [("xds.route_name".to_owned(), protobuf::Value { kind })].into();
        messages[0].attributes =
            [("envoy.filters.http.ext_proc".to_owned(), protobuf::Struct { fields })].into();
        messages
    }
}

pub fn trailers() -> ProcessingRequest {
    let request = Some(Request::ResponseTrailers(HttpTrailers::default()));
    ProcessingRequest { request, observability_mode: true, ..Default::default() }
}

/// Compresses as an HTTP server does.
pub fn encode(encoding: &str, body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut coded = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut coded, 4096, 5, 22);
            encoder.write_all(body).unwrap();
            drop(encoder);
            coded
        }
        "zstd" => zstd::encode_all(body, 3).unwrap(),
        other => panic!("{other}"),
    }
}

/// The attributes whose values are texts, numbers or truths, as text.
pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |attribute: &KeyValue| {
        let value = match attribute.value.clone()?.value? {
            any_value::Value::StringValue(text) => text,
            any_value::Value::BoolValue(truth) => truth.to_string(),
            any_value::Value::IntValue(number) => number.to_string(),
            _ => return None,
        };
        Some((attribute.key.clone(), value))
    };
    attributes.iter().filter_map(pair).collect()
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..Default::default() }
}
