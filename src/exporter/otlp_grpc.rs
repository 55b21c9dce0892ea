//! `otlp_grpc`: the three Export methods, called with bytes.
//!
//! The message is framed here instead of by a codec: it leaves without a copy, and one that arrived in the configured
//! compression leaves as the very bytes that came.

use super::answer::{self, PartialSuccess, Status};
use super::body::Body;
use super::compress::Encoded;
use super::connect::{self, Client};
use super::headers::{self, Credentials};
use super::outcome::{Failure, Outcome, Policy};
use super::per_signal::PerSignal;
use super::{StartError, per_attempt};
use crate::config::endpoint::socket_of;
use crate::config::model::{Config, OtlpGrpcExporter};
use crate::otlp::Signal;
use crate::payload::GRPC_PREFIX;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, StatusCode, Uri, Version};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use tonic::Code;

/// Calls the backend.
#[derive(Debug)]
pub struct OtlpGrpc {
    client: Client,
    address: String,
    methods: PerSignal<Uri>,
    headers: HeaderMap,
    credentials: Credentials,
    timeout: Option<Duration>,
    policy: Policy,
}

impl OtlpGrpc {
    /// A client that has not connected yet.
    pub fn new(exporter: &OtlpGrpcExporter, config: &Config) -> Result<Self, StartError> {
        let (scheme, host) = connect::grpc_endpoint(&exporter.endpoint, &exporter.tls)
            .map_err(|source| StartError::endpoint("endpoint", &exporter.endpoint, source))?;
        let authority = match &exporter.authority {
            None => host.clone(),
            Some(authority) => http::uri::Authority::from_str(authority)
                .map_err(|source| StartError::endpoint("authority", authority, source.into()))?,
        };
        let mut headers = headers::template(&exporter.headers)?;
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let timeout = per_attempt(exporter.timeout);
        if let Some(timeout) = timeout {
            headers.insert("grpc-timeout", grpc_timeout(timeout));
        }
        let target = connect::uri(scheme.clone(), host, "/");
        let socket = socket_of(exporter.endpoint.trim());
        let address = match socket {
            None => connect::address(&target),
            Some(path) => format!("unix:{}", path.display()),
        };
        let client = connect::Transport {
            tls: &exporter.tls,
            is_encrypted: scheme == http::uri::Scheme::HTTPS,
            is_http2_only: true,
            target: Some(target),
            socket: socket.map(Path::to_owned),
            timeout,
            keepalive: exporter.keepalive,
        }
        .client()?;
        let method = |signal: Signal| connect::uri(scheme.clone(), authority.clone(), signal.grpc_path());
        Ok(OtlpGrpc {
            client,
            address,
            methods: PerSignal::new(method),
            headers,
            credentials: Credentials::new(exporter.auth.as_ref(), &config.extensions)?,
            timeout,
            policy: Policy { retry_resource_exhausted: exporter.retry.retry_resource_exhausted },
        })
    }

    /// Where the backend is: scheme, host and port, or the socket.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Makes one call, which ends in time.
    pub async fn attempt(&self, signal: Signal, message: &Encoded) -> Outcome {
        let call = async {
            let request = self.request(signal, message).await;
            self.call(request).await.unwrap_or_else(Outcome::unreachable)
        };
        let Some(timeout) = self.timeout else { return call.await };
        match tokio::time::timeout(timeout, call).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::unreachable(Failure::TimedOut(timeout)),
        }
    }

    async fn request(&self, signal: Signal, message: &Encoded) -> Request<Body> {
        let mut request = Request::new(Body::framed(message));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.methods.get(signal).clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(encoding) = message.encoding {
            request.headers_mut().insert("grpc-encoding", HeaderValue::from_static(encoding.token()));
        }
        if let Some(credentials) = self.credentials.current().await {
            request.headers_mut().insert(header::AUTHORIZATION, credentials);
        }
        request
    }

    /// An error is a connection that broke.
    async fn call(&self, request: Request<Body>) -> Result<Outcome, Failure> {
        let response = self.client.request(request).await.map_err(|error| Failure::transport(&error))?;
        let (head, body) = response.into_parts();
        // A status in the headers is the whole answer, whatever the HTTP status beside it.
        if let Some(status) = Status::from_headers(&head.headers) {
            return Ok(self.outcome(status, &[]));
        }
        if head.status != StatusCode::OK {
            let after = answer::retry_after(&head.headers, SystemTime::now());
            return Ok(Outcome::from_http(head.status, "an answer without gRPC status".to_owned(), after));
        }
        if !is_grpc(&head.headers) {
            return Ok(Outcome::unreachable(Failure::NotOtlp(described_type(&head.headers))));
        }
        let answer = answer::collect(body).await.map_err(|error| Failure::transport(&error))?;
        match answer.trailers.as_ref().and_then(Status::from_headers) {
            Some(status) => Ok(self.outcome(status, &answer.data)),
            None => Ok(Outcome::unreachable(Failure::NotOtlp("a gRPC answer without status".to_owned()))),
        }
    }

    fn outcome(&self, status: Status, frame: &[u8]) -> Outcome {
        if status.code != Code::Ok {
            return Outcome::from_grpc(status, self.policy);
        }
        match message_of(frame).and_then(PartialSuccess::from_protobuf) {
            None => Outcome::Delivered,
            Some(PartialSuccess { rejected, message }) => {
                Outcome::PartiallyRejected { items: rejected, message }
            }
        }
    }
}

/// The content type of an answer, for people.
pub fn described_type(headers: &HeaderMap) -> String {
    match headers.get(header::CONTENT_TYPE) {
        None => "no content type".to_owned(),
        Some(value) => {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("content type {}", super::quote::one_line(&value))
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The message of a frame that is not compressed; we do not say that we accept compressed ones.
fn message_of(frame: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = frame.split_first_chunk::<GRPC_PREFIX>()?;
    let [0, length @ ..] = prefix else { return None };
    message.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// At most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    let millis = timeout.as_millis().min(99_999_999);
    HeaderValue::try_from(format!("{millis}m")).unwrap_or(HeaderValue::from_static("5S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_only_if_it_is_whole_and_plain() {
        assert_eq!(message_of(b"\0\0\0\0\x02ab"), Some(&b"ab"[..]));
        assert_eq!(message_of(b"\0\0\0\0\x03ab"), None);
        assert_eq!(message_of(b"\x01\0\0\0\x02ab"), None);
        assert_eq!(message_of(b"\0\0"), None);
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        assert_eq!(grpc_timeout(Duration::from_millis(2500)), "2500m");
        assert_eq!(grpc_timeout(Duration::MAX), "99999999m");
    }
}
