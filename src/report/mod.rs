//! What the collector tells of itself, sent by OTLP: metrics, traces and logs, each where `service.telemetry` says.

pub mod metrics;
pub mod voice;

mod resource;
mod sdk;
