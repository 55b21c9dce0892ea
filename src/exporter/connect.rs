//! Connections to backends: where an endpoint is, and the HTTP client that both OTLP exporters use.
//!
//! Connections are made when the first request needs them and made anew, with a new look at DNS, when they break. hyper's
//! client serves gRPC as well as HTTP: it lets a body be anything that can be written in one go, tells what to do with
//! connections that went away before a request was on them, and needs no task and no queue of its own.

use super::body::Body;
use super::tls::{self, TlsError};
use crate::config::endpoint::socket_of;
use crate::config::model::{ClientKeepalive, ClientTls};
use crate::net::Stream;
use http::Uri;
use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;
use tower::{BoxError, Service};

/// A client whose requests have one body of ours each.
pub type Client = hyper_util::client::legacy::Client<Connector, Body>;

/// Why an endpoint is none.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is none.
    #[error("it must be set")]
    Missing,
    /// Not of the form of a URL.
    #[error(transparent)]
    Invalid(#[from] InvalidUri),
    /// A URL without its scheme.
    #[error("it must begin with http:// or https://")]
    NoScheme,
    /// Another scheme.
    #[error("scheme {0:?} is not supported; it must be http or https")]
    Scheme(String),
    /// No host in it.
    #[error("it names no host")]
    NoHost,
    /// A gRPC endpoint with a path.
    #[error("a gRPC endpoint has no path, this one has {0:?}")]
    Path(String),
}

/// Where a gRPC backend is, from `host:port` or a URL. With a scheme that decides about TLS, else `tls.insecure` does. The
/// prefixes `dns:///` and `passthrough:///` of gRPC names are taken off: each host is looked up and dialled directly. Who
/// is behind a Unix socket is called `localhost`, as gRPC has it.
pub fn grpc_endpoint(endpoint: &str, tls: &ClientTls) -> Result<(Scheme, Authority), EndpointError> {
    let mut endpoint = endpoint.trim();
    if socket_of(endpoint).is_some() {
        endpoint = "localhost";
    }
    let name = ["dns:///", "passthrough:///"].iter().find_map(|prefix| endpoint.strip_prefix(prefix));
    let endpoint = name.unwrap_or(endpoint);
    if endpoint.is_empty() {
        return Err(EndpointError::Missing);
    }
    let uri = match endpoint.split_once(':') {
        Some((_, rest)) if rest.starts_with("//") => http_endpoint(endpoint)?,
        Some((scheme @ "unix-abstract", _)) => return Err(EndpointError::Scheme(scheme.to_owned())),
        _ => {
            let scheme = if tls.insecure { Scheme::HTTP } else { Scheme::HTTPS };
            http_endpoint(&format!("{scheme}://{endpoint}"))?
        }
    };
    if !matches!(uri.path(), "" | "/") {
        return Err(EndpointError::Path(uri.path().to_owned()));
    }
    let http::uri::Parts { scheme, authority, .. } = uri.into_parts();
    scheme.zip(authority).ok_or(EndpointError::NoHost)
}

/// Where an HTTP backend is.
pub fn http_endpoint(endpoint: &str) -> Result<Uri, EndpointError> {
    if endpoint.trim().is_empty() {
        return Err(EndpointError::Missing);
    }
    if !endpoint.contains("://") {
        return Err(EndpointError::NoScheme);
    }
    let uri: Uri = endpoint.trim().parse()?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        scheme => return Err(EndpointError::Scheme(scheme.unwrap_or_default().to_owned())),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(EndpointError::NoHost);
    }
    Ok(uri)
}

/// A URI of its parts.
pub fn uri(scheme: Scheme, authority: Authority, path: &'static str) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(PathAndQuery::from_static(path));
    // Three parts that are each valid make a valid whole.
    Uri::from_parts(parts).unwrap_or_default()
}

/// Scheme, host and port of a URI: enough to know who is meant, and without the secrets that people put into URLs.
pub fn address(uri: &Uri) -> String {
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

/// A client without TLS and without any bounds in time.
pub fn plain_client() -> Client {
    let inner = Inner::Plain(Dialer::Tcp(HttpConnector::new()));
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(Connector { inner, target: None })
}

/// What a client does on the wire.
#[derive(Clone, Debug)]
pub struct Transport<'a> {
    /// TLS towards the backend.
    pub tls: &'a ClientTls,
    /// Whether any endpoint is `https`.
    pub is_encrypted: bool,
    /// HTTP/2 from the first byte, as gRPC wants it. Else HTTP/1.1, and HTTP/2 where TLS agrees on it.
    pub is_http2_only: bool,
    /// Dialled for each request, whatever its URI says.
    pub target: Option<Uri>,
    /// The Unix socket on which the target is.
    pub socket: Option<PathBuf>,
    /// How long an attempt may take; none means for ever.
    pub timeout: Option<Duration>,
    /// HTTP/2 pings.
    pub keepalive: Option<ClientKeepalive>,
}

impl Transport<'_> {
    /// The client; it connects with the first request.
    pub fn client(self) -> Result<Client, TlsError> {
        let connector = self.connector()?;
        let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.http2_only(self.is_http2_only);
        if let Some(keepalive) = self.keepalive {
            builder
                .http2_keep_alive_interval(keepalive.time.max(SHORTEST_PING_INTERVAL))
                .http2_keep_alive_timeout(keepalive.timeout)
                .http2_keep_alive_while_idle(keepalive.permit_without_stream);
        }
        Ok(builder.build(connector))
    }

    fn connector(&self) -> Result<Connector, TlsError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        if let Some(timeout) = self.timeout {
            // Half of the time, over all addresses of the host, so that there is time left for the request.
            http.set_connect_timeout(Some(timeout / 2));
            // A peer that vanished without a word is noticed when it has not acknowledged anything for longer than an
            // attempt may take; the next attempt then looks up the name anew.
            #[cfg(target_os = "linux")]
            http.set_tcp_user_timeout(Some(timeout.max(TCP_KEEPALIVE)));
        }
        let dialer = match &self.socket {
            None => Dialer::Tcp(http),
            Some(path) => Dialer::Unix(path.clone()),
        };
        let server_name = tls::server_name(self.tls)?;
        let inner = match self.is_encrypted {
            true => Inner::Encrypting(self.encrypting(dialer, server_name)?),
            false => Inner::Plain(dialer),
        };
        Ok(Connector { inner, target: self.target.clone() })
    }

    fn encrypting(
        &self,
        dialer: Dialer,
        server_name: Option<ServerName<'static>>,
    ) -> Result<HttpsConnector<Dialer>, TlsError> {
        let mut config = tls::client_config(self.tls)?;
        config.alpn_protocols = match self.is_http2_only {
            true => vec![b"h2".to_vec()],
            false => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let resolver: Arc<dyn ResolveServerName + Send + Sync> = match server_name {
            Some(name) => Arc::new(FixedServerNameResolver::new(name)),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        Ok(HttpsConnector::new(dialer, config, false, resolver))
    }
}

/// gRPC servers hang up on clients that ping more often.
const SHORTEST_PING_INTERVAL: Duration = Duration::from_secs(10);

/// When a silent connection is probed.
const TCP_KEEPALIVE: Duration = Duration::from_secs(20);

/// Makes connections, always to `target` if there is one.
#[derive(Clone, Debug)]
pub struct Connector {
    inner: Inner,
    target: Option<Uri>,
}

/// Whether TLS is set up: it takes memory, so only where it is used.
#[derive(Clone, Debug)]
enum Inner {
    /// No endpoint is `https`.
    Plain(Dialer),
    /// With TLS to those endpoints that are `https`.
    Encrypting(HttpsConnector<Dialer>),
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<Stream>>;
    type Error = BoxError;
    type Future = <HttpsConnector<Dialer> as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.inner {
            Inner::Plain(dialer) => dialer.poll_ready(cx),
            Inner::Encrypting(connector) => connector.poll_ready(cx),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let uri = self.target.clone().unwrap_or(uri);
        match &mut self.inner {
            Inner::Encrypting(connector) => connector.call(uri),
            Inner::Plain(dialer) if uri.scheme() == Some(&Scheme::HTTP) => {
                let connecting = dialer.call(uri);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
            Inner::Plain(_) => Box::pin(async { Err("only http:// is set up".into()) }),
        }
    }
}

/// Opens connections without TLS.
#[derive(Clone, Debug)]
pub enum Dialer {
    /// To the host and port of the URI.
    Tcp(HttpConnector),
    /// To the socket at this path, whatever the URI.
    Unix(PathBuf),
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Dialer::Tcp(connector) => connector.poll_ready(cx).map_err(BoxError::from),
            Dialer::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Dialer::Tcp(connector) => {
                let connecting = connector.call(uri);
                Box::pin(async move { Ok(TokioIo::new(Stream::Tcp(connecting.await?.into_inner()))) })
            }
            Dialer::Unix(path) => {
                let path = path.clone();
                Box::pin(async move { Ok(TokioIo::new(Stream::Unix(UnixStream::connect(path).await?))) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grpc(endpoint: &str, insecure: bool) -> Result<String, EndpointError> {
        let tls = ClientTls { insecure, ..ClientTls::default() };
        grpc_endpoint(endpoint, &tls).map(|(scheme, authority)| format!("{scheme} {authority}"))
    }

    #[test]
    fn a_grpc_endpoint_is_an_address_or_a_url_whose_scheme_decides() {
        for (endpoint, insecure, expected) in [
            ("backend:4317", true, "http backend:4317"),
            ("backend:4317", false, "https backend:4317"),
            ("http://backend:4317", false, "http backend:4317"),
            ("https://backend:4317/", true, "https backend:4317"),
            ("dns:///backend.ns.svc:4317", true, "http backend.ns.svc:4317"),
            ("[::1]:4317", true, "http [::1]:4317"),
            ("backend", true, "http backend"),
            ("unix:///run/a.sock", true, "http localhost"),
            ("unix:/run/a.sock", false, "https localhost"),
        ] {
            assert_eq!(grpc(endpoint, insecure).unwrap(), expected);
        }
        for endpoint in
            ["", "unix-abstract:a", "ftp://backend", "https://backend/v1/traces", "http://:4317", "a b"]
        {
            assert!(grpc(endpoint, true).is_err(), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn where_tls_is_not_set_up_nothing_goes_to_an_https_address() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", server.local_addr().unwrap());
        let error = plain_client().get(url.parse().unwrap()).await.unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(reason, "only http:// is set up");
    }

    #[test]
    fn an_address_holds_no_secrets() {
        let uri = http_endpoint("https://user:hunter2@backend:4318/hunter2?key=hunter2").unwrap();
        assert_eq!(address(&uri), "https://backend:4318");
        assert_eq!(address(&http_endpoint("http://[::1]").unwrap()), "http://[::1]");
    }

    #[test]
    fn an_http_endpoint_is_a_url() {
        assert!(http_endpoint("https://backend:4318/otlp").is_ok());
        assert!(matches!(http_endpoint("backend:4318"), Err(EndpointError::NoScheme)));
        assert!(matches!(http_endpoint(" "), Err(EndpointError::Missing)));
    }
}
