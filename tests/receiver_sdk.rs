//! The OpenTelemetry SDK as a sender: every signal over every transport, encoding and compression that it knows.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod receiver_support;

use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message;
use receiver_support::*;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::Payload;
use refusal_collector::telemetry::own::Transport;
use std::future::poll_fn;
use std::time::Duration;
use tokio::runtime::Handle;

/// One way in which the SDK sends.
#[derive(Clone, Copy, Debug)]
enum Way {
    Grpc(Option<Compression>),
    Http(Protocol, Option<Compression>),
}

const WAYS: [Way; 8] = [
    Way::Grpc(None),
    Way::Grpc(Some(Compression::Gzip)),
    Way::Grpc(Some(Compression::Zstd)),
    Way::Http(Protocol::HttpBinary, None),
    Way::Http(Protocol::HttpBinary, Some(Compression::Gzip)),
    Way::Http(Protocol::HttpBinary, Some(Compression::Zstd)),
    Way::Http(Protocol::HttpJson, None),
    Way::Http(Protocol::HttpJson, Some(Compression::Gzip)),
];

/// An exporter of any signal, configured for a way.
macro_rules! exporter {
    ($exporter:ident, $way:expr, $stage:expr, $signal:expr) => {
        match $way {
            Way::Grpc(compression) => {
                let builder =
                    $exporter::builder().with_tonic().with_endpoint(format!("http://{}", $stage.grpc()));
                match compression {
                    Some(compression) => builder.with_compression(compression).build().unwrap(),
                    None => builder.build().unwrap(),
                }
            }
            Way::Http(protocol, compression) => {
                let endpoint = format!("http://{}{}", $stage.http(), $signal.http_path());
                let builder =
                    $exporter::builder().with_http().with_endpoint(endpoint).with_protocol(protocol);
                match compression {
                    Some(compression) => builder.with_compression(compression).build().unwrap(),
                    None => builder.build().unwrap(),
                }
            }
        }
    };
}

fn only(stage: &Stage, way: Way) -> Payload {
    let mut taken = stage.fake.taken();
    assert_eq!(taken.len(), 1, "{way:?}");
    taken.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_the_sdk_arrive() {
    let stage = Setup::default().start().await;
    for way in WAYS {
        let exporter = exporter!(SpanExporter, way, stage, Signal::Traces);
        let send = move || {
            let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
            provider.tracer("test").start("chat");
            provider.shutdown().unwrap();
        };
        tokio::task::spawn_blocking(send).await.unwrap();
        let payload = only(&stage, way);
        let request = ExportTraceServiceRequest::decode(payload.message.protobuf()).unwrap();
        assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, "chat", "{way:?}");
        let is_kept = matches!(way, Way::Grpc(Some(_)) | Way::Http(Protocol::HttpBinary, Some(_)));
        assert_eq!(payload.arrived.is_some(), is_kept, "{way:?}");
    }
    assert_eq!(stage.account(Transport::Grpc, Signal::Traces).accepted.items, 3);
    assert_eq!(stage.account(Transport::Http, Signal::Traces).accepted.items, 5);
    stage.assert_budget_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_of_the_sdk_arrive() {
    let stage = Setup::default().start().await;
    for way in WAYS {
        let exporter = exporter!(LogExporter, way, stage, Signal::Logs);
        let send = move || {
            let provider = SdkLoggerProvider::builder().with_simple_exporter(exporter).build();
            let logger = provider.logger("test");
            let mut record = logger.create_log_record();
            record.set_event_name("gen_ai.choice");
            logger.emit(record);
            provider.shutdown().unwrap();
        };
        tokio::task::spawn_blocking(send).await.unwrap();
        let request = ExportLogsServiceRequest::decode(only(&stage, way).message.protobuf()).unwrap();
        assert_eq!(
            request.resource_logs[0].scope_logs[0].log_records[0].event_name, "gen_ai.choice",
            "{way:?}"
        );
    }
    stage.assert_budget_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metric_points_of_the_sdk_arrive() {
    let stage = Setup::default().start().await;
    for way in WAYS {
        let exporter = InRuntime(exporter!(MetricExporter, way, stage, Signal::Metrics), Handle::current());
        let reader = PeriodicReader::builder(exporter).with_interval(Duration::from_secs(3600)).build();
        let send = move || {
            let provider = SdkMeterProvider::builder().with_reader(reader).build();
            provider.meter("test").u64_counter("calls").build().add(1, &[]);
            provider.force_flush().unwrap();
        };
        tokio::task::spawn_blocking(send).await.unwrap();
        // The provider reports once more when it is dropped.
        eventually("the points have arrived", || stage.fake.count() > 0).await;
        let payload = stage.fake.taken().remove(0);
        let request = ExportMetricsServiceRequest::decode(payload.message.protobuf()).unwrap();
        assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics[0].name, "calls", "{way:?}");
    }
    stage.assert_budget_is_free().await;
}

/// The SDK exports metrics from a thread of its own, where its HTTP client finds no runtime.
struct InRuntime(MetricExporter, Handle);

impl PushMetricExporter for InRuntime {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut export = Box::pin(self.0.export(metrics));
        poll_fn(move |cx| {
            let _entered = self.1.enter();
            export.as_mut().poll(cx)
        })
        .await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_is_pushed_back_and_comes_back_by_itself() {
    let stage = Setup { budget: 4 << 20, wait: Duration::from_millis(20), ..Setup::default() }.start().await;
    for (way, transport) in
        [(Way::Grpc(None), Transport::Grpc), (Way::Http(Protocol::HttpBinary, None), Transport::Http)]
    {
        let exporter = exporter!(SpanExporter, way, stage, Signal::Traces);
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
        let all = stage.budget.acquire(4 << 20).await;
        let sent = tokio::task::spawn_blocking(move || drop(provider.tracer("test").start("chat")));
        eventually("it is pushed back", || stage.account(transport, Signal::Traces).refused.requests > 0)
            .await;
        drop(all);
        sent.await.unwrap();
        only(&stage, way);
    }
}
