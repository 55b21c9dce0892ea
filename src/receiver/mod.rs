//! Receivers: OTLP over gRPC and HTTP, from the socket to a [`Payload`](crate::payload::Payload), and copies of vendor
//! answers from Envoy ([`ext_proc`]).
//!
//! A request passes [`listen`] and [`tls`] (who may connect), [`connection`] (which protocol, how long), [`grpc`] or
//! [`http`] (what it says), [`auth`] (who may send), [`admission`] (is there room for it), [`inflate`], and the consumer;
//! [`respond`] says how it went.
//! Memory is bounded before it is used: by the budget for requests, by [`buffers`] for what connections hold before
//! that, and by a bound on what waits.

pub mod activity;
pub mod admission;
pub mod auth;
pub mod body;
pub mod buffers;
pub mod connection;
pub mod ext_proc;
pub mod grpc;
pub mod http;
pub mod inflate;
pub mod intake;
pub mod listen;
pub mod respond;
pub mod socket;
pub mod tls;

pub use respond::Error;

use crate::config::ComponentId;
use crate::config::model::{
    Authentication, ExtProcReceiver, Extension, GrpcServer, HttpServer, OtlpReceiver, ServerTls,
};
use crate::net::{Address, BindError, Listener};
use crate::otlp::Signal;
use crate::payload::{Budget, Consume};
use crate::refusal::vocabulary::Vocabulary;
use crate::telemetry::own::{Own, Transport};
use admission::Admission;
use auth::{AuthError, Authenticator};
use buffers::Buffers;
use connection::{Ending, Limits};
use ext_proc::Observe;
use intake::{Intake, Source};
use listen::Port;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tls::{Tls, TlsError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// One `otlp` receiver and where its requests go.
#[derive(Clone, Debug)]
pub struct Feed<C> {
    /// The receiver's id.
    pub receiver: ComponentId,
    /// What it listens on.
    pub config: OtlpReceiver,
    /// Who takes its requests.
    pub consumer: C,
}

/// One `ext_proc` receiver, and who is told what it sees.
#[derive(Clone, Debug)]
pub struct TapFeed<O> {
    /// The receiver's id.
    pub receiver: ComponentId,
    /// What it listens on, and its limits.
    pub config: ExtProcReceiver,
    /// Who knows providers by their hosts and names.
    pub vocabulary: Vocabulary,
    /// Who is told.
    pub observer: O,
}

/// Why receivers do not start.
#[derive(Debug, thiserror::Error)]
#[error("receiver {receiver} ({transport}): {source}")]
pub struct StartError {
    /// Whose port it is.
    pub receiver: ComponentId,
    /// `grpc` or `http`.
    pub transport: Transport,
    /// What is wrong.
    pub source: PortError,
}

/// What is wrong with a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot let anybody in.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// The receivers of the process, at work.
#[derive(Debug)]
pub struct Running {
    ports: Vec<Bound>,
    ending: Ending,
}

/// An address on which a receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Whose it is.
    pub receiver: ComponentId,
    /// What is spoken there.
    pub transport: Transport,
    /// Where.
    pub address: Address,
}

/// Opens every port, then starts to take requests: an error means that nothing was started. `extensions` are those
/// that ports name as authenticators. Requests wait up to `wait` for room in `budget`; what connections hold beside it
/// is at most its [`CONNECTIONS_SHARE`]th part.
pub async fn start<C: Consume, O: Observe>(
    feeds: Vec<Feed<C>>,
    taps: Vec<TapFeed<O>>,
    extensions: &BTreeMap<ComponentId, Extension>,
    budget: &Budget,
    wait: Duration,
    own: &Own,
) -> Result<Running, StartError> {
    let mut opened = Vec::new();
    for Feed { receiver, config, consumer } in feeds {
        let failed = |transport| {
            let receiver = receiver.clone();
            move |source| StartError { receiver, transport, source }
        };
        let grpc = match config.grpc {
            None => None,
            Some(server) => Some(Opened::grpc(server, extensions).await.map_err(failed(Transport::Grpc))?),
        };
        let http = match config.http {
            None => None,
            Some(server) => Some(Opened::http(server, extensions).await.map_err(failed(Transport::Http))?),
        };
        opened.push((receiver, consumer, grpc, http));
    }
    let mut tapped = Vec::new();
    for tap in taps {
        let failed =
            |source| StartError { receiver: tap.receiver.clone(), transport: Transport::Grpc, source };
        let opened = Opened::grpc(tap.config.server(), extensions).await.map_err(failed)?;
        tapped.push((tap, opened));
    }
    let shared = Shared {
        admission: Admission::new(budget.clone(), wait),
        buffers: Buffers::new(budget.capacity() / CONNECTIONS_SHARE),
        ending: Ending::default(),
    };
    let mut ports = Vec::new();
    let mut listed = |receiver: &ComponentId, transport, listener: &Listener| {
        for address in listener.addresses() {
            tracing::info!(%receiver, %transport, %address, "listening");
            ports.push(Bound { receiver: receiver.clone(), transport, address: address.clone() });
        }
    };
    for (receiver, consumer, grpc, http) in opened {
        let source = |consumer, authenticator| Source {
            receiver: &receiver,
            consumer,
            authenticator,
            admission: &shared.admission,
            own,
        };
        if let Some(Opened { server, listener, tls, authenticator }) = grpc {
            listed(&receiver, Transport::Grpc, &listener);
            listen::serve(listener, shared.grpc(server, tls, source(consumer.clone(), authenticator)));
        }
        if let Some(Opened { server, listener, tls, authenticator }) = http {
            listed(&receiver, Transport::Http, &listener);
            listen::serve(listener, shared.http(server, tls, source(consumer, authenticator)));
        }
    }
    for (tap, opened) in tapped {
        listed(&tap.receiver, Transport::Grpc, &opened.listener);
        let Opened { server, listener, tls, authenticator } = opened;
        let TapFeed { receiver, config, vocabulary, observer } = tap;
        let (metrics, ending) = (own.tap(&receiver), shared.ending.clone());
        let handler = ext_proc::ExtProc::new(&config, vocabulary, metrics, observer, authenticator, ending);
        listen::serve(listener, shared.grpc_port(&receiver, &server, tls, handler));
    }
    Ok(Running { ports, ending: shared.ending })
}

/// What connections may hold in memory before their requests are admitted is so much smaller than the budget.
pub const CONNECTIONS_SHARE: usize = 4;

impl Running {
    /// Where the receivers listen.
    pub fn ports(&self) -> &[Bound] {
        &self.ports
    }

    /// Stops: no new connections, and on the open ones no new requests; those that have begun are answered until
    /// `deadline`. Then the rest is cut off; returned is how many connections and requests that were.
    pub async fn shutdown(self, deadline: Instant) -> usize {
        let Ending { stop, abort, tasks } = self.ending;
        stop.cancel();
        tasks.close();
        if timeout_at(deadline, tasks.wait()).await.is_ok() {
            return 0;
        }
        let cut = tasks.len();
        abort.cancel();
        tasks.wait().await;
        cut
    }
}

/// A port that is open, before anybody is served.
struct Opened<S> {
    server: S,
    listener: Listener,
    tls: Option<Arc<Tls>>,
    authenticator: Option<Authenticator>,
}

impl Opened<GrpcServer> {
    async fn grpc(
        server: GrpcServer,
        extensions: &BTreeMap<ComponentId, Extension>,
    ) -> Result<Self, PortError> {
        let tls = tls(server.tls.as_ref(), &[b"h2"])?;
        let authenticator = authenticator(server.auth.as_ref(), extensions)?;
        Ok(Opened { listener: Listener::bind(server.listens_at()).await?, server, tls, authenticator })
    }
}

impl Opened<HttpServer> {
    async fn http(
        server: HttpServer,
        extensions: &BTreeMap<ComponentId, Extension>,
    ) -> Result<Self, PortError> {
        let tls = tls(server.tls.as_ref(), &[b"h2", b"http/1.1"])?;
        let authenticator = authenticator(server.auth.as_ref(), extensions)?;
        Ok(Opened { listener: Listener::bind(server.listens_at()).await?, server, tls, authenticator })
    }
}

fn tls(files: Option<&ServerTls>, protocols: &[&[u8]]) -> Result<Option<Arc<Tls>>, TlsError> {
    files.map(|files| Tls::new(files.clone(), protocols).map(Arc::new)).transpose()
}

fn authenticator(
    auth: Option<&Authentication>,
    extensions: &BTreeMap<ComponentId, Extension>,
) -> Result<Option<Authenticator>, AuthError> {
    auth.map(|auth| Authenticator::new(auth, extensions)).transpose()
}

/// What all ports share.
struct Shared {
    admission: Admission,
    buffers: Buffers,
    ending: Ending,
}

impl Shared {
    fn grpc<C: Consume>(
        &self,
        config: GrpcServer,
        tls: Option<Arc<Tls>>,
        source: Source<'_, C>,
    ) -> Port<grpc::Grpc<C>> {
        let receiver = source.receiver;
        let intake = Intake::new(source, Transport::Grpc, config.max_message_size, config.read_timeout);
        self.grpc_port(receiver, &config, tls, grpc::Grpc::new(intake))
    }

    fn grpc_port<H>(
        &self,
        receiver: &ComponentId,
        config: &GrpcServer,
        tls: Option<Arc<Tls>>,
        handler: H,
    ) -> Port<H> {
        let limits = Limits {
            head_timeout: config.read_timeout,
            idle_timeout: config.max_connection_idle,
            max_age: config.max_connection_age,
            max_age_grace: config.max_connection_age_grace,
            ping_after: config.keepalive_time,
            ping_timeout: config.keepalive_timeout,
            max_streams: config.max_concurrent_streams,
            max_header_size: config.max_header_size,
        };
        let name = format!("{receiver} ({})", Transport::Grpc);
        self.port(name, tls, handler, limits, config.max_connections)
    }

    fn http<C: Consume>(
        &self,
        config: HttpServer,
        tls: Option<Arc<Tls>>,
        source: Source<'_, C>,
    ) -> Port<http::Http<C>> {
        let limits = Limits {
            head_timeout: config.read_header_timeout,
            idle_timeout: Some(config.idle_timeout),
            max_age: None,
            max_age_grace: None,
            ping_after: config.idle_timeout,
            ping_timeout: config.read_header_timeout,
            max_streams: config.max_concurrent_streams,
            max_header_size: config.max_header_size,
        };
        let name = format!("{} ({})", source.receiver, Transport::Http);
        let intake = Intake::new(source, Transport::Http, config.max_request_body_size, config.read_timeout);
        let paths = [
            (Signal::Traces, config.traces_url_path),
            (Signal::Logs, config.logs_url_path),
            (Signal::Metrics, config.metrics_url_path),
        ];
        self.port(name, tls, http::Http::new(intake, paths), limits, config.max_connections)
    }

    fn port<H>(
        &self,
        name: String,
        tls: Option<Arc<Tls>>,
        handler: H,
        limits: Limits,
        max_connections: usize,
    ) -> Port<H> {
        let connections = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let (buffers, ending) = (self.buffers.clone(), self.ending.clone());
        let was_full = AtomicBool::new(false);
        Port { name, tls, handler, limits, connections, was_full, buffers, ending }
    }
}
