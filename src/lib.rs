//! An OpenTelemetry collector that makes model refusals a first-class, alertable outcome.
//!
//! OTLP comes in, every LLM response in it is judged (how did it end?), the verdict is appended to the span or
//! log record as `llm.stop_reason.*` and `llm.refusal.*`, counted, and everything goes out by OTLP. A request
//! stays the bytes that arrived: nothing between receiver and exporter decodes it into structs.
//!
//! One request can be followed through these modules, in this order:
//! [`receiver::grpc`] → [`pipeline`] → [`processor::refusal`] → [`otlp`] → [`refusal::judge`] → [`otlp::splice`]
//! → [`exporter`].
//!
//! Dependencies point down only: `cli → pipeline → receiver/processor/report → exporter/admin → tap → telemetry →
//! refusal → otlp`; [`config`] and [`payload`] are plain data, [`net`] is sockets; all may use them.

pub mod admin;
pub mod cli;
pub mod config;
pub mod exporter;
pub mod net;
pub mod otlp;
pub mod payload;
pub mod pipeline;
pub mod processor;
pub mod proto;
pub mod receiver;
pub mod refusal;
pub mod report;
pub mod tap;
pub mod telemetry;
