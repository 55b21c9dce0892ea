//! The four loads: requests of LLM and other spans, sent with new ids each time, several calls at a time.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use refusal_collector::otlp::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

/// What kind of requests are sent.
#[derive(Clone, Copy)]
pub struct Load {
    /// How it is called in the table.
    pub name: &'static str,
    /// Spans in a request.
    pub spans: usize,
    /// How many of a hundred are LLM spans.
    pub llm_percent: usize,
    /// Bytes of message content on each LLM span.
    pub content: usize,
    /// Requests in one measured run.
    pub requests: u64,
}

/// The loads that the goals are stated for.
pub const LOADS: [Load; 4] = [
    Load { name: "512 x 1 KiB", spans: 512, llm_percent: 100, content: 512, requests: 3_000 },
    Load { name: "8192, 5 % LLM", spans: 8192, llm_percent: 5, content: 512, requests: 400 },
    Load { name: "64 x 16 KiB", spans: 64, llm_percent: 100, content: 16_384, requests: 2_000 },
    Load { name: "8 x 1 KiB", spans: 8, llm_percent: 100, content: 512, requests: 30_000 },
];

/// How many calls are open at one time, on one connection.
const CONCURRENCY: usize = 4;

/// Sends `requests` requests of this kind; each refusal to take one is waited out and the request sent again.
pub async fn send(load: Load, target: &str, requests: u64) {
    let endpoint = Endpoint::from_shared(target.to_owned()).expect("an address");
    let channel =
        endpoint.initial_stream_window_size(1 << 20).connect().await.expect("the collector listens");
    let template = Arc::new(Template::new(load));
    let left = Arc::new(AtomicU64::new(requests));
    let calls = (0..CONCURRENCY).map(|worker| {
        let (channel, template, left) = (channel.clone(), template.clone(), left.clone());
        tokio::spawn(async move {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (worker as u64 + 1) ^ requests << 8);
            while left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
                let frame = template.fresh(&mut random);
                while !post(channel.clone(), frame.clone()).await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("a sender ends by itself");
    }
}

/// Whether the call ended with grpc-status 0.
async fn post(mut channel: Channel, frame: Bytes) -> bool {
    let request = http::Request::post(Signal::Traces.grpc_path())
        .version(http::Version::HTTP_2)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(Full::new(frame)))
        .expect("a constant request");
    let ready = channel.ready().await.expect("the collector is there");
    let response = ready.call(request).await.expect("the collector answers");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole answer");
    let status = body.trailers().unwrap_or(&head.headers).get("grpc-status").cloned();
    status.is_some_and(|status| status == "0")
}

/// An encoded request in its gRPC frame, whose span and response ids can be made new without encoding it again.
struct Template {
    frame: Bytes,
    /// For each span: where its id stands, and where the 16 digits of its response id stand.
    ids: Vec<(usize, Option<usize>)>,
}

impl Template {
    fn new(load: Load) -> Self {
        let request = request(load);
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(request.encoded_len() as u32);
        request.encode(&mut frame).expect("a buffer grows");
        let (mut ids, mut from) = (Vec::new(), 0);
        let mut find = |what: &[u8]| {
            let at = from + memchr::memmem::find(&frame[from..], what).expect("it was encoded");
            from = at + what.len();
            at
        };
        for span in &request.resource_spans[0].scope_spans[0].spans {
            let span_id = find(&span.span_id);
            let is_llm = span.attributes.iter().any(|attribute| attribute.key == "gen_ai.response.id");
            ids.push((span_id, is_llm.then(|| find(hex(&span.span_id).as_bytes()))));
        }
        Template { frame: frame.freeze(), ids }
    }

    fn fresh(&self, random: &mut Random) -> Bytes {
        let mut frame = self.frame.to_vec();
        for (span_id, response_id) in &self.ids {
            let id = random.next().to_be_bytes();
            frame[*span_id..span_id + 8].copy_from_slice(&id);
            if let Some(at) = response_id {
                for (digits, byte) in frame[*at..at + 16].chunks_exact_mut(2).zip(id) {
                    digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
            }
        }
        frame.into()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One in ten LLM spans is a refusal, one in ten ends with a word that nobody knows.
const REASONS: [&str; 10] = [
    "end_turn",
    "end_turn",
    "end_turn",
    "tool_use",
    "max_tokens",
    "end_turn",
    "refusal",
    "end_turn",
    "stop_sequence",
    "galactic_halt",
];

fn request(load: Load) -> ExportTraceServiceRequest {
    let mut random = Random(7);
    let spans = (0..load.spans).map(|i| {
        // 37 is coprime to 100: the LLM spans are scattered evenly.
        let is_llm = i * 37 % 100 < load.llm_percent;
        if is_llm { llm_span(i, load.content, &mut random) } else { other_span(i, &mut random) }
    });
    let scope = InstrumentationScope {
        name: "opentelemetry.instrumentation.anthropic".into(),
        version: "0.48.0".into(),
        ..Default::default()
    };
    let resource = vec![
        string("service.name", "checkout-agent"),
        string("service.version", "1.4.2"),
        string("k8s.pod.name", "checkout-agent-7d9f8c6b5-x2x9q"),
    ];
    let scope_spans = ScopeSpans { scope: Some(scope), spans: spans.collect(), ..Default::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: resource, ..Default::default() }),
            scope_spans: vec![scope_spans],
            ..Default::default()
        }],
    }
}

fn llm_span(i: usize, content: usize, random: &mut Random) -> Span {
    let reason = REASONS[i % REASONS.len()];
    let span = span(i, "chat claude-opus-4-5", 3, random);
    let id = format!("msg_{}", hex(&span.span_id));
    let reasons = ArrayValue { values: vec![AnyValue { value: Some(Value::StringValue(reason.into())) }] };
    let attributes = vec![
        string("gen_ai.operation.name", "chat"),
        string("gen_ai.provider.name", "anthropic"),
        string("gen_ai.request.model", "claude-opus-4-5"),
        string("gen_ai.response.model", "claude-opus-4-5"),
        string("gen_ai.response.id", &id),
        attribute("gen_ai.request.max_tokens", Value::IntValue(4096)),
        attribute("gen_ai.request.temperature", Value::DoubleValue(0.7)),
        string("server.address", "api.anthropic.com"),
        attribute("server.port", Value::IntValue(443)),
        string("gen_ai.input.messages", &prose(content, random)),
        attribute("gen_ai.usage.input_tokens", Value::IntValue(412)),
        attribute("gen_ai.usage.output_tokens", Value::IntValue(if reason == "refusal" { 0 } else { 233 })),
        attribute("gen_ai.response.finish_reasons", Value::ArrayValue(reasons)),
    ];
    Span { attributes, ..span }
}

fn other_span(i: usize, random: &mut Random) -> Span {
    let attributes = vec![
        string("http.request.method", "GET"),
        string("url.path", "/v1/orders/1234567"),
        string("url.scheme", "https"),
        string("http.route", "/v1/orders/{id}"),
        attribute("http.response.status_code", Value::IntValue(200)),
        string("server.address", "orders.internal"),
        attribute("server.port", Value::IntValue(8443)),
        string("client.address", "10.0.0.12"),
        string("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        string("network.protocol.version", "1.1"),
    ];
    Span { attributes, ..span(i, "GET /v1/orders/{id}", 2, random) }
}

fn span(i: usize, name: &str, kind: i32, random: &mut Random) -> Span {
    let start = 1_795_000_000_000_000_000 + i as u64 * 1000;
    Span {
        trace_id: [random.next().to_be_bytes(), random.next().to_be_bytes()].concat(),
        span_id: random.next().to_be_bytes().to_vec(),
        name: name.into(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 900_000_000,
        ..Default::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// Text that compresses as prose does.
fn prose(bytes: usize, random: &mut Random) -> String {
    const WORDS: [&str; 16] = [
        "the", "model", "review", "token", "password", "handler", "of", "a", "request", "returns", "when",
        "session", "is", "expired", "refund", "please",
    ];
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(WORDS[(random.next() % WORDS.len() as u64) as usize]);
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

/// xorshift64*: fast, and good enough for ids that only have to differ.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
