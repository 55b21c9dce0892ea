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
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections may be open; more wait in the operating system's backlog.
const MOST_CONNECTIONS: usize = 128;

/// How long the head of a request may take, and how long a connection may be quiet.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After this a connection takes no more requests.
const AGE: Duration = Duration::from_secs(60);

/// How long the last answer of a connection may take.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 << 10;

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
    /// Serves `router` on every address of `endpoint`, which is `host:port`.
    pub async fn serve(endpoint: &str, router: Router) -> Result<Self, ListenError> {
        let error = |source| ListenError { endpoint: endpoint.to_owned(), source };
        let sockets = bind(endpoint).await.map_err(error)?;
        let addresses: io::Result<Vec<_>> = sockets.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(error)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for socket in sockets {
            let accepting = accept(socket, router.clone(), places.clone(), stop.clone(), tasks.clone());
            tasks.spawn(accepting);
        }
        Ok(Pages { addresses, stop, tasks })
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

async fn accept(
    socket: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = async { (places.clone().acquire_owned().await, socket.accept().await) } => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            (place, Ok((stream, _))) => {
                let (router, stop) = (router.clone(), stop.clone());
                tasks.spawn(async move {
                    converse(stream, router, stop).await;
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

async fn converse(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(LARGEST_HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let too_old = sleep_until(Instant::now() + AGE);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = too_old => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // A peer that hangs up or is too slow is its own matter.
    let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
}
