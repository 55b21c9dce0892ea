//! Spans and log records on their way from the OpenTelemetry SDK, which batches them, to the backend, by the exporters'
//! own code.

use crate::config::model::BatchProcessor;
use crate::exporter::{Direct, StartError, TOLD_AGAIN_AFTER};
use crate::otlp::Signal;
use crate::telemetry::logs::Gate;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Sends what the SDK hands over, on the collector's runtime: the SDK has threads of its own, without one.
#[derive(Debug)]
pub struct Exporter {
    direct: Direct,
    runtime: Handle,
    timeout: Duration,
    resource: ResourceAttributesWithSchema,
    what: &'static str,
    failures: Gate,
}

impl Exporter {
    /// An exporter of one signal, for a batch processor.
    pub fn new(processor: &BatchProcessor, signal: Signal, runtime: &Handle) -> Result<Self, StartError> {
        Ok(Exporter {
            direct: Direct::new(&processor.exporter.otlp, signal)?,
            runtime: runtime.clone(),
            timeout: processor.export_timeout,
            resource: ResourceAttributesWithSchema::default(),
            what: signal.name(),
            failures: Gate::new(TOLD_AGAIN_AFTER),
        })
    }

    /// A failure is told here, and not to the SDK, which would tell it once more, for each batch.
    async fn send(&self, request: impl Message, items: usize) -> OTelSdkResult {
        let (direct, message, timeout) = (self.direct.clone(), request.encode_to_vec().into(), self.timeout);
        let sending =
            self.runtime.spawn(async move { direct.send(message, items, Instant::now() + timeout).await });
        if let Ok(Err(error)) = sending.await
            && let Some(lost) = self.failures.pass(items)
        {
            tracing::warn!(%error, lost, "the collector's own {} could not be sent", self.what);
        }
        Ok(())
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        self.send(ExportTraceServiceRequest { resource_spans }, items).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl LogExporter for Exporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        let resource_logs = group_logs_by_resource_and_scope(&batch, &self.resource);
        self.send(ExportLogsServiceRequest { resource_logs }, items).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}
