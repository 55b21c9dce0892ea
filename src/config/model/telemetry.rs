//! `service.telemetry`: what the collector tells of itself, and where. The keys are those of the OpenTelemetry
//! configuration schema, version 0.3, as the OpenTelemetry Collector reads it.

mod logs;
mod metrics;
mod otlp;
mod resource;
mod traces;

pub use logs::{LogEncoding, Logs, Sampling};
pub use metrics::{MetricReader, Metrics, PeriodicReader, PrometheusReader};
pub use otlp::{OtlpProtocol, OtlpTarget};
pub use resource::Resource;
pub use traces::{ParentBased, Ratio, RootSampler, Sampler, Traces};

use crate::config::units::milliseconds;
use otlp::OtlpExporter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
