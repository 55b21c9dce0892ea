//! What a configuration says, typed and with its defaults filled in.
//!
//! Names and defaults are the OpenTelemetry Collector's, except where ours are safer: messages up to 64 MiB, timeouts
//! on, listeners on localhost. The types read and write the shape of the file; where a key of the file is named or
//! nested in another way than the field, its serde attribute says so.

mod exporter;
mod ext_proc;
mod extension;
mod processor;
mod receiver;
mod security;
mod service;
mod telemetry;

pub use exporter::{
    ClientKeepalive, Compression, DebugExporter, Exporter, HttpEncoding, OtlpGrpcExporter, OtlpHttpExporter,
    QueueBatch, Retry, SendingQueue, Sizer, Verbosity,
};
pub use ext_proc::{ExtProcReceiver, Unmatched};
pub use extension::{BearerTokenAuth, Extension, FileStorage, HealthCheck, RefusalApi};
pub use processor::{Batch, LabelLimits, MemoryLimiter, Processor, RefusalProcessor};
pub use receiver::{GrpcServer, HttpServer, OtlpReceiver, Receiver, Transport};
pub use security::{Authentication, ClientTls, Secret, ServerTls, TlsVersion};
pub use service::{Admission, Pipeline, Service};
pub use telemetry::{
    BatchProcessor, Level, LogEncoding, Logs, MetricReader, Metrics, OtlpProtocol, OtlpTarget, ParentBased,
    PeriodicReader, PrometheusReader, Ratio, Resource, RootSampler, Sampler, Sampling, Telemetry,
    TelemetryProcessor, Traces,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A whole configuration. Every id that a pipeline or another component names is defined: loading has checked it.
#[derive(Clone, Debug, Default, Serialize)]
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

/// `type` or `type/name`, as components are called everywhere in the configuration and in metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ComponentId {
    /// The component's type as the user wrote it (an alias stays an alias).
    pub kind: String,
    /// The part behind the slash.
    pub name: Option<String>,
}

/// Why a text is no component id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no component id: write \"type\" or \"type/name\", the type in letters, digits and underscores"
)]
pub struct ComponentIdError(String);

impl ComponentId {
    /// The id of the only or main component of a type.
    pub fn new(kind: &str) -> Self {
        ComponentId { kind: kind.to_owned(), name: None }
    }
}

impl FromStr for ComponentId {
    type Err = ComponentIdError;

    fn from_str(text: &str) -> Result<Self, ComponentIdError> {
        let (kind, name) = match text.split_once('/') {
            None => (text, None),
            Some((kind, name)) => (kind, Some(name)),
        };
        let kind_is_valid = kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let name_is_valid = name.is_none_or(|name| {
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        });
        if !kind_is_valid || !name_is_valid {
            return Err(ComponentIdError(text.to_owned()));
        }
        Ok(ComponentId { kind: kind.to_owned(), name: name.map(str::to_owned) })
    }
}

impl TryFrom<String> for ComponentId {
    type Error = ComponentIdError;

    fn try_from(text: String) -> Result<Self, ComponentIdError> {
        text.parse()
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

impl Serialize for ComponentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ComponentId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ComponentId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_]*(/.+)?$"})
    }
}

/// For an optional part whose key alone switches it on: `grpc:` means gRPC with its defaults.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_ids_are_a_type_and_a_name() {
        let id: ComponentId = "otlp_grpc/eu-1.backup".parse().unwrap();
        assert_eq!((id.kind.as_str(), id.name.as_deref()), ("otlp_grpc", Some("eu-1.backup")));
        assert_eq!(id.to_string(), "otlp_grpc/eu-1.backup");
        for wrong in ["", "/x", "otlp/", "1otlp", "ot-lp", "otlp/a b"] {
            assert_eq!(wrong.parse::<ComponentId>(), Err(ComponentIdError(wrong.to_owned())));
        }
    }
}
