//! `exporters`, with the queue and the retries that all of them share.

use super::{Authentication, ClientTls, ComponentId, Secret, present};
use crate::config::units::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The exporters that exist.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Exporter {
    /// `otlp_grpc`, alias `otlp`.
    OtlpGrpc(OtlpGrpcExporter),
    /// `otlp_http`, alias `otlphttp`.
    OtlpHttp(OtlpHttpExporter),
    /// `debug`.
    Debug(DebugExporter),
}

impl Exporter {
    /// Where it sends; none if it keeps to this machine.
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Exporter::OtlpGrpc(exporter) => Some(&exporter.endpoint),
            Exporter::OtlpHttp(exporter) => Some(&exporter.endpoint),
            Exporter::Debug(_) => None,
        }
    }

    /// `sending_queue`, if it has one.
    pub fn queue(&self) -> Option<&SendingQueue> {
        match self {
            Exporter::OtlpGrpc(exporter) => Some(&exporter.queue),
            Exporter::OtlpHttp(exporter) => Some(&exporter.queue),
            Exporter::Debug(_) => None,
        }
    }

    /// `auth`, if it is there.
    pub fn auth(&self) -> Option<&Authentication> {
        match self {
            Exporter::OtlpGrpc(exporter) => exporter.auth.as_ref(),
            Exporter::OtlpHttp(exporter) => exporter.auth.as_ref(),
            Exporter::Debug(_) => None,
        }
    }
}

/// `exporters.otlp_grpc`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpGrpcExporter {
    /// `host:port`, or a URL with `http://` or `https://`.
    pub endpoint: String,
    /// TLS towards the backend.
    pub tls: ClientTls,
    /// How one call is compressed.
    pub compression: Compression,
    /// `compression_params.level`; none means the encoding's default.
    #[serde(rename = "compression_params", with = "compression_params")]
    #[schemars(with = "compression_params::CompressionParams")]
    pub compression_level: Option<i32>,
    /// How long one attempt may take.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub timeout: Duration,
    /// `auth`: who adds the credentials.
    pub auth: Option<Authentication>,
    /// Sent with each call.
    pub headers: BTreeMap<String, Secret>,
    /// `:authority` of each call, when it is not the endpoint's.
    pub authority: Option<String>,
    /// `keepalive`; none means no pings.
    #[serde(deserialize_with = "present")]
    pub keepalive: Option<ClientKeepalive>,
    /// `sending_queue`.
    #[serde(rename = "sending_queue")]
    pub queue: SendingQueue,
    /// `retry_on_failure`.
    #[serde(rename = "retry_on_failure")]
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
            auth: None,
            headers: BTreeMap::new(),
            authority: None,
            keepalive: None,
            queue: SendingQueue::default(),
            retry: Retry::default(),
        }
    }
}

/// `exporters.otlp_http`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
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
    /// What a request's body is.
    pub encoding: HttpEncoding,
    /// How a request is compressed.
    pub compression: Compression,
    /// `compression_params.level`; none means the encoding's default.
    #[serde(rename = "compression_params", with = "compression_params")]
    #[schemars(with = "compression_params::CompressionParams")]
    pub compression_level: Option<i32>,
    /// How long one attempt may take.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub timeout: Duration,
    /// `auth`: who adds the credentials.
    pub auth: Option<Authentication>,
    /// Sent with each request.
    pub headers: BTreeMap<String, Secret>,
    /// `sending_queue`.
    #[serde(rename = "sending_queue")]
    pub queue: SendingQueue,
    /// `retry_on_failure`.
    #[serde(rename = "retry_on_failure")]
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
            encoding: HttpEncoding::Proto,
            compression: Compression::Gzip,
            compression_level: None,
            timeout: Duration::from_secs(30),
            auth: None,
            headers: BTreeMap::new(),
            queue: SendingQueue::default(),
            retry: Retry::default(),
        }
    }
}

/// `exporters.debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DebugExporter {
    /// How much is printed.
    pub verbosity: Verbosity,
    /// How many requests a second are printed before sampling starts.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// One line per request: how many items.
    Basic,
    /// One line per item, without message content.
    Normal,
    /// Everything, message content too.
    Detailed,
}

/// `exporters.otlp_http.encoding`. The Collector has `json` too, which costs every backend more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpEncoding {
    /// Protobuf.
    Proto,
}

/// `compression` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `none`.
    None,
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

/// `keepalive` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientKeepalive {
    /// Ping after this silence.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub time: Duration,
    /// Hang up when a ping is not answered.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
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
    /// The sender gets its answer only when the backend has answered.
    pub wait_for_result: bool,
    /// The extension that keeps the queue on disk; none means memory.
    pub storage: Option<ComponentId>,
    /// Merges requests on their way out; none means that each leaves as it came.
    #[serde(deserialize_with = "present")]
    pub batch: Option<QueueBatch>,
}

impl Default for SendingQueue {
    fn default() -> Self {
        SendingQueue {
            enabled: true,
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            storage: None,
            batch: None,
        }
    }
}

/// `sending_queue.batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueueBatch {
    /// How long a batch may wait.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub flush_timeout: Duration,
    /// A batch of this size is sent at once, in units of `sizer`.
    pub min_size: usize,
    /// The largest batch, in units of `sizer`; 0 means no bound.
    pub max_size: usize,
    /// What the sizes count.
    pub sizer: Sizer,
}

impl Default for QueueBatch {
    fn default() -> Self {
        QueueBatch {
            flush_timeout: Duration::from_millis(200),
            min_size: 8192,
            max_size: 0,
            sizer: Sizer::Items,
        }
    }
}

/// `sending_queue.sizer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sizer {
    /// Export requests.
    Requests,
    /// Spans, log records, data points.
    Items,
    /// Bytes of uncompressed protobuf.
    Bytes,
}

/// `retry_on_failure` of an exporter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// Without it a failed request is dropped at once.
    pub enabled: bool,
    /// The first wait.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub initial_interval: Duration,
    /// Each wait is scattered by this share of itself.
    pub randomization_factor: f64,
    /// Each wait is so much longer than the one before.
    pub multiplier: f64,
    /// The longest wait.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub max_interval: Duration,
    /// After this a request is dropped; zero means never.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub max_elapsed_time: Duration,
    /// RESOURCE_EXHAUSTED without RetryInfo is tried again (ours). By the OTLP specification it is permanent, but
    /// collectors under memory pressure answer so.
    pub retry_resource_exhausted: bool,
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
            retry_resource_exhausted: true,
        }
    }
}

/// The level of a compression, which the file nests.
mod compression_params {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    pub(super) struct CompressionParams {
        level: Option<i32>,
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
        Ok(CompressionParams::deserialize(deserializer)?.level)
    }

    pub(super) fn serialize<S: Serializer>(level: &Option<i32>, serializer: S) -> Result<S::Ok, S::Error> {
        level.map(|level| CompressionParams { level: Some(level) }).serialize(serializer)
    }
}
