//! `processors`.

use crate::config::units::{duration, mebibytes};
use crate::refusal::event::Selection;
use crate::refusal::{policy, vocabulary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The processors that exist.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Processor {
    /// `refusal`.
    Refusal(RefusalProcessor),
    /// `memory_limiter`.
    MemoryLimiter(MemoryLimiter),
    /// `batch`.
    Batch(Batch),
}

/// `processors.refusal`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RefusalProcessor {
    /// The resource attributes that make up `llm.workload`, joined with `/`.
    pub workload: Vec<String>,
    /// Whether items that another collector has judged are counted here.
    pub count_judged: bool,
    /// The caps on free labels (`limits`).
    pub limits: LabelLimits,
    /// Words of vendors beyond the embedded ones. Its files have been read.
    pub vocabulary: vocabulary::Extension,
    /// What callers should do about refusals: the first rule that matches says.
    pub policy: Vec<policy::Rule>,
    /// Which responses become log records in the logs pipelines.
    pub events: Vec<Selection>,
}

impl Default for RefusalProcessor {
    fn default() -> Self {
        RefusalProcessor {
            workload: vec!["service.name".to_owned()],
            count_judged: false,
            limits: LabelLimits::default(),
            vocabulary: vocabulary::Extension::default(),
            policy: Vec::new(),
            events: vec![Selection::Unknown, Selection::CategoryUnknown],
        }
    }
}

/// `processors.refusal.limits`: how many different values a free label may take before more become `_other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
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
    /// How many unknown values the ledger lists.
    pub unknown_values: usize,
    /// How many events may wait for room in the sending queue of each exporter of a logs pipeline.
    pub waiting_events: usize,
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
            unknown_values: 1000,
            waiting_events: 4096,
        }
    }
}

/// `processors.memory_limiter`: bounds the bytes of requests in memory. The bound holds at every request and there is
/// no garbage collector to wait for, so the Collector's polling and soft limit are read, checked and not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemoryLimiter {
    /// `limit_mib`, in bytes.
    #[serde(rename = "limit_mib", with = "mebibytes::option")]
    #[schemars(with = "usize")]
    pub limit: Option<usize>,
    /// `limit_percentage` of the cgroup's limit.
    pub limit_percentage: Option<u32>,
    /// `spike_limit_mib`, in bytes; without effect.
    #[serde(rename = "spike_limit_mib", with = "mebibytes::option")]
    #[schemars(with = "usize")]
    pub spike_limit: Option<usize>,
    /// Without effect.
    pub spike_limit_percentage: Option<u32>,
    /// Without effect.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub check_interval: Duration,
}

impl Default for MemoryLimiter {
    fn default() -> Self {
        MemoryLimiter {
            limit: None,
            limit_percentage: None,
            spike_limit: None,
            spike_limit_percentage: None,
            check_interval: Duration::from_secs(1),
        }
    }
}

/// `processors.batch`: merges requests before the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Batch {
    /// Items after which a batch is sent at once.
    pub send_batch_size: usize,
    /// The most items in one request; 0 means no bound.
    pub send_batch_max_size: usize,
    /// How long a batch may wait.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub timeout: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { send_batch_size: 8192, send_batch_max_size: 0, timeout: Duration::from_millis(200) }
    }
}
