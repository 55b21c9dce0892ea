//! OTLP/gRPC over real sockets: what is taken and how it arrives, and every answer to what is not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod receiver_support;

use bytes::Bytes;
use http::{Method, StatusCode};
use receiver_support::*;
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::GrpcServer;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Compressed, Encoding, Message, Refused};
use refusal_collector::telemetry::own::Transport;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const MIB: usize = 1 << 20;

async fn export(stage: &Stage, headers: &[(&str, &str)], body: Pieces) -> Status {
    Http2::connect(stage.grpc()).await.export(Signal::Traces, headers, body).await.status()
}

fn small(grpc: impl FnOnce(&mut GrpcServer)) -> Setup {
    let mut setup = Setup::default();
    grpc(&mut setup.grpc);
    setup
}

#[tokio::test]
async fn an_uncompressed_frame_is_handed_on_as_it_came() {
    let stage = Setup::default().start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let message = spans(3, 10);
    let answer = client.export(Signal::Traces, &[], pieces([frame(0, &message)])).await;
    assert_eq!(answer.status().code(), Code::Ok);
    assert_eq!(answer.head.headers["content-type"], "application/grpc");
    assert_eq!(answer.body, [0; 5][..], "one empty message");
    let taken = stage.fake.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].message, Message::Framed(frame(0, &message)));
    assert_eq!((taken[0].signal, taken[0].arrived.clone()), (Signal::Traces, None));
    assert_eq!(stage.budget.used(), message.len() + 5);
    let account = stage.account(Transport::Grpc, Signal::Traces);
    assert_eq!((account.accepted.requests, account.accepted.items), (1, 3));
    drop((client, taken));
    stage.assert_budget_is_free().await;
    stage.shutdown().await;
}

#[tokio::test]
async fn a_compressed_body_is_inflated_and_kept_as_it_came() {
    let stage = Setup::default().start().await;
    let message = spans(100, 100);
    for (token, compressed, kept) in [
        ("gzip", gzip(&message), Some(Encoding::Gzip)),
        ("gzip", [gzip(&message[..1000]), gzip(&message[1000..])].concat(), Some(Encoding::Gzip)),
        ("zstd", zstd(&message), Some(Encoding::Zstd)),
        ("deflate", zlib(&message), None),
    ] {
        let body = pieces([frame(1, &compressed)]);
        assert_eq!(export(&stage, &[("grpc-encoding", token)], body).await.code(), Code::Ok, "{token}");
        let taken = stage.fake.taken();
        assert_eq!(taken[0].message, Message::Bare(message.clone().into()), "{token}");
        let arrived = kept.map(|encoding| Compressed { encoding, bytes: compressed.clone().into() });
        assert_eq!(taken[0].arrived, arrived, "{token}");
        assert!(stage.budget.used() >= message.len() + compressed.len(), "{token}");
    }
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn a_frame_without_the_flag_is_not_inflated_whatever_the_header_says() {
    let stage = Setup::default().start().await;
    let message = spans(1, 1);
    for token in ["gzip", "identity", "br"] {
        let body = pieces([frame(0, &message)]);
        assert_eq!(export(&stage, &[("grpc-encoding", token)], body).await.code(), Code::Ok, "{token}");
        assert_eq!(stage.fake.taken()[0].message, Message::Framed(frame(0, &message)), "{token}");
    }
}

#[tokio::test]
async fn an_empty_request_is_taken() {
    let stage = Setup::default().start().await;
    assert_eq!(export(&stage, &[], pieces([frame(0, b"")])).await.code(), Code::Ok);
    assert!(stage.fake.taken()[0].message.is_empty());
}

#[tokio::test]
async fn the_pieces_in_which_a_frame_comes_make_no_difference() {
    let stage = Setup::default().start().await;
    for message in [spans(1, 1), spans(40, 1000), spans(2000, 1000)] {
        let whole = frame(0, &message);
        for size in [whole.len(), 16 << 10, 300] {
            let cut = whole.chunks(size).map(Bytes::copy_from_slice);
            assert_eq!(export(&stage, &[], pieces(cut)).await.code(), Code::Ok, "pieces of {size}");
            let taken = stage.fake.taken();
            assert_eq!(taken[0].message, Message::Framed(whole.clone()), "pieces of {size}");
        }
    }
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn the_prefix_may_be_split_anywhere_and_empty_pieces_mean_nothing() {
    let stage = Setup::default().start().await;
    let whole = frame(0, &spans(2, 20));
    for cut in 1..8 {
        let parts = [Bytes::new(), whole.slice(..cut), Bytes::new(), whole.slice(cut..), Bytes::new()];
        assert_eq!(export(&stage, &[], pieces(parts)).await.code(), Code::Ok, "cut at {cut}");
        assert_eq!(stage.fake.taken()[0].message, Message::Framed(whole.clone()), "cut at {cut}");
    }
    let singles = whole.iter().map(|byte| Bytes::copy_from_slice(&[*byte]));
    assert_eq!(export(&stage, &[], pieces(singles)).await.code(), Code::Ok);
    assert_eq!(stage.fake.taken()[0].message, Message::Framed(whole));
}

#[tokio::test]
async fn broken_framing_has_the_answer_of_the_grpc_specification() {
    let stage = Setup::default().start().await;
    let (message, gzipped) = (spans(2, 20), gzip(&spans(2, 20)));
    let two = [frame(0, &message), frame(0, &message)].concat();
    let plain: &[(&str, &str)] = &[];
    let as_gzip: &[(&str, &str)] = &[("grpc-encoding", "gzip")];
    let as_identity: &[(&str, &str)] = &[("grpc-encoding", "identity")];
    let cut = |end| pieces([frame(0, &message).slice(..end)]);
    let apart = |at: usize| pieces([two[..at].to_vec(), two[at..].to_vec()]);
    let cases = [
        ("no message", plain, pieces([Bytes::new()]), Code::Internal, "ended inside"),
        ("ends in the prefix", plain, cut(4), Code::Internal, "ended inside"),
        ("ends in the message", plain, cut(9), Code::Internal, "ended inside"),
        ("two messages in one piece", plain, apart(two.len()), Code::Unimplemented, "more than one"),
        ("two messages in two pieces", plain, apart(two.len() / 2), Code::Unimplemented, "more than one"),
        ("a second message inside a piece", plain, apart(20), Code::Unimplemented, "more than one"),
        ("flag, no encoding", plain, pieces([frame(1, &gzipped)]), Code::Internal, "no grpc-encoding"),
        ("flag, identity", as_identity, pieces([frame(1, &gzipped)]), Code::Internal, "no grpc-encoding"),
        ("unknown flag", plain, pieces([frame(2, &message)]), Code::Internal, "2 is not a flag"),
        ("not gzip", as_gzip, pieces([frame(1, &message)]), Code::InvalidArgument, "not valid gzip"),
        ("cut gzip", as_gzip, pieces([frame(1, &gzipped[..30])]), Code::InvalidArgument, "truncated"),
        ("empty gzip", as_gzip, pieces([frame(1, b"")]), Code::InvalidArgument, "truncated"),
        ("not protobuf", plain, pieces([frame(0, b"\x0a\xff")]), Code::InvalidArgument, "malformed"),
    ];
    let requests = cases.len() as u64;
    for (name, headers, body, code, text) in cases {
        let status = export(&stage, headers, body).await;
        assert_eq!(status.code(), code, "{name}: {status}");
        assert!(status.message().contains(text), "{name}: {status}");
        assert!(status.get_details_retry_info().is_none(), "{name}");
    }
    let account = stage.account(Transport::Grpc, Signal::Traces);
    assert_eq!(
        (account.failed.requests, account.malformed_requests, account.accepted.requests),
        (requests, 4, 0)
    );
    assert_eq!(stage.fake.count(), 0);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn an_unknown_compression_is_answered_with_those_that_are_known() {
    let stage = Setup::default().start().await;
    let body = pieces([frame(1, b"whatever")]);
    let mut client = Http2::connect(stage.grpc()).await;
    let answer = client.export(Signal::Traces, &[("grpc-encoding", "snappy")], body).await;
    assert_eq!(answer.status().code(), Code::Unimplemented);
    assert_eq!(answer.head.headers["grpc-accept-encoding"], "identity,gzip,zstd,deflate");
}

#[tokio::test]
async fn what_is_not_an_export_call_is_told_so() {
    let stage = Setup { fake: Fake::of(&[Signal::Traces]), ..Setup::default() }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let body = || pieces([frame(0, &spans(1, 1))]);
    for path in ["/", "/opentelemetry.proto.collector.trace.v1.TraceService/Other", "/v1/traces"] {
        let status = client.send(call(path, &[], body())).await.unwrap().status();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    let answer = client.export(Signal::Logs, &[], body()).await;
    assert_eq!(answer.status().code(), Code::Unimplemented);
    assert_eq!(answer.status().message(), "no pipeline of this collector takes logs");
    for content_type in ["application/grpc", "application/grpc+proto", "Application/GRPC; charset=utf-8"] {
        let status = client.export(Signal::Traces, &[("content-type", content_type)], body()).await.status();
        assert_eq!(status.code(), Code::Ok, "{content_type}");
    }
    for content_type in ["application/x-protobuf", "application/grpc-web", "application/grpc+json", ""] {
        let answer = client.export(Signal::Traces, &[("content-type", content_type)], body()).await;
        assert_eq!(answer.head.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let mut request = call(Signal::Traces.grpc_path(), &[], pieces([Bytes::new()]));
    *request.method_mut() = Method::GET;
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.head.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.head.headers["allow"], "POST");
}

#[tokio::test]
async fn otlp_http_on_the_port_for_grpc_is_told_where_to_go() {
    let stage = Setup::default().start().await;
    let mut client = http1_connect(stage.grpc()).await;
    let request = http::Request::post("/v1/traces").header("host", "collector");
    let request =
        request.header("content-type", "application/x-protobuf").body(pieces([spans(1, 1)])).unwrap();
    let answer = Answer::read(client.send_request(request).await.unwrap()).await;
    assert_eq!(answer.head.status, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    assert!(answer.body.starts_with(b"this port speaks gRPC"), "{answer:?}");
}

#[tokio::test]
async fn the_largest_message_is_taken_and_one_byte_more_is_not() {
    let stage = small(|grpc| grpc.max_message_size = MIB).start().await;
    let (largest, larger) = (request_of(MIB), request_of(MIB + 1));
    assert_eq!(export(&stage, &[], pieces([frame(0, &largest)])).await.code(), Code::Ok);
    for (token, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd), ("deflate", zlib)] {
        let headers = [("grpc-encoding", token)];
        let status = export(&stage, &headers, pieces([frame(1, &compress(&largest))])).await;
        assert_eq!(status.code(), Code::Ok, "{token}: {status}");
        let status = export(&stage, &headers, pieces([frame(1, &compress(&larger))])).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{token}: {status}");
    }
    let status = export(&stage, &[], pieces([frame(0, &larger)])).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "the request is larger than 1048576 bytes");
    assert!(status.get_details_retry_info().is_none(), "it never fits");
    assert_eq!(stage.fake.count(), 4);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn by_default_64_mib_are_taken_and_one_byte_more_is_not() {
    let stage = Setup::default().start().await;
    let largest = frame(0, &request_of(64 * MIB));
    assert_eq!(export(&stage, &[], pieces([largest])).await.code(), Code::Ok);
    let larger = frame(0, &request_of(64 * MIB + 1));
    assert_eq!(export(&stage, &[], pieces([larger])).await.code(), Code::ResourceExhausted);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn no_message_is_taken_that_is_larger_than_a_third_of_the_budget() {
    let stage = Setup { budget: 3 * MIB, ..Setup::default() }.start().await;
    assert_eq!(export(&stage, &[], pieces([frame(0, &request_of(MIB - 5))])).await.code(), Code::Ok);
    let status = export(&stage, &[], pieces([frame(0, &request_of(MIB + 1))])).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_length_that_is_too_large_is_refused_before_the_message_comes() {
    let stage = Setup::default().start().await;
    let announced = [&[0][..], &u32::MAX.to_be_bytes()].concat();
    let status = export(&stage, &[], endless([announced])).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(stage.budget.used(), 0);
}

#[tokio::test]
async fn over_the_budget_a_call_waits_and_then_may_come_back() {
    let wait = Duration::from_millis(100);
    let stage = Setup { budget: 300_000, wait, ..Setup::default() }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let message = request_of(90_000);
    let mut taken = 0;
    let refused = loop {
        let answer = client.export(Signal::Traces, &[], pieces([frame(0, &message)])).await;
        match answer.status() {
            status if status.code() == Code::Ok => taken += 1,
            status => break status,
        }
    };
    assert_eq!(taken, 3, "of 90,005 bytes each");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().unwrap().retry_delay.unwrap() >= Duration::from_secs(1));
    let account = stage.account(Transport::Grpc, Signal::Traces);
    assert_eq!((account.accepted.requests, account.refused.requests), (3, 1));

    drop(stage.fake.taken());
    let answer = client.export(Signal::Traces, &[], pieces([frame(0, &message)])).await;
    assert_eq!(answer.status().code(), Code::Ok, "the same client succeeds afterwards");
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn a_call_that_waits_is_taken_as_soon_as_another_has_left() {
    let stage = Setup { budget: 300_000, wait: Duration::from_secs(60), ..Setup::default() }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let message = request_of(90_000);
    for _ in 0..3 {
        client.export(Signal::Traces, &[], pieces([frame(0, &message)])).await;
    }
    let waiting = tokio::spawn({
        let message = message.clone();
        async move { client.export(Signal::Traces, &[], pieces([frame(0, &message)])).await.status() }
    });
    let mut taken = stage.fake.taken();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    taken.pop();
    assert_eq!(waiting.await.unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn inflating_takes_what_is_free_and_never_waits_for_more() {
    let stage = Setup { budget: 400_000, wait: Duration::from_secs(60), ..Setup::default() }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    for _ in 0..3 {
        client.export(Signal::Traces, &[], pieces([frame(0, &request_of(120_000))])).await;
    }
    let compressed = gzip(&request_of(120_000));
    let headers = [("grpc-encoding", "gzip")];
    let status = client.export(Signal::Traces, &headers, pieces([frame(1, &compressed)])).await.status();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    drop(stage.fake.taken());
    let status = client.export(Signal::Traces, &headers, pieces([frame(1, &compressed)])).await.status();
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn what_the_pipeline_refuses_is_told_and_counted() {
    let stage = Setup::default().start().await;
    let exporter = || ComponentId::new("otlp_grpc");
    let cases = [
        (
            Refused::QueueFull { exporter: exporter(), retry_after: Duration::from_secs(7) },
            Code::Unavailable,
            Some(7),
        ),
        (Refused::ShuttingDown, Code::Unavailable, Some(1)),
        (
            Refused::LargerThanQueue { exporter: exporter(), size: 2, capacity: 1, unit: "items" },
            Code::ResourceExhausted,
            None,
        ),
        (Refused::BackendRefused { exporter: exporter(), reason: "no".to_owned() }, Code::Internal, None),
    ];
    for (refused, code, retry) in cases {
        let text = refused.to_string();
        stage.fake.answer(refused);
        let status = export(&stage, &[], pieces([frame(0, &spans(2, 2))])).await;
        assert_eq!((status.code(), status.message()), (code, &*text));
        let info = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(info, retry.map(Duration::from_secs), "{text}");
    }
    let account = stage.account(Transport::Grpc, Signal::Traces);
    assert_eq!((account.refused.requests, account.refused.items), (4, 8));
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn a_connection_goes_on_after_calls_that_were_refused_while_they_were_sent() {
    let stage = small(|grpc| grpc.max_message_size = MIB).start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let larger = frame(0, &request_of(3 * MIB));
    // More than the windows of a connection hold, in one piece and in many.
    for size in [larger.len(), 16 << 10] {
        for _ in 0..5 {
            let cut: Vec<_> = larger.chunks(size).map(Bytes::copy_from_slice).collect();
            let status = client.export(Signal::Traces, &[], pieces(cut)).await.status();
            assert_eq!(status.code(), Code::ResourceExhausted);
        }
    }
    let status = client.export(Signal::Traces, &[], pieces([frame(0, &request_of(MIB))])).await.status();
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn a_slow_message_is_cut_off_and_gives_back_its_budget() {
    let stage = small(|grpc| grpc.read_timeout = Duration::from_millis(100)).start().await;
    let prefix_of_a_mebibyte = [&[0][..], &(MIB as u32).to_be_bytes(), b"and so on"].concat();
    for begun in [&[0u8, 0][..], &prefix_of_a_mebibyte, &frame(0, &spans(1, 1))] {
        let status = export(&stage, &[], endless([begun.to_vec()])).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{} bytes", begun.len());
    }
    assert_eq!(stage.fake.count(), 0);
    stage.assert_budget_is_free().await;
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_gives_back_its_budget() {
    let stage = Setup { fake: Fake::closed(), ..Setup::default() }.start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let call =
        tokio::spawn(
            async move { client.export(Signal::Traces, &[], pieces([frame(0, &spans(1, 1))])).await },
        );
    eventually("the call is being consumed", || stage.budget.used() > 0).await;
    call.abort();
    stage.assert_budget_is_free().await;
    stage.fake.open(1);
    stage.shutdown().await;
}

#[tokio::test]
async fn random_bytes_as_frames_are_answered() {
    let stage = Setup::default().start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let mut n = 1u64;
    for len in 0..300 {
        let random: Vec<u8> = std::iter::repeat_with(|| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (n >> 56) as u8
        })
        .take(len)
        .collect();
        for (flag, headers) in
            [(0, &[][..]), (1, &[("grpc-encoding", "gzip")]), (1, &[("grpc-encoding", "zstd")])]
        {
            client.export(Signal::Logs, headers, pieces([frame(flag, &random)])).await.status();
        }
        client.export(Signal::Logs, &[], pieces([random])).await.status();
    }
    drop(client);
    stage.assert_budget_is_free().await;
    stage.shutdown().await;
}
