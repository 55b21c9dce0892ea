//! Ports: whom they let in.

use crate::net::{Listener, Socket, Stream};
use crate::receiver::buffers::Buffers;
use crate::receiver::connection::{self, Ending, Handle, Limits};
use crate::receiver::tls::Tls;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// What the sockets of an endpoint have in common.
#[derive(Debug)]
pub struct Port<H> {
    /// How the port is called in logs.
    pub name: String,
    /// What is spoken under HTTP; none means plain text.
    pub tls: Option<Arc<Tls>>,
    /// Who answers.
    pub handler: H,
    /// What one connection may do.
    pub limits: Limits,
    /// How many connections may be open; more wait in the operating system's backlog.
    pub connections: Arc<Semaphore>,
    /// Whether that has been said.
    pub was_full: AtomicBool,
    /// The memory for the buffers of connections.
    pub buffers: Buffers,
    /// How it all ends.
    pub ending: Ending,
}

/// Lets connections in and serves them, until `port.ending` says otherwise.
pub fn serve<H: Handle>(listener: Listener, port: Port<H>) {
    let port = Arc::new(port);
    for socket in listener.into_sockets() {
        port.ending.tasks.spawn(accept(socket, port.clone()));
    }
}

async fn accept<H: Handle>(socket: Socket, port: Arc<Port<H>>) {
    loop {
        let (stream, place) = tokio::select! {
            admitted = admit(&socket, &port) => admitted,
            () = port.ending.stop.cancelled() => return,
        };
        let mut limits = port.limits.clone();
        limits.max_age = limits.max_age.map(scattered);
        let port = port.clone();
        port.ending.tasks.clone().spawn(async move {
            let share = tokio::select! {
                share = port.buffers.share() => share,
                () = port.ending.stop.cancelled() => return,
            };
            let shaken = async {
                let Some(tls) = &port.tls else { return Some(Shaken::Plain(stream)) };
                let handshake = timeout(limits.head_timeout, tls.accept(stream)).await.ok()?;
                let log = |error: &io::Error| tracing::debug!(port = port.name, %error, "no TLS handshake");
                handshake.inspect_err(log).ok().map(|stream| Shaken::Tls(Box::new(stream)))
            };
            let stream = tokio::select! {
                shaken = shaken => shaken,
                () = port.ending.stop.cancelled() => None,
            };
            let handler = port.handler.clone();
            match stream {
                Some(Shaken::Plain(io)) => connection::serve(io, handler, &limits, share, &port.ending).await,
                Some(Shaken::Tls(io)) => connection::serve(io, handler, &limits, share, &port.ending).await,
                None => {}
            }
            drop(place);
        });
    }
}

enum Shaken {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

/// The next connection, as soon as there is a place for it. Each socket holds at most this one beyond the limit.
async fn admit<H>(socket: &Socket, port: &Port<H>) -> (Stream, Option<OwnedSemaphorePermit>) {
    let stream = next(socket, &port.name).await;
    let is_full = port.connections.available_permits() == 0;
    let was_full = port.was_full.swap(is_full, Relaxed);
    if is_full && !was_full {
        tracing::warn!(port = port.name, "as many connections as allowed are open, others have to wait");
    }
    // The semaphore is never closed.
    (stream, port.connections.clone().acquire_owned().await.ok())
}

async fn next(socket: &Socket, name: &str) -> Stream {
    loop {
        match socket.accept().await {
            Ok(stream) => return stream,
            // The peer was gone before we looked.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            // No file descriptors or memory left: others have to end first.
            Err(error) => {
                tracing::error!(port = name, %error, "no connection can be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// An age that differs by up to a tenth, so that the connections of a burst do not all end in one moment.
fn scattered(age: Duration) -> Duration {
    let random = (RandomState::new().hash_one(()) % 2001) as f64 / 1000.0 - 1.0;
    Duration::try_from_secs_f64(age.as_secs_f64() * (1.0 + 0.1 * random)).unwrap_or(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_at_most_a_tenth() {
        let ages: Vec<Duration> = (0..100).map(|_| scattered(Duration::from_secs(100))).collect();
        assert!(ages.iter().all(|age| (90.0..=110.0).contains(&age.as_secs_f64())));
        assert!(ages.windows(2).any(|w| w[0] != w[1]));
    }
}
