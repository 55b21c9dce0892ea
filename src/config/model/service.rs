//! `service`: what is started, and how it is joined.

use super::ComponentId;
use super::telemetry::Telemetry;
use crate::config::units::{duration, mebibytes};
use crate::otlp::Signal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// `service`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Service {
    /// The extensions that are started.
    pub extensions: Vec<ComponentId>,
    /// The pipelines by id (`traces`, `traces/backup`).
    #[serde(deserialize_with = "pipelines")]
    #[schemars(with = "BTreeMap<PipelineId, PipelineKeys>")]
    pub pipelines: BTreeMap<ComponentId, Pipeline>,
    /// `telemetry`.
    pub telemetry: Telemetry,
    /// Bounds the drain at shutdown (ours).
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub shutdown_timeout: Duration,
    /// How requests are admitted (ours).
    pub admission: Admission,
    /// The threads that do the work (ours); none means one for each CPU, but at most one for each 8 MiB of the memory
    /// budget.
    #[schemars(with = "usize")]
    pub workers: Option<usize>,
}

impl Default for Service {
    fn default() -> Self {
        Service {
            extensions: Vec::new(),
            pipelines: BTreeMap::new(),
            telemetry: Telemetry::default(),
            shutdown_timeout: Duration::from_secs(25),
            admission: Admission::default(),
            workers: None,
        }
    }
}

/// `service.pipelines.*`.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// Told by the type of the pipeline's id.
    #[serde(skip)]
    pub signal: Signal,
    /// Who feeds it.
    pub receivers: Vec<ComponentId>,
    /// In this order.
    pub processors: Vec<ComponentId>,
    /// All of them get every request.
    pub exporters: Vec<ComponentId>,
}

/// `service.admission` (ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admission {
    /// The bytes of requests in memory; none means three eighths of what the cgroup's limit leaves
    /// beside 16 MiB, else 384 MiB.
    #[serde(rename = "budget_mib", with = "mebibytes::option")]
    #[schemars(with = "usize")]
    pub budget: Option<usize>,
    /// How long a call waits for room in the budget.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub wait: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Admission { budget: None, wait: Duration::from_secs(5) }
    }
}

fn pipelines<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<ComponentId, Pipeline>, D::Error> {
    let pipelines = BTreeMap::<PipelineId, PipelineKeys>::deserialize(deserializer)?;
    let pipelines = pipelines.into_iter().map(|(PipelineId { id, signal }, keys)| {
        let PipelineKeys { receivers, processors, exporters } = keys;
        (id, Pipeline { signal, receivers, processors, exporters })
    });
    Ok(pipelines.collect())
}

/// An id whose type is a signal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PipelineId {
    id: ComponentId,
    signal: Signal,
}

impl<'de> Deserialize<'de> for PipelineId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = ComponentId::deserialize(deserializer)?;
        match Signal::ALL.into_iter().find(|signal| signal.name() == id.kind) {
            Some(signal) => Ok(PipelineId { id, signal }),
            None => Err(de::Error::unknown_variant(&id.kind, &["traces", "logs", "metrics"])),
        }
    }
}

impl JsonSchema for PipelineId {
    fn schema_name() -> Cow<'static, str> {
        "PipelineId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let signals = Signal::ALL.map(Signal::name).join("|");
        json_schema!({"type": "string", "pattern": format!(r"^({signals})(/.+)?$")})
    }
}

/// The shape of [`Pipeline`] in the file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct PipelineKeys {
    /// Who feeds it.
    receivers: Vec<ComponentId>,
    /// In this order.
    processors: Vec<ComponentId>,
    /// All of them get every request.
    exporters: Vec<ComponentId>,
}
