//! `service.telemetry.logs`: the collector's own log.

use super::TelemetryProcessor;
use crate::config::model::present;
use crate::config::units::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// `service.telemetry.logs`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logs {
    /// `debug`, `info`, `warn`, `error`, or a filter by targets and levels, as `info,h2=debug`.
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
