//! Ports: where they listen, and whom they let in.

use crate::receiver::buffers::Buffers;
use crate::receiver::connection::{self, Ending, Handle, Limits};
use crate::receiver::tls::Tls;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// `host:port` was expected.
    #[error("\"{0}\" is not host:port")]
    Endpoint(String),
    /// The host's name has no address.
    #[error("the host of \"{endpoint}\" cannot be resolved: {source}")]
    Resolve {
        /// As configured.
        endpoint: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// The operating system does not give us the port.
    #[error("cannot listen on {address}: {}", reason(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process is listening there".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need a capability)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// The sockets of one endpoint, which take connections already; they are answered once it is served.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Listener {
    /// Listens on every address of the endpoint's host: `localhost` is both 127.0.0.1 and ::1, as clients may try
    /// either, and no host at all is every address of the machine. A family that the machine does not have is left out.
    /// Port 0 becomes a free port, the same for all addresses.
    pub async fn bind(endpoint: &str) -> Result<Self, BindError> {
        let (host, port) = split(endpoint).ok_or_else(|| BindError::Endpoint(endpoint.to_owned()))?;
        let ips = resolve(host, port).await;
        let ips = ips.map_err(|source| BindError::Resolve { endpoint: endpoint.to_owned(), source })?;
        let mut tries = if port == 0 { TRIES_FOR_A_FREE_PORT } else { 1 };
        loop {
            tries -= 1;
            match Listener::bind_all(&ips, port).await {
                // The port that was free for one address is not for another.
                Err(BindError::Listen { source, .. })
                    if source.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                bound => return bound,
            }
        }
    }

    async fn bind_all(ips: &[IpAddr], mut port: u16) -> Result<Self, BindError> {
        let mut listener = Listener { sockets: Vec::new(), addresses: Vec::new() };
        let mut missing = None;
        for ip in ips {
            let address = SocketAddr::new(*ip, port);
            match TcpListener::bind(address).await {
                Ok(socket) => {
                    let address = socket.local_addr().unwrap_or(address);
                    port = address.port();
                    listener.addresses.push(address);
                    listener.sockets.push(socket);
                }
                Err(source) if is_missing_family(&source) => {
                    missing = Some(BindError::Listen { address, source })
                }
                Err(source) => return Err(BindError::Listen { address, source }),
            }
        }
        match missing {
            Some(error) if listener.sockets.is_empty() => Err(error),
            _ => Ok(listener),
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Lets connections in and serves them, until `port.ending` says otherwise.
    pub fn serve<H: Handle>(self, port: Port<H>) {
        let port = Arc::new(port);
        for socket in self.sockets {
            port.ending.tasks.spawn(accept(socket, port.clone()));
        }
    }
}

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

async fn accept<H: Handle>(socket: TcpListener, port: Arc<Port<H>>) {
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
                let Some(tls) = &port.tls else { return Some(Stream::Plain(stream)) };
                let handshake = timeout(limits.head_timeout, tls.accept(stream)).await.ok()?;
                let log = |error: &io::Error| tracing::debug!(port = port.name, %error, "no TLS handshake");
                handshake.inspect_err(log).ok().map(|stream| Stream::Tls(Box::new(stream)))
            };
            let stream = tokio::select! {
                shaken = shaken => shaken,
                () = port.ending.stop.cancelled() => None,
            };
            let handler = port.handler.clone();
            match stream {
                Some(Stream::Plain(io)) => connection::serve(io, handler, &limits, share, &port.ending).await,
                Some(Stream::Tls(io)) => connection::serve(io, handler, &limits, share, &port.ending).await,
                None => {}
            }
            drop(place);
        });
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The next connection, as soon as there is a place for it. Each socket holds at most this one beyond the limit.
async fn admit<H>(socket: &TcpListener, port: &Port<H>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let stream = next(socket, &port.name).await;
    let is_full = port.connections.available_permits() == 0;
    let was_full = port.was_full.swap(is_full, Relaxed);
    if is_full && !was_full {
        tracing::warn!(port = port.name, "as many connections as allowed are open, others have to wait");
    }
    // The semaphore is never closed.
    (stream, port.connections.clone().acquire_owned().await.ok())
}

async fn next(socket: &TcpListener, name: &str) -> TcpStream {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                // Answers are small and wanted at once; without it they are only later.
                let _ = stream.set_nodelay(true);
                return stream;
            }
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

const TRIES_FOR_A_FREE_PORT: usize = 16;

fn split(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if host.is_empty() {
        // Both families where there are both: Linux lets IPv4 in through it.
        let has_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.is_ok();
        return Ok(vec![if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }]);
    }
    let mut ips: Vec<IpAddr> = lookup_host((host, port)).await?.map(|address| address.ip()).collect();
    ips.sort();
    ips.dedup();
    Ok(ips)
}

/// Whether the machine has no such address family: EAFNOSUPPORT, or EADDRNOTAVAIL for ::1.
fn is_missing_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

#[cfg(target_os = "linux")]
const EAFNOSUPPORT: i32 = 97;
#[cfg(not(target_os = "linux"))]
const EAFNOSUPPORT: i32 = 47;

/// An age that differs by up to a tenth, so that the connections of a burst do not all end in one moment.
fn scattered(age: Duration) -> Duration {
    let random = (RandomState::new().hash_one(()) % 2001) as f64 / 1000.0 - 1.0;
    Duration::try_from_secs_f64(age.as_secs_f64() * (1.0 + 0.1 * random)).unwrap_or(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        assert_eq!(split("localhost:4317"), Some(("localhost", 4317)));
        assert_eq!(split("[::1]:0"), Some(("::1", 0)));
        assert_eq!(split(":4317"), Some(("", 4317)));
        assert_eq!(split("localhost"), None);
        assert_eq!(split("localhost:99999"), None);
        assert_eq!(split("localhost:http"), None);
    }

    #[tokio::test]
    async fn localhost_is_every_loopback_that_there_is_with_one_port() {
        let listener = Listener::bind("localhost:0").await.unwrap();
        let port = listener.addresses()[0].port();
        assert_ne!(port, 0);
        assert!(listener.addresses().iter().all(|a| a.port() == port && a.ip().is_loopback()));
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(listener.addresses().len(), if has_ipv6 { 2 } else { 1 });
    }

    #[tokio::test]
    async fn a_port_that_is_taken_says_so() {
        let first = Listener::bind("127.0.0.1:0").await.unwrap();
        let address = first.addresses()[0];
        let error = Listener::bind(&format!("localhost:{}", address.port())).await.unwrap_err();
        let expected = format!("cannot listen on {address}: another process is listening there");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = Listener::bind("192.0.2.1:4317").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:4317: this machine has no such address");
    }

    #[test]
    fn ages_differ_by_at_most_a_tenth() {
        let ages: Vec<Duration> = (0..100).map(|_| scattered(Duration::from_secs(100))).collect();
        assert!(ages.iter().all(|age| (90.0..=110.0).contains(&age.as_secs_f64())));
        assert!(ages.windows(2).any(|w| w[0] != w[1]));
    }
}
