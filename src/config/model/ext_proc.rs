//! `receivers.ext_proc`.

use super::receiver::Transport;
use super::{Authentication, GrpcServer, ServerTls};
use crate::config::units::{duration, mebibytes};
use crate::net::Endpoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// `receivers.ext_proc`: takes copies of vendor answers from Envoy's external processing filter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExtProcReceiver {
    /// Host and port to listen on, or the path of a Unix socket.
    pub endpoint: String,
    /// What `endpoint` is.
    pub transport: Transport,
    /// `tls`; none means plain text.
    pub tls: Option<ServerTls>,
    /// `auth`; none means that everybody may send.
    pub auth: Option<Authentication>,
    /// How many connections may be open.
    pub max_connections: usize,
    /// How many calls one connection may copy at a time.
    pub max_concurrent_streams: u32,
    /// The largest header list of a gRPC call in bytes.
    pub max_header_size: u32,
    /// How many calls may be copied at a time, over all connections; others go on without a copy.
    pub max_open_streams: usize,
    /// The bytes that readers and windows of content codings take together (`max_state_mib`).
    #[serde(rename = "max_state_mib", with = "mebibytes")]
    #[schemars(with = "usize")]
    pub max_state: usize,
    /// The largest window of br and zstd in bytes (`max_window_mib`).
    #[serde(rename = "max_window_mib", with = "mebibytes")]
    #[schemars(with = "usize")]
    pub max_window: usize,
    /// How many bytes of a compressed answer are read (`max_answer_size_mib`).
    #[serde(rename = "max_answer_size_mib", with = "mebibytes")]
    #[schemars(with = "usize")]
    pub max_answer_size: usize,
    /// How long an answer waits for the span of its call.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub wait: Duration,
    /// How many answers may wait.
    pub max_waiting_records: usize,
    /// The request's header that names the workload; none means that the collector's own resource does.
    pub workload_header: Option<String>,
    /// From names of Envoy's routes, and from hosts, to providers, for those that the vocabulary does not know.
    pub providers: BTreeMap<String, String>,
    /// What is made of answers that no span has joined in time.
    pub unmatched: Unmatched,
}

/// What is made of answers that no span has joined in time. Each of them is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// A log record, if it is a refusal, or its reason is unknown or missing.
    #[default]
    Log,
    /// A span.
    Span,
    /// Nothing more.
    Count,
}

impl Default for ExtProcReceiver {
    fn default() -> Self {
        ExtProcReceiver {
            endpoint: "localhost:4319".to_owned(),
            transport: Transport::Tcp,
            tls: None,
            auth: None,
            max_connections: 1024,
            max_concurrent_streams: 1024,
            max_header_size: 32 << 10,
            max_open_streams: 1024,
            max_state: 64 << 20,
            max_window: 8 << 20,
            max_answer_size: 256 << 20,
            wait: Duration::from_secs(15),
            max_waiting_records: 10_000,
            workload_header: None,
            providers: BTreeMap::new(),
            unmatched: Unmatched::Log,
        }
    }
}

impl ExtProcReceiver {
    /// Where to listen.
    pub fn listens_at(&self) -> Endpoint<'_> {
        self.transport.endpoint(&self.endpoint)
    }

    /// The server under it. A peer that is gone without a word is noticed within two minutes; calls may be silent for as
    /// long as a model thinks.
    pub fn server(&self) -> GrpcServer {
        GrpcServer {
            endpoint: self.endpoint.clone(),
            transport: self.transport,
            tls: self.tls.clone(),
            auth: self.auth.clone(),
            max_connections: self.max_connections,
            max_concurrent_streams: self.max_concurrent_streams,
            max_header_size: self.max_header_size,
            keepalive_time: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            ..GrpcServer::default()
        }
    }
}
