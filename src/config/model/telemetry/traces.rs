//! `service.telemetry.traces`: spans of the collector's own work.

use super::{Level, TelemetryProcessor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
