//! OTLP/HTTP over real sockets: what is taken and how it arrives, and every answer to what is not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod receiver_support;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use prost::Message as _;
use receiver_support::*;
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::HttpServer;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Compressed, Encoding, Message, Refused};
use refusal_collector::telemetry::own::Transport;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tonic_types::pb;

const MIB: usize = 1 << 20;
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn with(http: impl FnOnce(&mut HttpServer)) -> Setup {
    let mut setup = Setup::default();
    http(&mut setup.http);
    setup
}

fn post(path: &str, headers: &[(&str, &str)], body: Pieces) -> Request<Pieces> {
    let mut request = Request::post(path).header("host", "collector");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// Over a new HTTP/1 connection, of chunks.
async fn send(stage: &Stage, request: Request<Pieces>) -> Answer {
    let mut client = http1_connect(stage.http()).await;
    Answer::read(client.send_request(request).await.unwrap()).await
}

/// With its length in the header.
fn sized(body: &[u8], headers: &[(&str, &str)]) -> Request<Pieces> {
    let mut request = post("/v1/traces", headers, pieces([body.to_vec()]));
    request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    request
}

fn protobuf_status(answer: &Answer) -> pb::Status {
    assert_eq!(answer.head.headers["content-type"], "application/x-protobuf");
    pb::Status::decode(answer.body.clone()).unwrap()
}

fn json_status(answer: &Answer) -> (i64, String) {
    assert_eq!(answer.head.headers["content-type"], "application/json");
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    (status["code"].as_i64().unwrap(), status["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_signal_is_taken_at_its_path() {
    let stage = Setup::default().start().await;
    for signal in Signal::ALL {
        let answer = send(&stage, post(signal.http_path(), &[PROTOBUF], pieces([Bytes::new()]))).await;
        assert_eq!(answer.head.status, StatusCode::OK);
        assert_eq!(answer.head.headers["content-type"], "application/x-protobuf");
        assert_eq!(answer.body.len(), 0, "an empty message says that all was taken");
        assert_eq!(stage.fake.taken()[0].signal, signal);
    }
}

#[tokio::test]
async fn paths_are_configurable() {
    let stage = with(|http| http.traces_url_path = "/otlp/spans".to_owned()).start().await;
    let answer = send(&stage, post("/otlp/spans?tenant=a", &[PROTOBUF], pieces([spans(1, 1)]))).await;
    assert_eq!(answer.head.status, StatusCode::OK);
    let answer = send(&stage, post("/v1/traces", &[PROTOBUF], pieces([spans(1, 1)]))).await;
    assert_eq!(answer.head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bodies_are_taken_in_every_compression_with_and_without_a_length() {
    let stage = Setup::default().start().await;
    let message = spans(100, 100);
    for (token, body, kept) in [
        (None, message.clone(), None),
        (Some("identity"), message.clone(), None),
        (Some("gzip"), gzip(&message), Some(Encoding::Gzip)),
        (Some("gzip"), [gzip(&message[..1000]), gzip(&message[1000..])].concat(), Some(Encoding::Gzip)),
        (Some("GZIP"), gzip(&message), Some(Encoding::Gzip)),
        (Some("zstd"), zstd(&message), Some(Encoding::Zstd)),
        (Some("deflate"), zlib(&message), None),
        (Some("zlib"), zlib(&message), None),
    ] {
        let mut headers = vec![PROTOBUF];
        headers.extend(token.map(|token| ("content-encoding", token)));
        let chunks = body.chunks(700).map(Bytes::copy_from_slice);
        for request in [sized(&body, &headers), post("/v1/traces", &headers, pieces(chunks))] {
            let answer = send(&stage, request).await;
            assert_eq!(answer.head.status, StatusCode::OK, "{token:?} {answer:?}");
            let taken = stage.fake.taken();
            assert_eq!(taken[0].message, Message::Bare(message.clone().into()), "{token:?}");
            let arrived = kept.map(|encoding| Compressed { encoding, bytes: body.clone().into() });
            assert_eq!(taken[0].arrived, arrived, "{token:?}");
            assert!(stage.budget.used() >= message.len());
        }
    }
    let account = stage.account(Transport::Http, Signal::Traces);
    assert_eq!((account.accepted.requests, account.accepted.items), (16, 1600));
    stage.assert_budget_is_free().await;
    stage.shutdown().await;
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let stage = Setup::default().start().await;
    let mut client = Http2::connect(stage.http()).await;
    let request = post("http://collector/v1/traces", &[PROTOBUF], pieces([spans(5, 5)]));
    assert_eq!(client.send(request).await.unwrap().head.status, StatusCode::OK);
    assert_eq!(stage.fake.taken()[0].message, Message::Bare(spans(5, 5).into()));
    let request = post("http://collector/v1/nothing", &[PROTOBUF], pieces([spans(5, 5)]));
    assert_eq!(client.send(request).await.unwrap().head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn errors_are_a_status_in_the_encoding_of_the_request() {
    let stage = Setup { fake: Fake::of(&[Signal::Traces]), ..Setup::default() }.start().await;
    let (message, gzipped) = (spans(2, 20), gzip(&spans(2, 20)));
    let as_gzip = ("content-encoding", "gzip");
    let cases = [
        ("/v1/traces", vec![PROTOBUF], vec![0x0a, 0xff], 400, 3, "malformed protobuf"),
        ("/v1/traces", vec![PROTOBUF, as_gzip], message.clone(), 400, 3, "not valid gzip"),
        ("/v1/traces", vec![PROTOBUF, as_gzip], gzipped[..40].to_vec(), 400, 3, "truncated"),
        ("/v1/traces", vec![PROTOBUF, as_gzip], Vec::new(), 400, 3, "truncated"),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "br")], message.clone(), 415, 12, "compression"),
        ("/v1/traces", vec![PROTOBUF, as_gzip, as_gzip], gzip(&gzipped), 415, 12, "compression"),
        ("/v1/logs", vec![PROTOBUF], message.clone(), 404, 12, "no pipeline of this collector takes logs"),
        ("/v1/spans", vec![PROTOBUF], message.clone(), 404, 12, "nothing is served"),
    ];
    for (path, headers, body, http, code, text) in cases {
        let answer = send(&stage, post(path, &headers, pieces([body.clone()]))).await;
        assert_eq!(answer.head.status.as_u16(), http, "{text}");
        let status = protobuf_status(&answer);
        assert_eq!(status.code, code, "{text}");
        assert!(status.message.contains(text), "{status:?}");
        assert!(!answer.head.headers.contains_key("retry-after"), "{text}");
    }
    let account = stage.account(Transport::Http, Signal::Traces);
    assert_eq!((account.failed.requests, account.malformed_requests), (6, 4));
    let answer = send(&stage, post("/v1/spans", &[JSON], pieces([message]))).await;
    assert_eq!(json_status(&answer), (12, "nothing is served at this path".to_owned()));
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn an_unknown_compression_is_answered_with_those_that_are_known() {
    let stage = Setup::default().start().await;
    let answer = send(&stage, sized(b"x", &[PROTOBUF, ("content-encoding", "snappy")])).await;
    assert_eq!(answer.head.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.head.headers["accept-encoding"], "identity, gzip, zstd, deflate, zlib");
}

#[tokio::test]
async fn json_is_taken_as_the_protobuf_that_it_says() {
    let stage = Setup::default().start().await;
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"chat","unknown":1}]}]}]}"#;
    let named = spans_of([opentelemetry_proto::tonic::trace::v1::Span {
        name: "chat".to_owned(),
        ..Default::default()
    }]);
    for headers in [
        vec![JSON],
        vec![("content-type", "application/json; charset=utf-8")],
        vec![("content-type", "Application/JSON"), ("content-encoding", "gzip")],
    ] {
        let body = if headers.len() == 2 { gzip(json) } else { json.to_vec() };
        let answer = send(&stage, sized(&body, &headers)).await;
        assert_eq!(answer.head.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.head.headers["content-type"], "application/json");
        assert_eq!(answer.body, &br#"{"partialSuccess":{}}"#[..]);
        let taken = stage.fake.taken();
        assert_eq!(taken[0].message.as_slice(), named, "{headers:?}");
        assert_eq!(taken[0].arrived, None, "the body that came is no protobuf");
        assert_eq!(stage.budget.used(), named.len() + 5);
    }
    let answer = send(&stage, sized(b"{}", &[JSON])).await;
    assert_eq!(answer.head.status, StatusCode::OK);
    assert_eq!(stage.account(Transport::Http, Signal::Traces).accepted.items, 3);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn broken_json_is_told_where_and_nothing_of_it_is_repeated() {
    let stage = Setup::default().start().await;
    for (body, text) in [
        (&b""[..], "malformed JSON: invalid JSON at line 1 column 0"),
        (b"{\n\"secret", "malformed JSON: invalid JSON at line 2 column 7"),
        (
            br#"{"resourceSpans":"secret"}"#,
            "malformed JSON: resourceSpans must be a list, at line 1 column 25",
        ),
    ] {
        let answer = send(&stage, sized(body, &[JSON])).await;
        assert_eq!(answer.head.status, StatusCode::BAD_REQUEST);
        assert_eq!(json_status(&answer), (3, text.to_owned()));
    }
    assert_eq!(stage.account(Transport::Http, Signal::Traces).malformed_requests, 3);
}

#[tokio::test]
async fn json_has_a_limit_of_its_own_because_it_may_grow() {
    let stage = Setup { budget: 10 * MIB, ..Setup::default() }.start().await;
    let json = |len: usize| format!(r#"{{"x":"{}"}}"#, "y".repeat(len - 8)).into_bytes();
    assert_eq!(send(&stage, sized(&json(2 * MIB), &[JSON])).await.head.status, StatusCode::OK);
    let answer = send(&stage, sized(&json(2 * MIB + 1), &[JSON])).await;
    assert_eq!(answer.head.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json_status(&answer).1, "the request is larger than 2097152 bytes");
    let _most = stage.budget.acquire(6 << 20).await;
    let answer = send(&stage, sized(&json(MIB), &[JSON])).await;
    assert_eq!(answer.head.status, StatusCode::SERVICE_UNAVAILABLE, "it may need four more");
    let retry_after: u64 = answer.head.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&retry_after), "{retry_after}");
}

#[tokio::test]
async fn another_method_or_content_type_is_told_so() {
    let stage = Setup::default().start().await;
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        let mut request = post("/v1/traces", &[PROTOBUF], pieces([Bytes::new()]));
        *request.method_mut() = method.parse().unwrap();
        let answer = send(&stage, request).await;
        assert_eq!(answer.head.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.head.headers["allow"], "POST");
    }
    for content_type in ["text/plain", "application/protobuf", ""] {
        let answer = send(&stage, sized(&spans(1, 1), &[("content-type", content_type)])).await;
        assert_eq!(answer.head.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert_eq!(json_status(&answer).0, 3);
    }
    let answer =
        send(&stage, sized(&spans(1, 1), &[("content-type", "Application/X-Protobuf; charset=utf-8")])).await;
    assert_eq!(answer.head.status, StatusCode::OK);
}

#[tokio::test]
async fn grpc_on_the_port_for_http_is_told_where_to_go() {
    let stage = Setup::default().start().await;
    let mut client = Http2::connect(stage.http()).await;
    let status = client.export(Signal::Traces, &[], pieces([frame(0, &spans(1, 1))])).await.status();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(status.message().starts_with("this port speaks OTLP/HTTP"), "{status}");
}

#[tokio::test]
async fn the_largest_body_is_taken_and_one_byte_more_is_not() {
    let stage = with(|http| http.max_request_body_size = MIB).start().await;
    let (largest, larger) = (request_of(MIB), request_of(MIB + 1));
    let mut taken = 0;
    for (token, compress) in [
        ("identity", (<[u8]>::to_vec) as fn(&[u8]) -> Vec<u8>),
        ("gzip", gzip),
        ("zstd", zstd),
        ("deflate", zlib),
    ] {
        let headers = [PROTOBUF, ("content-encoding", token)];
        let (fits, does_not) = (compress(&largest), compress(&larger));
        for request in [sized(&fits, &headers), post("/v1/traces", &headers, pieces([fits.clone()]))] {
            assert_eq!(send(&stage, request).await.head.status, StatusCode::OK, "{token}");
            taken += 1;
        }
        for request in [sized(&does_not, &headers), post("/v1/traces", &headers, pieces([does_not.clone()]))]
        {
            let answer = send(&stage, request).await;
            assert_eq!(answer.head.status, StatusCode::PAYLOAD_TOO_LARGE, "{token}");
            assert_eq!(protobuf_status(&answer).message, "the request is larger than 1048576 bytes");
        }
    }
    assert_eq!(stage.fake.count(), taken);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn over_the_budget_a_request_waits_and_then_may_come_back() {
    let wait = Duration::from_millis(100);
    let stage = Setup { budget: 300_000, wait, ..Setup::default() }.start().await;
    let mut client = http1_connect(stage.http()).await;
    let body = request_of(90_000);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        client.ready().await.unwrap();
        let answer = Answer::read(client.send_request(sized(&body, &[PROTOBUF])).await.unwrap()).await;
        statuses.push(answer.head.status.as_u16());
        if answer.head.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(answer.head.headers["retry-after"], "5", "nothing has left yet");
            assert_eq!(protobuf_status(&answer).code, 14);
        }
    }
    assert_eq!(statuses, [200, 200, 200, 503]);
    drop(stage.fake.taken());
    client.ready().await.unwrap();
    let answer = client.send_request(sized(&body, &[PROTOBUF])).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "on the same connection");
    let account = stage.account(Transport::Http, Signal::Traces);
    assert_eq!((account.accepted.requests, account.refused.requests), (4, 1));
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn a_body_of_unknown_length_grows_only_over_what_is_free() {
    let stage = Setup { budget: 600_000, wait: Duration::from_millis(50), ..Setup::default() }.start().await;
    let chunked = || {
        let chunks: Vec<Bytes> = request_of(190_000).chunks(1000).map(Bytes::copy_from_slice).collect();
        post("/v1/traces", &[PROTOBUF], pieces(chunks))
    };
    assert_eq!(send(&stage, chunked()).await.head.status, StatusCode::OK);
    assert_eq!(send(&stage, chunked()).await.head.status, StatusCode::OK);
    assert_eq!(
        send(&stage, chunked()).await.head.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "to grow needs 330 kB"
    );
    drop(stage.fake.taken());
    assert_eq!(send(&stage, chunked()).await.head.status, StatusCode::OK);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn what_the_pipeline_refuses_is_told_in_http() {
    let stage = Setup::default().start().await;
    let exporter = || ComponentId::new("otlp_grpc");
    let retry_after = Duration::from_millis(6100);
    for (refused, http, retry) in [
        (Refused::QueueFull { exporter: exporter(), retry_after }, 503, Some("7")),
        (Refused::ShuttingDown, 503, Some("1")),
        (Refused::LargerThanQueue { exporter: exporter(), size: 2, capacity: 1, unit: "items" }, 413, None),
        (Refused::BackendRefused { exporter: exporter(), reason: "no".to_owned() }, 500, None),
    ] {
        let text = refused.to_string();
        stage.fake.answer(refused);
        let answer = send(&stage, sized(&spans(1, 1), &[PROTOBUF])).await;
        assert_eq!(answer.head.status.as_u16(), http, "{text}");
        assert_eq!(protobuf_status(&answer).message, text);
        let after = answer.head.headers.get("retry-after").map(|v| v.to_str().unwrap());
        assert_eq!(after, retry, "{text}");
    }
}

/// Writes all of a request before it reads, as simple clients do.
fn write_then_read(address: std::net::SocketAddr, head: &str, body: &[u8]) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

async fn write_first(stage: &Stage, extra: &str, body: Vec<u8>) -> String {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-protobuf\r\n{extra}content-length: {}\r\n\r\n",
        body.len()
    );
    let address = stage.http();
    tokio::task::spawn_blocking(move || write_then_read(address, &head, &body)).await.unwrap().unwrap()
}

#[tokio::test]
async fn whoever_writes_before_reading_sees_the_answer_and_no_broken_pipe() {
    let mut setup = Setup { budget: 64 * MIB, wait: Duration::from_millis(50), ..Setup::default() };
    setup.http.max_request_body_size = 16 * MIB;
    let stage = setup.start().await;
    let answer = write_first(&stage, "", vec![0; 24 * MIB]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let answer = write_first(&stage, "content-encoding: br\r\n", vec![0; 8 * MIB]).await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    let _all = stage.budget.acquire(60 << 20).await;
    let answer = write_first(&stage, "", vec![0; 8 * MIB]).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nretry-after: 5\r\n"), "{answer}");
}

#[tokio::test]
async fn whoever_asks_before_sending_is_answered_before_it_sends() {
    let stage = Setup::default().start().await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-protobuf\r\n\
                expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n";
    let address = stage.http();
    let answer =
        tokio::task::spawn_blocking(move || write_then_read(address, head, b"")).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let head = "POST /v1/traces HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-protobuf\r\n\
                expect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    let answer =
        tokio::task::spawn_blocking(move || write_then_read(address, head, b"")).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
}

/// Writes `begin`, then waits for the end of the connection; what was read until then, and how long it took.
async fn stall(address: std::net::SocketAddr, begin: &'static [u8]) -> (String, Duration) {
    stall_again(address, b"", begin).await
}

/// The same after a whole request and its answer.
async fn stall_again(
    address: std::net::SocketAddr,
    first: &'static [u8],
    begin: &'static [u8],
) -> (String, Duration) {
    let stalled = move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        if !first.is_empty() {
            stream.write_all(first).unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        }
        let start = Instant::now();
        stream.write_all(begin).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
    };
    tokio::task::spawn_blocking(stalled).await.unwrap()
}

#[tokio::test]
async fn a_slow_head_ends_the_connection() {
    let setup = with(|http| {
        http.read_header_timeout = Duration::from_millis(200);
        http.idle_timeout = Duration::from_secs(60);
    });
    let stage = setup.start().await;
    for begin in [&b""[..], b"P", b"POST /v1/traces HTTP/1.1\r\nhost: c\r\n", b"PRI * HTTP/2.0\r\n"] {
        let (answer, took) = stall(stage.http(), begin).await;
        assert_eq!(answer, "");
        assert!(took >= Duration::from_millis(200), "{took:?}");
    }
    // The second request of a connection has as much time as the first.
    let first = b"GET / HTTP/1.1\r\nhost: c\r\n\r\n";
    let (answer, took) = stall_again(stage.http(), first, b"GET / HTTP/1.1\r\nho").await;
    assert_eq!(answer, "");
    assert!(took >= Duration::from_millis(200), "{took:?}");
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408_and_ends_the_connection() {
    let stage = with(|http| http.read_timeout = Duration::from_millis(200)).start().await;
    let begin = b"POST /v1/traces HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-protobuf\r\n\
                  content-length: 1000\r\n\r\nbegun";
    let (answer, took) = stall(stage.http(), begin).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(took >= Duration::from_millis(200), "{took:?}");
    let mut client = Http2::connect(stage.http()).await;
    let request = post("http://collector/v1/traces", &[PROTOBUF], endless([&b"begun"[..]]));
    assert_eq!(client.send(request).await.unwrap().head.status, StatusCode::REQUEST_TIMEOUT);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_slow_head() {
    let setup = with(|http| {
        http.read_header_timeout = Duration::from_millis(100);
        http.idle_timeout = Duration::from_millis(600);
    });
    let stage = setup.start().await;
    let (answer, took) = stall(stage.http(), b"GET / HTTP/1.1\r\nhost: c\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(took >= Duration::from_millis(600), "{took:?}");
}

#[tokio::test]
async fn a_giant_header_is_refused() {
    let stage = with(|http| http.max_header_size = 16 << 10).start().await;
    let cookie = "x".repeat(20_000);
    let answer = send(&stage, sized(&spans(1, 1), &[PROTOBUF, ("cookie", &cookie)])).await;
    assert_eq!(answer.head.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut client = Http2::connect(stage.http()).await;
    let request = post("http://collector/v1/traces", &[PROTOBUF, ("cookie", &cookie)], pieces([spans(1, 1)]));
    if let Ok(answer) = client.send(request).await {
        assert_eq!(answer.head.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    assert_eq!(stage.fake.count(), 0);
}

#[tokio::test]
async fn random_bytes_as_bodies_and_as_requests_are_survived() {
    let stage = with(|http| http.read_header_timeout = Duration::from_secs(1)).start().await;
    let mut n = 1u64;
    let mut random = move |len| -> Vec<u8> {
        let next = || {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (n >> 56) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    };
    let mut client = http1_connect(stage.http()).await;
    for len in 0..200 {
        for encoding in ["identity", "gzip", "zstd", "deflate"] {
            client.ready().await.unwrap();
            let request = sized(&random(len), &[PROTOBUF, ("content-encoding", encoding)]);
            Answer::read(client.send_request(request).await.unwrap()).await;
        }
    }
    drop(client);
    let address = stage.http();
    for len in [1, 10, 1000, 100_000] {
        let bytes = random(len);
        let sent = move || write_then_read(address, "", &bytes);
        let _ = tokio::task::spawn_blocking(sent).await.unwrap();
    }
    stage.assert_budget_is_free().await;
    stage.shutdown().await;
}
