//! Receivers: OTLP over gRPC and HTTP, from the socket to a [`Payload`](crate::payload::Payload).
//!
//! A request passes [`listen`] (who may connect), [`connection`] (which protocol, how long), [`grpc`] or [`http`]
//! (what it says), [`admission`] (is there room for it), [`inflate`], and the consumer; [`respond`] says how it went.
//! Memory is bounded before it is used: by the budget for requests, by [`buffers`] for what connections hold before
//! that, and by a bound on what waits.

pub mod admission;
pub mod body;
pub mod buffers;
pub mod connection;
pub mod grpc;
pub mod http;
pub mod inflate;
pub mod intake;
pub mod listen;
pub mod respond;
pub mod socket;

use crate::config::ComponentId;
use crate::config::model::{GrpcServer, HttpServer, OtlpReceiver};
use crate::otlp::Signal;
use crate::payload::{Budget, Consume};
use crate::telemetry::own::{Own, Transport};
use admission::Admission;
use buffers::Buffers;
use connection::{Ending, Limits};
use intake::{Intake, Source};
use listen::{BindError, Listener, Port};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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

/// Why receivers do not start.
#[derive(Debug, thiserror::Error)]
#[error("receiver {receiver} ({transport}): {source}")]
pub struct StartError {
    /// Whose port it is.
    pub receiver: ComponentId,
    /// `grpc` or `http`.
    pub transport: Transport,
    /// What is wrong.
    pub source: BindError,
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
    /// With the port that was really taken.
    pub address: SocketAddr,
}

/// Opens every port, then starts to take requests: an error means that nothing was started. Requests wait up to `wait`
/// for room in `budget`; what connections hold beside it is at most [`CONNECTIONS_SHARE`] of it.
pub async fn start<C: Consume>(
    feeds: Vec<Feed<C>>,
    budget: &Budget,
    wait: Duration,
    own: &Own,
) -> Result<Running, StartError> {
    let mut bound = Vec::new();
    for feed in feeds {
        let OtlpReceiver { grpc, http } = feed.config;
        let grpc = open(&feed.receiver, Transport::Grpc, grpc, |server| &server.endpoint).await?;
        let http = open(&feed.receiver, Transport::Http, http, |server| &server.endpoint).await?;
        bound.push((feed.receiver, feed.consumer, grpc, http));
    }
    let shared = Shared {
        admission: Admission::new(budget.clone(), wait),
        buffers: Buffers::new(budget.capacity() / CONNECTIONS_SHARE),
        ending: Ending::default(),
    };
    let mut ports = Vec::new();
    for (receiver, consumer, grpc, http) in bound {
        let source = |consumer| Source { receiver: &receiver, consumer, admission: &shared.admission, own };
        let mut listed = |transport, listener: &Listener| {
            let bound =
                |address: &SocketAddr| Bound { receiver: receiver.clone(), transport, address: *address };
            ports.extend(listener.addresses().iter().map(bound));
        };
        if let Some((config, listener)) = grpc {
            listed(Transport::Grpc, &listener);
            listener.serve(shared.grpc(config, source(consumer.clone())));
        }
        if let Some((config, listener)) = http {
            listed(Transport::Http, &listener);
            listener.serve(shared.http(config, source(consumer)));
        }
    }
    for Bound { receiver, transport, address } in &ports {
        tracing::info!(%receiver, %transport, %address, "listening");
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

async fn open<S>(
    receiver: &ComponentId,
    transport: Transport,
    server: Option<S>,
    endpoint: impl Fn(&S) -> &str,
) -> Result<Option<(S, Listener)>, StartError> {
    let Some(server) = server else { return Ok(None) };
    match Listener::bind(endpoint(&server)).await {
        Ok(listener) => Ok(Some((server, listener))),
        Err(source) => Err(StartError { receiver: receiver.clone(), transport, source }),
    }
}

/// What all ports share.
struct Shared {
    admission: Admission,
    buffers: Buffers,
    ending: Ending,
}

impl Shared {
    fn grpc<C: Consume>(&self, config: GrpcServer, source: Source<'_, C>) -> Port<grpc::Grpc<C>> {
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
        let name = format!("{} ({})", source.receiver, Transport::Grpc);
        let intake = Intake::new(source, Transport::Grpc, config.max_message_size, config.read_timeout);
        self.port(name, grpc::Grpc::new(intake), limits, config.max_connections)
    }

    fn http<C: Consume>(&self, config: HttpServer, source: Source<'_, C>) -> Port<http::Http<C>> {
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
        self.port(name, http::Http::new(intake, paths), limits, config.max_connections)
    }

    fn port<H>(&self, name: String, handler: H, limits: Limits, max_connections: usize) -> Port<H> {
        let connections = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Port {
            name,
            handler,
            limits,
            connections,
            buffers: self.buffers.clone(),
            ending: self.ending.clone(),
        }
    }
}
