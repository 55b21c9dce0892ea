//! `/metrics` and the probes over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod telemetry_support;

use axum::Router;
use axum::routing::get;
use flate2::read::GzDecoder;
use refusal_collector::admin::health::{Health, HealthServer, Stage};
use refusal_collector::config::model::{HealthCheck, PrometheusReader};
use refusal_collector::telemetry::http::{PageLimits, Pages};
use refusal_collector::telemetry::server;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;
use telemetry_support::exposition::{self, Families};
use telemetry_support::registry_that_has_seen_everything;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Sends bytes and reads all that comes until the peer closes.
async fn exchange(address: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("no answer").unwrap();
    answer
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    let answer = exchange(address, &request).await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().replace("\r\n", "\n");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: head, body: answer[end + 4..].to_vec() }
}

fn anywhere() -> PrometheusReader {
    PrometheusReader { host: "127.0.0.1".to_owned(), port: 0, with_created: false }
}

async fn metrics(reader: PrometheusReader) -> Pages {
    let mut servers = server::serve(&[reader], &registry_that_has_seen_everything()).await.unwrap();
    servers.pop().unwrap()
}

fn assert_is_everything(families: &Families) {
    assert!(families.keys().any(|name| name.starts_with("llm_refusals")));
    assert!(families.keys().any(|name| name.starts_with("otelcol_receiver_accepted_spans")));
    assert!(families.contains_key("refusal_collector_memory_budget_capacity_bytes"));
}

#[tokio::test]
async fn a_scrape_gets_prometheus_text() {
    let pages = metrics(anywhere()).await;
    let answer = ask(pages.addresses()[0], "GET", "/metrics", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("content-encoding"), None);
    assert_is_everything(&exposition::read(answer.text(), exposition::Form::Prometheus));
}

#[tokio::test]
async fn a_scrape_by_prometheus_gets_openmetrics_in_gzip() {
    let pages = metrics(anywhere()).await;
    let accept = "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                  application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n\
                  accept-encoding: gzip\r\n";
    let answer = ask(pages.addresses()[0], "GET", "/metrics", accept).await;
    assert_eq!(answer.status, 200);
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    let families = exposition::read(&text, exposition::Form::OpenMetrics);
    assert_is_everything(&families);
    assert!(families["llm_refusals"].samples[0].exemplar.is_some());
}

#[tokio::test]
async fn created_times_are_served_where_the_reader_is_set_so() {
    let pages = metrics(PrometheusReader { with_created: true, ..anywhere() }).await;
    let accept = "accept: application/openmetrics-text\r\n";
    let answer = ask(pages.addresses()[0], "GET", "/metrics", accept).await;
    exposition::read(answer.text(), exposition::Form::OpenMetrics);
    assert!(answer.text().contains("llm_refusals_created{"));
}

#[tokio::test]
async fn only_get_and_head_of_metrics_are_answered() {
    let pages = metrics(anywhere()).await;
    let address = pages.addresses()[0];
    assert_eq!(ask(address, "POST", "/metrics", "content-length: 0\r\n").await.status, 405);
    assert_eq!(ask(address, "GET", "/", "").await.status, 404);
    let head = ask(address, "HEAD", "/metrics", "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn localhost_is_reached_by_either_address() {
    let pages = metrics(PrometheusReader { host: "localhost".to_owned(), ..anywhere() }).await;
    for address in pages.addresses() {
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), pages.addresses()[0].port());
        assert_eq!(ask(*address, "GET", "/metrics", "").await.status, 200);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let pages = metrics(anywhere()).await;
    let port = pages.addresses()[0].port();
    let (reader, registry) = (PrometheusReader { port, ..anywhere() }, registry_that_has_seen_everything());
    let error = server::serve(&[reader], &registry).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{error}");
}

#[tokio::test]
async fn after_the_shutdown_nobody_listens() {
    let pages = metrics(anywhere()).await;
    let address = pages.addresses()[0];
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    timeout(Duration::from_secs(8), pages.shutdown()).await.expect("the shutdown waits for a peer");
    assert!(TcpStream::connect(address).await.is_err());
}

fn tight() -> PageLimits {
    PageLimits {
        connections: 2,
        head_timeout: Duration::from_millis(200),
        head_size: 8 << 10,
        age: Duration::from_millis(400),
        last_answer: Duration::from_millis(200),
        streams: None,
    }
}

async fn large_page(limits: PageLimits) -> Pages {
    let router = Router::new().route("/", get(async || "x".repeat(64 << 20)));
    Pages::serve_within(limits, "127.0.0.1:0", router).await.unwrap()
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_head_is_hung_up_on() {
    let pages = large_page(PageLimits { age: Duration::from_secs(60), ..tight() }).await;
    let started = Instant::now();
    let answer = exchange(pages.addresses()[0], "GET / HTTP/1.1\r\nx-slow: ").await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let pages = large_page(tight()).await;
    let request = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100 << 10));
    let mut stream = TcpStream::connect(pages.addresses()[0]).await.unwrap();
    // The peer may hang up before all is written.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("no answer");
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn peers_that_read_nothing_do_not_keep_others_out_for_ever() {
    let pages = large_page(tight()).await;
    let address = pages.addresses()[0];
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        silent.push(stream);
    }
    // Both places are taken until those who hold them are too old.
    let answer = ask(address, "GET", "/nothing", "").await;
    assert_eq!(answer.status, 404);
    let mut cut = Vec::new();
    // It ends before the page does, one way or the other.
    let _ = silent.remove(0).read_to_end(&mut cut).await;
    assert!(cut.len() < 64 << 20);
}

async fn health_check(path: &str) -> (Health, HealthServer) {
    let health = Health::new();
    let config = HealthCheck { endpoint: "127.0.0.1:0".to_owned(), path: path.to_owned() };
    let server = HealthServer::serve(&config, &health).await.unwrap();
    (health, server)
}

#[tokio::test]
async fn probes_follow_the_life_of_the_collector() {
    let (health, server) = health_check("/").await;
    let address = server.pages().addresses()[0];
    let statuses = async || {
        let mut statuses = Vec::new();
        for path in ["/", "/ready", "/startup", "/live"] {
            statuses.push(ask(address, "GET", path, "").await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [503, 503, 503, 200]);
    health.enter(Stage::Bound);
    assert_eq!(statuses().await, [503, 503, 200, 200]);
    health.enter(Stage::Accepting);
    assert_eq!(statuses().await, [200, 200, 200, 200]);
    health.enter(Stage::Draining);
    assert_eq!(statuses().await, [503, 503, 200, 200]);
    server.shutdown().await;
}

#[tokio::test]
async fn the_body_is_the_collectors() {
    let (health, server) = health_check("/").await;
    let address = server.pages().addresses()[0];
    let answer = ask(address, "GET", "/", "").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = serde_json::json!({"status": "Server not available", "upSince": "0001-01-01T00:00:00Z", "uptime": ""});
    assert_eq!(body, expected);

    health.enter(Stage::Accepting);
    let answer = ask(address, "GET", "/", "").await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["status"], "Server available");
    assert!(humantime::parse_rfc3339(body["upSince"].as_str().unwrap()).is_ok());
    assert!(body["uptime"].as_str().unwrap().ends_with('s'));
}

#[tokio::test]
async fn the_configured_path_asks_for_readiness_too() {
    let (health, server) = health_check("/health/status").await;
    health.enter(Stage::Accepting);
    let address = server.pages().addresses()[0];
    assert_eq!(ask(address, "GET", "/health/status", "").await.status, 200);
    assert_eq!(ask(address, "GET", "/health", "").await.status, 404);
    assert_eq!(ask(address, "POST", "/", "content-length: 0\r\n").await.status, 405);
}

#[tokio::test]
async fn a_path_of_our_own_as_configured_path_keeps_its_meaning() {
    let (_health, server) = health_check("/live").await;
    assert_eq!(ask(server.pages().addresses()[0], "GET", "/live", "").await.status, 200);
}
