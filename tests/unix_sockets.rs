//! OTLP over Unix sockets, in and out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;
mod receiver_support;

use exporters::{Kind, spans};
use http::StatusCode;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use receiver_support::*;
use refusal_collector::config::model::Transport;
use std::path::Path;
use tokio::net::UnixStream;

/// A receiver that listens on two sockets in `directory`.
fn setup(directory: &Path) -> Setup {
    let endpoint = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let mut setup = Setup::default();
    (setup.grpc.endpoint, setup.grpc.transport) = (endpoint("grpc.sock"), Transport::Unix);
    (setup.http.endpoint, setup.http.transport) = (endpoint("http.sock"), Transport::Unix);
    setup
}

#[tokio::test]
async fn what_an_exporter_sends_to_a_socket_a_receiver_takes_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let stage = setup(directory.path()).start().await;
    let path = directory.path().join("grpc.sock");
    for endpoint in [format!("unix://{}", path.display()), format!("unix:{}", path.display())] {
        let exporter = exporters::Setup::default().start_at(Kind::Grpc, &endpoint).unwrap();
        exporter.send(spans(0..3)).await.unwrap();
        assert_eq!(exporter.settled().await.exported, 3);
        let taken = stage.fake.taken().pop().unwrap();
        assert_eq!(taken.message.as_slice(), spans(0..3).message.as_slice());
    }
    stage.shutdown().await;
    assert!(!path.exists(), "the socket's file stays behind");
}

#[tokio::test]
async fn http_is_spoken_on_a_socket_too() {
    let directory = tempfile::tempdir().unwrap();
    let stage = setup(directory.path()).start().await;
    let stream = UnixStream::connect(directory.path().join("http.sock")).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/v1/traces").header("host", "localhost");
    let request = request.header("content-type", "application/x-protobuf");
    let body = pieces([receiver_support::spans(2, 4)]);
    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(stage.fake.count(), 1);
    drop(sender);
    stage.shutdown().await;
}

#[tokio::test]
async fn an_exporter_waits_for_a_socket_that_is_not_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = format!("unix://{}", directory.path().join("grpc.sock").display());
    let exporter = exporters::Setup::default().start_at(Kind::Grpc, &endpoint).unwrap();
    exporter.send(spans(0..1)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let stage = setup(directory.path()).start().await;
    assert_eq!(exporter.settled().await.exported, 1);
    assert_eq!(stage.fake.count(), 1);
}
