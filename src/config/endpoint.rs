//! The syntax of addresses. Nothing is resolved: what a name means may differ where the configuration is checked.

use crate::net::Endpoint;
use http::Uri;
use std::path::{Path, PathBuf};

/// Where to listen, over TCP or on a Unix socket.
pub fn check_endpoint(endpoint: Endpoint<'_>) -> Result<(), String> {
    match endpoint {
        Endpoint::Tcp(endpoint) => check_listener(endpoint),
        Endpoint::Unix(path) => check_socket(path),
    }
}

/// Where to listen: `host:port`, `[::1]:4317`, `:4317`.
pub fn check_listener(endpoint: &str) -> Result<(), String> {
    if endpoint.starts_with('/') || endpoint.starts_with("unix:") {
        return Err(format!("{endpoint:?}: with transport: unix, the path of a socket is an endpoint"));
    }
    no_other_scheme(endpoint)?;
    host_and_port(endpoint).map(|_| ())
}

/// The path of a Unix socket.
fn check_socket(path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("expected a path such as /run/refusal-collector/otlp.sock, found {path:?}"));
    }
    match path.as_os_str().len() {
        ..=LONGEST_SOCKET => Ok(()),
        len => Err(format!("the path of a socket has at most {LONGEST_SOCKET} bytes, this one has {len}")),
    }
}

/// `sun_path` of `sockaddr_un` has 108 bytes on Linux, 104 elsewhere, and a zero ends it.
const LONGEST_SOCKET: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The socket that a gRPC name means: `unix:path` or `unix:///path`.
pub fn socket_of(endpoint: &str) -> Option<&Path> {
    let path = endpoint.strip_prefix("unix:")?;
    Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
}

/// Where gRPC goes: `host:port`, a URL with http or https, or `unix:///path`.
pub fn check_grpc_target(endpoint: &str) -> Result<(), String> {
    if is_url(endpoint) {
        return check_url(endpoint);
    }
    if let Some(path) = socket_of(endpoint) {
        return check_socket(path);
    }
    no_other_scheme(endpoint)?;
    match host_and_port(endpoint)? {
        ("", _) => Err(format!("{endpoint:?} names no host")),
        _ => Ok(()),
    }
}

/// Where OTLP/HTTP goes: a URL with http or https.
pub fn check_url(endpoint: &str) -> Result<(), String> {
    if socket_of(endpoint).is_some() {
        return Err("Unix sockets are reached by otlp_grpc only".to_owned());
    }
    if !is_url(endpoint) {
        return Err(format!("expected a URL such as https://backend:4318, found {endpoint:?}"));
    }
    let uri: Uri = endpoint.parse().map_err(|error| format!("{endpoint:?} is no URL: {error}"))?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
    let has_port = !host_port.ends_with(']') && host_port.contains(':');
    let checked = if has_port { host_port.to_owned() } else { format!("{host_port}:443") };
    match host_and_port(&checked).map_err(|_| format!("{endpoint:?} has no valid host and port"))? {
        ("", _) => Err(format!("{endpoint:?} names no host")),
        _ => Ok(()),
    }
}

/// What two listeners cannot share, and a collector must not send to itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The host in one spelling, and the port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Identity {
    /// The listener on all addresses that is meant by `localhost` too.
    pub fn everywhere(&self) -> Option<Self> {
        match self {
            Identity::Tcp(host, port) if host == "localhost" => Some(Identity::Tcp("*".to_owned(), *port)),
            Identity::Tcp(..) | Identity::Unix(_) => None,
        }
    }
}

/// Of a listener or of an exporter's target; none if it is not known before it runs.
pub fn identity(endpoint: &str) -> Option<Identity> {
    if let Some(path) = socket_of(endpoint) {
        return Some(Identity::Unix(path.to_owned()));
    }
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = host_and_port(authority).ok()?;
    let host = match host {
        "127.0.0.1" | "[::1]" => "localhost",
        "" | "0.0.0.0" | "[::]" => "*",
        host => host,
    };
    (port != 0).then(|| Identity::Tcp(host.to_lowercase(), port))
}

fn is_url(endpoint: &str) -> bool {
    endpoint.starts_with("http://") || endpoint.starts_with("https://")
}

fn no_other_scheme(endpoint: &str) -> Result<(), String> {
    match endpoint.split_once(":/") {
        Some((scheme, _)) => Err(format!("{scheme}: is not supported here, write host:port")),
        None => Ok(()),
    }
}

fn host_and_port(endpoint: &str) -> Result<(&str, u16), String> {
    let malformed = || format!("expected host:port, found {endpoint:?}");
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(malformed)?;
    let is_ipv6 = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !is_ipv6 {
        return Err(format!("{endpoint:?}: write an IPv6 address in brackets, as in [::1]:4317"));
    }
    let host_is_valid = if is_ipv6 {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address = address.split('%').next().unwrap_or_default();
        address.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    if !host_is_valid {
        return Err(format!("{host:?} is no host in {endpoint:?}"));
    }
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let port = port.parse().map_err(|_| format!("port {port} is not between 0 and 65535"))?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_have_a_host_and_a_port() {
        for right in ["localhost:4317", "0.0.0.0:0", ":4317", "[::1]:4317", "[::]:65535", "my-host_1.svc:80"]
        {
            assert_eq!(check_listener(right), Ok(()), "{right}");
        }
        let wrong = [
            ("", "expected host:port, found \"\""),
            ("localhost", "expected host:port, found \"localhost\""),
            ("localhost:", "expected host:port, found \"localhost:\""),
            ("localhost:grpc", "expected host:port, found \"localhost:grpc\""),
            ("localhost:99999", "port 99999 is not between 0 and 65535"),
            ("::1:4317", "\"::1:4317\": write an IPv6 address in brackets, as in [::1]:4317"),
            ("[::x]:1", "\"[::x]\" is no host in \"[::x]:1\""),
            ("a b:1", "\"a b\" is no host in \"a b:1\""),
            (
                "unix:///run/x.sock",
                "\"unix:///run/x.sock\": with transport: unix, the path of a socket is an endpoint",
            ),
            ("dns:///x", "dns: is not supported here, write host:port"),
            ("http://localhost:4318", "http: is not supported here, write host:port"),
        ];
        for (endpoint, message) in wrong {
            assert_eq!(check_listener(endpoint).unwrap_err(), message);
        }
    }

    #[test]
    fn sockets_have_an_absolute_path_of_bounded_length() {
        let check = |path: &str| check_endpoint(Endpoint::Unix(Path::new(path)));
        assert_eq!(check("/run/x.sock"), Ok(()));
        let relative = "expected a path such as /run/refusal-collector/otlp.sock, found \"localhost:4317\"";
        assert_eq!(check("localhost:4317").unwrap_err(), relative);
        assert!(check(&format!("/{}", "x".repeat(LONGEST_SOCKET))).is_err());
        assert!(check(&format!("/{}", "x".repeat(LONGEST_SOCKET - 1))).is_ok());
    }

    #[test]
    fn grpc_goes_to_a_host_and_port_or_a_url() {
        for right in [
            "backend:4317",
            "http://backend:4317",
            "https://backend",
            "https://[::1]:4317/",
            "unix:///run/x",
            "unix:/run/x",
        ] {
            assert_eq!(check_grpc_target(right), Ok(()), "{right}");
        }
        for wrong in [
            ":4317",
            "backend",
            "dns:///backend:4317",
            "https://:4317",
            "https://backend:port",
            "unix:x",
            "unix://x",
        ] {
            assert!(check_grpc_target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn http_goes_to_a_url() {
        for right in ["http://backend:4318", "https://api.example.com/otlp", "https://user@host/x"] {
            assert_eq!(check_url(right), Ok(()), "{right}");
        }
        for wrong in ["backend:4318", "https://", "https:// x", "ftp://x", "http://backend:99999"] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
    }
}
