//! Receivers on real sockets, a consumer that does as it is told, and raw clients.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::{Extension, GrpcServer, HttpServer, OtlpReceiver};
use refusal_collector::otlp::{Signal, splice};
use refusal_collector::payload::{Budget, Consume, NotTaken, Payload, Refused};
use refusal_collector::receiver::{self, Feed, Running, TapFeed};
use refusal_collector::tap::Exchange;
use refusal_collector::telemetry::own::{Own, ReceiverSnapshot, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;

/// Receivers of OTLP alone.
pub const NO_TAPS: Vec<TapFeed<fn(Exchange)>> = Vec::new();

/// A consumer that keeps what it takes, and gives the answers that were prepared, then OK.
#[derive(Clone)]
pub struct Fake {
    shared: Arc<FakeShared>,
}

struct FakeShared {
    signals: Vec<Signal>,
    taken: Mutex<Vec<Payload>>,
    answers: Mutex<VecDeque<Refused>>,
    /// One permit per request that may pass.
    gate: Semaphore,
}

impl Default for Fake {
    fn default() -> Self {
        Fake::of(&Signal::ALL)
    }
}

impl Fake {
    pub fn of(signals: &[Signal]) -> Self {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let shared = FakeShared {
            signals: signals.to_vec(),
            taken: Mutex::default(),
            answers: Mutex::default(),
            gate,
        };
        Fake { shared: Arc::new(shared) }
    }

    /// Takes nothing until the gate is opened.
    pub fn closed() -> Self {
        let fake = Fake::default();
        fake.shared.gate.forget_permits(Semaphore::MAX_PERMITS);
        fake
    }

    pub fn open(&self, requests: usize) {
        self.shared.gate.add_permits(requests);
    }

    pub fn answer(&self, refused: Refused) {
        self.shared.answers.lock().unwrap().push_back(refused);
    }

    /// What was taken; it is gone then, and gives back its budget when the caller drops it.
    pub fn taken(&self) -> Vec<Payload> {
        std::mem::take(&mut *self.shared.taken.lock().unwrap())
    }

    pub fn count(&self) -> usize {
        self.shared.taken.lock().unwrap().len()
    }
}

impl Consume for Fake {
    async fn consume(&self, payload: Payload) -> Result<usize, NotTaken> {
        self.shared.gate.acquire().await.unwrap().forget();
        let items = splice::count(payload.signal, payload.message.as_slice())?;
        if let Some(refused) = self.shared.answers.lock().unwrap().pop_front() {
            return Err(NotTaken { why: refused, items });
        }
        self.shared.taken.lock().unwrap().push(payload);
        Ok(items)
    }

    fn takes(&self, signal: Signal) -> bool {
        self.shared.signals.contains(&signal)
    }
}

/// A receiver with a fake consumer behind it.
pub struct Stage {
    pub running: Running,
    pub fake: Fake,
    pub budget: Budget,
    pub own: Own,
}

pub struct Setup {
    pub grpc: GrpcServer,
    pub http: HttpServer,
    pub extensions: BTreeMap<ComponentId, Extension>,
    pub fake: Fake,
    pub budget: usize,
    pub wait: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            grpc: GrpcServer { endpoint: "localhost:0".to_owned(), ..GrpcServer::default() },
            http: HttpServer { endpoint: "localhost:0".to_owned(), ..HttpServer::default() },
            extensions: BTreeMap::new(),
            fake: Fake::default(),
            budget: 256 << 20,
            wait: Duration::from_secs(5),
        }
    }
}

impl Setup {
    pub async fn start(self) -> Stage {
        let (budget, own, fake) = (Budget::new(self.budget), Own::new(), self.fake);
        let config = OtlpReceiver { grpc: Some(self.grpc), http: Some(self.http) };
        let feed = Feed { receiver: ComponentId::new("otlp"), config, consumer: fake.clone() };
        let running =
            receiver::start(vec![feed], NO_TAPS, &self.extensions, &budget, self.wait, &own).await.unwrap();
        Stage { running, fake, budget, own }
    }
}

impl Stage {
    pub fn grpc(&self) -> SocketAddr {
        self.address(Transport::Grpc)
    }

    pub fn http(&self) -> SocketAddr {
        self.address(Transport::Http)
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        self.running.ports().iter().find(|p| p.transport == transport).unwrap().address.tcp().unwrap()
    }

    pub fn account(&self, transport: Transport, signal: Signal) -> ReceiverSnapshot {
        let all = self.own.snapshot().receivers;
        all.into_iter().find(|a| a.transport == transport && a.signal == signal).unwrap()
    }

    /// The budget must come back whole once nothing is kept.
    pub async fn assert_budget_is_free(&self) {
        drop(self.fake.taken());
        eventually("the budget is free", || self.budget.used() == 0).await;
    }

    pub async fn shutdown(self) {
        let cut = self.running.shutdown(Instant::now() + Duration::from_secs(10)).await;
        assert_eq!(cut, 0, "connections or requests had to be cut off");
    }
}

/// Polls until `holds`, for at most ten seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub type Pieces = StreamBody<std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

/// A body of these pieces, as they are.
pub fn pieces(pieces: impl IntoIterator<Item = impl Into<Bytes>>) -> Pieces {
    let frames: Vec<_> = pieces.into_iter().map(|p| Ok(Frame::data(p.into()))).collect();
    StreamBody::new(Box::pin(futures_util::stream::iter(frames)))
}

/// A body of these pieces, which then never ends.
pub fn endless(first: impl IntoIterator<Item = impl Into<Bytes>>) -> Pieces {
    use futures_util::StreamExt;
    let frames: Vec<_> = first.into_iter().map(|p| Ok(Frame::data(p.into()))).collect();
    StreamBody::new(Box::pin(futures_util::stream::iter(frames).chain(futures_util::stream::pending())))
}

/// A gRPC frame.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = vec![flag];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

/// A raw HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Pieces>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub head: http::response::Parts,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub async fn read(response: Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        Answer { head, body: body.to_bytes(), trailers }
    }

    /// The gRPC status, from the trailers or from the headers.
    pub fn status(&self) -> Status {
        assert_eq!(self.head.status, http::StatusCode::OK, "{self:?}");
        let headers = self.trailers.as_ref().unwrap_or(&self.head.headers);
        Status::from_header_map(headers).unwrap_or_else(|| panic!("no grpc-status: {self:?}"))
    }
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        Http2::over(connect(address).await).await.unwrap()
    }

    pub async fn over<IO>(io: IO) -> Result<Self, hyper::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        tokio::spawn(connection);
        Ok(Http2 { sender })
    }

    pub async fn send(&mut self, request: Request<Pieces>) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        Ok(Answer::read(self.sender.send_request(request).await?).await)
    }

    pub async fn export(&mut self, signal: Signal, headers: &[(&str, &str)], body: Pieces) -> Answer {
        self.send(call(signal.grpc_path(), headers, body)).await.unwrap()
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

pub fn call(path: &str, headers: &[(&str, &str)], body: Pieces) -> Request<Pieces> {
    let uri = format!("http://collector{path}");
    let mut request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request
            .headers_mut()
            .unwrap()
            .insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    request.body(body).unwrap()
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A raw HTTP/1 connection.
pub async fn http1_connect(address: SocketAddr) -> http1::SendRequest<Pieces> {
    let io = TokioIo::new(connect(address).await);
    let (sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An export request with `spans` spans whose names have `name` bytes each.
pub fn spans(spans: usize, name: usize) -> Vec<u8> {
    let span = |i: usize| Span {
        trace_id: vec![1; 16],
        span_id: (i as u64 + 1).to_be_bytes().to_vec(),
        name: "x".repeat(name),
        ..Span::default()
    };
    spans_of((0..spans).map(span))
}

/// An export request with these spans.
pub fn spans_of(spans: impl IntoIterator<Item = Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: spans.into_iter().collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    prost::Message::encode_to_vec(&ExportTraceServiceRequest { resource_spans })
}

/// An export request of exactly `len` bytes, with one span.
pub fn request_of(len: usize) -> Vec<u8> {
    let mut name = len.saturating_sub(64);
    for _ in 0..8 {
        let request = spans(1, name);
        if request.len() == len {
            return request;
        }
        name = name + len - request.len();
    }
    panic!("no request of {len} bytes");
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(bytes, 3).unwrap()
}
