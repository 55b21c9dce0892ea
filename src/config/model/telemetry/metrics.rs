//! `service.telemetry.metrics`: who gets the collector's metrics.

use super::Level;
use super::otlp::OtlpExporter;
use crate::config::units::milliseconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
