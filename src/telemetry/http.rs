//! A small HTTP server for the pages that operators look at: metrics, health, refusal events.
//!
//! It takes no bodies, but for small messages where a page reads one. Connections are bounded in number, in the time that a head may take, and in age, so that a peer
//! that reads nothing does not keep what it asked for in memory.

use crate::net::{Address, BindError, Endpoint, Listener, Socket, Stream};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What peers may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// How many connections may be open; more wait in the operating system's backlog.
    pub connections: usize,
    /// How long the head of a request may take, and how long a connection may be quiet.
    pub head_timeout: Duration,
    /// The largest head of a request, in bytes.
    pub head_size: usize,
    /// After this a connection takes no more requests.
    pub age: Duration,
    /// How long the last answer of a connection may take.
    pub last_answer: Duration,
    /// HTTP/2 is spoken, too, with so many streams in a connection; `None` speaks HTTP/1 alone.
    pub streams: Option<u32>,
}

impl Default for PageLimits {
    fn default() -> Self {
        PageLimits {
            connections: 128,
            head_timeout: Duration::from_secs(10),
            head_size: 16 << 10,
            age: Duration::from_secs(60),
            last_answer: Duration::from_secs(10),
            streams: None,
        }
    }
}

/// A server at work.
#[derive(Debug)]
pub struct Pages {
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Pages {
    /// Serves `router` on every address of `endpoint`, which is `host:port`, within the default limits.
    pub async fn serve(endpoint: &str, router: Router) -> Result<Self, BindError> {
        Pages::serve_within(PageLimits::default(), endpoint, router).await
    }

    /// Serves `router` on every address of `endpoint`.
    pub async fn serve_within(limits: PageLimits, endpoint: &str, router: Router) -> Result<Self, BindError> {
        let listener = Listener::bind(Endpoint::Tcp(endpoint)).await?;
        let addresses = listener.addresses().iter().filter_map(Address::tcp).collect();
        let port = Port {
            router,
            limits,
            places: Arc::new(Semaphore::new(limits.connections)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        for socket in listener.into_sockets() {
            port.tasks.spawn(port.clone().accept(socket));
        }
        Ok(Pages { addresses, stop: port.stop, tasks: port.tasks })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes no more requests and waits until those that have begun are answered, which is bounded.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// HTTP/2: silence after which a peer is pinged.
const PING_AFTER: Duration = Duration::from_secs(20);

/// HTTP/2: how long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What all sockets of an endpoint share.
#[derive(Clone)]
struct Port {
    router: Router,
    limits: PageLimits,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Port {
    async fn accept(self, socket: Socket) {
        loop {
            let next = async { (self.places.clone().acquire_owned().await, socket.accept().await) };
            let accepted = tokio::select! {
                accepted = next => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                (place, Ok(stream)) => {
                    let port = self.clone();
                    self.tasks.spawn(async move {
                        port.converse(stream).await;
                        drop(place);
                    });
                }
                // The peer was gone before we looked, or there are no file descriptors left.
                (_, Err(error)) => {
                    tracing::debug!(%error, "a connection to a page was not accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse(self, stream: Stream) {
        let limits = self.limits;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head_size);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT);
        if limits.streams.is_none() {
            builder = builder.http1_only();
        }
        let service = TowerToHyperService::new(self.router);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(limits.age) => {}
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        // A peer that hangs up or is too slow is its own matter.
        let _ = timeout(limits.last_answer, connection).await;
    }
}
