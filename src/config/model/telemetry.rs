//! `service.telemetry`: what the collector tells of itself, and where. The keys are those of the OpenTelemetry
//! configuration schema, version 0.3, as the OpenTelemetry Collector reads it.

use super::exporter::{Compression, Exporter, OtlpGrpcExporter, OtlpHttpExporter, Retry, SendingQueue};
use super::present;
use super::security::{ClientTls, Secret};
use crate::config::units::{duration, milliseconds};
use crate::otlp::Signal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `service.telemetry`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Telemetry {
    /// `logs`.
    pub logs: Logs,
    /// `metrics`.
    pub metrics: Metrics,
    /// `traces`.
    pub traces: Traces,
    /// `resource`: whose telemetry it is.
    pub resource: Resource,
}

/// `service.telemetry.logs`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logs {
    /// `debug`, `info`, `warn`, `error`, or a filter of `tracing`.
    pub level: String,
    /// `console` or `json`.
    pub encoding: LogEncoding,
    /// `stderr`, `stdout` and paths of files, which are appended to.
    pub output_paths: Vec<String>,
    /// Fields that stand on every line.
    pub initial_fields: BTreeMap<String, String>,
    /// `sampling`: what is left out of messages that repeat; none writes all.
    #[serde(deserialize_with = "present")]
    pub sampling: Option<Sampling>,
    /// `processors`: where they are sent by OTLP as well.
    pub processors: Vec<TelemetryProcessor>,
}

impl Default for Logs {
    fn default() -> Self {
        Logs {
            level: "info".to_owned(),
            encoding: LogEncoding::Console,
            output_paths: vec!["stderr".to_owned()],
            initial_fields: BTreeMap::new(),
            sampling: None,
            processors: Vec::new(),
        }
    }
}

/// `service.telemetry.logs.encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogEncoding {
    /// For people.
    Console,
    /// One JSON object per line.
    Json,
}

/// `service.telemetry.logs.sampling`. Messages are the same when they come from the same place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sampling {
    /// Without it every message is written.
    pub enabled: bool,
    /// Counting begins anew after this.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub tick: Duration,
    /// So many of the same messages in each `tick` are written.
    pub initial: u64,
    /// Of the further ones each n-th is written; 0 writes none.
    pub thereafter: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { enabled: true, tick: Duration::from_secs(10), initial: 10, thereafter: 100 }
    }
}

/// `service.telemetry.metrics`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(from = "MetricsKeys", into = "MetricsKeys")]
pub struct Metrics {
    /// `level: none` switches all off.
    pub enabled: bool,
    /// Who gets them.
    pub readers: Vec<MetricReader>,
}

impl Metrics {
    /// Where `/metrics` is served.
    pub fn pulled(&self) -> impl Iterator<Item = &PrometheusReader> {
        let readers = self.readers.iter().filter(|_| self.enabled);
        readers.filter_map(|reader| match reader {
            MetricReader::Pull(reader) => Some(reader),
            MetricReader::Periodic(_) => None,
        })
    }

    /// Where they are sent.
    pub fn pushed(&self) -> impl Iterator<Item = &PeriodicReader> {
        let readers = self.readers.iter().filter(|_| self.enabled);
        readers.filter_map(|reader| match reader {
            MetricReader::Periodic(reader) => Some(reader),
            MetricReader::Pull(_) => None,
        })
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { enabled: true, readers: vec![MetricReader::Pull(PrometheusReader::default())] }
    }
}

/// An element of `service.telemetry.metrics.readers`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(from = "ReaderKeys", into = "ReaderKeys")]
pub enum MetricReader {
    /// `pull`: metrics wait for who scrapes them.
    Pull(PrometheusReader),
    /// `periodic`: they are sent.
    Periodic(PeriodicReader),
}

/// `pull.exporter.prometheus` of a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PrometheusReader {
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// Whether OpenMetrics tells when each counter began, in `_created` (ours).
    pub with_created: bool,
}

impl Default for PrometheusReader {
    fn default() -> Self {
        PrometheusReader { host: "localhost".to_owned(), port: 8888, with_created: false }
    }
}

/// `periodic` of a reader.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PeriodicReader {
    /// How often all metrics are sent.
    #[serde(with = "milliseconds")]
    #[schemars(with = "u64")]
    pub interval: Duration,
    /// How long one round may take, with retries.
    #[serde(with = "milliseconds")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// Where to.
    pub exporter: OtlpExporter,
}

impl Default for PeriodicReader {
    fn default() -> Self {
        PeriodicReader {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            exporter: OtlpExporter::default(),
        }
    }
}

/// `service.telemetry.traces`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Traces {
    /// `none` switches them off; the other levels are the same here.
    pub level: Level,
    /// Which of them are kept.
    pub sampler: Sampler,
    /// `processors`: where they are sent. Without any, there are no traces.
    pub processors: Vec<TelemetryProcessor>,
}

impl Default for Traces {
    fn default() -> Self {
        Traces {
            level: Level::Normal,
            sampler: Sampler::ParentBased(ParentBased::default()),
            processors: Vec::new(),
        }
    }
}

impl Traces {
    /// Whether there are any.
    pub fn are_made(&self) -> bool {
        self.level != Level::None && !self.processors.is_empty()
    }
}

/// `service.telemetry.traces.sampler`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// All.
    AlwaysOn(Nothing),
    /// None.
    AlwaysOff(Nothing),
    /// A share of all traces.
    TraceIdRatioBased(Ratio),
    /// As whoever calls has it; where nobody does, as `root` has it.
    ParentBased(ParentBased),
}

/// A map without keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}

/// `trace_id_ratio_based` of a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ratio {
    /// From 0 to 1.
    pub ratio: f64,
}

impl Default for Ratio {
    fn default() -> Self {
        Ratio { ratio: 1.0 }
    }
}

/// `parent_based` of a sampler.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ParentBased {
    /// For requests whose sender is in no trace.
    pub root: RootSampler,
}

/// `parent_based.root` of a sampler.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RootSampler {
    /// All.
    AlwaysOn(Nothing),
    /// None.
    AlwaysOff(Nothing),
    /// A share of all traces.
    TraceIdRatioBased(Ratio),
}

impl Default for RootSampler {
    fn default() -> Self {
        RootSampler::AlwaysOn(Nothing {})
    }
}

/// An element of `processors` of logs or traces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TelemetryProcessor {
    /// `batch`.
    Batch(BatchProcessor),
}

/// `batch` of `processors` of logs or traces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BatchProcessor {
    /// The longest that anything waits.
    #[serde(with = "milliseconds")]
    #[schemars(with = "u64")]
    pub schedule_delay: Duration,
    /// How long it may take to send a batch, with retries.
    #[serde(with = "milliseconds")]
    #[schemars(with = "u64")]
    pub export_timeout: Duration,
    /// What does not fit is lost.
    pub max_queue_size: usize,
    /// The largest batch.
    pub max_export_batch_size: usize,
    /// Where to.
    pub exporter: OtlpExporter,
}

impl Default for BatchProcessor {
    fn default() -> Self {
        BatchProcessor {
            schedule_delay: Duration::from_secs(5),
            export_timeout: Duration::from_secs(30),
            max_queue_size: 2048,
            max_export_batch_size: 512,
            exporter: OtlpExporter::default(),
        }
    }
}

/// `exporter` of a reader or a processor: `{otlp: {…}}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpExporter {
    /// The one that there is.
    pub otlp: OtlpTarget,
}

/// `exporter.otlp`: where to, and how.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpTarget {
    /// `grpc` or `http/protobuf`.
    pub protocol: OtlpProtocol,
    /// A URL, which over HTTP is used as it is and without a path gets the signal's; over gRPC also `host:port`.
    pub endpoint: String,
    /// For gRPC to an endpoint without a scheme: no TLS.
    pub insecure: bool,
    /// Trusted instead of the system's roots.
    pub certificate: Option<PathBuf>,
    /// The client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// How a request is compressed.
    pub compression: Compression,
    /// How long one attempt may take.
    #[serde(with = "milliseconds")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// Sent with each request.
    pub headers: Vec<Header>,
    /// The same as text: `name=value,…`. `headers` goes before it.
    pub headers_list: Option<Secret>,
    /// For metrics.
    pub temporality_preference: Temporality,
}

impl Default for OtlpTarget {
    fn default() -> Self {
        OtlpTarget {
            protocol: OtlpProtocol::HttpProtobuf,
            endpoint: String::new(),
            insecure: false,
            certificate: None,
            client_certificate: None,
            client_key: None,
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            headers_list: None,
            temporality_preference: Temporality::Cumulative,
        }
    }
}

impl OtlpTarget {
    /// The exporter that does it, for one signal.
    pub fn exporter(&self, signal: Signal) -> Exporter {
        let tls = ClientTls {
            insecure: self.insecure,
            ca_file: self.certificate.clone(),
            cert_file: self.client_certificate.clone(),
            key_file: self.client_key.clone(),
            ..ClientTls::default()
        };
        let (headers, compression, timeout) = (self.all_headers(), self.compression, self.timeout);
        let queue = SendingQueue { enabled: false, ..SendingQueue::default() };
        let retry = Retry { initial_interval: Duration::from_secs(1), ..Retry::default() };
        match self.protocol {
            OtlpProtocol::Grpc => Exporter::OtlpGrpc(OtlpGrpcExporter {
                endpoint: self.endpoint.clone(),
                tls,
                compression,
                timeout,
                headers,
                queue,
                retry,
                ..OtlpGrpcExporter::default()
            }),
            OtlpProtocol::HttpProtobuf => {
                let (mut exporter, whole) = (OtlpHttpExporter::default(), Some(self.url(signal)));
                match signal {
                    Signal::Traces => exporter.traces_endpoint = whole,
                    Signal::Logs => exporter.logs_endpoint = whole,
                    Signal::Metrics => exporter.metrics_endpoint = whole,
                }
                Exporter::OtlpHttp(OtlpHttpExporter {
                    tls,
                    compression,
                    timeout,
                    headers,
                    queue,
                    retry,
                    ..exporter
                })
            }
        }
    }

    /// The endpoint, with the path of the signal where it has none.
    fn url(&self, signal: Signal) -> String {
        let endpoint = self.endpoint.trim();
        let path = endpoint.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        match path {
            None | Some((_, "")) => format!("{}{}", endpoint.trim_end_matches('/'), signal.http_path()),
            Some(_) => endpoint.to_owned(),
        }
    }

    fn all_headers(&self) -> BTreeMap<String, Secret> {
        let list = self.headers_list.as_ref().map_or("", Secret::reveal);
        let listed = list.split(',').filter_map(|pair| pair.split_once('='));
        let listed =
            listed.map(|(name, value)| (name.trim().to_owned(), Secret::new(value.trim().to_owned())));
        let headers = self.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
        let untraced = (TRACEPARENT.to_owned(), Secret::new(UNTRACED.to_owned()));
        [untraced].into_iter().chain(listed).chain(headers).collect()
    }
}

const TRACEPARENT: &str = "traceparent";

/// A trace that is not recorded. Who receives what collectors tell of themselves, and may be one of them, makes no spans of
/// that, which would be told again.
const UNTRACED: &str = "00-75616e6f626f647972656c6c73746869-6e6f626f64792121-00";

/// `exporter.otlp.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// OTLP/gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP/HTTP with protobuf.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// `exporter.otlp.temporality_preference`. What is counted since the start can be sent again and again, and lost, without
/// a wrong number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// Since the start.
    Cumulative,
}

/// An element of `exporter.otlp.headers`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    None,
    /// Here as much as at the other levels.
    Basic,
    /// Here as much as at the other levels.
    Normal,
    /// Here as much as at the other levels.
    Detailed,
}

/// `service.telemetry.resource`: attributes by name; null takes one away that the collector sets by itself. Also the
/// form of the configuration schema, `attributes: [{name, value}]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Resource {
    /// As written.
    pub attributes: BTreeMap<String, Option<String>>,
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ResourceVisitor)
    }
}

impl JsonSchema for Resource {
    fn schema_name() -> Cow<'static, str> {
        "Resource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {"attributes": generator.subschema_for::<Vec<Attribute>>()},
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        })
    }
}

/// An element of `resource.attributes`.
#[derive(Deserialize, JsonSchema)]
struct Attribute {
    name: String,
    value: String,
}

struct ResourceVisitor;

impl<'de> Visitor<'de> for ResourceVisitor {
    type Value = Resource;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Resource, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "attributes" {
                let listed = map.next_value::<Vec<Attribute>>()?;
                attributes.extend(listed.into_iter().map(|each| (each.name, Some(each.value))));
            } else if name.is_empty() {
                return Err(de::Error::custom("an attribute needs a name"));
            } else {
                attributes.insert(name, map.next_value()?);
            }
        }
        Ok(Resource { attributes })
    }
}

/// The shape of [`Metrics`] in the file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct MetricsKeys {
    level: Level,
    readers: Vec<MetricReader>,
}

impl Default for MetricsKeys {
    fn default() -> Self {
        Metrics::default().into()
    }
}

impl From<MetricsKeys> for Metrics {
    fn from(keys: MetricsKeys) -> Self {
        Metrics { enabled: keys.level != Level::None, readers: keys.readers }
    }
}

impl From<Metrics> for MetricsKeys {
    fn from(metrics: Metrics) -> Self {
        let level = if metrics.enabled { Level::Normal } else { Level::None };
        MetricsKeys { level, readers: metrics.readers }
    }
}

/// The shape of [`MetricReader`] in the file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ReaderKeys {
    Pull(Pull),
    Periodic(PeriodicReader),
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Pull {
    exporter: PullExporter,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct PullExporter {
    prometheus: PrometheusReader,
}

impl From<ReaderKeys> for MetricReader {
    fn from(keys: ReaderKeys) -> Self {
        match keys {
            ReaderKeys::Pull(pull) => MetricReader::Pull(pull.exporter.prometheus),
            ReaderKeys::Periodic(reader) => MetricReader::Periodic(reader),
        }
    }
}

impl From<MetricReader> for ReaderKeys {
    fn from(reader: MetricReader) -> Self {
        match reader {
            MetricReader::Pull(prometheus) => {
                ReaderKeys::Pull(Pull { exporter: PullExporter { prometheus } })
            }
            MetricReader::Periodic(reader) => ReaderKeys::Periodic(reader),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str) -> OtlpTarget {
        OtlpTarget { endpoint: endpoint.to_owned(), ..OtlpTarget::default() }
    }

    #[test]
    fn an_endpoint_over_http_is_used_as_it_is_and_gets_a_path_only_where_it_has_none() {
        for (endpoint, url) in [
            ("http://backend:4318", "http://backend:4318/v1/metrics"),
            ("http://backend:4318/", "http://backend:4318/v1/metrics"),
            ("https://backend/api/v1/otlp/v1/metrics", "https://backend/api/v1/otlp/v1/metrics"),
            ("https://backend/in?tenant=a", "https://backend/in?tenant=a"),
        ] {
            assert_eq!(target(endpoint).url(Signal::Metrics), url);
        }
    }

    #[test]
    fn listed_headers_give_way_to_those_with_a_name() {
        let target = OtlpTarget {
            headers: vec![Header { name: "a".to_owned(), value: Secret::new("1".to_owned()) }],
            headers_list: Some(Secret::new("a=2, b=3=4 ,c".to_owned())),
            ..target("http://backend")
        };
        let headers = target.all_headers();
        assert!(headers[TRACEPARENT].reveal().ends_with("-00"));
        let headers: Vec<_> = headers
            .iter()
            .filter(|(name, _)| *name != TRACEPARENT)
            .map(|(name, value)| (name.as_str(), value.reveal()))
            .collect();
        assert_eq!(headers, [("a", "1"), ("b", "3=4")]);
    }
}
