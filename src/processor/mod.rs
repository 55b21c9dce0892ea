//! Processors: what happens to a request between its receiver and the queues.

mod precedents;
pub mod refusal;
pub mod workload;
