//! `refusal-collector selftest` against the collector's own process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/process.rs"]
mod process;

use backend::Backend;
use process::Collector;
use std::process::{Command, Output};

const JUDGED: &str = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}, \
    logs: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}}";
const NOT_JUDGED: &str = "{traces: {receivers: [otlp], exporters: [otlp_grpc]}}";

#[tokio::test(flavor = "multi_thread")]
async fn the_span_is_counted_and_nothing_of_it_is_exported() {
    let backend = Backend::start().await;
    let collector = Collector::start(&to(&backend), JUDGED, "");
    let api = format!("http://{}", collector.api);
    for _ in 0..2 {
        let output = selftest(&collector, &["--api", &api]);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("listed: "), "{output:?}");
    }
    let labels = ["llm_workload=\"refusal-collector-selftest\"", "llm_stop_reason_class=\"unknown\""];
    assert_eq!(collector.sum("llm_responses_total", &labels), 2);
    assert_eq!(collector.sum("otelcol_receiver_accepted_spans_total", &[]), 2);
    assert_eq!(collector.sum("otelcol_exporter_sent_spans_total", &[]), 0);
    assert_eq!(collector.sum("otelcol_exporter_queue_size", &[]), 0);
    assert!(backend.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_lists_it_for_whoever_asks() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = free.local_addr().unwrap().to_string();
    drop(free);
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:4317'}}}}}}}}
processors: {{refusal: }}
exporters: {{debug: }}
extensions: {{health_check: {{endpoint: '${{env:MY_POD_IP}}:13133'}}, refusal_api: {{endpoint: '{api}'}}}}
service:
  extensions: [health_check, refusal_api]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: 8888}}}}}}}}]}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [refusal], exporters: [debug]}}}}
"
    );
    let collector = Collector::start_sidecar(&config, &[]);
    let output = selftest(&collector, &["--api", &format!("http://{api}")]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("listed: in the ledger"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_judge_fails() {
    let backend = Backend::start().await;
    let collector = Collector::start(&to(&backend), NOT_JUDGED, "");
    let output = selftest(&collector, &["--timeout", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not grow"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_there_is_named() {
    let backend = Backend::start().await;
    let collector = Collector::start(&to(&backend), JUDGED, "");
    let output = selftest(&collector, &["--timeout", "0", "--otlp", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://127.0.0.1:1"), "{output:?}");

    let output = selftest(&collector, &["--timeout", "0", "--api", "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/api/v1/unknown"), "{output:?}");
}

fn selftest(collector: &Collector, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refusal-collector"));
    command.arg("selftest").args(arguments);
    command.args(["--metrics", &format!("http://{}/metrics", collector.metrics)]);
    if !arguments.contains(&"--otlp") {
        command.args(["--otlp", &format!("http://{}", collector.grpc)]);
    }
    command.output().unwrap()
}

fn to(backend: &Backend) -> String {
    format!("{{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}}}", backend.address)
}
