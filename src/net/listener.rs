//! Where servers listen.

use super::stream::Stream;
use super::unix::UnixSocket;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, lookup_host};

/// Where to listen, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// `host:port`.
    Tcp(&'a str),
    /// The path of a Unix socket.
    Unix(&'a Path),
}

/// Where a socket listens, as it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// With the port that was really taken.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The address in TCP; none if it is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why nobody can listen there.
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
    /// The operating system does not give us the address.
    #[error("cannot listen on {address}: {}", reason(address, source))]
    Listen {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
}

fn reason(address: &Address, error: &io::Error) -> String {
    match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => "another process is listening there".to_owned(),
        (io::ErrorKind::PermissionDenied, Address::Tcp(_)) => {
            "permission denied (ports below 1024 need a capability)".to_owned()
        }
        (io::ErrorKind::NotFound, Address::Unix(_)) => "there is no such directory".to_owned(),
        (io::ErrorKind::AddrNotAvailable, _) => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// The sockets of one endpoint, which take connections already; they are answered once somebody accepts them.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Socket>,
    addresses: Vec<Address>,
}

/// One socket that takes connections. The file of a Unix socket goes with it.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Listener {
    /// Listens on every address of the endpoint's host: `localhost` is both 127.0.0.1 and ::1, as clients may try
    /// either, and no host at all is every address of the machine. A family that the machine does not have is left out.
    /// Port 0 becomes a free port, the same for all addresses.
    ///
    /// A Unix socket is open to its owner and group. One that a killed process left is replaced.
    pub async fn bind(endpoint: Endpoint<'_>) -> Result<Self, BindError> {
        match endpoint {
            Endpoint::Tcp(endpoint) => Listener::tcp(endpoint).await,
            Endpoint::Unix(path) => Listener::unix(path).await,
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The sockets, one for each address.
    pub fn into_sockets(self) -> Vec<Socket> {
        self.sockets
    }

    async fn unix(path: &Path) -> Result<Self, BindError> {
        let address = Address::Unix(path.to_owned());
        match UnixSocket::bind(path).await {
            Ok(socket) => {
                Ok(Listener { sockets: vec![Socket(Kind::Unix(socket))], addresses: vec![address] })
            }
            Err(source) => Err(BindError::Listen { address, source }),
        }
    }

    async fn tcp(endpoint: &str) -> Result<Self, BindError> {
        let (host, port) = split(endpoint).ok_or_else(|| BindError::Endpoint(endpoint.to_owned()))?;
        let ips = resolve(host, port).await;
        let ips = ips.map_err(|source| BindError::Resolve { endpoint: endpoint.to_owned(), source })?;
        let mut tries = if port == 0 { TRIES_FOR_A_FREE_PORT } else { 1 };
        loop {
            tries -= 1;
            match Listener::tcp_at(&ips, port).await {
                // The port that was free for one address is not for another.
                Err(BindError::Listen { source, .. })
                    if source.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                bound => return bound,
            }
        }
    }

    async fn tcp_at(ips: &[IpAddr], mut port: u16) -> Result<Self, BindError> {
        let mut listener = Listener { sockets: Vec::new(), addresses: Vec::new() };
        let mut missing = None;
        for ip in ips {
            let address = SocketAddr::new(*ip, port);
            let failed = |source| BindError::Listen { address: Address::Tcp(address), source };
            match TcpListener::bind(address).await {
                Ok(socket) => {
                    let address = socket.local_addr().unwrap_or(address);
                    port = address.port();
                    listener.addresses.push(Address::Tcp(address));
                    listener.sockets.push(Socket(Kind::Tcp(socket)));
                }
                Err(source) if is_missing_family(&source) => missing = Some(failed(source)),
                Err(source) => return Err(failed(source)),
            }
        }
        match missing {
            Some(error) if listener.sockets.is_empty() => Err(error),
            _ => Ok(listener),
        }
    }
}

impl Socket {
    /// The next connection. May be dropped before its end without losing one.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.0 {
            Kind::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                // Answers are small and wanted at once; without it they are only later.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Kind::Unix(socket) => Ok(Stream::Unix(socket.listener.accept().await?.0)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    async fn tcp(endpoint: &str) -> Result<Listener, BindError> {
        Listener::bind(Endpoint::Tcp(endpoint)).await
    }

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
        let listener = tcp("localhost:0").await.unwrap();
        let addresses: Vec<_> = listener.addresses().iter().map(|address| address.tcp().unwrap()).collect();
        let port = addresses[0].port();
        assert_ne!(port, 0);
        assert!(addresses.iter().all(|a| a.port() == port && a.ip().is_loopback()));
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(addresses.len(), if has_ipv6 { 2 } else { 1 });
    }

    #[tokio::test]
    async fn a_port_that_is_taken_says_so() {
        let first = tcp("127.0.0.1:0").await.unwrap();
        let address = first.addresses()[0].tcp().unwrap();
        let error = tcp(&format!("localhost:{}", address.port())).await.unwrap_err();
        let expected = format!("cannot listen on {address}: another process is listening there");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = tcp("192.0.2.1:4317").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:4317: this machine has no such address");
    }

    #[tokio::test]
    async fn a_unix_socket_is_open_to_owner_and_group_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("otlp.sock");
        let listener = Listener::bind(Endpoint::Unix(&path)).await.unwrap();
        assert_eq!(listener.addresses()[0].to_string(), format!("unix:{}", path.display()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let socket = listener.into_sockets().pop().unwrap();
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        socket.accept().await.unwrap().read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_replaced_but_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("otlp.sock");
        // Closing does not remove the file.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Listener::bind(Endpoint::Unix(&path)).await.unwrap();
        let error = Listener::bind(Endpoint::Unix(&path)).await.unwrap_err();
        let at = format!("cannot listen on unix:{}", path.display());
        assert_eq!(error.to_string(), format!("{at}: another process is listening there"));

        // A successor that was not seen keeps its file.
        std::fs::remove_file(&path).unwrap();
        let _second = Listener::bind(Endpoint::Unix(&path)).await.unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).await.is_ok());

        let file = directory.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        let error = Listener::bind(Endpoint::Unix(&file)).await.unwrap_err();
        assert!(error.to_string().ends_with(": there is a file that is no socket"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        let error = Listener::bind(Endpoint::Unix(&directory.path().join("a/b"))).await.unwrap_err();
        assert!(error.to_string().ends_with(": there is no such directory"), "{error}");
    }
}
