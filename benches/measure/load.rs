//! The loads: requests of LLM and other spans, sent with new ids each time, several calls at a time.

use super::sink::Sink;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::GRPC_PREFIX;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

/// What kind of requests are sent.
#[derive(Clone, Copy, Debug)]
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
    /// From how many services they come, at most 10,000.
    pub services: u64,
}

impl Load {
    pub fn llm_spans(&self) -> usize {
        (0..self.spans).filter(|i| self.is_llm(*i)).count()
    }

    /// 37 is coprime to 100: the LLM spans are scattered evenly.
    fn is_llm(&self, i: usize) -> bool {
        i * 37 % 100 < self.llm_percent
    }
}

/// A load, and how it comes in and goes out.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub load: Load,
    pub transport: Transport,
    pub coding: Coding,
    /// How many connections, at least by gRPC.
    pub connections: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Grpc,
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    None,
    Gzip,
    Zstd,
}

impl Coding {
    /// As headers and configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Coding::None => "none",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }
}

impl Case {
    /// Uncompressed by gRPC on one connection.
    pub fn plain(load: Load) -> Self {
        Case { load, transport: Transport::Grpc, coding: Coding::None, connections: 1 }
    }

    pub fn name(&self) -> String {
        let transport = if self.transport == Transport::Http { ", HTTP" } else { "" };
        match self.coding {
            Coding::None => format!("{}{transport}", self.load.name),
            coding => format!("{}{transport}, {}", self.load.name, coding.name()),
        }
    }
}

/// The loads that the goals are stated for.
pub const LOADS: [Load; 4] = [
    Load { name: "512 x 1 KiB", spans: 512, llm_percent: 100, content: 512, requests: 3_000, services: 1 },
    Load { name: "8192, 5 % LLM", spans: 8192, llm_percent: 5, content: 512, requests: 400, services: 1 },
    Load { name: "64 x 16 KiB", spans: 64, llm_percent: 100, content: 16_384, requests: 2_000, services: 1 },
    Load { name: "8 x 1 KiB", spans: 8, llm_percent: 100, content: 512, requests: 30_000, services: 1 },
];

/// How many calls are open at one time, or as many as there are connections.
const CONCURRENCY: usize = 4;

/// Messages of this load without end, each with new ids.
pub fn messages(load: Load) -> impl Iterator<Item = Bytes> {
    let template = Template::new(Case::plain(load));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    std::iter::repeat_with(move || template.fresh(&mut random).0.slice(GRPC_PREFIX..))
}

/// Where the collector does not say when to come back. SDKs wait longer.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// The connections of a case.
pub struct Senders {
    case: Case,
    senders: Vec<Sender>,
}

impl Senders {
    pub async fn connect(case: Case, address: &str) -> Self {
        let mut senders = Vec::new();
        for _ in 0..case.connections {
            senders.push(Sender::connect(case, address).await);
        }
        Senders { case, senders }
    }

    /// Sends `requests` requests of this kind; those that are not taken are sent again when the collector says so.
    pub async fn send(&self, requests: u64) {
        let Senders { case, senders } = self;
        let template = Arc::new(Template::new(*case));
        let left = Arc::new(AtomicU64::new(requests));
        let calls = (0..CONCURRENCY.max(case.connections)).map(|worker| {
            let sender = senders[worker % senders.len()].clone();
            let (template, left) = (template.clone(), left.clone());
            tokio::spawn(async move {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (worker as u64 + 1) ^ requests << 8);
                while left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let (body, _) = template.fresh(&mut random);
                    let mut backoff = FIRST_BACKOFF;
                    while let Err(NotTaken { retry_after }) = sender.post(body.clone()).await {
                        tokio::time::sleep(retry_after.unwrap_or(backoff)).await;
                        backoff = (2 * backoff).min(LONGEST_BACKOFF);
                    }
                }
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.expect("a sender ends by itself");
        }
    }
}

/// Sends so many requests a second, whether earlier ones are answered or not, and tells how long those took that arrived.
pub async fn pace(case: Case, address: &str, per_second: f64, time: Duration, sink: &Sink) -> Vec<Duration> {
    let template = Template::new(case);
    let sender = Sender::connect(case, address).await;
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ case.load.requests);
    sink.watch();
    let (start, mut sent) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        let (body, id) = template.fresh(&mut random);
        let due = start + Duration::from_secs_f64(sent as f64 / per_second);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        sent += 1;
        sink.expect(id);
        let sender = sender.clone();
        tokio::spawn(async move { sender.post(body).await });
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    sink.watched()
}

/// One connection, or by HTTP/1.1 one for each call.
#[derive(Clone)]
struct Sender {
    client: SenderClient,
    uri: String,
    coding: Coding,
}

#[derive(Clone)]
enum SenderClient {
    Grpc(Channel),
    Http(Box<Client<HttpConnector, Full<Bytes>>>),
}

impl Sender {
    async fn connect(case: Case, address: &str) -> Self {
        let (client, path) = match case.transport {
            Transport::Grpc => {
                let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
                let channel = endpoint.initial_stream_window_size(1 << 20).connect().await;
                (SenderClient::Grpc(channel.expect("the collector listens")), Signal::Traces.grpc_path())
            }
            Transport::Http => {
                let client = Client::builder(TokioExecutor::new()).build_http();
                (SenderClient::Http(Box::new(client)), Signal::Traces.http_path())
            }
        };
        Sender { client, uri: format!("http://{address}{path}"), coding: case.coding }
    }

    async fn post(&self, body: Bytes) -> Result<(), NotTaken> {
        match &self.client {
            SenderClient::Grpc(channel) => self.post_grpc(channel.clone(), body).await,
            SenderClient::Http(client) => {
                let mut request =
                    http::Request::post(&self.uri).header("content-type", "application/x-protobuf");
                if self.coding != Coding::None {
                    request = request.header("content-encoding", self.coding.name());
                }
                let request = request.body(Full::new(body)).expect("a constant request");
                let response = client.request(request).await.map_err(|_| NotTaken { retry_after: None })?;
                let (head, body) = response.into_parts();
                let _ = body.collect().await;
                if head.status.is_success() {
                    return Ok(());
                }
                let seconds =
                    head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                Err(NotTaken { retry_after: seconds.map(Duration::from_secs) })
            }
        }
    }

    async fn post_grpc(&self, mut channel: Channel, body: Bytes) -> Result<(), NotTaken> {
        let mut request = http::Request::post(Signal::Traces.grpc_path())
            .version(http::Version::HTTP_2)
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        if self.coding != Coding::None {
            request = request.header("grpc-encoding", self.coding.name());
        }
        let request = request.body(tonic::body::Body::new(Full::new(body))).expect("a constant request");
        let ready = channel.ready().await.expect("the collector is there");
        let response = ready.call(request).await.expect("the collector answers");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer");
        let status = Status::from_header_map(body.trailers().unwrap_or(&head.headers)).expect("a status");
        if status.code() == Code::Ok {
            return Ok(());
        }
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Err(NotTaken { retry_after })
    }
}

/// A request that has to come again.
struct NotTaken {
    /// When, if the collector says so.
    retry_after: Option<Duration>,
}

/// An encoded request in its gRPC frame, whose span and response ids can be made new without encoding it again.
struct Template {
    case: Case,
    frame: Bytes,
    /// Where the four digits of the service's name stand.
    service: usize,
    /// For each span: where its id stands, and where the 16 digits of its response id stand.
    ids: Vec<(usize, Option<usize>)>,
}

impl Template {
    fn new(case: Case) -> Self {
        let request = request(case.load);
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
        let service = find(SERVICE.as_bytes()) + SERVICE.len() - 4;
        for span in &request.resource_spans[0].scope_spans[0].spans {
            let span_id = find(&span.span_id);
            let is_llm = span.attributes.iter().any(|attribute| attribute.key == "gen_ai.response.id");
            ids.push((span_id, is_llm.then(|| find(hex(&span.span_id).as_bytes()))));
        }
        Template { case, frame: frame.freeze(), service, ids }
    }

    /// A body with new ids, and the id of its first span.
    fn fresh(&self, random: &mut Random) -> (Bytes, u64) {
        let mut frame = self.frame.to_vec();
        let service = random.next() % self.case.load.services;
        frame[self.service..self.service + 4].copy_from_slice(format!("{service:04}").as_bytes());
        let mut first = None;
        for (span_id, response_id) in &self.ids {
            let number = random.next();
            let id = number.to_be_bytes();
            first.get_or_insert(number);
            frame[*span_id..span_id + 8].copy_from_slice(&id);
            if let Some(at) = response_id {
                for (digits, byte) in frame[*at..at + 16].chunks_exact_mut(2).zip(id) {
                    digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
            }
        }
        (self.coded(frame), first.unwrap_or_default())
    }

    fn coded(&self, frame: Vec<u8>) -> Bytes {
        let message = match self.case.coding {
            Coding::None if self.case.transport == Transport::Grpc => return frame.into(),
            Coding::None => return Bytes::from(frame).slice(GRPC_PREFIX..),
            Coding::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&frame[GRPC_PREFIX..]).expect("a buffer grows");
                gzip.finish().expect("a buffer grows")
            }
            Coding::Zstd => zstd::bulk::compress(&frame[GRPC_PREFIX..], 1).expect("a buffer grows"),
        };
        match self.case.transport {
            Transport::Http => message.into(),
            Transport::Grpc => {
                let mut frame = BytesMut::with_capacity(GRPC_PREFIX + message.len());
                frame.put_u8(1);
                frame.put_u32(message.len() as u32);
                frame.put_slice(&message);
                frame.freeze()
            }
        }
    }
}

const SERVICE: &str = "checkout-agent-0000";
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
        if load.is_llm(i) { llm_span(i, load.content, &mut random) } else { other_span(i, &mut random) }
    });
    let scope = InstrumentationScope {
        name: "opentelemetry.instrumentation.anthropic".into(),
        version: "0.48.0".into(),
        ..Default::default()
    };
    let resource = vec![
        string("service.name", SERVICE),
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
