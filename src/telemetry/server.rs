//! `/metrics`: what Prometheus scrapes.

use crate::config::model::PrometheusReader;
use crate::net::BindError;
use crate::telemetry::http::Pages;
use crate::telemetry::registry::Registry;
use crate::telemetry::text::Form;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER, VARY,
};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many scrapes are answered at one time; each holds its whole text until it is sent.
const MOST_SCRAPES: usize = 4;

/// How long a scrape waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Serves the metrics of `registry` at `/metrics` of every reader.
pub async fn serve(
    readers: impl IntoIterator<Item = &PrometheusReader>,
    registry: &Registry,
) -> Result<Vec<Pages>, BindError> {
    let mut servers = Vec::new();
    for reader in readers {
        let scrapes = Scrapes {
            registry: registry.clone(),
            turns: Arc::new(Semaphore::new(MOST_SCRAPES)),
            with_created: reader.with_created,
        };
        let router = Router::new().route("/metrics", get(scrape)).with_state(scrapes);
        servers.push(Pages::serve(&endpoint(reader), router).await?);
    }
    Ok(servers)
}

fn endpoint(reader: &PrometheusReader) -> String {
    let PrometheusReader { host, port, .. } = reader;
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[derive(Clone, Debug)]
struct Scrapes {
    registry: Registry,
    turns: Arc<Semaphore>,
    with_created: bool,
}

async fn scrape(State(scrapes): State<Scrapes>, headers: HeaderMap) -> Response {
    let Ok(Ok(turn)) = timeout(LONGEST_WAIT, scrapes.turns.acquire_owned()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], "too many scrapes\n").into_response();
    };
    let form = Form::accepted_by(&joined(&headers, ACCEPT));
    let is_gzipped = takes_gzip(&joined(&headers, ACCEPT_ENCODING));
    // Thousands of series take milliseconds, in which no request should wait.
    let made = tokio::task::spawn_blocking(move || {
        let text = scrapes.registry.text(form, scrapes.with_created).into_bytes();
        if is_gzipped { gzipped(&text) } else { text }
    });
    let Ok(text) = made.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let body = Body::new(Held { text: Full::new(Bytes::from(text)), _turn: turn });
    let mut response = Response::new(body);
    let answered = response.headers_mut();
    answered.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    answered.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if is_gzipped {
        answered.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A header that may come in several lines.
fn joined(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn takes_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let is_refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}

/// A text that keeps its turn until it is sent or given up.
struct Held {
    text: Full<Bytes>,
    _turn: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.text).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.text.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_only_from_those_who_like_it() {
        for takes in ["gzip", "deflate, gzip;q=0.5", "br,GZIP"] {
            assert!(takes_gzip(takes), "{takes}");
        }
        for refuses in ["", "identity", "gzip;q=0", "gzip; q=0.0, br", "gzipped"] {
            assert!(!takes_gzip(refuses), "{refuses}");
        }
    }

    #[test]
    fn hosts_of_either_family_become_endpoints() {
        let endpoint = |host: &str| {
            super::endpoint(&PrometheusReader { host: host.to_owned(), port: 8888, ..Default::default() })
        };
        assert_eq!(endpoint("localhost"), "localhost:8888");
        assert_eq!(endpoint("0.0.0.0"), "0.0.0.0:8888");
        assert_eq!(endpoint("::1"), "[::1]:8888");
        assert_eq!(endpoint("[::]"), "[::]:8888");
        assert_eq!(endpoint(""), ":8888");
    }
}
