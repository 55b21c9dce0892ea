//! Memory under hostile and overloading senders, read from the operating system.
//!
//! One test per process: what is measured is the peak of the whole process, senders included.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod receiver_support;

use bytes::Bytes;
use http::StatusCode;
use receiver_support::*;
use refusal_collector::otlp::Signal;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Code;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_its_bounds() {
    let mut setup = Setup { budget: 32 * MIB, wait: Duration::from_millis(300), ..Setup::default() };
    setup.grpc.max_message_size = 8 * MIB;
    setup.http.max_request_body_size = 8 * MIB;
    let stage = setup.start().await;

    let (peak, ()) = peak_of(bombs(&stage)).await;
    assert!(peak < 32 * MIB, "bombs of 1 GiB against a limit of 8 MiB took {} MiB", peak / MIB);
    stage.assert_budget_is_free().await;

    let (peak, refused) = peak_of(flood(&stage)).await;
    assert!(refused > 0, "there was no overload");
    let bound = 32 * MIB /* budget */ + 8 * MIB /* connections */ + 4 * MIB /* waiting */;
    assert!(peak < bound + 16 * MIB, "512 calls of 1 MiB took {} MiB", peak / MIB);
    stage.assert_budget_is_free().await;

    let (peak, ()) = peak_of(announcements(&stage)).await;
    assert!(peak < 16 * MIB, "announced, but never sent messages took {} MiB", peak / MIB);
    stage.assert_budget_is_free().await;
}

/// By how many bytes the process grew at most.
async fn peak_of<T>(work: impl Future<Output = T>) -> (usize, T) {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let done = work.await;
    let peak = status("VmHWM:").saturating_sub(before);
    (peak, done)
}

fn status(key: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// A GiB of zeros in each codec, by gRPC and HTTP.
async fn bombs(stage: &Stage) {
    let zeros = vec![0; MIB];
    let grow = |compress: fn(&[u8]) -> Vec<u8>| Bytes::from(compress(&zeros).repeat(1024));
    let one_stream = {
        let mut encoder = flate2::Compress::new(flate2::Compression::best(), true);
        let mut out = Vec::with_capacity(MIB);
        encoder.compress_vec(&zeros, &mut out, flate2::FlushCompress::Full).unwrap();
        let block = out.split_off(2);
        Bytes::from([out, block.repeat(1024)].concat())
    };
    for (token, bomb) in [("gzip", grow(gzip)), ("zstd", grow(zstd)), ("deflate", one_stream)] {
        let framed =
            pieces([Bytes::from([&[1][..], &(bomb.len() as u32).to_be_bytes()].concat()), bomb.clone()]);
        let mut client = Http2::connect(stage.grpc()).await;
        let status = client.export(Signal::Traces, &[("grpc-encoding", token)], framed).await.status();
        assert_eq!(status.code(), Code::ResourceExhausted, "{token}: {status}");
        let request = http::Request::post("/v1/traces").header("content-type", "application/x-protobuf");
        let request = request.header("content-encoding", token).body(pieces([bomb])).unwrap();
        let answer = http1_connect(stage.http()).await.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{token}");
    }
}

/// 16 connections with 32 calls of 1 MiB each at once, of which nothing leaves.
async fn flood(stage: &Stage) -> usize {
    let frame = frame(0, &request_of(MIB));
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let client = Http2::connect(stage.grpc()).await;
        for _ in 0..32 {
            let (mut client, frame) = (client.clone(), frame.clone());
            calls.spawn(
                async move { client.export(Signal::Traces, &[], pieces([frame])).await.status().code() },
            );
        }
    }
    let codes = calls.join_all().await;
    assert!(codes.iter().all(|code| [Code::Ok, Code::Unavailable].contains(code)), "{codes:?}");
    codes.iter().filter(|code| **code == Code::Unavailable).count()
}

/// Calls that announce 8 MiB and send nothing of it.
async fn announcements(stage: &Stage) {
    let mut calls = JoinSet::new();
    let mut client = Http2::connect(stage.grpc()).await;
    for _ in 0..100 {
        let announced = [&[0][..], &(8 * MIB as u32).to_be_bytes()].concat();
        let mut client = client.clone();
        calls.spawn(
            async move { client.export(Signal::Traces, &[], endless([announced])).await.status().code() },
        );
    }
    // Four have a permit and are waited for; the others may come back.
    let mut refused = 0;
    while refused < 96 {
        assert_eq!(calls.join_next().await.unwrap().unwrap(), Code::Unavailable);
        refused += 1;
    }
    calls.shutdown().await;
    let status = client.export(Signal::Traces, &[], pieces([frame(0, &spans(1, 1))])).await.status();
    assert_eq!(status.code(), Code::Ok);
}
