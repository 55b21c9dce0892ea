//! The collector's log and its spans: written where `service.telemetry.logs` says, and sent by OTLP where its processors
//! and those of `service.telemetry.traces` say.
//!
//! Nothing goes round: requests that carry the collector's own telemetry are marked as untraced, and what is said of
//! sending it is written, but not sent.

use super::resource;
use super::sdk::Exporter;
use crate::config::model::{
    BatchProcessor, ParentBased, RootSampler, Sampler as Configured, Telemetry, TelemetryProcessor,
};
use crate::exporter::StartError;
use crate::otlp::Signal;
use crate::telemetry::logs::{self, LogsError};
use crate::telemetry::otlp::SCOPE;
use crate::telemetry::spans;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self as sdk_logs, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::trace::{self as sdk_trace, BatchSpanProcessor, Sampler, SdkTracerProvider};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// How long it may take to send what is left at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the collector cannot speak.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// The log cannot be set up.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// Telemetry cannot be sent where it should go.
    #[error("service.telemetry.{signal}: {endpoint}: {source}")]
    Exporter {
        /// Which.
        signal: Signal,
        /// Where to.
        endpoint: String,
        /// Why.
        source: Box<StartError>,
    },
    /// Somebody else in the process has set up a log.
    #[error(transparent)]
    Taken(#[from] TryInitError),
}

/// What has to be sent before the process ends.
#[derive(Debug)]
pub struct Voice {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Voice {
    /// From here on `tracing` events and spans go where `telemetry` says; what is sent is sent on `runtime`.
    pub fn install(telemetry: &Telemetry, runtime: &Handle) -> Result<Self, VoiceError> {
        let traces = tracer_provider(telemetry, runtime)?;
        let logs = logger_provider(telemetry, runtime)?;
        let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = logs::layers(&telemetry.logs)?;
        if let Some(provider) = &logs {
            let level = logs::filter(&telemetry.logs.level)?;
            let layer = OpenTelemetryTracingBridge::new(provider);
            layers.push(layer.with_filter(level.and(filter_fn(is_sent))).boxed());
        }
        if let Some(provider) = &traces {
            let tracer = provider.tracer_with_scope(scope());
            let layer = tracing_opentelemetry::layer().with_tracer(tracer);
            let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
            let is_ours = |metadata: &Metadata<'_>| metadata.target() == spans::TARGET;
            layers.push(layer.with_target(false).with_filter(filter_fn(is_ours)).boxed());
        }
        tracing_subscriber::registry().with(layers).try_init()?;
        Ok(Voice { traces, logs })
    }

    /// Sends what has not been sent yet. It blocks, for seconds at most, and the runtime must be alive.
    pub fn shutdown(self) {
        let end = Instant::now() + LAST_WORDS;
        if let Some(traces) = self.traces {
            let _ = traces.shutdown_with_timeout(LAST_WORDS);
        }
        if let Some(logs) = self.logs {
            let _ = logs.shutdown_with_timeout(end.saturating_duration_since(Instant::now()));
        }
    }
}

/// Of log events, those of libraries are not sent: some of them speak of the sending.
fn is_sent(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours = target == "refusal_collector" || target.starts_with("refusal_collector::");
    !metadata.is_span() && is_ours && !target.starts_with("refusal_collector::report")
}

fn tracer_provider(telemetry: &Telemetry, runtime: &Handle) -> Result<Option<SdkTracerProvider>, VoiceError> {
    if !telemetry.traces.are_made() {
        return Ok(None);
    }
    let provider = SdkTracerProvider::builder();
    let mut provider =
        provider.with_resource(resource_of(telemetry)).with_sampler(sampler(&telemetry.traces.sampler));
    for TelemetryProcessor::Batch(batch) in &telemetry.traces.processors {
        let config = sdk_trace::BatchConfigBuilder::default()
            .with_max_queue_size(batch.max_queue_size)
            .with_max_export_batch_size(batch.max_export_batch_size)
            .with_scheduled_delay(batch.schedule_delay)
            .build();
        let exporter = exporter(batch, Signal::Traces, runtime)?;
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        provider = provider.with_span_processor(processor);
    }
    Ok(Some(provider.build()))
}

fn logger_provider(telemetry: &Telemetry, runtime: &Handle) -> Result<Option<SdkLoggerProvider>, VoiceError> {
    if telemetry.logs.processors.is_empty() {
        return Ok(None);
    }
    let mut provider = SdkLoggerProvider::builder().with_resource(resource_of(telemetry));
    for TelemetryProcessor::Batch(batch) in &telemetry.logs.processors {
        let config = sdk_logs::BatchConfigBuilder::default()
            .with_max_queue_size(batch.max_queue_size)
            .with_max_export_batch_size(batch.max_export_batch_size)
            .with_scheduled_delay(batch.schedule_delay)
            .build();
        let exporter = exporter(batch, Signal::Logs, runtime)?;
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
        provider = provider.with_log_processor(processor);
    }
    Ok(Some(provider.build()))
}

fn exporter(batch: &BatchProcessor, signal: Signal, runtime: &Handle) -> Result<Exporter, VoiceError> {
    Exporter::new(batch, signal, runtime).map_err(|source| VoiceError::Exporter {
        signal,
        endpoint: batch.exporter.otlp.endpoint.clone(),
        source: Box::new(source),
    })
}

fn sampler(configured: &Configured) -> Sampler {
    match configured {
        Configured::AlwaysOn(_) => Sampler::AlwaysOn,
        Configured::AlwaysOff(_) => Sampler::AlwaysOff,
        Configured::TraceIdRatioBased(ratio) => Sampler::TraceIdRatioBased(ratio.ratio),
        Configured::ParentBased(ParentBased { root }) => Sampler::ParentBased(Box::new(match root {
            RootSampler::AlwaysOn(_) => Sampler::AlwaysOn,
            RootSampler::AlwaysOff(_) => Sampler::AlwaysOff,
            RootSampler::TraceIdRatioBased(ratio) => Sampler::TraceIdRatioBased(ratio.ratio),
        })),
    }
}

fn resource_of(telemetry: &Telemetry) -> Resource {
    let attributes = resource::attributes(&telemetry.resource);
    let attributes = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
    Resource::builder_empty().with_attributes(attributes).build()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}
