//! Exporters to test, requests for them, and the account that has to balance in the end.

#![allow(dead_code)] // Each test takes what it needs.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use refusal_collector::config::model::{
    ClientTls, ComponentId, Compression, Config, Exporter as ExporterConfig, OtlpGrpcExporter,
    OtlpHttpExporter, Pipeline, Retry, SendingQueue,
};
use refusal_collector::exporter::{Exporter, StartError};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Budget, Message, Payload, Refused};
use refusal_collector::telemetry::own::{Amount, ExporterSnapshot, Own};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The two that speak to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Grpc,
    Http,
}

pub const BOTH: [Kind; 2] = [Kind::Grpc, Kind::Http];

/// What a test sets; the rest is as fast as it can be.
#[derive(Clone, Debug)]
pub struct Setup {
    pub compression: Compression,
    pub timeout: Duration,
    pub queue: SendingQueue,
    pub retry: Retry,
    pub tls: ClientTls,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            compression: Compression::None,
            timeout: Duration::from_secs(5),
            queue: SendingQueue::default(),
            retry: Retry {
                initial_interval: Duration::from_millis(10),
                max_interval: Duration::from_millis(50),
                max_elapsed_time: Duration::from_secs(30),
                ..Retry::default()
            },
            tls: ClientTls { insecure: true, ..ClientTls::default() },
        }
    }
}

/// A running exporter with its account.
pub struct Running {
    pub exporter: Exporter,
    pub own: Own,
}

impl Setup {
    pub fn start(&self, kind: Kind, address: SocketAddr) -> Running {
        self.start_at(kind, &address.to_string()).unwrap()
    }

    /// `authority` is host and port.
    pub fn start_at(&self, kind: Kind, authority: &str) -> Result<Running, StartError> {
        start(match kind {
            Kind::Grpc => ExporterConfig::OtlpGrpc(OtlpGrpcExporter {
                endpoint: authority.to_owned(),
                tls: self.tls.clone(),
                compression: self.compression,
                timeout: self.timeout,
                queue: self.queue.clone(),
                retry: self.retry,
                ..OtlpGrpcExporter::default()
            }),
            Kind::Http => ExporterConfig::OtlpHttp(OtlpHttpExporter {
                endpoint: format!("{}://{authority}", if self.tls.insecure { "http" } else { "https" }),
                tls: self.tls.clone(),
                compression: self.compression,
                timeout: self.timeout,
                queue: self.queue.clone(),
                retry: self.retry,
                ..OtlpHttpExporter::default()
            }),
        })
    }
}

/// Starts one exporter behind a pipeline for each signal.
pub fn start(exporter: ExporterConfig) -> Result<Running, StartError> {
    let id = ComponentId::new("exporter");
    let mut config = Config::default();
    config.exporters.insert(id.clone(), exporter);
    for signal in Signal::ALL {
        let pipeline =
            Pipeline { signal, receivers: vec![], processors: vec![], exporters: vec![id.clone()] };
        config.service.pipelines.insert(ComponentId::new(signal.name()), pipeline);
    }
    let own = Own::new();
    Ok(Running { exporter: Exporter::start(&id, &config, &own)?, own })
}

impl Running {
    pub async fn send(&self, payload: Payload) -> Result<(), Refused> {
        self.exporter.reserve(&payload).await?.commit(payload).await
    }

    /// The account of a signal, which must balance.
    pub fn account(&self, signal: Signal) -> ExporterSnapshot {
        let accounts = self.own.snapshot().exporters;
        for account in &accounts {
            assert!(account.balances(), "{account:#?}");
        }
        accounts.into_iter().find(|account| account.signal == signal).unwrap()
    }

    /// Waits until nothing is queued or in flight, and gives the account of the traces.
    pub async fn settled(&self) -> ExporterSnapshot {
        let start = tokio::time::Instant::now();
        loop {
            let accounts = self.own.snapshot().exporters;
            if accounts.iter().all(|a| (a.queued, a.in_flight) == (Amount::default(), Amount::default())) {
                return self.account(Signal::Traces);
            }
            assert!(start.elapsed() < super::backend::PATIENCE, "{accounts:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A request with so many spans, log records or data points, named by number.
pub fn payload(signal: Signal, names: impl IntoIterator<Item = u32>) -> Payload {
    let names: Vec<String> = names.into_iter().map(|n| format!("item {n}")).collect();
    let items = names.len();
    let message = match signal {
        Signal::Traces => traces(names),
        Signal::Logs => logs(names),
        Signal::Metrics => metrics(names),
    };
    Payload {
        signal,
        message: Message::Bare(message.into()),
        arrived: None,
        items,
        permit: Arc::new(Budget::new(1 << 20).try_acquire(1).unwrap()),
        caller: Default::default(),
    }
}

pub fn spans(names: impl IntoIterator<Item = u32>) -> Payload {
    payload(Signal::Traces, names)
}

/// The names of the spans in an export request.
pub fn span_names(request: &[u8]) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(request).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

fn traces(names: Vec<String>) -> Vec<u8> {
    let spans = names.into_iter().map(|name| Span { name, ..Span::default() }).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn logs(names: Vec<String>) -> Vec<u8> {
    let records = names.into_iter().map(|event_name| LogRecord { event_name, ..LogRecord::default() });
    let scope_logs = vec![ScopeLogs { log_records: records.collect(), ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn metrics(names: Vec<String>) -> Vec<u8> {
    let metrics = names.into_iter().map(|name| {
        let data_points = vec![NumberDataPoint::default()];
        Metric { name, data: Some(Data::Gauge(Gauge { data_points })), ..Metric::default() }
    });
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}
