//! `receivers`.

use super::{Authentication, ExtProcReceiver, ServerTls, present};
use crate::config::units::{duration, mebibytes};
use crate::net::Endpoint;
use crate::otlp::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The receivers that exist.
#[expect(clippy::large_enum_variant, reason = "there are a few of them")]
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Receiver {
    /// `otlp`.
    Otlp(OtlpReceiver),
    /// `ext_proc`.
    ExtProc(ExtProcReceiver),
}

/// `receivers.otlp`: a protocol is served only if its key is present.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "OtlpReceiverKeys", into = "OtlpReceiverKeys")]
pub struct OtlpReceiver {
    /// `protocols.grpc`.
    pub grpc: Option<GrpcServer>,
    /// `protocols.http`.
    pub http: Option<HttpServer>,
}

/// `receivers.otlp.protocols.grpc`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(from = "GrpcServerKeys", into = "GrpcServerKeys")]
pub struct GrpcServer {
    /// Host and port to listen on, or the path of a Unix socket.
    pub endpoint: String,
    /// What `endpoint` is.
    pub transport: Transport,
    /// `tls`; none means plain text.
    pub tls: Option<ServerTls>,
    /// `auth`; none means that everybody may send.
    pub auth: Option<Authentication>,
    /// The largest message in bytes, on the wire and after inflating (`max_recv_msg_size_mib`).
    pub max_message_size: usize,
    /// How many calls one connection may have open.
    pub max_concurrent_streams: u32,
    /// The largest header list of a call in bytes (ours: `max_header_size`).
    pub max_header_size: u32,
    /// `keepalive.server_parameters.max_connection_idle`: a connection without a call for so long is closed with
    /// GOAWAY, which costs its client nothing; none means never.
    pub max_connection_idle: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age`; none means for ever.
    pub max_connection_age: Option<Duration>,
    /// `keepalive.server_parameters.max_connection_age_grace`.
    pub max_connection_age_grace: Option<Duration>,
    /// `keepalive.server_parameters.time`: ping after this silence.
    pub keepalive_time: Duration,
    /// `keepalive.server_parameters.timeout`: hang up when a ping is not answered.
    pub keepalive_timeout: Duration,
    /// How long a whole request, or the start of a connection, may take to arrive (ours: `read_timeout`).
    pub read_timeout: Duration,
    /// How many connections may be open (ours: `max_connections`).
    pub max_connections: usize,
}

impl Default for GrpcServer {
    fn default() -> Self {
        GrpcServer {
            endpoint: "localhost:4317".to_owned(),
            transport: Transport::Tcp,
            tls: None,
            auth: None,
            max_message_size: 64 << 20,
            max_concurrent_streams: 128,
            max_header_size: 32 << 10,
            max_connection_idle: Some(Duration::from_secs(15 * 60)),
            max_connection_age: None,
            max_connection_age_grace: None,
            keepalive_time: Duration::from_secs(7200),
            keepalive_timeout: Duration::from_secs(20),
            read_timeout: Duration::from_secs(60),
            max_connections: 1024,
        }
    }
}

impl GrpcServer {
    /// Where to listen.
    pub fn listens_at(&self) -> Endpoint<'_> {
        self.transport.endpoint(&self.endpoint)
    }
}

/// `receivers.otlp.protocols.http`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpServer {
    /// Host and port to listen on, or the path of a Unix socket.
    pub endpoint: String,
    /// What `endpoint` is.
    pub transport: Transport,
    /// `tls`; none means plain text.
    pub tls: Option<ServerTls>,
    /// `auth`; none means that everybody may send.
    pub auth: Option<Authentication>,
    /// The largest body in bytes, on the wire and after inflating.
    pub max_request_body_size: usize,
    /// `traces_url_path`.
    pub traces_url_path: String,
    /// `logs_url_path`.
    pub logs_url_path: String,
    /// `metrics_url_path`.
    pub metrics_url_path: String,
    /// The largest header of a request in bytes (ours: `max_header_size`).
    pub max_header_size: u32,
    /// How many requests one HTTP/2 connection may have open (ours: `max_concurrent_streams`).
    pub max_concurrent_streams: u32,
    /// How long the headers of a request may take.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub read_header_timeout: Duration,
    /// How long a whole request may take to arrive.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub read_timeout: Duration,
    /// How long an idle connection is kept.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub idle_timeout: Duration,
    /// How many connections may be open (ours: `max_connections`).
    pub max_connections: usize,
}

impl Default for HttpServer {
    fn default() -> Self {
        HttpServer {
            endpoint: "localhost:4318".to_owned(),
            transport: Transport::Tcp,
            tls: None,
            auth: None,
            max_request_body_size: 64 << 20,
            traces_url_path: Signal::Traces.http_path().to_owned(),
            logs_url_path: Signal::Logs.http_path().to_owned(),
            metrics_url_path: Signal::Metrics.http_path().to_owned(),
            max_header_size: 32 << 10,
            max_concurrent_streams: 128,
            read_header_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            max_connections: 1024,
        }
    }
}

impl HttpServer {
    /// Where to listen.
    pub fn listens_at(&self) -> Endpoint<'_> {
        self.transport.endpoint(&self.endpoint)
    }
}

/// `transport`: of which kind an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Host and port.
    #[default]
    Tcp,
    /// The path of a Unix socket.
    Unix,
}

impl Transport {
    pub(super) fn endpoint(self, endpoint: &str) -> Endpoint<'_> {
        match self {
            Transport::Tcp => Endpoint::Tcp(endpoint),
            Transport::Unix => Endpoint::Unix(std::path::Path::new(endpoint)),
        }
    }
}

/// The shape of [`OtlpReceiver`] in the file.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct OtlpReceiverKeys {
    protocols: Protocols,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Protocols {
    #[serde(deserialize_with = "present")]
    grpc: Option<GrpcServer>,
    #[serde(deserialize_with = "present")]
    http: Option<HttpServer>,
}

impl From<OtlpReceiverKeys> for OtlpReceiver {
    fn from(keys: OtlpReceiverKeys) -> Self {
        OtlpReceiver { grpc: keys.protocols.grpc, http: keys.protocols.http }
    }
}

impl From<OtlpReceiver> for OtlpReceiverKeys {
    fn from(receiver: OtlpReceiver) -> Self {
        OtlpReceiverKeys { protocols: Protocols { grpc: receiver.grpc, http: receiver.http } }
    }
}

/// The shape of [`GrpcServer`] in the file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct GrpcServerKeys {
    endpoint: String,
    transport: Transport,
    tls: Option<ServerTls>,
    auth: Option<Authentication>,
    #[serde(with = "mebibytes")]
    #[schemars(with = "usize")]
    max_recv_msg_size_mib: usize,
    max_concurrent_streams: u32,
    max_header_size: u32,
    keepalive: Keepalive,
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    read_timeout: Duration,
    max_connections: usize,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Keepalive {
    server_parameters: KeepaliveServerParameters,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct KeepaliveServerParameters {
    #[serde(with = "unless_zero")]
    #[schemars(with = "duration::Text")]
    max_connection_idle: Option<Duration>,
    #[serde(with = "unless_zero")]
    #[schemars(with = "duration::Text")]
    max_connection_age: Option<Duration>,
    #[serde(with = "unless_zero")]
    #[schemars(with = "duration::Text")]
    max_connection_age_grace: Option<Duration>,
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    time: Duration,
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    timeout: Duration,
}

impl Default for GrpcServerKeys {
    fn default() -> Self {
        GrpcServer::default().into()
    }
}

impl Default for KeepaliveServerParameters {
    fn default() -> Self {
        GrpcServerKeys::default().keepalive.server_parameters
    }
}

impl From<GrpcServerKeys> for GrpcServer {
    fn from(keys: GrpcServerKeys) -> Self {
        let parameters = keys.keepalive.server_parameters;
        GrpcServer {
            endpoint: keys.endpoint,
            transport: keys.transport,
            tls: keys.tls,
            auth: keys.auth,
            max_message_size: keys.max_recv_msg_size_mib,
            max_concurrent_streams: keys.max_concurrent_streams,
            max_header_size: keys.max_header_size,
            max_connection_idle: parameters.max_connection_idle,
            max_connection_age: parameters.max_connection_age,
            max_connection_age_grace: parameters.max_connection_age_grace,
            keepalive_time: parameters.time,
            keepalive_timeout: parameters.timeout,
            read_timeout: keys.read_timeout,
            max_connections: keys.max_connections,
        }
    }
}

impl From<GrpcServer> for GrpcServerKeys {
    fn from(server: GrpcServer) -> Self {
        GrpcServerKeys {
            endpoint: server.endpoint,
            transport: server.transport,
            tls: server.tls,
            auth: server.auth,
            max_recv_msg_size_mib: server.max_message_size,
            max_concurrent_streams: server.max_concurrent_streams,
            max_header_size: server.max_header_size,
            keepalive: Keepalive {
                server_parameters: KeepaliveServerParameters {
                    max_connection_idle: server.max_connection_idle,
                    max_connection_age: server.max_connection_age,
                    max_connection_age_grace: server.max_connection_age_grace,
                    time: server.keepalive_time,
                    timeout: server.keepalive_timeout,
                },
            },
            read_timeout: server.read_timeout,
            max_connections: server.max_connections,
        }
    }
}

/// A duration of which zero says that there is no bound, as gRPC has it.
mod unless_zero {
    use super::{Duration, duration};
    use serde::{Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Some(duration::deserialize(deserializer)?).filter(|duration| !duration.is_zero()))
    }

    pub(super) fn serialize<S: Serializer>(
        bound: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration::serialize(&bound.unwrap_or_default(), serializer)
    }
}
