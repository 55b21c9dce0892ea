//! The collector's own process, killed again and again under load: every span whose sender had its OK arrives.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;
#[path = "support/process.rs"]
mod process;

use backend::{Answer, Backend};
use exporters::{span_names, spans};
use process::Collector;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

const ROUNDS: u32 = 30;
const SENDERS: usize = 4;
const SPANS: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_span_arrives_though_the_process_is_killed_thirty_times() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let next = Arc::new(AtomicU32::new(0));
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        // The backend takes requests in some rounds, slowly in others, and is away in a third of them.
        backend.always(match round % 3 {
            0 => Answer::Accept,
            1 => Answer::Grpc(Code::Unavailable, "not now"),
            _ => Answer::After(Duration::from_millis(5)),
        });
        let mut collector = start(directory.path(), &backend);
        let senders: Vec<_> =
            (0..SENDERS).map(|_| tokio::spawn(load(collector.http.clone(), next.clone()))).collect();
        // From just after the start to a quarter of a second, in no order.
        tokio::time::sleep(Duration::from_millis(u64::from(round * 7919 % 250))).await;
        collector.signal("KILL");
        collector.ended();
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
    }
    assert!(acknowledged.len() > 300, "{} spans are no load", acknowledged.len());

    backend.always(Answer::Accept);
    let mut collector = start(directory.path(), &backend);
    collector.wait_until("everything is sent", |collector| collector.account().is_settled());
    let account = collector.account();
    assert!(account.balances() && account.is_settled(), "{account:?}");
    // What was being written when the process was killed is in quarantine; nobody was told that it was taken.
    assert_eq!((account.rejected, account.dropped), (0, account.quarantined));
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0));

    let arrived: BTreeSet<String> =
        backend.accepted().iter().flat_map(|request| span_names(&request.message())).collect();
    let lost: Vec<_> = acknowledged.difference(&arrived).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_with_the_backend_down_it_keeps_the_rest_and_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let mut collector = start(directory.path(), &backend);
    let mut stream = TcpStream::connect(&collector.http).await.unwrap();
    assert!(post(&mut stream, 0).await);
    collector.signal("TERM");
    let status = collector.ended();
    assert_eq!(status.code(), Some(0), "{}", collector.log());
    assert!(collector.log().contains("stays on disk"), "{}", collector.log());
    backend.always(Answer::Accept);
    let mut collector = start(directory.path(), &backend);
    collector.wait_until("the rest is sent", |collector| {
        collector.sum("refusal_collector_exporter_restored_items_total", &[]) == u64::from(SPANS)
            && collector.sum("refusal_collector_exporter_exported_items_total", &[]) == u64::from(SPANS)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_whose_exporter_has_left_the_configuration_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let mut collector = start(directory.path(), &backend);
    let mut stream = TcpStream::connect(&collector.http).await.unwrap();
    assert!(post(&mut stream, 0).await && post(&mut stream, SPANS).await);
    assert!(!collector.log().contains("belongs to no exporter"), "{}", collector.log());
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0));

    let renamed = start_as("otlp_grpc/renamed", directory.path(), &backend);
    let log = renamed.log();
    let line =
        log.lines().find(|line| line.contains("belongs to no exporter")).unwrap_or_else(|| panic!("{log}"));
    let queue = directory.path().join("otlp_grpc/traces");
    for told in [queue.to_str().unwrap(), "records=2", &format!("items={}", 2 * SPANS), "bytes="] {
        assert!(line.contains(told), "{told} is not in {line}");
    }
    drop(renamed);
    backend.always(Answer::Accept);
    let mut back = start(directory.path(), &backend);
    back.wait_until("it is sent", |collector| {
        collector.sum("refusal_collector_exporter_exported_items_total", &[]) == u64::from(2 * SPANS)
    });
}

fn start(directory: &Path, backend: &Backend) -> Collector {
    start_as("otlp_grpc", directory, backend)
}

fn start_as(name: &str, directory: &Path, backend: &Backend) -> Collector {
    let storage = format!("{{directory: '{}'}}", directory.display());
    let exporter = format!(
        "{{{name}: {{endpoint: 'http://{}', sending_queue: {{storage: file_storage, queue_size: 100000}},
            retry_on_failure: {{initial_interval: 10ms, max_interval: 50ms}}}}}}",
        backend.address
    );
    let pipelines = format!("{{traces: {{receivers: [otlp], processors: [refusal], exporters: [{name}]}}}}");
    Collector::start_stored(&storage, &exporter, &pipelines, "shutdown_timeout: 300ms")
}

/// Sends requests one after the other until nobody is there any more; gives the names of the spans that were acknowledged.
async fn load(address: String, next: Arc<AtomicU32>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { return acknowledged };
    loop {
        let first = next.fetch_add(SPANS, Ordering::Relaxed);
        if !post(&mut stream, first).await {
            return acknowledged;
        }
        acknowledged.extend((first..first + SPANS).map(|n| format!("item {n}")));
    }
}

/// Whether the request was answered with 200.
async fn post(stream: &mut TcpStream, first: u32) -> bool {
    let body = spans(first..first + SPANS).message.protobuf();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: collector\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    // An empty export response has no bytes: the answer ends with its head.
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}
