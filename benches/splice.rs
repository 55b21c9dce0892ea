//! What it costs to look at every span and to append verdicts, beside copying the same bytes and beside decoding and
//! encoding them with prost. Divide the time of a run by its number of spans.
//!
//! `cargo bench --bench splice`

#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use refusal_collector::otlp::any_value::{self, AnyValue as Read};
use refusal_collector::otlp::encode::AttributeWriter;
use refusal_collector::otlp::splice::{count, splice};
use refusal_collector::otlp::visit::{Envelope, Visit};
use refusal_collector::otlp::wire::{Fields, Malformed};
use refusal_collector::otlp::{Signal, json};
use std::hint::black_box;
use std::ops::Range;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, requests);
criterion_main!(benches);

fn requests(criterion: &mut Criterion) {
    for spans in [8, 512, 8192] {
        compare(criterion, "llm_1KiB", spans, || llm_span(512));
        compare(criterion, "other", spans, other_span);
    }
    compare(criterion, "llm_16KiB", 64, || llm_span(15_800));
}

/// All ways to handle one request of so many spans.
fn compare(criterion: &mut Criterion, name: &str, spans: usize, span: impl Fn() -> Span) {
    let request = request((0..spans).map(|_| span()).collect());
    let message = Bytes::from(request.encode_to_vec());
    let mut group = criterion.benchmark_group(format!("{name}/{spans}"));
    group.throughput(Throughput::Elements(spans as u64));
    let mut bench = |way: &str, run: &mut dyn FnMut(&Bytes)| {
        group.bench_with_input(BenchmarkId::from_parameter(way), &message, |bencher, message| {
            bencher.iter(|| run(black_box(message)));
        });
    };

    let mut copy = Vec::with_capacity(message.len());
    bench("memcpy", &mut |message| {
        copy.clear();
        copy.extend_from_slice(message);
        black_box(&copy);
    });
    bench("count", &mut |message| {
        black_box(count(Signal::Traces, message).unwrap());
    });
    bench("splice", &mut |message| {
        black_box(splice(Signal::Traces, message, &mut Judge).unwrap());
    });
    bench("prost", &mut |message| {
        let mut request = ExportTraceServiceRequest::decode(&message[..]).unwrap();
        judge_structs(&mut request);
        black_box(request.encode_to_vec());
    });
    if spans == 512 {
        let text = json::encode(Signal::Traces, &message).unwrap();
        bench("json", &mut |_| {
            black_box(json::decode(Signal::Traces, text.as_bytes()).unwrap());
        });
    }
    group.finish();
}

/// Looks for the evidence of a typical instrumentation and appends a verdict of six attributes.
struct Judge;

impl<'m> Visit<'m> for Judge {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        let mut fields = resource.fields();
        while let Some(field) = fields.next_field()? {
            if field.number == 1 {
                let attribute = any_value::KeyValue::read(resource.message(), field.content()?)?;
                if attribute.key == b"service.name" {
                    black_box(attribute.value()?.as_str());
                }
            }
        }
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        black_box(scope.parts());
        Ok(())
    }

    fn item(
        &mut self,
        message: &'m [u8],
        item: Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let (mut provider, mut model, mut reasons, mut output) = (None, None, None, None);
        let mut fields = Fields::new(message, item);
        while let Some(field) = fields.next_field()? {
            if field.number != 9 {
                continue;
            }
            let attribute = any_value::KeyValue::read(message, field.content()?)?;
            // By length first: most keys are told apart without looking at them.
            match attribute.key.len() {
                20 if attribute.key == b"gen_ai.provider.name" => provider = Some(attribute),
                21 if attribute.key == b"gen_ai.response.model" => model = Some(attribute),
                26 if attribute.key == b"gen_ai.usage.output_tokens" => output = Some(attribute),
                30 if attribute.key == b"gen_ai.response.finish_reasons" => reasons = Some(attribute),
                _ => {}
            }
        }
        let (Some(_), Some(_), Some(reasons)) = (provider, model, reasons) else { return Ok(()) };
        let Read::Array(reasons) = reasons.value()? else { return Ok(()) };
        let Some(reason) = reasons.iter().next().transpose()? else { return Ok(()) };
        if reason.as_str() != Some("refusal") {
            return Ok(());
        }
        let tokens = output.map(|output| output.value()).transpose()?.and_then(|tokens| tokens.as_int());
        let mut attributes = AttributeWriter::new(appended, 9);
        for (key, value) in verdict(tokens) {
            attributes.string(key, value);
        }
        Ok(())
    }
}

fn verdict(output_tokens: Option<i64>) -> [(&'static str, &'static str); 6] {
    let phase = if output_tokens == Some(0) { "before_output" } else { "mid_stream" };
    [
        ("llm.stop_reason.class", "refusal"),
        ("llm.stop_reason.value", "refusal"),
        ("llm.refusal.category", "cyber"),
        ("llm.refusal.phase", phase),
        ("llm.refusal.signal", "gen_ai.response.finish_reasons"),
        ("llm.refusal.action", "surface"),
    ]
}

/// The same with prost's structs.
fn judge_structs(request: &mut ExportTraceServiceRequest) {
    let scopes = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    for span in scopes.flat_map(|scope| &mut scope.spans) {
        let find = |key: &str| {
            span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
        };
        if find("gen_ai.provider.name").is_none() || find("gen_ai.response.model").is_none() {
            continue;
        }
        let Some(Value::ArrayValue(reasons)) = find("gen_ai.response.finish_reasons") else { continue };
        let Some(Value::StringValue(reason)) = reasons.values.first().and_then(|v| v.value.as_ref()) else {
            continue;
        };
        if reason != "refusal" {
            continue;
        }
        let tokens = match find("gen_ai.usage.output_tokens") {
            Some(Value::IntValue(tokens)) => Some(*tokens),
            _ => None,
        };
        span.attributes.extend(verdict(tokens).map(|(key, value)| text(key, value)));
    }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", "checkout-agent"),
                    text("service.version", "1.4.2"),
                    text("k8s.pod.name", "checkout-agent-7d9f8c6b5-x2x9q"),
                ],
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "opentelemetry.instrumentation.anthropic".to_owned(),
                    version: "0.48.0".to_owned(),
                    ..Default::default()
                }),
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// A refused call to a model, with so many bytes of prompt.
fn llm_span(prompt: usize) -> Span {
    let reasons =
        ArrayValue { values: vec![AnyValue { value: Some(Value::StringValue("refusal".to_owned())) }] };
    span(
        "chat claude-opus-4-8",
        vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "anthropic"),
            text("gen_ai.request.model", "claude-opus-4-8"),
            text("gen_ai.response.model", "claude-opus-4-8"),
            text("gen_ai.response.id", "msg_0123456789abcdef"),
            attribute("gen_ai.request.max_tokens", Value::IntValue(4096)),
            attribute("gen_ai.request.temperature", Value::DoubleValue(0.7)),
            text("server.address", "api.anthropic.com"),
            attribute("server.port", Value::IntValue(443)),
            text("gen_ai.input.messages", &"prompt ".repeat(prompt / 7)),
            attribute("gen_ai.usage.input_tokens", Value::IntValue(412)),
            attribute("gen_ai.usage.output_tokens", Value::IntValue(0)),
            attribute("gen_ai.response.finish_reasons", Value::ArrayValue(reasons)),
        ],
    )
}

fn other_span() -> Span {
    span(
        "GET /v1/orders/{id}",
        vec![
            text("http.request.method", "GET"),
            text("url.path", "/v1/orders/1234567"),
            text("url.scheme", "https"),
            text("http.route", "/v1/orders/{id}"),
            attribute("http.response.status_code", Value::IntValue(200)),
            text("server.address", "orders.internal"),
            attribute("server.port", Value::IntValue(8443)),
            text("client.address", "10.0.0.12"),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
            text("network.protocol.version", "1.1"),
        ],
    )
}

fn span(name: &str, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        name: name.to_owned(),
        kind: 3,
        start_time_unix_nano: 1_795_000_000_000_000_000,
        end_time_unix_nano: 1_795_000_000_900_000_000,
        attributes,
        ..Default::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}
