//! What a configuration says, typed and with its defaults filled in.
//!
//! Names and defaults are the OpenTelemetry Collector's, except where ours are safer: messages up to 64 MiB, timeouts
//! on, listeners on localhost.

use crate::otlp::Signal;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `type` or `type/name`, as components are called everywhere in the configuration and in metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    /// The component's type as the user wrote it (an alias stays an alias).
    pub kind: String,
    /// The part behind the slash.
    pub name: Option<String>,
}

impl ComponentId {
    /// The id of the only or main component of a type.
    pub fn new(kind: &str) -> Self {
        ComponentId { kind: kind.to_owned(), name: None }
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => f.write_str(&self.kind),
            Some(name) => write!(f, "{}/{}", self.kind, name),
        }
    }
}

/// A whole configuration. Every id that a pipeline or another component names is defined: parsing has checked it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `receivers`.
    pub receivers: BTreeMap<ComponentId, Receiver>,
    /// `processors`.
    pub processors: BTreeMap<ComponentId, Processor>,
    /// `exporters`.
    pub exporters: BTreeMap<ComponentId, Exporter>,
    /// `extensions`.
    pub extensions: BTreeMap<ComponentId, Extension>,
    /// `service`.
    pub service: Service,
}

/// The receivers that exist.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// `otlp`.
    Otlp(OtlpReceiver),
}

/// `receivers.otlp`: a protocol is served only if its key is present.
#[derive(Clone, Debug, Default)]
pub struct OtlpReceiver {
    /// `protocols.grpc`.
    pub grpc: Option<GrpcServer>,
    /// `protocols.http`.
    pub http: Option<HttpServer>,
}

/// `receivers.otlp.protocols.grpc`.
#[derive(Clone, Debug)]
pub struct GrpcServer {
    /// Host and port to listen on.
    pub endpoint: String,
    /// The largest message in bytes, on the wire and after inflating (`max_recv_msg_size_mib`).
    pub max_message_size: usize,
    /// How many calls one connection may have open.
    pub max_concurrent_streams: u32,
    /// The largest header list of a call in bytes (ours: `max_header_size`).
    pub max_header_size: u32,
    /// `keepalive.server_parameters.max_connection_idle`: a connection without a call for so long is closed with
    /// GOAWAY, which costs its client nothing; none means never.
    pub max_connection_idle: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age`; none means for ever.
    pub max_connection_age: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age_grace`.
    pub max_connection_age_grace: Option<Duration>,
    /// `keepalive.server_parameters.time`: ping after this silence.
    pub keepalive_time: Duration,
    /// `keepalive.server_parameters.timeout`: hang up when a ping is not answered.
    pub keepalive_timeout: Duration,
    /// How long a whole request, or the start of a connection, may take to arrive (ours: `read_timeout`).
    pub read_timeout: Duration,
    /// How many connections may be open (ours: `max_connections`).
    pub max_connections: usize,
}

impl Default for GrpcServer {
    fn default() -> Self {
        GrpcServer {
            endpoint: "localhost:4317".to_owned(),
            max_message_size: 64 << 20,
            max_concurrent_streams: 128,
            max_header_size: 32 << 10,
            max_connection_idle: Some(Duration::from_secs(15 * 60)),
            max_connection_age: None,
            max_connection_age_grace: None,
            keepalive_time: Duration::from_secs(7200),
            keepalive_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(60),
            max_connections: 1024,
        }
    }
}

/// `receivers.otlp.protocols.http`.
#[derive(Clone, Debug)]
pub struct HttpServer {
    /// Host and port to listen on.
    pub endpoint: String,
    /// The largest body in bytes, on the wire and after inflating.
    pub max_request_body_size: usize,
    /// `traces_url_path`.
    pub traces_url_path: String,
    /// `logs_url_path`.
    pub logs_url_path: String,
    /// `metrics_url_path`.
    pub metrics_url_path: String,
    /// The largest header of a request in bytes (ours: `max_header_size`).
    pub max_header_size: u32,
    /// How many requests one HTTP/2 connection may have open (ours: `max_concurrent_streams`).
    pub max_concurrent_streams: u32,
    /// How long the headers of a request may take.
    pub read_header_timeout: Duration,
    /// How long a whole request may take to arrive.
    pub read_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How many connections may be open (ours: `max_connections`).
    pub max_connections: usize,
}

impl Default for HttpServer {
    fn default() -> Self {
        HttpServer {
            endpoint: "localhost:4318".to_owned(),
            max_request_body_size: 64 << 20,
            traces_url_path: Signal::Traces.http_path().to_owned(),
            logs_url_path: Signal::Logs.http_path().to_owned(),
            metrics_url_path: Signal::Metrics.http_path().to_owned(),
            max_header_size: 32 << 10,
            max_concurrent_streams: 128,
            read_header_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            max_connections: 1024,
        }
    }
}

/// The processors that exist.
#[derive(Clone, Debug)]
pub enum Processor {
    /// `refusal`.
    Refusal(RefusalProcessor),
    /// `memory_limiter`.
    MemoryLimiter(MemoryLimiter),
    /// `batch`.
    Batch(Batch),
}

/// `processors.refusal`.
#[derive(Clone, Debug)]
pub struct RefusalProcessor {
    /// The resource attributes that make up `llm.workload`, joined with `/`.
    pub workload: Vec<String>,
    /// Whether items that another collector has judged are counted here.
    pub count_judged: bool,
    /// The caps on free labels (`limits`).
    pub limits: LabelLimits,
}

impl Default for RefusalProcessor {
    fn default() -> Self {
        RefusalProcessor {
            workload: vec!["service.name".to_owned()],
            count_judged: false,
            limits: LabelLimits::default(),
        }
    }
}

/// `processors.refusal.limits`: how many different values a free label may take before more become `_other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// Per provider.
    pub stop_reason_values: usize,
    /// Over all.
    pub providers: usize,
    /// Over all.
    pub models: usize,
    /// Over all.
    pub instrumentations: usize,
    /// Over all.
    pub workloads: usize,
    /// The budget of series; beyond it the model is folded into `_other`, then the workload.
    pub series: usize,
    /// How many responses are remembered so that each counts once.
    pub seen_responses: usize,
}

impl Default for LabelLimits {
    fn default() -> Self {
        LabelLimits {
            stop_reason_values: 32,
            providers: 32,
            models: 64,
            instrumentations: 64,
            workloads: 500,
            series: 20_000,
            seen_responses: 65_536,
        }
    }
}

/// `processors.memory_limiter`: bounds the bytes of requests in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLimiter {
    /// `limit_mib`, in bytes.
    pub limit: Option<usize>,
    /// `limit_percentage` of the cgroup's limit.
    pub limit_percentage: Option<u32>,
}

/// `processors.batch`: merges requests before the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Items after which a batch is sent at once.
    pub send_batch_size: usize,
    /// The most items in one request; 0 means no bound.
    pub send_batch_max_size: usize,
    /// How long a batch may wait.
    pub timeout: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { send_batch_size: 8192, send_batch_max_size: 0, timeout: Duration::from_millis(200) }
    }
}

/// The exporters that exist.
#[derive(Clone, Debug)]
pub enum Exporter {
    /// `otlp_grpc`, alias `otlp`.
    OtlpGrpc(OtlpGrpcExporter),
    /// `otlp_http`, alias `otlphttp`.
    OtlpHttp(OtlpHttpExporter),
    /// `debug`.
    Debug(DebugExporter),
}

/// `exporters.otlp_grpc`.
#[derive(Clone, Debug)]
pub struct OtlpGrpcExporter {
    /// `host:port`, or a URL with `http://` or `https://`.
    pub endpoint: String,
    /// TLS towards the backend.
    pub tls: ClientTls,
    /// How one call is compressed.
    pub compression: Compression,
    /// `compression_params.level`; none means the encoding's default.
    pub compression_level: Option<i32>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Sent with each call.
    pub headers: BTreeMap<String, Secret>,
    /// `:authority` of each call, when it is not the endpoint's.
    pub authority: Option<String>,
    /// `keepalive`; none means no pings.
    pub keepalive: Option<ClientKeepalive>,
    /// `sending_queue`.
    pub queue: SendingQueue,
    /// `retry_on_failure`.
    pub retry: Retry,
}

impl Default for OtlpGrpcExporter {
    fn default() -> Self {
        OtlpGrpcExporter {
            endpoint: String::new(),
            tls: ClientTls::default(),
            compression: Compression::Gzip,
            compression_level: None,
            timeout: Duration::from_secs(5),
            headers: BTreeMap::new(),
            authority: None,
            keepalive: None,
            queue: SendingQueue::default(),
            retry: Retry::default(),
        }
    }
}

/// `exporters.otlp_http`.
#[derive(Clone, Debug)]
pub struct OtlpHttpExporter {
    /// The base URL; each signal's path is appended.
    pub endpoint: String,
    /// `traces_endpoint`: the whole URL, instead of `endpoint` and path.
    pub traces_endpoint: Option<String>,
    /// `logs_endpoint`.
    pub logs_endpoint: Option<String>,
    /// `metrics_endpoint`.
    pub metrics_endpoint: Option<String>,
    /// TLS towards the backend.
    pub tls: ClientTls,
    /// How a request is compressed.
    pub compression: Compression,
    /// `compression_params.level`; none means the encoding's default.
    pub compression_level: Option<i32>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Sent with each request.
    pub headers: BTreeMap<String, Secret>,
    /// `sending_queue`.
    pub queue: SendingQueue,
    /// `retry_on_failure`.
    pub retry: Retry,
}

impl Default for OtlpHttpExporter {
    fn default() -> Self {
        OtlpHttpExporter {
            endpoint: String::new(),
            traces_endpoint: None,
            logs_endpoint: None,
            metrics_endpoint: None,
            tls: ClientTls::default(),
            compression: Compression::Gzip,
            compression_level: None,
            timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            queue: SendingQueue::default(),
            retry: Retry::default(),
        }
    }
}

/// `exporters.debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugExporter {
    /// How much is printed.
    pub verbosity: Verbosity,
    /// How many lines a second are printed before sampling starts.
    pub sampling_initial: u64,
    /// Of the further ones each n-th is printed; 1 prints all, 0 none.
    pub sampling_thereafter: u64,
}

impl Default for DebugExporter {
    fn default() -> Self {
        DebugExporter { verbosity: Verbosity::Basic, sampling_initial: 2, sampling_thereafter: 1 }
    }
}

/// `exporters.debug.verbosity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// One line per request: how many items.
    Basic,
    /// One line per item, without message content.
    Normal,
    /// Everything, message content too.
    Detailed,
}

/// `compression` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `none`.
    None,
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

/// `tls` of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// No TLS at all.
    pub insecure: bool,
    /// TLS without looking at the certificate.
    pub insecure_skip_verify: bool,
    /// Trusted instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate must carry.
    pub server_name_override: Option<String>,
}

/// `keepalive` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeepalive {
    /// Ping after this silence.
    pub time: Duration,
    /// Hang up when a ping is not answered.
    pub timeout: Duration,
    /// Also without a call.
    pub permit_without_stream: bool,
}

impl Default for ClientKeepalive {
    fn default() -> Self {
        ClientKeepalive {
            time: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            permit_without_stream: false,
        }
    }
}

/// `sending_queue` of an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendingQueue {
    /// Without it the receiver's call waits for the backend's answer.
    pub enabled: bool,
    /// How many requests are sent at one time.
    pub num_consumers: usize,
    /// The bound, in units of `sizer`.
    pub queue_size: usize,
    /// What `queue_size` counts.
    pub sizer: Sizer,
    /// A full queue makes the sender wait instead of refusing.
    pub block_on_overflow: bool,
}

impl Default for SendingQueue {
    fn default() -> Self {
        SendingQueue {
            enabled: true,
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
        }
    }
}

/// `sending_queue.sizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizer {
    /// Export requests.
    Requests,
    /// Spans, log records, data points.
    Items,
    /// Bytes of uncompressed protobuf.
    Bytes,
}

/// `retry_on_failure` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Without it a failed request is dropped at once.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// Each wait is scattered by this share of itself.
    pub randomization_factor: f64,
    /// Each wait is so much longer than the one before.
    pub multiplier: f64,
    /// The longest wait.
    pub max_interval: Duration,
    /// After this a request is dropped; zero means never.
    pub max_elapsed_time: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

/// The extensions that exist.
#[derive(Clone, Debug)]
pub enum Extension {
    /// `health_check`.
    HealthCheck(HealthCheck),
}

/// `extensions.health_check`.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// Host and port to listen on.
    pub endpoint: String,
    /// The path that says whether requests are taken.
    pub path: String,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck { endpoint: "localhost:13133".to_owned(), path: "/".to_owned() }
    }
}

/// `service`.
#[derive(Clone, Debug)]
pub struct Service {
    /// The extensions that are started.
    pub extensions: Vec<ComponentId>,
    /// The pipelines by id (`traces`, `traces/backup`).
    pub pipelines: BTreeMap<ComponentId, Pipeline>,
    /// `telemetry`.
    pub telemetry: Telemetry,
    /// Bounds the drain at shutdown (ours).
    pub shutdown_timeout: Duration,
    /// How requests are admitted (ours).
    pub admission: Admission,
}

impl Default for Service {
    fn default() -> Self {
        Service {
            extensions: Vec::new(),
            pipelines: BTreeMap::new(),
            telemetry: Telemetry::default(),
            shutdown_timeout: Duration::from_secs(25),
            admission: Admission::default(),
        }
    }
}

/// `service.pipelines.*`.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Told by the type of the pipeline's id.
    pub signal: Signal,
    /// Who feeds it.
    pub receivers: Vec<ComponentId>,
    /// In this order.
    pub processors: Vec<ComponentId>,
    /// All of them get every request.
    pub exporters: Vec<ComponentId>,
}

/// `service.admission` (ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The bytes of requests in memory; none means half of the cgroup's limit, else 256 MiB.
    pub budget: Option<usize>,
    /// How long a call waits for room in the budget.
    pub wait: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Admission { budget: None, wait: Duration::from_secs(5) }
    }
}

/// `service.telemetry`.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// `logs`.
    pub logs: Logs,
    /// `metrics`.
    pub metrics: Metrics,
}

/// `service.telemetry.logs`.
#[derive(Clone, Debug)]
pub struct Logs {
    /// `debug`, `info`, `warn`, `error`, or a filter of `tracing`.
    pub level: String,
    /// `console` or `json`.
    pub encoding: LogEncoding,
}

impl Default for Logs {
    fn default() -> Self {
        Logs { level: "info".to_owned(), encoding: LogEncoding::Console }
    }
}

/// `service.telemetry.logs.encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEncoding {
    /// For people.
    Console,
    /// One JSON object per line.
    Json,
}

/// `service.telemetry.metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `level: none` switches all off.
    pub enabled: bool,
    /// Where `/metrics` is served: `readers[].pull.exporter.prometheus.{host,port}`.
    pub prometheus: Vec<PrometheusReader>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { enabled: true, prometheus: vec![PrometheusReader::default()] }
    }
}

/// `readers[].pull.exporter.prometheus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusReader {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
}

impl Default for PrometheusReader {
    fn default() -> Self {
        PrometheusReader { host: "localhost".to_owned(), port: 8888 }
    }
}

/// A value that is never shown: `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    /// The value, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
