//! From an OpenTelemetry SDK through the collector's own process to a backend, with the counters scraped.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/process.rs"]
mod process;

use backend::{Answer, Backend};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1 as proto;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use process::Collector;
use prost::Message;
use std::time::Duration;
use tonic::Code;

const TRACES: &str = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}}";

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_an_sdk_reach_the_backend_with_their_verdict_and_nothing_else_changed() {
    let backend = Backend::start().await;
    let mut collector = Collector::start(&to(&backend), TRACES, "");
    for (transport, endpoint) in [("grpc", &collector.grpc), ("http", &collector.http)] {
        let sent = send(transport, endpoint, &["end_turn", "refusal", "quantum_flux_halt", ""]).await;
        let span = |name: &str| received(&backend, name);
        for (name, class) in [
            ("end_turn", "complete"),
            ("refusal", "refusal"),
            ("quantum_flux_halt", "unknown"),
            ("", "missing"),
        ] {
            let mut span = span(&format!("{sent}{name}"));
            assert_eq!(
                attribute(&span, "llm.stop_reason.class").as_deref(),
                Some(class),
                "{transport} {name}"
            );
            let value = attribute(&span, "llm.stop_reason.value");
            assert_eq!(value.as_deref(), Some(name).filter(|name| !name.is_empty()));
            span.attributes.retain(|a| !a.key.starts_with("llm."));
            assert_eq!(span.attributes.len(), if name.is_empty() { 4 } else { 5 });
        }
        let plain = span(&format!("{sent}plain"));
        assert_eq!(plain.attributes.len(), 1, "a span without an LLM call is not touched");
    }
    let count = |collector: &Collector, class: &str| {
        let class = format!("llm_stop_reason_class=\"{class}\"");
        collector.sum("llm_responses_total", &["llm_workload=\"checkout\"", &class])
    };
    assert_eq!(
        ["complete", "refusal", "unknown", "missing", "length"].map(|class| count(&collector, class)),
        [2, 2, 2, 2, 0]
    );
    let value = "llm_stop_reason_value=\"quantum_flux_halt\"";
    assert_eq!(collector.sum("llm_stop_reason_unknown_total", &[value]), 2);
    collector.wait_until("the backend's answers are counted", |collector| {
        collector.sum("otelcol_exporter_sent_spans_total", &["exporter=\"otlp_grpc\""]) == 10
    });
    for transport in ["grpc", "http"] {
        let transport = format!("transport=\"{transport}\"");
        assert_eq!(collector.sum("otelcol_receiver_accepted_spans_total", &[&transport]), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_comes_back_gets_everything_that_was_accepted_while_it_was_away() {
    let backend = Backend::start().await;
    let address = backend.address;
    let exporters = to(&backend);
    backend.stop().await;
    let mut collector = Collector::start(&exporters, TRACES, "");
    let sent = send("grpc", &collector.grpc, &["end_turn", "refusal"]).await;
    collector.wait_until("an attempt has failed", |collector| {
        collector.sum("otelcol_exporter_send_failed_spans_total", &[]) > 0
    });
    let backend = Backend::start_at(address, None).await;
    backend.wait_for_accepted(1).await;
    assert_eq!(
        attribute(&received(&backend, &format!("{sent}refusal")), "llm.stop_reason.class").as_deref(),
        Some("refusal")
    );
    collector
        .wait_until("all is sent", |collector| collector.sum("otelcol_exporter_sent_spans_total", &[]) == 3);
    assert_eq!(collector.sum("llm_responses_total", &[]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_pushes_back_and_the_request_that_comes_again_counts_once() {
    let backend = Backend::start().await;
    backend.always(Answer::Hang);
    let queue = "sending_queue: {queue_size: 1, num_consumers: 1}, timeout: 60s";
    let collector = Collector::start(&with(&backend, queue), TRACES, "");
    let accepted = request(&["end_turn"]);
    assert_eq!(post_status(&collector.grpc, &accepted).await.code(), Code::Ok);
    let pushed_back = request(&["refusal"]);
    let status = post_status(&collector.grpc, &pushed_back).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let delay = tonic_types::StatusExt::get_details_retry_info(&status).unwrap().retry_delay.unwrap();
    assert!(delay >= Duration::from_millis(1), "{delay:?}");
    assert_eq!(collector.sum("llm_refusals_total", &[]), 0, "what is pushed back leaves no trace");

    backend.always(Answer::Accept);
    let address = backend.address;
    backend.stop().await;
    let backend = Backend::start_at(address, None).await;
    backend.wait_for_accepted(1).await;
    while post_status(&collector.grpc, &pushed_back).await.code() != Code::Ok {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    backend.wait_for_accepted(2).await;
    assert_eq!(collector.sum("llm_refusals_total", &[]), 1);
    // The sender did not hear the answer and sends it once more: it is one response all the same.
    assert_eq!(post_status(&collector.grpc, &pushed_back).await.code(), Code::Ok);
    assert_eq!(collector.sum("llm_refusals_total", &[]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_delivers_what_is_queued_and_ends_with_0() {
    let backend = Backend::start().await;
    backend.always(Answer::After(Duration::from_millis(100)));
    let mut collector = Collector::start(&with(&backend, "sending_queue: {num_consumers: 1}"), TRACES, "");
    for _ in 0..20 {
        assert_eq!(post_status(&collector.grpc, &request(&["end_turn"])).await.code(), Code::Ok);
    }
    collector.signal("TERM");
    let status = collector.ended();
    assert_eq!(status.code(), Some(0), "{}", collector.log());
    assert_eq!(backend.accepted().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_in_time_is_told_exactly_and_ends_with_3() {
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let mut collector = Collector::start(&to(&backend), TRACES, "shutdown_timeout: 500ms");
    for _ in 0..7 {
        assert_eq!(post_status(&collector.grpc, &request(&["end_turn", "refusal"])).await.code(), Code::Ok);
    }
    collector.signal("TERM");
    let status = collector.ended();
    assert_eq!(status.code(), Some(3));
    assert!(collector.log().contains("14 accepted items"), "{}", collector.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let backend = Backend::start().await;
    backend.always(Answer::Hang);
    let mut collector = Collector::start(&with(&backend, "timeout: 60s"), TRACES, "");
    assert_eq!(post_status(&collector.grpc, &request(&["end_turn"])).await.code(), Code::Ok);
    collector.signal("TERM");
    collector.wait_until("it has heard", |collector| collector.log().contains("stopping"));
    let before = std::time::Instant::now();
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(3));
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exporter_of_a_pipeline_gets_every_request() {
    let (first, second) = (Backend::start().await, Backend::start().await);
    let exporters = format!(
        "{{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}, otlp_http: {{endpoint: 'http://{}'}}, debug: }}",
        first.address, second.address
    );
    let pipelines =
        "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc, otlp_http, debug]}}";
    let collector = Collector::start(&exporters, pipelines, "");
    assert_eq!(post_status(&collector.grpc, &request(&["refusal"])).await.code(), Code::Ok);
    let (first, second) = (first.wait_for_accepted(1).await, second.wait_for_accepted(1).await);
    assert_eq!(first[0].message(), second[0].message());
    assert_eq!(collector.sum("llm_responses_total", &[]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_word_is_learned_without_a_restart_and_a_broken_file_changes_nothing() {
    let backend = Backend::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("words.yaml");
    let write = |class: &str| {
        let words = format!("anthropic: {{stop: {{finish_reason: {{quantum_flux_halt: {class}}}}}}}\n");
        std::fs::write(&file, words).unwrap();
    };
    write("pause");
    let processors = format!("{{refusal: {{vocabulary: {{files: ['{}']}}}}}}", file.display());
    let mut collector = Collector::start_with(&processors, &to(&backend), TRACES, "");
    let class = |collector: &Collector, class: &str| {
        collector.sum("llm_responses_total", &[&format!("llm_stop_reason_class=\"{class}\"")])
    };
    let send = async |collector: &Collector| {
        assert_eq!(post_status(&collector.grpc, &request(&["quantum_flux_halt"])).await.code(), Code::Ok);
    };
    send(&collector).await;
    assert_eq!(class(&collector, "pause"), 1);

    write("length");
    collector.signal("HUP");
    collector.wait_until("it has read the file again", |c| c.log().contains("have been read again"));
    send(&collector).await;
    assert_eq!((class(&collector, "pause"), class(&collector, "length")), (1, 1));

    write("unknown");
    collector.signal("HUP");
    collector.wait_until("it has refused the file", |c| c.log().contains("stay as they were"));
    send(&collector).await;
    assert_eq!(class(&collector, "length"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_stands_on_the_span_and_in_the_counters_and_is_exchanged_without_a_restart() {
    let backend = Backend::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.yaml");
    std::fs::write(
        &file,
        "- {vendor: openai, action: ignore}
- {vendor: anthropic, model: claude-opus-*, workload: checkout, action: reroute, fallback_model: claude-haiku-4-5}
- {action: escalate}
",
    )
    .unwrap();
    let processors = format!("{{refusal: {{policy: \"${{file:{}}}\"}}}}", file.display());
    let mut collector = Collector::start_with(&processors, &to(&backend), TRACES, "");
    let action = |collector: &Collector, action: &str| {
        collector.sum("llm_refusals_total", &[&format!("llm_refusal_action=\"{action}\"")])
    };
    send("grpc", &collector.grpc, &["refusal"]).await;
    let span = received(&backend, "grpc refusal");
    assert_eq!(attribute(&span, "llm.refusal.action").as_deref(), Some("reroute"));
    assert_eq!(attribute(&span, "llm.refusal.fallback_model").as_deref(), Some("claude-haiku-4-5"));
    assert_eq!(action(&collector, "reroute"), 1);

    std::fs::write(&file, "- {vendor: anthropic, category: missing, action: ignore}\n").unwrap();
    collector.signal("HUP");
    collector.wait_until("it has read the file again", |c| c.log().contains("have been read again"));
    send("http", &collector.http, &["refusal"]).await;
    let span = received(&backend, "http refusal");
    assert_eq!(attribute(&span, "llm.refusal.action").as_deref(), Some("ignore"));
    assert_eq!(attribute(&span, "llm.refusal.fallback_model"), None);
    assert_eq!((action(&collector, "reroute"), action(&collector, "ignore")), (1, 1));
}

fn to(backend: &Backend) -> String {
    with(backend, "retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}")
}

fn with(backend: &Backend, options: &str) -> String {
    format!("{{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, {options}}}}}", backend.address)
}

/// Sends one LLM span for each finish reason, and a span without an LLM call, through an SDK. Returns what their names
/// begin with.
async fn send(transport: &str, endpoint: &str, reasons: &[&'static str]) -> String {
    let endpoint = format!("http://{endpoint}");
    let exporter = match transport {
        "grpc" => SpanExporter::builder().with_tonic().with_endpoint(endpoint).build(),
        _ => {
            let endpoint = format!("{endpoint}/v1/traces");
            SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(endpoint)
                .build()
        }
    };
    let resource = Resource::builder_empty().with_service_name("checkout").build();
    let provider =
        SdkTracerProvider::builder().with_simple_exporter(exporter.unwrap()).with_resource(resource).build();
    let (transport, reasons) = (transport.to_owned(), reasons.to_owned());
    let prefix = format!("{transport} ");
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let _runtime = runtime.enter();
        let tracer = provider.tracer("my.llm.client");
        for reason in reasons {
            let mut span = tracer.span_builder(format!("{transport} {reason}")).start(&tracer);
            span.set_attribute(KeyValue::new("gen_ai.operation.name", "chat"));
            span.set_attribute(KeyValue::new("gen_ai.provider.name", "anthropic"));
            span.set_attribute(KeyValue::new("gen_ai.request.model", "claude-opus-4-5"));
            span.set_attribute(KeyValue::new("gen_ai.usage.output_tokens", 12));
            if !reason.is_empty() {
                let reasons = Value::Array(Array::String(vec![StringValue::from(reason)]));
                span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", reasons));
            }
            span.end();
        }
        let mut span = tracer.span_builder(format!("{transport} plain")).start(&tracer);
        span.set_attribute(KeyValue::new("http.request.method", "GET"));
        span.end();
        provider.shutdown().unwrap();
    })
    .await
    .unwrap();
    prefix
}

/// A request as an SDK would make it, with ids that no other has.
fn request(reasons: &[&str]) -> Vec<u8> {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let attribute =
        |key: &str, value| KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() };
    let spans = reasons.iter().map(|reason| {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let reasons = Value::ArrayValue(ArrayValue { values: vec![text(reason)] });
        Span {
            trace_id: [id.to_be_bytes(), [7; 8]].concat(),
            span_id: id.to_be_bytes().to_vec(),
            name: "chat".to_owned(),
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            attributes: vec![
                attribute("gen_ai.operation.name", text("chat")),
                attribute("gen_ai.provider.name", text("anthropic")),
                attribute("gen_ai.response.finish_reasons", AnyValue { value: Some(reasons) }),
            ],
            ..Default::default()
        }
    });
    let scope_spans = ScopeSpans { spans: spans.collect(), ..Default::default() };
    let group = ResourceSpans { scope_spans: vec![scope_spans], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// How the collector answers to this message.
async fn post_status(endpoint: &str, message: &[u8]) -> tonic::Status {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    let mut client = TraceServiceClient::connect(format!("http://{endpoint}")).await.unwrap();
    match client.export(ExportTraceServiceRequest::decode(message).unwrap()).await {
        Ok(_) => tonic::Status::new(Code::Ok, ""),
        Err(status) => status,
    }
}

/// The span of this name, from whatever the backend has accepted.
fn received(backend: &Backend, name: &str) -> proto::Span {
    let deadline = std::time::Instant::now() + backend::PATIENCE;
    while std::time::Instant::now() < deadline {
        for request in backend.accepted() {
            let request = ExportTraceServiceRequest::decode(&request.message()[..]).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
            if let Some(span) = scopes.flat_map(|scope| scope.spans).find(|span| span.name == name) {
                return span;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no span {name:?} has arrived");
}

fn attribute(span: &proto::Span, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key == key);
    let value = found.next()?.value.clone()?.value?;
    assert!(found.next().is_none(), "{key} twice");
    match value {
        any_value::Value::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}
