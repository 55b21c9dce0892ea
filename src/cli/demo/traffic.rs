//! Synthetic applications that talk to the collector as real ones do: through an OpenTelemetry SDK, by OTLP.

use crate::config;
use opentelemetry::trace::{Span, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why the applications cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded description of the traffic does not parse.
    #[error("the traffic description does not parse: {0}")]
    Description(#[from] config::Errors),
    /// The SDK's exporter cannot be built.
    #[error("the OTLP exporter cannot be built: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The applications of the demo.
pub struct Traffic {
    applications: Vec<Application>,
}

impl Traffic {
    /// Prepares all applications to send to `endpoint`, an URL of OTLP/gRPC.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        let description = Description::embedded()?;
        let applications = description.workloads.into_iter().map(|w| Application::new(w, endpoint));
        Ok(Traffic { applications: applications.collect::<Result<_, _>>()? })
    }

    /// Sends about `rate` calls a second, all applications together, until `stop`.
    pub async fn run(mut self, rate: u32, stop: CancellationToken) {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => break,
            }
            let which = random.below(self.applications.len() as u64) as usize;
            if let Some(application) = self.applications.get_mut(which) {
                application.call(&mut random);
            }
        }
        let providers = self.applications.into_iter().map(|a| a.provider);
        // The SDK's shutdown blocks until its worker has sent what it holds.
        let flushed = tokio::task::spawn_blocking(move || {
            for provider in providers {
                let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
            }
        });
        let _ = flushed.await;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    workloads: Vec<Workload>,
}

impl Description {
    fn embedded() -> Result<Self, config::Errors> {
        config::read_text("traffic.yaml", include_str!("traffic.yaml").to_owned())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    service: String,
    scope: String,
    span: String,
    attributes: BTreeMap<String, Attribute>,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    weight: u32,
    attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Attribute {
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

struct Application {
    workload: Workload,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Application {
    fn new(workload: Workload, endpoint: &str) -> Result<Self, Error> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let resource = Resource::builder_empty().with_service_name(workload.service.clone()).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer(workload.scope.clone());
        Ok(Application { workload, provider, tracer })
    }

    fn call(&mut self, random: &mut Random) {
        let Some(call) = pick(&self.workload.calls, random) else { return };
        let id = format!("resp_{:016x}{:08x}", random.next(), random.below(1 << 32));
        let attributes = self.workload.attributes.iter().chain(&call.attributes);
        let attributes = attributes.map(|(key, value)| KeyValue::new(key.clone(), value.with_id(&id)));
        let span = self.tracer.span_builder(self.workload.span.clone()).with_kind(SpanKind::Client);
        let mut span = span.with_attributes(attributes).start(&self.tracer);
        if let Some(error) = &call.error {
            span.add_event("exception", vec![KeyValue::new("exception.message", error.clone())]);
            span.set_status(Status::error(error.clone()));
        }
        span.end();
    }
}

impl Attribute {
    fn with_id(&self, id: &str) -> Value {
        match self {
            Attribute::Int(number) => Value::I64(*number),
            Attribute::Text(text) => Value::String(text.replace("<id>", id).into()),
            Attribute::Texts(texts) => {
                let texts = texts.iter().map(|text| StringValue::from(text.clone()));
                Value::Array(Array::String(texts.collect()))
            }
        }
    }
}

/// Something that is picked more often the more it weighs.
pub trait Weighted {
    /// How much.
    fn weight(&self) -> u32;
}

impl Weighted for Call {
    fn weight(&self) -> u32 {
        self.weight
    }
}

/// Picks one of several.
pub fn pick<'a, T: Weighted>(all: &'a [T], random: &mut Random) -> Option<&'a T> {
    let total: u32 = all.iter().map(T::weight).sum();
    let mut at = random.below(u64::from(total.max(1)));
    all.iter().find(|one| {
        let found = at < u64::from(one.weight());
        at = at.saturating_sub(u64::from(one.weight()));
        found
    })
}

/// A small generator (xorshift64*): the demo needs variety, not chance.
pub struct Random(u64);

impl Random {
    /// Begins at `seed`, which is not zero.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 24).checked_rem(bound).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_parses_and_every_ending_is_reached() {
        let description = Description::embedded().unwrap();
        let mut random = Random(1);
        for workload in &description.workloads {
            let mut reached = std::collections::HashSet::new();
            for _ in 0..10_000 {
                reached.insert(pick(&workload.calls, &mut random).unwrap() as *const Call);
            }
            assert_eq!(reached.len(), workload.calls.len(), "{}", workload.service);
        }
    }
}
