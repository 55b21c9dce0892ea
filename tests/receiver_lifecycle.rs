//! Connections and their ends: who gets in, how long they stay, and how everything stops.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod receiver_support;

use http::StatusCode;
use receiver_support::*;
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::{GrpcServer, OtlpReceiver};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::Budget;
use refusal_collector::receiver::{self, Feed};
use refusal_collector::telemetry::own::{Own, Transport};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tonic::Code;

fn small(grpc: impl FnOnce(&mut GrpcServer)) -> Setup {
    let mut setup = Setup::default();
    grpc(&mut setup.grpc);
    setup
}

fn one_span() -> Pieces {
    pieces([frame(0, &spans(1, 1))])
}

#[tokio::test]
async fn localhost_is_served_on_every_loopback_address() {
    let stage = Setup::default().start().await;
    let grpc: Vec<_> = stage.running.ports().iter().filter(|p| p.transport == Transport::Grpc).collect();
    assert!(grpc.iter().any(|p| p.address.tcp().unwrap().ip() == IpAddr::from([127, 0, 0, 1])));
    for port in grpc {
        let answer =
            Http2::connect(port.address.tcp().unwrap()).await.export(Signal::Traces, &[], one_span()).await;
        assert_eq!(answer.status().code(), Code::Ok, "{}", port.address);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_at_the_start_and_nothing_else_stays_open() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free_endpoint = free.local_addr().unwrap().to_string();
    drop(free);
    let feed = |kind: &str, endpoint: String| Feed {
        receiver: ComponentId::new(kind),
        config: OtlpReceiver { grpc: Some(GrpcServer { endpoint, ..GrpcServer::default() }), http: None },
        consumer: Fake::default(),
    };
    let feeds = vec![feed("otlp", free_endpoint.clone()), feed("otlp/2", address.to_string())];
    let started =
        receiver::start(feeds, NO_TAPS, &BTreeMap::new(), &Budget::new(1 << 20), Duration::ZERO, &Own::new())
            .await;
    let expected =
        format!("receiver otlp/2 (grpc): cannot listen on {address}: another process is listening there");
    assert_eq!(started.unwrap_err().to_string(), expected);
    std::net::TcpListener::bind(free_endpoint).unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let stage = small(|grpc| grpc.max_connections = 1).start().await;
    let mut first = Http2::connect(stage.grpc()).await;
    assert_eq!(first.export(Signal::Traces, &[], one_span()).await.status().code(), Code::Ok);
    let address = stage.grpc();
    let second = tokio::spawn(async move {
        Http2::connect(address).await.export(Signal::Traces, &[], one_span()).await.status().code()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished());
    assert_eq!(first.export(Signal::Traces, &[], one_span()).await.status().code(), Code::Ok);
    drop(first);
    assert_eq!(timeout(Duration::from_secs(10), second).await.unwrap().unwrap(), Code::Ok);
}

/// The memory for buffers is enough for nine that are busy; of the larger requests, the budget holds three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_memory_for_all_take_turns() {
    for bytes in [200_000, 900_000] {
        take_turns(bytes).await;
    }
}

async fn take_turns(bytes: usize) {
    let stage = Setup { budget: 3 << 20, wait: Duration::from_secs(30), ..Setup::default() }.start().await;
    let message = frame(0, &request_of(bytes));
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Http2::connect(stage.grpc()).await);
    }
    let fake = stage.fake.clone();
    let consumer = tokio::spawn(async move {
        loop {
            drop(fake.taken());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let senders = clients.into_iter().map(|mut client| {
        let message = message.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                let answer = client.export(Signal::Traces, &[], pieces([message.clone()])).await;
                assert_eq!(answer.status().code(), Code::Ok);
            }
            client
        })
    });
    let mut still_open = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        let client = timeout(Duration::from_secs(4), sender).await;
        still_open.push(client.unwrap_or_else(|_| panic!("nobody waits for ever")).unwrap());
    }
    consumer.abort();
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn shutdown_lets_calls_in_flight_end_and_no_new_ones_begin() {
    for transport in [Transport::Grpc, Transport::Http] {
        let stage = Setup { fake: Fake::closed(), ..Setup::default() }.start().await;
        let (grpc, http) = (stage.grpc(), stage.http());
        let address = if transport == Transport::Grpc { grpc } else { http };
        let call = tokio::spawn(async move {
            match transport {
                Transport::Grpc => {
                    Http2::connect(grpc).await.export(Signal::Traces, &[], one_span()).await.status().code()
                        == Code::Ok
                }
                Transport::Http => {
                    let request = http::Request::post("/v1/traces").header("host", "c");
                    let request = request.header("content-type", "application/x-protobuf");
                    let request = request.body(pieces([spans(1, 1)])).unwrap();
                    let answer = http1_connect(http).await.send_request(request).await.unwrap();
                    answer.status() == StatusCode::OK
                }
            }
        });
        eventually("the call is being consumed", || stage.budget.used() > 0).await;
        let fake = stage.fake.clone();
        let shutdown = tokio::spawn(stage.shutdown());
        // Nobody listens any more, while the call goes on.
        eventually("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
        assert!(!shutdown.is_finished() && !call.is_finished());
        fake.open(1);
        assert!(call.await.unwrap(), "{transport}");
        shutdown.await.unwrap();
        assert_eq!(fake.count(), 1);
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_a_shutdown() {
    let stage = Setup::default().start().await;
    let mut grpc = Http2::connect(stage.grpc()).await;
    assert_eq!(grpc.export(Signal::Traces, &[], one_span()).await.status().code(), Code::Ok);
    let _http = http1_connect(stage.http()).await;
    let _silent = connect(stage.grpc()).await;
    let start = Instant::now();
    stage.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    eventually("the client has seen the end", || grpc.is_closed()).await;
}

#[tokio::test]
async fn at_the_deadline_the_rest_is_cut_off_and_counted() {
    let stage = Setup { fake: Fake::closed(), ..Setup::default() }.start().await;
    let address = stage.grpc();
    let call = tokio::spawn(async move {
        let mut client = Http2::connect(address).await;
        client.send(call(Signal::Traces.grpc_path(), &[], one_span())).await
    });
    eventually("the call is being consumed", || stage.budget.used() > 0).await;
    let (budget, fake) = (stage.budget.clone(), stage.fake.clone());
    let cut = stage.running.shutdown(Instant::now() + Duration::from_millis(100)).await;
    assert_eq!(cut, 2, "the connection and its call");
    assert!(call.await.unwrap().is_err());
    fake.open(1);
    assert_eq!((fake.count(), budget.used()), (0, 0), "it was not taken after all");
}

#[tokio::test]
async fn an_old_connection_is_replaced_without_losing_a_call() {
    let setup = small(|grpc| {
        grpc.max_connection_age = Some(Duration::from_millis(200));
        grpc.max_connection_age_grace = Some(Duration::from_secs(30));
    });
    let stage = Setup { fake: Fake::closed(), ..setup }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let fake = stage.fake.clone();
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(600)).await;
        fake.open(1);
    });
    assert_eq!(client.export(Signal::Traces, &[], one_span()).await.status().code(), Code::Ok);
    late.await.unwrap();
    eventually("the connection is closed", || client.is_closed()).await;
}

#[tokio::test]
async fn after_its_grace_an_old_connection_is_cut_off() {
    let setup = small(|grpc| {
        grpc.max_connection_age = Some(Duration::from_millis(100));
        grpc.max_connection_age_grace = Some(Duration::from_millis(100));
    });
    let stage = Setup { fake: Fake::closed(), ..setup }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let never = client.send(call(Signal::Traces.grpc_path(), &[], one_span()));
    assert!(timeout(Duration::from_secs(5), never).await.unwrap().is_err());
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn an_idle_grpc_connection_is_closed_but_not_while_a_call_is_open() {
    let setup = small(|grpc| grpc.max_connection_idle = Some(Duration::from_millis(200)));
    let stage = Setup { fake: Fake::closed(), ..setup }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let fake = stage.fake.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        fake.open(1);
    });
    assert_eq!(client.export(Signal::Traces, &[], one_span()).await.status().code(), Code::Ok);
    eventually("the connection is closed", || client.is_closed()).await;
}

#[tokio::test]
async fn a_connection_that_never_begins_is_closed() {
    let stage = small(|grpc| grpc.read_timeout = Duration::from_millis(200)).start().await;
    for begin in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut stream = connect(stage.grpc()).await;
        stream.write_all(begin).await.unwrap();
        let ended = timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_hung_up_on() {
    let setup = small(|grpc| {
        grpc.keepalive_time = Duration::from_millis(100);
        grpc.keepalive_timeout = Duration::from_millis(100);
    });
    let stage = setup.start().await;
    let mut stream = connect(stage.grpc()).await;
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&empty_settings).await.unwrap();
    let mut read = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut read)).await.unwrap();
    assert!(read.len() > 9, "settings and a ping came before");
}

#[tokio::test]
async fn resets_in_rapid_succession_end_the_connection() {
    let stage = Setup { fake: Fake::closed(), ..Setup::default() }.start().await;
    let mut stream = connect(stage.grpc()).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    // POST, http and "/" from the static table of HPACK; the stream goes on, until it is reset.
    let mut burst = Vec::new();
    for stream_id in (1u32..4000).step_by(2) {
        burst.extend([0, 0, 3, 1, 4]);
        burst.extend(stream_id.to_be_bytes());
        burst.extend([0x83, 0x86, 0x84]);
        burst.extend([0, 0, 4, 3, 0]);
        burst.extend(stream_id.to_be_bytes());
        burst.extend([0, 0, 0, 8]);
    }
    let written = stream.write_all(&burst).await;
    let mut read = Vec::new();
    let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut read)).await.unwrap();
    // The kernel may answer the rest of the burst with a reset before the GOAWAY was read.
    let goaway_enhance_your_calm = read.windows(4).any(|w| w == [0, 0, 0, 11]);
    assert!(goaway_enhance_your_calm || ended.is_err() || written.is_err());
    stage.shutdown().await;
}
