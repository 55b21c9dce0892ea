//! What one item costs on the hot path: evidence, verdict and attributes of an LLM span, and the look at any other one.
//!
//! `cargo bench --bench judge`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message;
use refusal_collector::refusal::evidence::{Origin, read_span};
use refusal_collector::refusal::judge::Judge;
use refusal_collector::refusal::policy::Policy;
use refusal_collector::refusal::vocabulary::Vocabulary;
use std::hint::black_box;

fn judge_one(c: &mut Criterion) {
    let Ok(vocabulary) = Vocabulary::embedded() else { return };
    let policy = Policy::default();
    let origin = Origin::default();
    let mut group = c.benchmark_group("span");
    group.throughput(Throughput::Elements(1));
    for (name, span) in spans() {
        let message = span.encode_to_vec();
        let judge = Judge::new(&vocabulary, &policy);
        let mut appended = Vec::with_capacity(4096);
        group.bench_function(
            format!("{name} ({} attributes, {} bytes)", span.attributes.len(), message.len()),
            |b| {
                b.iter(|| {
                    appended.clear();
                    let message = black_box(&message[..]);
                    let Ok(Some(evidence)) = read_span(message, 0..message.len(), &origin) else {
                        return false;
                    };
                    let Some(judgment) = judge.judge(&evidence, "checkout") else {
                        return false;
                    };
                    judgment.verdict.append(&evidence, &mut appended, 9);
                    black_box(&appended);
                    true
                });
            },
        );
        if name == "anthropic" {
            group.bench_function("evidence alone", |b| {
                b.iter(|| {
                    let message = black_box(&message[..]);
                    black_box(read_span(message, 0..message.len(), &origin)).is_ok()
                });
            });
        }
    }
    group.finish();
}

fn spans() -> Vec<(&'static str, Span)> {
    let text = |text: &str| Value::StringValue(text.to_owned());
    let list = |words: &[&str]| {
        let values = words.iter().map(|word| AnyValue { value: Some(text(word)) }).collect();
        Value::ArrayValue(ArrayValue { values })
    };
    let call = |provider: &str, model: &str, reason: &str, host: &str| {
        span(vec![
            ("gen_ai.operation.name", text("chat")),
            ("gen_ai.provider.name", text(provider)),
            ("gen_ai.request.model", text(model)),
            ("gen_ai.request.max_tokens", Value::IntValue(1024)),
            ("gen_ai.request.temperature", Value::DoubleValue(0.7)),
            ("gen_ai.response.finish_reasons", list(&[reason])),
            ("gen_ai.response.id", text("msg_01XFDUDYJgAACzvnptvVoYEL")),
            ("gen_ai.response.model", text(model)),
            ("gen_ai.usage.input_tokens", Value::IntValue(2095)),
            ("gen_ai.usage.output_tokens", Value::IntValue(503)),
            ("gen_ai.conversation.id", text("01a1ff96-f1cd-704e-b3b2-1e752ff9602d")),
            ("server.address", text(host)),
            ("server.port", Value::IntValue(443)),
        ])
    };
    let content = |size: usize| {
        let message = format!(
            r#"[{{"role":"assistant","parts":[{{"type":"text","content":"{}"}}],"finish_reason":"stop"}}]"#,
            "Lorem ipsum dolor sit amet. ".repeat(size / 28)
        );
        let mut span = call("openai", "gpt-4.1", "stop", "api.openai.com");
        span.attributes.push(attribute("gen_ai.output.messages", text(&message)));
        span
    };
    let plain = span(vec![
        ("http.request.method", text("GET")),
        ("http.route", text("/orders/{id}")),
        ("http.response.status_code", Value::IntValue(200)),
        ("url.scheme", text("https")),
        ("url.path", text("/orders/4711")),
        ("server.address", text("orders.internal")),
        ("server.port", Value::IntValue(8080)),
        ("network.protocol.version", text("1.1")),
        ("client.address", text("10.0.0.7")),
        ("user_agent.original", text("curl/8.5.0")),
        ("thread.id", Value::IntValue(17)),
        ("thread.name", text("worker-3")),
        ("code.function.name", text("orders.views.get")),
    ]);
    vec![
        ("anthropic", call("anthropic", "claude-sonnet-4-5-20250929", "end_turn", "api.anthropic.com")),
        ("openai", call("openai", "gpt-4.1", "stop", "api.openai.com")),
        ("openai at an unknown host", call("openai", "gpt-4.1", "stop", "llm.internal")),
        ("anthropic, translated", call("anthropic", "claude-sonnet-4-5", "stop", "api.anthropic.com")),
        ("refusal", call("anthropic", "claude-sonnet-4-5-20250929", "refusal", "api.anthropic.com")),
        ("unknown", call("openai", "gpt-4.1", "quantum_flux_halt", "api.openai.com")),
        ("with 1 KiB of content", content(1024)),
        ("with 16 KiB of content", content(16 * 1024)),
        ("no LLM call", plain),
    ]
}

fn span(attributes: Vec<(&str, Value)>) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![3; 8],
        parent_span_id: vec![5; 8],
        name: "chat".to_owned(),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: 1_764_000_000_000_000_000,
        end_time_unix_nano: 1_764_000_001_000_000_000,
        attributes: attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        ..Span::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

criterion_group!(benches, judge_one);
criterion_main!(benches);
