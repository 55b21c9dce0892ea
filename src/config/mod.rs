//! Configuration as the OpenTelemetry Collector writes it: plain data that every other module may read.

pub mod model;
pub mod units;

pub use model::{ComponentId, Config};
