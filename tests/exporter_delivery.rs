//! What leaves an exporter is what was put in, in the form that was configured.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::Backend;
use bytes::Bytes;
use exporters::{BOTH, Kind, Setup, payload, spans, start};
use refusal_collector::config::model::{
    Authentication, Compression, Exporter as ExporterConfig, OtlpGrpcExporter, OtlpHttpExporter, Secret,
    SendingQueue,
};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Compressed, Encoding, GRPC_PREFIX, Message};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

#[tokio::test]
async fn every_signal_arrives_where_it_belongs_byte_for_byte() {
    let backend = Backend::start().await;
    let grpc = Setup::default().start(Kind::Grpc, backend.address);
    let http = Setup::default().start(Kind::Http, backend.address);
    for signal in Signal::ALL {
        let payload = payload(signal, 0..3);
        for (running, path) in [(&grpc, signal.grpc_path()), (&http, signal.http_path())] {
            let before = backend.requests().len();
            running.send(payload.clone()).await.unwrap();
            let request = backend.wait_for_requests(before + 1).await.pop().unwrap();
            assert_eq!(request.path, path);
            assert_eq!(request.message(), payload.message.as_slice());
            assert_eq!(request.is_grpc, path == signal.grpc_path());
        }
    }
    for running in [grpc, http] {
        running.settled().await;
        for signal in Signal::ALL {
            let account = running.account(signal);
            assert_eq!((account.accepted, account.exported, account.send_failed), (3, 3, 0));
        }
    }
}

#[tokio::test]
async fn a_framed_message_leaves_as_it_is() {
    let backend = Backend::start().await;
    let mut payload = spans(0..2);
    let mut framed = vec![0];
    framed.extend((payload.message.len() as u32).to_be_bytes());
    framed.extend(payload.message.as_slice());
    payload.message = Message::Framed(Bytes::from(framed.clone()));

    Setup::default().start(Kind::Grpc, backend.address).send(payload.clone()).await.unwrap();
    assert_eq!(backend.wait_for_requests(1).await[0].body, framed);
    Setup::default().start(Kind::Http, backend.address).send(payload).await.unwrap();
    assert_eq!(backend.wait_for_requests(2).await[1].body, framed[GRPC_PREFIX..]);
}

#[tokio::test]
async fn each_compression_in_becomes_each_compression_out() {
    let backend = Backend::start().await;
    let message = spans(0..500).message;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    gzip.write_all(message.as_slice()).unwrap();
    let gzip = Compressed { encoding: Encoding::Gzip, bytes: gzip.finish().unwrap().into() };
    let zstd = zstd::encode_all(message.as_slice(), 19).unwrap();
    let zstd = Compressed { encoding: Encoding::Zstd, bytes: zstd.into() };

    for kind in BOTH {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let running = Setup { compression, ..Setup::default() }.start(kind, backend.address);
            for arrived in [None, Some(gzip.clone()), Some(zstd.clone())] {
                let before = backend.requests().len();
                let mut payload = spans(0..500);
                payload.arrived = arrived.clone();
                running.send(payload).await.unwrap();
                let request = backend.wait_for_requests(before + 1).await.pop().unwrap();

                assert_eq!(request.message(), message.as_slice(), "{kind:?} {compression:?}");
                let name = if kind == Kind::Grpc { "grpc-encoding" } else { "content-encoding" };
                let token = match compression {
                    Compression::None => None,
                    Compression::Gzip => Some("gzip"),
                    Compression::Zstd => Some("zstd"),
                };
                assert_eq!(request.header(name), token);
                if kind == Kind::Grpc {
                    assert_eq!(request.body[0], u8::from(token.is_some()));
                }
                if let Some(arrived) = arrived.filter(|arrived| Some(arrived.encoding.token()) == token) {
                    assert_eq!(request.frame(), arrived.bytes, "it was compressed anew");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_grpc_call_has_the_headers_that_grpc_wants() {
    let backend = Backend::start().await;
    let setup = Setup { timeout: Duration::from_millis(1500), ..Setup::default() };
    setup.start(Kind::Grpc, backend.address).send(spans(0..1)).await.unwrap();
    let request = backend.wait_for_requests(1).await.pop().unwrap();
    assert_eq!(request.version, http::Version::HTTP_2);
    assert_eq!(request.authority, Some(backend.address.to_string()));
    assert_eq!(request.header("content-type"), Some("application/grpc"));
    assert_eq!(request.header("te"), Some("trailers"));
    assert_eq!(request.header("grpc-timeout"), Some("1500m"));
    assert!(request.header("user-agent").unwrap().starts_with("refusal-collector/"));
}

#[tokio::test]
async fn the_users_headers_and_authority_are_sent() {
    let backend = Backend::start().await;
    let headers = BTreeMap::from([("X-Tenant".to_owned(), Secret::new("blue".to_owned()))]);
    let insecure = Setup::default().tls;
    let grpc = start(ExporterConfig::OtlpGrpc(OtlpGrpcExporter {
        endpoint: backend.address.to_string(),
        authority: Some("collector.example:443".into()),
        tls: insecure,
        headers: headers.clone(),
        ..OtlpGrpcExporter::default()
    }));
    grpc.unwrap().send(spans(0..1)).await.unwrap();
    let request = backend.wait_for_requests(1).await.pop().unwrap();
    assert_eq!(request.header("x-tenant"), Some("blue"));
    assert_eq!(request.authority.as_deref(), Some("collector.example:443"));

    let http = start(ExporterConfig::OtlpHttp(OtlpHttpExporter {
        endpoint: "http://unused.invalid".into(),
        traces_endpoint: Some(format!("http://{}/in?tenant=blue", backend.address)),
        headers,
        ..OtlpHttpExporter::default()
    }));
    http.unwrap().send(spans(0..1)).await.unwrap();
    let request = backend.wait_for_requests(2).await.pop().unwrap();
    assert_eq!(request.header("x-tenant"), Some("blue"));
    assert_eq!(request.path, "/in?tenant=blue");
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_large_request_arrives_whole() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        let payload = spans(0..100_000);
        assert!(payload.message.len() > 1 << 20);
        running.send(payload.clone()).await.unwrap();
        let request = backend.wait_for_requests(before + 1).await.pop().unwrap();
        assert!(request.message() == payload.message.as_slice());
    }
}

#[tokio::test]
async fn requests_share_one_grpc_connection() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Grpc, backend.address);
    for n in 0..100 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    backend.wait_for_accepted(100).await;
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn one_consumer_keeps_the_order() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let queue = SendingQueue { num_consumers: 1, ..SendingQueue::default() };
        let running = Setup { queue, ..Setup::default() }.start(kind, backend.address);
        let before = backend.requests().len();
        for n in 0..50 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        let requests = backend.wait_for_accepted(before + 50).await;
        let names: Vec<String> =
            requests[before..].iter().flat_map(|r| exporters::span_names(&r.message())).collect();
        assert_eq!(names, (0..50).map(|n| format!("item {n}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_cannot_work_is_told_at_the_start() {
    let error = |exporter| start(exporter).err().unwrap().to_string();
    let grpc = |change: fn(&mut OtlpGrpcExporter)| {
        let mut exporter =
            OtlpGrpcExporter { endpoint: "backend:4317".into(), ..OtlpGrpcExporter::default() };
        exporter.tls.insecure = true;
        change(&mut exporter);
        error(ExporterConfig::OtlpGrpc(exporter))
    };
    assert_eq!(grpc(|e| e.endpoint.clear()), "endpoint \"\": it must be set");
    assert_eq!(
        grpc(|e| e.compression_level = Some(99)),
        "compression_params.level: gzip has no level 99; its levels are 0 to 9"
    );
    assert_eq!(
        grpc(|e| {
            e.auth = Some(Authentication { authenticator: "bearertokenauth/none".parse().unwrap() });
        }),
        "auth: extension bearertokenauth/none gives no credentials to exporters"
    );
    let http = OtlpHttpExporter { endpoint: "backend:4318".into(), ..OtlpHttpExporter::default() };
    assert_eq!(
        error(ExporterConfig::OtlpHttp(http)),
        "endpoint \"backend:4318\": it must begin with http:// or https://"
    );
}
