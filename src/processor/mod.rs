//! Processors: what happens to a request between its receiver and the queues.

pub mod refusal;
pub mod workload;
