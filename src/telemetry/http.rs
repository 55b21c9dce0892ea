//! A small HTTP/1 server for the pages that operators look at: metrics, health.
//!
//! It takes no bodies. Connections are bounded in number, in the time that a head may take, and in age, so that a peer
//! that reads nothing does not keep what it asked for in memory.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, lookup_host};
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
}

impl Default for PageLimits {
    fn default() -> Self {
        PageLimits {
            connections: 128,
            head_timeout: Duration::from_secs(10),
            head_size: 16 << 10,
            age: Duration::from_secs(60),
            last_answer: Duration::from_secs(10),
        }
    }
}

/// A port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint}: {source}")]
pub struct ListenError {
    /// As configured.
    pub endpoint: String,
    /// Why.
    pub source: io::Error,
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
    pub async fn serve(endpoint: &str, router: Router) -> Result<Self, ListenError> {
        Pages::serve_within(PageLimits::default(), endpoint, router).await
    }

    /// Serves `router` on every address of `endpoint`.
    pub async fn serve_within(
        limits: PageLimits,
        endpoint: &str,
        router: Router,
    ) -> Result<Self, ListenError> {
        let error = |source| ListenError { endpoint: endpoint.to_owned(), source };
        let sockets = bind(endpoint).await.map_err(error)?;
        let addresses: io::Result<Vec<_>> = sockets.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(error)?;
        let port = Port {
            router,
            limits,
            places: Arc::new(Semaphore::new(limits.connections)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        for socket in sockets {
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

/// An empty host is every address of the machine; `localhost` is both loopbacks, where there are both.
async fn bind(endpoint: &str) -> io::Result<Vec<TcpListener>> {
    let endpoint = match endpoint.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => endpoint.to_owned(),
    };
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut failed = None;
    for mut address in lookup_host(&endpoint).await? {
        // A free port is the same for all.
        if let (0, Some(Ok(first))) = (address.port(), sockets.first().map(TcpListener::local_addr)) {
            address.set_port(first.port());
        }
        match TcpListener::bind(address).await {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

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
    async fn accept(self, socket: TcpListener) {
        loop {
            let next = async { (self.places.clone().acquire_owned().await, socket.accept().await) };
            let accepted = tokio::select! {
                accepted = next => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                (place, Ok((stream, _))) => {
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

    async fn converse(self, stream: TcpStream) {
        let limits = self.limits;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head_size);
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
