//! A backend that counts spans and throws them away.

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use refusal_collector::otlp::{self, Signal};
use refusal_collector::payload::GRPC_PREFIX;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The backend; it runs until the process ends.
pub struct Sink {
    /// Where it listens.
    pub address: String,
    spans: Arc<AtomicU64>,
}

impl Sink {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let spans = Arc::new(AtomicU64::new(0));
        let counter = spans.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counter = counter.clone();
                let service = hyper::service::service_fn(move |request| count(request, counter.clone()));
                let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                http2
                    .max_frame_size(1 << 20)
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(16 << 20);
                tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
            }
        });
        Sink { address, spans }
    }

    /// How many spans have arrived.
    pub fn spans(&self) -> u64 {
        self.spans.load(Relaxed)
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

async fn count(request: http::Request<Incoming>, spans: Arc<AtomicU64>) -> Result<Answer, Infallible> {
    let gzip = request.headers().get("grpc-encoding").is_some_and(|encoding| encoding == "gzip");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = body.slice(GRPC_PREFIX.min(body.len())..);
    let message = if gzip { inflate(&message) } else { message };
    spans.fetch_add(otlp::splice::count(Signal::Traces, &message).unwrap_or(0) as u64, Relaxed);

    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; GRPC_PREFIX]))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    Ok(http::Response::builder().header("content-type", "application/grpc").body(body).expect("constant"))
}

fn inflate(gzip: &[u8]) -> Bytes {
    let mut plain = Vec::with_capacity(gzip.len() * 8);
    let read = std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(gzip), &mut plain);
    read.map(|_| plain.into()).unwrap_or_default()
}
