//! A queue on a disk that is really full: senders are pushed back, nothing that was accepted is lost, and it goes on when
//! there is space again.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it tells what it measured, or why it was skipped"
)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;
#[path = "support/process.rs"]
mod process;
mod receiver_support;

use backend::{Answer, Backend};
use exporters::span_names;
use opentelemetry_proto::tonic::trace::v1::Span;
use process::{Collector, Setup};
use receiver_support::{Http2, frame, pieces, spans_of};
use refusal_collector::otlp::Signal;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

const DISK: usize = 4 << 20;
const REQUEST: usize = 100 << 10;
const PIPELINES: &str = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_pushes_back_and_loses_nothing() {
    let Some(disk) = Disk::mount(DISK) else { return };
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let storage = format!("file_storage: {{directory: '{}'}}", disk.path().display());
    let exporter = format!(
        "{{otlp_grpc: {{endpoint: 'http://{}', sending_queue: {{storage: file_storage, queue_size: 100000}},
            retry_on_failure: {{initial_interval: 20ms, max_interval: 100ms, max_elapsed_time: 0s}}}}}}",
        backend.address
    );
    let service = "shutdown_timeout: 300ms";
    let mut collector = Collector::launch(Setup {
        prelude: "",
        extension: &storage,
        exporters: &exporter,
        pipelines: PIPELINES,
        service,
        ..Setup::default()
    });
    let mut client = Http2::connect(collector.grpc.parse().unwrap()).await;
    let (mut number, mut accepted) = (0, BTreeSet::new());

    fill(&mut client, &mut number, &mut accepted).await;
    assert!(accepted.len() > DISK / REQUEST / 2, "{} of {number}", accepted.len());
    assert!(collector.log().contains("No space left on device"), "{}", collector.log());
    assert_balanced(&collector, accepted.len());

    // On a disk without a free byte it stops and starts like on any other.
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0), "{}", collector.log());
    let mut collector = Collector::launch(Setup {
        prelude: "",
        extension: &storage,
        exporters: &exporter,
        pipelines: PIPELINES,
        service,
        ..Setup::default()
    });
    let mut client = Http2::connect(collector.grpc.parse().unwrap()).await;
    assert_eq!(collector.sum("refusal_collector_exporter_restored_items_total", &[]), accepted.len() as u64);

    backend.always(Answer::Accept);
    wait_until_sent(&mut collector);
    let before = accepted.len();
    // What is sent leaves room for as much again.
    for _ in 0..2 * DISK / REQUEST {
        while export(&mut client, number).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        accepted.insert(format!("item {number}"));
        number += 1;
    }
    wait_until_sent(&mut collector);
    assert_balanced(&collector, accepted.len() - before);
    assert_eq!(collector.sum("refusal_collector_exporter_dropped_items_total", &[]), 0);
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0), "{}", collector.log());
    let arrived: BTreeSet<String> =
        backend.accepted().iter().flat_map(|request| span_names(&request.message())).collect();
    let lost: Vec<_> = accepted.difference(&arrived).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), accepted.len());
    println!("a disk of {} MiB: {before} requests until it was full, {} in all", DISK >> 20, accepted.len());
}

/// Sends until the disk has pushed back ten requests in a row.
async fn fill(client: &mut Http2, number: &mut usize, accepted: &mut BTreeSet<String>) {
    let mut pushed_back = 0;
    while pushed_back < 10 {
        match export(client, *number).await {
            Ok(()) => {
                accepted.insert(format!("item {number}"));
                pushed_back = 0;
            }
            Err(()) => pushed_back += 1,
        }
        *number += 1;
    }
}

/// Pushed back is UNAVAILABLE with RetryInfo.
async fn export(client: &mut Http2, number: usize) -> Result<(), ()> {
    let name = format!("item {number}");
    let span = Span { name, trace_state: "x".repeat(REQUEST), ..Span::default() };
    let request = pieces([frame(0, &spans_of([span]))]);
    let status = client.export(Signal::Traces, &[], request).await.status();
    match status.code() {
        Code::Ok => Ok(()),
        Code::Unavailable => {
            let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
            assert!(delay.is_some_and(|delay| !delay.is_zero()), "{status}");
            Err(())
        }
        _ => panic!("{status}"),
    }
}

fn wait_until_sent(collector: &mut Collector) {
    collector.wait_until("everything is sent", |collector| {
        let left = ["queued_items", "in_flight_items"];
        left.iter().all(|name| collector.sum(&format!("refusal_collector_exporter_{name}"), &[]) == 0)
    });
}

/// The account closes, and tells of as many accepted items as were acknowledged.
fn assert_balanced(collector: &Collector, acknowledged: usize) {
    let scrape = collector.scrape();
    let sum = |name: &str| {
        let name = format!("refusal_collector_exporter_{name}{{");
        let lines = scrape.lines().filter(|line| line.starts_with(&name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum::<u64>()
    };
    assert_eq!(sum("accepted_items_total"), acknowledged as u64);
    let came = sum("accepted_items_total") + sum("restored_items_total");
    let ended = sum("exported_items_total") + sum("rejected_items_total") + sum("dropped_items_total");
    assert_eq!(came, ended + sum("queued_items") + sum("in_flight_items"), "{scrape}");
}

/// A file system of its own. Dropped, it is unmounted.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// None, and a message, where this user may not mount.
    fn mount(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(Disk { directory }),
            _ => {
                eprintln!("skipped: no file system of a few MiB can be mounted here");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
