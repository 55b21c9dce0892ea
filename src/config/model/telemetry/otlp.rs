//! `exporter.otlp` of whatever tells of the collector itself: where to, and how.

use crate::config::model::exporter::{
    Compression, Exporter, OtlpGrpcExporter, OtlpHttpExporter, Retry, SendingQueue,
};
use crate::config::model::security::{ClientTls, Secret};
use crate::config::units::milliseconds;
use crate::otlp::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `exporter` of a reader or a processor: `{otlp: {…}}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpExporter {
    /// The one that there is.
    pub otlp: OtlpTarget,
}

/// `exporter.otlp`: where to, and how.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpTarget {
    /// `grpc` or `http/protobuf`.
    pub protocol: OtlpProtocol,
    /// A URL, which over HTTP is used as it is and without a path gets the signal's; over gRPC also `host:port`.
    pub endpoint: String,
    /// For gRPC to an endpoint without a scheme: no TLS.
    pub insecure: bool,
    /// Trusted instead of the system's roots.
    pub certificate: Option<PathBuf>,
    /// The client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// How a request is compressed.
    pub compression: Compression,
    /// How long one attempt may take.
    #[serde(with = "milliseconds")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// Sent with each request.
    pub headers: Vec<Header>,
    /// The same as text: `name=value,…`. `headers` goes before it.
    pub headers_list: Option<Secret>,
    /// For metrics.
    pub temporality_preference: Temporality,
}

impl Default for OtlpTarget {
    fn default() -> Self {
        OtlpTarget {
            protocol: OtlpProtocol::HttpProtobuf,
            endpoint: String::new(),
            insecure: false,
            certificate: None,
            client_certificate: None,
            client_key: None,
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            headers_list: None,
            temporality_preference: Temporality::Cumulative,
        }
    }
}

impl OtlpTarget {
    /// The exporter that does it, for one signal.
    pub fn exporter(&self, signal: Signal) -> Exporter {
        let tls = ClientTls {
            insecure: self.insecure,
            ca_file: self.certificate.clone(),
            cert_file: self.client_certificate.clone(),
            key_file: self.client_key.clone(),
            ..ClientTls::default()
        };
        let (headers, compression, timeout) = (self.all_headers(), self.compression, self.timeout);
        let queue = SendingQueue { enabled: false, ..SendingQueue::default() };
        let retry = Retry { initial_interval: Duration::from_secs(1), ..Retry::default() };
        match self.protocol {
            OtlpProtocol::Grpc => Exporter::OtlpGrpc(OtlpGrpcExporter {
                endpoint: self.endpoint.clone(),
                tls,
                compression,
                timeout,
                headers,
                queue,
                retry,
                ..OtlpGrpcExporter::default()
            }),
            OtlpProtocol::HttpProtobuf => {
                let (mut exporter, whole) = (OtlpHttpExporter::default(), Some(self.url(signal)));
                match signal {
                    Signal::Traces => exporter.traces_endpoint = whole,
                    Signal::Logs => exporter.logs_endpoint = whole,
                    Signal::Metrics => exporter.metrics_endpoint = whole,
                }
                Exporter::OtlpHttp(OtlpHttpExporter {
                    tls,
                    compression,
                    timeout,
                    headers,
                    queue,
                    retry,
                    ..exporter
                })
            }
        }
    }

    /// The endpoint, with the path of the signal where it has none.
    fn url(&self, signal: Signal) -> String {
        let endpoint = self.endpoint.trim();
        let path = endpoint.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        match path {
            None | Some((_, "")) => format!("{}{}", endpoint.trim_end_matches('/'), signal.http_path()),
            Some(_) => endpoint.to_owned(),
        }
    }

    fn all_headers(&self) -> BTreeMap<String, Secret> {
        let list = self.headers_list.as_ref().map_or("", Secret::reveal);
        let listed = list.split(',').filter_map(|pair| pair.split_once('='));
        let listed =
            listed.map(|(name, value)| (name.trim().to_owned(), Secret::new(value.trim().to_owned())));
        let headers = self.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
        let untraced = (TRACEPARENT.to_owned(), Secret::new(UNTRACED.to_owned()));
        [untraced].into_iter().chain(listed).chain(headers).collect()
    }
}

const TRACEPARENT: &str = "traceparent";

/// A trace that is not recorded. Who receives what collectors tell of themselves, and may be one of them, makes no spans of
/// that, which would be told again.
const UNTRACED: &str = "00-75616e6f626f647972656c6c73746869-6e6f626f64792121-00";

/// `exporter.otlp.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// OTLP/gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP/HTTP with protobuf.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// `exporter.otlp.temporality_preference`. What is counted since the start can be sent again and again, and lost, without
/// a wrong number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// Since the start.
    Cumulative,
}

/// An element of `exporter.otlp.headers`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str) -> OtlpTarget {
        OtlpTarget { endpoint: endpoint.to_owned(), ..OtlpTarget::default() }
    }

    #[test]
    fn an_endpoint_over_http_is_used_as_it_is_and_gets_a_path_only_where_it_has_none() {
        for (endpoint, url) in [
            ("http://backend:4318", "http://backend:4318/v1/metrics"),
            ("http://backend:4318/", "http://backend:4318/v1/metrics"),
            ("https://backend/api/v1/otlp/v1/metrics", "https://backend/api/v1/otlp/v1/metrics"),
            ("https://backend/in?tenant=a", "https://backend/in?tenant=a"),
        ] {
            assert_eq!(target(endpoint).url(Signal::Metrics), url);
        }
    }

    #[test]
    fn listed_headers_give_way_to_those_with_a_name() {
        let target = OtlpTarget {
            headers: vec![Header { name: "a".to_owned(), value: Secret::new("1".to_owned()) }],
            headers_list: Some(Secret::new("a=2, b=3=4 ,c".to_owned())),
            ..target("http://backend")
        };
        let headers = target.all_headers();
        assert!(headers[TRACEPARENT].reveal().ends_with("-00"));
        let headers: Vec<_> = headers
            .iter()
            .filter(|(name, _)| *name != TRACEPARENT)
            .map(|(name, value)| (name.as_str(), value.reveal()))
            .collect();
        assert_eq!(headers, [("a", "1"), ("b", "3=4")]);
    }
}
