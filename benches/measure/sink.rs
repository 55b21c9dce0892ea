//! A backend that counts spans and throws them away.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use refusal_collector::otlp::wire::{Fields, Malformed};
use refusal_collector::otlp::{self, Signal};
use refusal_collector::payload::GRPC_PREFIX;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The backend; it runs until the process ends.
pub struct Sink {
    /// Where it listens.
    pub address: String,
    seen: Arc<Seen>,
}

struct Seen {
    spans: AtomicU64,
    last: Mutex<Instant>,
    watch: Mutex<Option<Watch>>,
}

#[derive(Default)]
struct Watch {
    sent: HashMap<u64, Instant>,
    took: Vec<Duration>,
}

impl Sink {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let last = Mutex::new(Instant::now());
        let seen = Arc::new(Seen { spans: AtomicU64::new(0), last, watch: Mutex::default() });
        let counter = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counter = counter.clone();
                let service = hyper::service::service_fn(move |request| count(request, counter.clone()));
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server
                        .http2()
                        .max_frame_size(1 << 20)
                        .initial_stream_window_size(4 << 20)
                        .initial_connection_window_size(16 << 20);
                    // A collector that is killed cuts its connections.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Sink { address, seen }
    }

    /// How many spans have arrived.
    pub fn spans(&self) -> u64 {
        self.seen.spans.load(Relaxed)
    }

    /// When the last request arrived.
    pub fn last_arrival(&self) -> Instant {
        *self.seen.last.lock()
    }

    /// From now on, times of requests are taken by the ids of their first spans.
    pub fn watch(&self) {
        *self.seen.watch.lock() = Some(Watch::default());
    }

    /// A request is sent now whose first span has this id.
    pub fn expect(&self, id: u64) {
        if let Some(watch) = self.seen.watch.lock().as_mut() {
            watch.sent.insert(id, Instant::now());
        }
    }

    /// How long those took that were expected and came; ends the watch.
    pub fn watched(&self) -> Vec<Duration> {
        self.seen.watch.lock().take().map(|watch| watch.took).unwrap_or_default()
    }

    /// Waits until `spans` have arrived, or nothing has moved for ten seconds; tells how many there are.
    pub async fn wait_for(&self, spans: u64) -> u64 {
        let (mut last, mut moved) = (self.spans(), Instant::now());
        while last < spans && moved.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = self.spans();
            if now != last {
                (last, moved) = (now, Instant::now());
            }
        }
        last
    }
}

type Answer = http::Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn count(request: http::Request<Incoming>, seen: Arc<Seen>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let is_grpc = head
        .headers
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let coding = head.headers.get(if is_grpc { "grpc-encoding" } else { "content-encoding" });
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let arrived = Instant::now();
    let is_coded = !is_grpc || body.first() == Some(&1);
    let message = if is_grpc { body.slice(GRPC_PREFIX.min(body.len())..) } else { body };
    let message = match coding.map(|coding| coding.as_bytes()).filter(|_| is_coded) {
        Some(b"gzip") => inflate(&message),
        Some(b"zstd") => zstd::decode_all(&*message).map(Bytes::from).unwrap_or_default(),
        _ => message,
    };
    *seen.last.lock() = arrived;
    if let Some(watch) = seen.watch.lock().as_mut() {
        let _ = first_spans(&message, |id| {
            if let Some(sent) = watch.sent.remove(&id) {
                watch.took.push(arrived.saturating_duration_since(sent));
            }
        });
    }
    seen.spans.fetch_add(otlp::splice::count(Signal::Traces, &message).unwrap_or(0) as u64, Relaxed);

    if !is_grpc {
        let body = Full::new(Bytes::new()).boxed();
        let response = http::Response::builder().header("content-type", "application/x-protobuf");
        return Ok(response.body(body).expect("constant"));
    }
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; GRPC_PREFIX]))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    Ok(http::Response::builder().header("content-type", "application/grpc").body(body).expect("constant"))
}

/// Tells the id of the first span of each resource: batches may have been merged.
fn first_spans(message: &[u8], mut tell: impl FnMut(u64)) -> Result<(), Malformed> {
    let mut groups = Fields::new(message, 0..message.len());
    while let Some(group) = groups.next_field()? {
        let scope = first(message, group.content()?, 2)?;
        let span = first(message, scope, 2)?;
        let id = first(message, span, 2)?;
        tell(message.get(id).and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes));
    }
    Ok(())
}

fn first(message: &[u8], within: Range<usize>, number: u32) -> Result<Range<usize>, Malformed> {
    let mut fields = Fields::new(message, within);
    while let Some(field) = fields.next_field()? {
        if field.number == number {
            return field.content();
        }
    }
    Ok(0..0)
}

fn inflate(gzip: &[u8]) -> Bytes {
    let mut plain = Vec::with_capacity(gzip.len() * 8);
    let read = std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(gzip), &mut plain);
    read.map(|_| plain.into()).unwrap_or_default()
}
