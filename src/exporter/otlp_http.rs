//! `otlp_http`: export requests as the bodies of POST requests, in protobuf.

use super::answer::{self, PartialSuccess, Status};
use super::body::Body;
use super::compress::Encoded;
use super::connect::{self, Client};
use super::headers::{self, Credentials};
use super::otlp_grpc::described_type;
use super::outcome::{Failure, Outcome};
use super::per_signal::PerSignal;
use super::quote::one_line;
use super::{StartError, per_attempt};
use crate::config::model::{Config, OtlpHttpExporter};
use crate::otlp::Signal;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Uri};
use std::time::{Duration, SystemTime};

/// Posts to the backend.
#[derive(Debug)]
pub struct OtlpHttp {
    client: Client,
    urls: PerSignal<Option<Uri>>,
    headers: HeaderMap,
    credentials: Credentials,
    timeout: Option<Duration>,
}

impl OtlpHttp {
    /// A client that has not connected yet. A signal that is sent must have an endpoint.
    pub fn new(exporter: &OtlpHttpExporter, config: &Config, sent: &[Signal]) -> Result<Self, StartError> {
        let url = |signal: Signal| url(exporter, signal, sent.contains(&signal));
        let urls = PerSignal {
            traces: url(Signal::Traces)?,
            logs: url(Signal::Logs)?,
            metrics: url(Signal::Metrics)?,
        };
        let is_https =
            |signal: Signal| urls.get(signal).as_ref().is_some_and(|url| url.scheme_str() == Some("https"));
        let timeout = per_attempt(exporter.timeout);
        let client = connect::Transport {
            tls: &exporter.tls,
            is_encrypted: Signal::ALL.into_iter().any(is_https),
            is_http2_only: false,
            target: None,
            socket: None,
            timeout,
            keepalive: None,
        }
        .client()?;
        let mut headers = headers::template(&exporter.headers)?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        let credentials = Credentials::new(exporter.auth.as_ref(), &config.extensions)?;
        Ok(OtlpHttp { client, urls, headers, credentials, timeout })
    }

    /// Where requests of a signal go.
    pub fn url(&self, signal: Signal) -> Option<&Uri> {
        self.urls.get(signal).as_ref()
    }

    /// Posts one request, which ends in time.
    pub async fn attempt(&self, signal: Signal, message: &Encoded) -> Outcome {
        let post = async {
            match self.request(signal, message).await {
                Some(request) => self.post(request).await.unwrap_or_else(Outcome::unreachable),
                None => Outcome::unreachable(Failure::Transport(format!("no endpoint for {signal}"))),
            }
        };
        let Some(timeout) = self.timeout else { return post.await };
        match tokio::time::timeout(timeout, post).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::unreachable(Failure::TimedOut(timeout)),
        }
    }

    async fn request(&self, signal: Signal, message: &Encoded) -> Option<Request<Body>> {
        let mut request = Request::new(Body::bare(message));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url(signal)?.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(encoding) = message.encoding {
            let token = HeaderValue::from_static(encoding.token());
            request.headers_mut().insert(header::CONTENT_ENCODING, token);
        }
        if let Some(credentials) = self.credentials.current().await {
            request.headers_mut().insert(header::AUTHORIZATION, credentials);
        }
        Some(request)
    }

    /// An error is a connection that broke before there was an answer.
    async fn post(&self, request: Request<Body>) -> Result<Outcome, Failure> {
        let response = self.client.request(request).await.map_err(|error| Failure::transport(&error))?;
        let (head, body) = response.into_parts();
        // The status is the answer; a body that breaks off takes nothing from it.
        let body = answer::collect(body).await.unwrap_or_default().data;
        if head.status.is_success() {
            return Ok(accepted(&head.headers, &body));
        }
        let (message, retry_info) = explanation(&head.headers, &body);
        let after = answer::retry_after(&head.headers, SystemTime::now()).or(retry_info);
        Ok(Outcome::from_http(head.status, message, after))
    }
}

const PROTOBUF: &str = "application/x-protobuf";

/// What a status of 2xx means. Backends answer it with bodies of all kinds, or none; but a page for people is the answer
/// of something that stands in the way.
fn accepted(headers: &HeaderMap, body: &[u8]) -> Outcome {
    let partial = match media_type(headers) {
        MediaType::Protobuf => PartialSuccess::from_protobuf(body),
        MediaType::Json => PartialSuccess::from_json(body),
        MediaType::Html if !body.is_empty() => {
            return Outcome::unreachable(Failure::NotOtlp(described_type(headers)));
        }
        MediaType::Html | MediaType::Other => None,
    };
    match partial {
        None => Outcome::Delivered,
        Some(PartialSuccess { rejected, message }) => Outcome::PartiallyRejected { items: rejected, message },
    }
}

/// What the body of an error says: its message, and its RetryInfo.
fn explanation(headers: &HeaderMap, body: &[u8]) -> (String, Option<Duration>) {
    let status = match media_type(headers) {
        MediaType::Protobuf => Status::from_protobuf(body),
        MediaType::Json => Status::from_json(body),
        MediaType::Html => return (described_type(headers), None),
        MediaType::Other => None,
    };
    match status {
        Some(status) => (status.message, status.retry_after),
        None => (one_line(&String::from_utf8_lossy(body)), None),
    }
}

enum MediaType {
    Protobuf,
    Json,
    Html,
    Other,
}

fn media_type(headers: &HeaderMap) -> MediaType {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match essence.as_slice() {
        b"application/x-protobuf" | b"application/protobuf" => MediaType::Protobuf,
        b"application/json" => MediaType::Json,
        b"text/html" => MediaType::Html,
        _ => MediaType::Other,
    }
}

/// The URL of a signal: its own, else the base with the signal's path; none where neither is set and nothing is sent.
fn url(exporter: &OtlpHttpExporter, signal: Signal, is_sent: bool) -> Result<Option<Uri>, StartError> {
    let (field, own) = match signal {
        Signal::Traces => ("traces_endpoint", &exporter.traces_endpoint),
        Signal::Logs => ("logs_endpoint", &exporter.logs_endpoint),
        Signal::Metrics => ("metrics_endpoint", &exporter.metrics_endpoint),
    };
    if let Some(own) = own.as_ref().filter(|own| !own.is_empty()) {
        let parsed = connect::http_endpoint(own);
        return parsed.map(Some).map_err(|source| StartError::endpoint(field, own, source));
    }
    if exporter.endpoint.is_empty() && !is_sent {
        return Ok(None);
    }
    let whole = format!("{}{}", exporter.endpoint.trim().trim_end_matches('/'), signal.http_path());
    connect::http_endpoint(&exporter.endpoint)
        .and_then(|_| connect::http_endpoint(&whole))
        .map(Some)
        .map_err(|source| StartError::endpoint("endpoint", &exporter.endpoint, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn a_signal_goes_to_its_own_url_or_below_the_base() {
        let exporter = OtlpHttpExporter {
            endpoint: "http://backend:4318/otlp/".into(),
            logs_endpoint: Some("https://logs.example/in?tenant=a".into()),
            ..OtlpHttpExporter::default()
        };
        let url = |signal| url(&exporter, signal, true).unwrap().unwrap().to_string();
        assert_eq!(url(Signal::Traces), "http://backend:4318/otlp/v1/traces");
        assert_eq!(url(Signal::Logs), "https://logs.example/in?tenant=a");
    }

    #[test]
    fn a_signal_that_is_sent_needs_an_endpoint() {
        let exporter = OtlpHttpExporter {
            traces_endpoint: Some("http://backend/traces".into()),
            ..OtlpHttpExporter::default()
        };
        assert!(url(&exporter, Signal::Traces, true).unwrap().is_some());
        assert!(url(&exporter, Signal::Logs, false).unwrap().is_none());
        let error = url(&exporter, Signal::Logs, true).unwrap_err();
        assert_eq!(error.to_string(), "endpoint \"\": it must be set");
    }

    #[test]
    fn a_success_is_one_whatever_its_body_unless_it_is_a_page_for_people() {
        assert_eq!(accepted(&HeaderMap::new(), b""), Outcome::Delivered);
        assert_eq!(accepted(&typed("text/plain"), b"ok"), Outcome::Delivered);
        assert_eq!(accepted(&typed("text/html"), b""), Outcome::Delivered);
        assert_eq!(accepted(&typed("application/json; charset=utf-8"), b"{}"), Outcome::Delivered);
        let login = accepted(&typed("Text/HTML; charset=utf-8"), b"<html>please log in</html>");
        assert!(matches!(login, Outcome::Retryable { failure: Failure::NotOtlp(_), .. }), "{login:?}");
    }
}
