//! Applications: each sends request after request, and each of them until it is acknowledged.

use super::ledger::Ledger;
use super::process::Collector;
use super::random::Random;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// The items of a request, at most.
const ITEMS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(10);
const TRACES: usize = 0;

/// Four senders: traces and logs, over gRPC and over HTTP.
pub struct Load {
    senders: Mutex<JoinSet<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the collector is now: gRPC, HTTP.
    target: Mutex<[String; 2]>,
    ledger: Arc<Ledger>,
    /// The number of the next item, of each signal.
    next: [AtomicU32; 2],
    pushed_back: AtomicU64,
    unanswered: AtomicU64,
    is_over: AtomicBool,
}

#[derive(Clone, Copy)]
enum Transport {
    Grpc,
    Http,
}

/// What the sender is told.
enum Told {
    Taken,
    /// To come again.
    PushedBack,
    /// Nothing.
    Unanswered,
}

impl Load {
    pub fn start(collector: &Collector, ledger: &Arc<Ledger>) -> Self {
        let shared = Arc::new(Shared {
            target: Mutex::new(target(collector)),
            ledger: ledger.clone(),
            next: Default::default(),
            pushed_back: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let mut senders = JoinSet::new();
        for transport in [Transport::Grpc, Transport::Http] {
            for signal in [TRACES, 1] {
                let random = Random(0xd1b5_4a32_d192_ed03 + 2 * transport as u64 + signal as u64);
                senders.spawn(send(transport, signal, shared.clone(), random));
            }
        }
        Load { senders: Mutex::new(senders), shared }
    }

    /// The collector has another address now.
    pub fn turn_to(&self, collector: &Collector) {
        *self.shared.target.lock().unwrap() = target(collector);
    }

    /// Waits until everything that was begun is acknowledged.
    pub async fn stop(&self) {
        self.shared.is_over.store(true, SeqCst);
        let mut senders = std::mem::take(&mut *self.senders.lock().unwrap());
        while let Some(sender) = senders.join_next().await {
            sender.unwrap();
        }
    }

    /// How many requests were pushed back, and how many had no answer.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.pushed_back.load(SeqCst), self.shared.unanswered.load(SeqCst))
    }
}

fn target(collector: &Collector) -> [String; 2] {
    [collector.grpc.clone(), collector.http.clone()]
}

async fn send(transport: Transport, signal: usize, shared: Arc<Shared>, mut random: Random) {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(matches!(transport, Transport::Grpc))
        .build_http::<Full<Bytes>>();
    while !shared.is_over.load(SeqCst) {
        let count = 1 + random.below(ITEMS) as u32;
        let first = shared.next[signal].fetch_add(count, SeqCst);
        let items = first..first + count;
        let message = match signal {
            TRACES => spans(items.clone(), &mut random),
            _ => log_records(items.clone(), &mut random),
        };
        loop {
            let address = shared.target.lock().unwrap()[transport as usize].clone();
            let answer = export(&client, transport, &address, signal, &message);
            match tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Told::Unanswered) {
                Told::Taken => break,
                Told::PushedBack => shared.pushed_back.fetch_add(1, SeqCst),
                Told::Unanswered => shared.unanswered.fetch_add(1, SeqCst),
            };
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        shared.ledger.acknowledge(signal, items);
        tokio::time::sleep(Duration::from_millis(10 + random.below(60))).await;
    }
}

async fn export(
    client: &Client<HttpConnector, Full<Bytes>>,
    transport: Transport,
    address: &str,
    signal: usize,
    message: &[u8],
) -> Told {
    let request = match transport {
        Transport::Grpc => {
            let service = if signal == TRACES { "trace.v1.Trace" } else { "logs.v1.Logs" };
            let mut frame = vec![0];
            frame.extend((message.len() as u32).to_be_bytes());
            frame.extend(message);
            Request::post(format!("http://{address}/opentelemetry.proto.collector.{service}Service/Export"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::from(frame))
        }
        Transport::Http => {
            let path = if signal == TRACES { "traces" } else { "logs" };
            Request::post(format!("http://{address}/v1/{path}"))
                .header("content-type", "application/x-protobuf")
                .body(Full::from(message.to_vec()))
        }
    };
    let Ok(response) = client.request(request.unwrap()).await else { return Told::Unanswered };
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return Told::Unanswered };
    match transport {
        Transport::Grpc => told_by_status(&head.headers, body.trailers()),
        Transport::Http => match head.status {
            StatusCode::OK => Told::Taken,
            StatusCode::SERVICE_UNAVAILABLE => Told::PushedBack,
            status => panic!("{status}: {:?}", body.to_bytes()),
        },
    }
}

fn told_by_status(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Told {
    let status = trailers.and_then(Status::from_header_map).or_else(|| Status::from_header_map(headers));
    match status {
        None => Told::Unanswered,
        Some(status) => match status.code() {
            Code::Ok => Told::Taken,
            Code::Unavailable => Told::PushedBack,
            _ => panic!("{status}"),
        },
    }
}

fn spans(items: Range<u32>, random: &mut Random) -> Vec<u8> {
    let spans = items.map(|number| Span {
        name: format!("item {number}"),
        trace_id: id(random, 16),
        span_id: id(random, 8),
        attributes: attributes(random),
        ..Span::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn log_records(items: Range<u32>, random: &mut Random) -> Vec<u8> {
    let log_records = items.map(|number| LogRecord {
        event_name: format!("item {number}"),
        trace_id: id(random, 16),
        span_id: id(random, 8),
        attributes: attributes(random),
        ..LogRecord::default()
    });
    let scope_logs = vec![ScopeLogs { log_records: log_records.collect(), ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// Those of a response, each of another one: one in fifty was refused, one in a thousand ended nobody knows how.
fn attributes(random: &mut Random) -> Vec<KeyValue> {
    let reason = match random.below(1000) {
        0 => "weary",
        1..=20 => "refusal",
        _ => "end_turn",
    };
    let text = |text: String| AnyValue { value: Some(Value::StringValue(text)) };
    let reasons = ArrayValue { values: vec![text(reason.to_owned())] };
    let attributes = [
        ("gen_ai.provider.name", text("anthropic".to_owned())),
        ("gen_ai.request.model", text(format!("model {}", random.below(8)))),
        (
            "gen_ai.response.id",
            text(format!("msg_{:016x}{:08x}", random.below(u64::MAX), random.below(1 << 32))),
        ),
        ("gen_ai.response.finish_reasons", AnyValue { value: Some(Value::ArrayValue(reasons)) }),
        ("gen_ai.output.messages", text("All that was said. ".repeat(1 + random.below(60) as usize))),
    ];
    attributes
        .map(|(key, value)| KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() })
        .to_vec()
}

fn id(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| 1 + random.below(255) as u8).collect()
}
