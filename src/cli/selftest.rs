//! `selftest`: does a running collector do its job? A stop reason that nobody knows goes in by OTLP; its counter and its
//! entry in the ledger of unknowns are read back.

use super::Exit;
use crate::exporter::connect::{self, Client};
use crate::processor::workload::SELFTEST;
use clap::Args;
use http::Uri;
use http::uri::InvalidUri;
use http_body_util::{BodyExt, Limited};
use opentelemetry::trace::{SpanKind, Tracer, TracerProvider};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::{Duration, Instant};

/// Check a running collector: send it a stop reason that nobody knows, and see it counted.
///
/// One span of the reserved workload refusal-collector-selftest is sent by OTLP/gRPC; then its counter is read from
/// /metrics and, with --api, its entry from the ledger of unknowns. No alerting rule reads that workload, and the collector exports
/// nothing of it. Where the addresses belong to several replicas, it tries until one of them is met with the span and the
/// reading. Headers, for a receiver that asks for a token, are taken from OTEL_EXPORTER_OTLP_HEADERS.
#[derive(Args, Debug)]
pub struct Selftest {
    /// Where OTLP/gRPC is received.
    #[arg(long, default_value = "http://localhost:4317", value_name = "URL")]
    otlp: String,
    /// Where counters are read.
    #[arg(long, default_value = "http://localhost:8888/metrics", value_name = "URL")]
    metrics: Uri,
    /// Where the extension refusal_api listens, such as http://localhost:55679. Without it the ledger is not read.
    #[arg(long, value_name = "URL", value_parser = ledger_of)]
    api: Option<Uri>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    timeout: u64,
}

pub fn execute(selftest: &Selftest) -> Exit {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Error::Runtime)
        .and_then(|runtime| runtime.block_on(check(selftest)));
    match outcome {
        Ok(()) => Exit::Clean,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failure
        }
    }
}

/// Why the collector is not known to work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the runtime cannot be started: {0}")]
    Runtime(std::io::Error),
    #[error("the OTLP exporter cannot be built: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("the span was not taken at {otlp}: {reason}")]
    NotSent { otlp: String, reason: String },
    #[error("{uri} cannot be read: {reason}")]
    Unreadable { uri: Uri, reason: String },
    #[error("{uri} answers {status}")]
    Status { uri: Uri, status: http::StatusCode },
    #[error(
        "the span was taken, but llm_stop_reason_unknown_total of the workload {SELFTEST} did not grow at {0}; \
         is there a traces pipeline with the processor refusal, and are both addresses of one collector?"
    )]
    NotCounted(Uri),
    #[error("the span was counted, but the ledger at {0} does not name it")]
    NotInLedger(Uri),
}

/// The stop reason that is sent. No vendor will ever say it.
const STOP_REASON: &str = "refusal_collector_selftest";

/// Longer than one answer should take.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than a page of counters has: bounded, as everything that is read.
const PAGE_LIMIT: usize = 64 << 20;

async fn check(selftest: &Selftest) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(selftest.timeout);
    loop {
        let attempt = attempt(selftest).await;
        match attempt {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => println!("not yet: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Each attempt makes connections of its own, so that one behind a balancer meets other replicas than the last.
async fn attempt(selftest: &Selftest) -> Result<(), Error> {
    let pages = Pages::new();
    let before = counted(&pages.read(&selftest.metrics).await?);
    send(&selftest.otlp).await?;
    println!("sent: stop reason {STOP_REASON:?} of the workload {SELFTEST}, to {}", selftest.otlp);
    let after = counted(&pages.read(&selftest.metrics).await?);
    if after <= before {
        return Err(Error::NotCounted(selftest.metrics.clone()));
    }
    println!("counted: llm_stop_reason_unknown_total went from {before} to {after}");
    let Some(uri) = &selftest.api else {
        println!("not looked at: the ledger of unknowns, as there is no --api");
        return Ok(());
    };
    let ledger = pages.read(uri).await?;
    if !(ledger.contains(STOP_REASON) && ledger.contains(SELFTEST)) {
        return Err(Error::NotInLedger(uri.clone()));
    }
    println!("listed: in the ledger of unknowns");
    Ok(())
}

/// The page of the ledger, from the address of the extension.
fn ledger_of(api: &str) -> Result<Uri, InvalidUri> {
    format!("{}/api/v1/unknown", api.trim_end_matches('/')).parse()
}

/// Sends one span as an application would, and waits until it is taken.
async fn send(otlp: &str) -> Result<(), Error> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(otlp).with_timeout(PATIENCE).build()?;
    let resource = Resource::builder_empty().with_service_name(SELFTEST).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer(SELFTEST);
    let reasons = Value::Array(Array::String(vec![STOP_REASON.into()]));
    let attributes = [
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.provider.name", SELFTEST),
        KeyValue::new("gen_ai.request.model", SELFTEST),
        KeyValue::new("gen_ai.response.finish_reasons", reasons),
    ];
    drop(tracer.span_builder("chat").with_kind(SpanKind::Client).with_attributes(attributes).start(&tracer));
    // The SDK's flush blocks until its worker has an answer.
    let flushed = tokio::task::spawn_blocking(move || {
        let flushed = provider.force_flush();
        let _ = provider.shutdown_with_timeout(PATIENCE);
        flushed
    });
    let reason = match flushed.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Error::NotSent { otlp: otlp.to_owned(), reason })
}

/// What the counter of unknown stop reasons says of the selftest, on a page in Prometheus' text form.
fn counted(page: &str) -> f64 {
    let series = page.lines().filter(|line| {
        line.starts_with("llm_stop_reason_unknown_total{")
            && line.contains(SELFTEST)
            && line.contains(STOP_REASON)
    });
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).fold(0.0, |sum, count| sum + count)
}

/// A client for the collector's own pages.
struct Pages(Client);

impl Pages {
    fn new() -> Self {
        Pages(connect::plain_client())
    }

    async fn read(&self, uri: &Uri) -> Result<String, Error> {
        let unreadable = |reason: String| Error::Unreadable { uri: uri.clone(), reason };
        let read = async {
            let response = self.0.get(uri.clone()).await.map_err(|error| unreadable(chain(&error)))?;
            if !response.status().is_success() {
                return Err(Error::Status { uri: uri.clone(), status: response.status() });
            }
            let body = Limited::new(response.into_body(), PAGE_LIMIT).collect().await;
            let body = body.map_err(|error| unreadable(error.to_string()))?.to_bytes();
            Ok(String::from_utf8_lossy(&body).into_owned())
        };
        let answered = tokio::time::timeout(PATIENCE, read).await;
        answered.unwrap_or_else(|_| Err(unreadable(format!("no answer in {PATIENCE:?}"))))
    }
}

/// An error with what caused it: hyper's own words alone say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_counter_of_the_selftest_is_read() {
        let page = format!(
            "# TYPE llm_stop_reason_unknown_total counter\n\
             llm_stop_reason_unknown_total{{llm_workload=\"checkout\",llm_stop_reason_value=\"{STOP_REASON}\"}} 7\n\
             llm_stop_reason_unknown_total{{llm_workload=\"{SELFTEST}\",llm_stop_reason_value=\"{STOP_REASON}\"}} 2\n"
        );
        assert_eq!(counted(&page), 2.0);
        assert_eq!(counted(""), 0.0);
    }
}
