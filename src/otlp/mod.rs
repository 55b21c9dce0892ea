//! The OTLP wire form: export requests as protobuf bytes that are read, counted, spliced and merged without being
//! decoded into structs. No IO, no tokio, no knowledge of refusals.

pub mod any_value;
pub mod batch;
pub mod encode;
mod frame;
pub mod json;
mod layout;
pub mod pool;
pub mod splice;
pub mod visit;
pub mod wire;

use std::fmt;

/// The three kinds of telemetry that OTLP carries here; all three share their code by this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// `ExportTraceServiceRequest`; its items are spans.
    Traces,
    /// `ExportLogsServiceRequest`; its items are log records.
    Logs,
    /// `ExportMetricsServiceRequest`; its items are metric data points.
    Metrics,
}

impl Signal {
    /// All signals, in the order in which they are listed everywhere.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

    /// The name in configuration: `traces`, `logs`, `metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        }
    }

    /// What an item is called in the OpenTelemetry Collector's own metrics: `spans`, `log_records`, `metric_points`.
    pub fn items(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Logs => "log_records",
            Signal::Metrics => "metric_points",
        }
    }

    /// The number of the attributes field in an item's message; data points have different ones by their kind.
    pub fn attributes_field(self) -> Option<u32> {
        match self {
            Signal::Traces => Some(9),
            Signal::Logs => Some(6),
            Signal::Metrics => None,
        }
    }

    /// The gRPC service, as in `opentelemetry/proto/collector/*/v1/*_service.proto`.
    pub fn grpc_service(self) -> &'static str {
        match self {
            Signal::Traces => "opentelemetry.proto.collector.trace.v1.TraceService",
            Signal::Logs => "opentelemetry.proto.collector.logs.v1.LogsService",
            Signal::Metrics => "opentelemetry.proto.collector.metrics.v1.MetricsService",
        }
    }

    /// The path of the unary `Export` method on the wire.
    pub fn grpc_path(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The default URL path of OTLP/HTTP.
    pub fn http_path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
