//! A backend that records what it gets, byte by byte, and answers as it is told. It speaks OTLP/gRPC and OTLP/HTTP on one
//! port, in the clear or over TLS, and has no code in common with the collector.

#![allow(dead_code)] // Each test takes what it needs.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

/// Longer than anything that is waited for should take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running backend. Dropped, it stops.
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listener: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    script: Mutex<VecDeque<Answer>>,
    always: Mutex<Answer>,
    connections: AtomicUsize,
    changed: Notify,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub is_grpc: bool,
    pub version: http::Version,
    pub path: String,
    pub authority: Option<String>,
    pub headers: HeaderMap,
    /// As on the wire: for gRPC with the prefix, compressed if it came so.
    pub body: Bytes,
    pub answer: Answer,
    pub at: Instant,
}

/// How a request is answered.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    #[default]
    Accept,
    /// Accepted but for so many items.
    Partial(i64, &'static str),
    /// A gRPC status with this message, in the headers.
    Grpc(Code, &'static str),
    /// The same, with RetryInfo.
    GrpcRetryInfo(Code, Duration),
    /// The same, in the trailers behind a message.
    GrpcInTrailers(Code, &'static str),
    /// An HTTP status without more.
    Http(u16),
    /// An HTTP status, headers, and a body.
    HttpWith(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// The beginning of an answer, then a reset.
    Reset,
    /// The connection is cut without an answer.
    Disconnect,
    /// The body is read one frame after so much time, then accepted.
    ReadSlowly(Duration),
    /// Accepted after so much time.
    After(Duration),
    /// What this says to the message.
    By(fn(&[u8]) -> Answer),
}

impl Answer {
    /// Whether the backend has the request then.
    pub fn accepts(&self) -> bool {
        matches!(self, Answer::Accept | Answer::Partial(..) | Answer::ReadSlowly(_) | Answer::After(_))
    }
}

impl Backend {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None).await
    }

    pub async fn start_with_tls(config: rustls::ServerConfig) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Some(config)).await
    }

    /// At an address that a backend had before, perhaps.
    pub async fn start_at(address: SocketAddr, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let tls = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        let listener = tokio::spawn(listen(listener, tls, shared.clone()));
        Backend { address, shared, listener }
    }

    /// The next requests are answered so, in this order.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.script.lock().unwrap().extend(answers);
    }

    /// Requests that the script says nothing about are answered so.
    pub fn always(&self, answer: Answer) {
        *self.shared.always.lock().unwrap() = answer;
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The requests since the last call; they are forgotten here.
    pub fn take_requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    /// Those of the requests that the backend has taken.
    pub fn accepted(&self) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.answer.accepts()).collect()
    }

    /// How many connections have been made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until `is_enough`.
    pub async fn wait_until(&self, is_enough: impl Fn(&Backend) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                if is_enough(self) {
                    return;
                }
                // Now and then also without being told: not everything that is waited for is a request.
                let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("waited in vain; the backend got {:#?}", self.requests());
        }
    }

    pub async fn wait_for_requests(&self, count: usize) -> Vec<Recorded> {
        self.wait_until(|backend| backend.requests().len() >= count).await;
        self.requests()
    }

    pub async fn wait_for_accepted(&self, count: usize) -> Vec<Recorded> {
        self.wait_until(|backend| backend.accepted().len() >= count).await;
        self.accepted()
    }

    /// Cuts all connections and leaves the port for so long. What was recorded stays.
    pub async fn leave_for(&mut self, pause: Duration) {
        self.listener.abort();
        let _ = (&mut self.listener).await;
        tokio::time::sleep(pause).await;
        let listener = loop {
            // Another connection of this machine may have the port for a moment.
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        self.listener = tokio::spawn(listen(listener, None, self.shared.clone()));
    }

    /// Cuts all connections and leaves the port.
    pub async fn stop(mut self) {
        self.listener.abort();
        let _ = (&mut self.listener).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Recorded {
    /// The protobuf message, uncompressed and without prefix.
    pub fn message(&self) -> Vec<u8> {
        let header = |name| self.headers.get(name).map(|value| value.to_str().unwrap());
        let (compressed, encoding) = if self.is_grpc {
            let (prefix, message) = self.body.split_at(5);
            assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, message.len());
            (message, header("grpc-encoding").filter(|_| prefix[0] == 1))
        } else {
            (&self.body[..], header("content-encoding"))
        };
        match encoding {
            None => compressed.to_vec(),
            Some("gzip") => {
                let mut message = Vec::new();
                flate2::read::MultiGzDecoder::new(compressed).read_to_end(&mut message).unwrap();
                message
            }
            Some("zstd") => zstd::decode_all(compressed).unwrap(),
            Some(other) => panic!("encoding {other}"),
        }
    }

    /// The body without the gRPC prefix: compressed, if it came so.
    pub fn frame(&self) -> &[u8] {
        if self.is_grpc { &self.body[5..] } else { &self.body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn listen(listener: TcpListener, tls: Option<tokio_rustls::TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: impl Stream, shared: Arc<Shared>) {
    let cut = Arc::new(Notify::new());
    let service = {
        let cut = cut.clone();
        hyper::service::service_fn(move |request| answer(request, shared.clone(), cut.clone()))
    };
    let server = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = server.serve_connection(TokioIo::new(stream), service) => {}
        () = cut.notified() => {}
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl Stream for TcpStream {}
impl Stream for tokio_rustls::server::TlsStream<TcpStream> {}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    cut: Arc<Notify>,
) -> Result<Response<Body>, io::Error> {
    let scripted = shared.script.lock().unwrap().pop_front();
    let answer = scripted.unwrap_or_else(|| shared.always.lock().unwrap().clone());
    let (head, body) = request.into_parts();
    let pause = match answer {
        Answer::ReadSlowly(pause) => pause,
        _ => Duration::ZERO,
    };
    let body = read(body, pause).await?;
    let content_type = head.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let is_grpc = content_type.is_some_and(|value| value.starts_with("application/grpc"));
    let mut request = Recorded {
        is_grpc,
        version: head.version,
        path: head.uri.path_and_query().unwrap().to_string(),
        authority: head.uri.authority().map(ToString::to_string),
        headers: head.headers,
        body,
        answer,
        at: Instant::now(),
    };
    if let Answer::By(judge) = request.answer {
        request.answer = judge(&request.message());
    }
    let answer = request.answer.clone();
    shared.requests.lock().unwrap().push(request);
    shared.changed.notify_waiters();
    match answer {
        Answer::Accept | Answer::ReadSlowly(_) => Ok(success(is_grpc, 0, "")),
        Answer::After(pause) => {
            tokio::time::sleep(pause).await;
            Ok(success(is_grpc, 0, ""))
        }
        Answer::Partial(rejected, message) => Ok(success(is_grpc, rejected, message)),
        Answer::Grpc(code, message) => Ok(trailers_only(tonic::Status::new(code, message))),
        Answer::GrpcRetryInfo(code, delay) => {
            let details = ErrorDetails::with_retry_info(Some(delay));
            Ok(trailers_only(tonic::Status::with_error_details(code, "later", details)))
        }
        Answer::GrpcInTrailers(code, message) => {
            let status = tonic::Status::new(code, message);
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers).unwrap();
            Ok(grpc(Bytes::from_static(&[0; 5]), trailers))
        }
        Answer::Http(status) => Ok(Response::builder().status(status).body(full(Bytes::new())).unwrap()),
        Answer::HttpWith(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(full(body.into())).unwrap())
        }
        Answer::Hang | Answer::By(_) => std::future::pending().await,
        Answer::Reset => {
            let beginning = stream::iter([Ok(Frame::data(Bytes::from_static(b"\0\0\0")))]);
            let frames = beginning.chain(stream::once(async {
                // Until the beginning has been sent.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }));
            let content_type = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
            let body = BodyExt::boxed_unsync(StreamBody::new(frames));
            Ok(Response::builder().header("content-type", content_type).body(body).unwrap())
        }
        Answer::Disconnect => {
            cut.notify_one();
            std::future::pending().await
        }
    }
}

async fn read(mut body: Incoming, pause: Duration) -> Result<Bytes, io::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            whole.extend_from_slice(&data);
            tokio::time::sleep(pause).await;
        }
    }
    Ok(whole.freeze())
}

/// The messages of the three signals' answers are the same on the wire.
fn success(is_grpc: bool, rejected: i64, message: &str) -> Response<Body> {
    let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: message.to_owned() };
    let message = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    if !is_grpc {
        let response = Response::builder().header("content-type", "application/x-protobuf");
        return response.body(full(message.into())).unwrap();
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    grpc(
        frame.into(),
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]),
    )
}

fn grpc(message: Bytes, trailers: HeaderMap) -> Response<Body> {
    let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let body = BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn trailers_only(status: tonic::Status) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    status.add_header(response.headers_mut()).unwrap();
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
