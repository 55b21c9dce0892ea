//! The collector's own process under a hard memory limit, with ten times the load that the limit can hold: it is not
//! killed, everything that it acknowledged arrives, and who is pushed back is told when to come again.
//!
//! The limit is a cgroup's, version 1 or 2, where this user may make one. Elsewhere the peak of its memory is looked at.

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
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use process::{Collector, Setup};
use receiver_support::{Http2, frame, pieces, spans_of};
use refusal_collector::otlp::Signal;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::Code;
use tonic_types::StatusExt;

const MIB: usize = 1 << 20;
const LIMIT: usize = 64 * MIB;
const LOAD: usize = 10 * LIMIT;
const REQUEST: usize = 256 << 10;
const CONNECTIONS: usize = 16;
const CALLS: usize = 8;
const PIPELINES: &str = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}}";

/// The two run one after the other: each has enough to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_64_mib_withstands_ten_times_that() {
    withstands("queue in memory", "", "").await;
    let directory = tempfile::tempdir().unwrap();
    let storage = format!("file_storage: {{directory: '{}'}}", directory.path().display());
    withstands("queue on disk", &storage, "storage: file_storage, queue_size: 100000").await;
}

async fn withstands(what: &str, extension: &str, queue: &str) {
    let cage = Cage::new(LIMIT);
    let backend = Arc::new(Backend::start().await);
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let exporter = format!(
        "{{otlp_grpc: {{endpoint: 'http://{}', compression: none, sending_queue: {{{queue}}},
            retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms, max_elapsed_time: 0s}}}}}}",
        backend.address
    );
    let service = match &cage {
        Some(_) => "admission: {wait: 100ms}",
        None => "admission: {wait: 100ms, budget_mib: 18}",
    };
    let prelude = cage.as_ref().map(Cage::prelude).unwrap_or_default();
    let mut collector = Collector::launch(Setup {
        prelude: &prelude,
        extension,
        exporters: &exporter,
        pipelines: PIPELINES,
        service,
        ..Setup::default()
    });
    if cage.is_some() {
        let capacity = collector.sum("refusal_collector_memory_budget_capacity_bytes", &[]);
        assert_eq!(capacity as usize, (LIMIT - 16 * MIB) / 8 * 3, "the limit of the cgroup is not seen");
    }

    let load = Arc::new(Load::default());
    let start = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let address = collector.grpc.parse().unwrap();
        let client = Http2::connect(address).await;
        for _ in 0..CALLS {
            senders.spawn(send(client.clone(), load.clone()));
        }
    }
    let arrived: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let peak = Arc::new(AtomicUsize::new(0));
    let watch = tokio::spawn({
        let (backend, arrived, is_over) = (backend.clone(), arrived.clone(), is_over.clone());
        let (peak, pid) = (peak.clone(), collector.pid());
        async move {
            while !is_over.load(SeqCst) {
                peak.fetch_max(anonymous_memory(pid), SeqCst);
                take_names(&backend, &arrived);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    // Down first, then slow, then as it should be.
    tokio::time::sleep(Duration::from_secs(3)).await;
    backend.always(Answer::After(Duration::from_millis(50)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    backend.always(Answer::Accept);
    while let Some(sender) = senders.join_next().await {
        if sender.is_err() {
            let (peak, log) = (peak.load(SeqCst) / MIB, collector.log());
            panic!("{what}: a connection broke, {:?}, peak {peak} MiB\n{log}", collector.exited());
        }
    }
    let took = start.elapsed();

    collector.wait_until("everything is sent", |collector| collector.account().is_settled());
    let account = collector.account();
    assert!(account.balances() && account.is_settled(), "{account:?}");
    assert_eq!((account.rejected, account.dropped), (0, 0));
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0), "{}", collector.log());
    is_over.store(true, SeqCst);
    watch.await.unwrap();
    take_names(&backend, &arrived);

    let arrived = arrived.lock().unwrap();
    let acknowledged = load.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.difference(&arrived).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    assert_eq!(acknowledged.len(), LOAD / REQUEST);
    let (peak, refused) = (peak.load(SeqCst), load.refused.load(SeqCst));
    let bound = if cage.is_some() { "cgroup" } else { "no cgroup" };
    println!(
        "{what}, {bound}: {} MiB in {took:.1?}, {refused} times pushed back, peak of anonymous memory {} MiB",
        LOAD / MIB,
        peak / MIB
    );
    assert!(peak < LIMIT, "{} MiB", peak / MIB);
    if queue.is_empty() {
        assert!(refused > 100, "pushed back {refused} times only: that was no overload");
    }
}

fn take_names(backend: &Backend, arrived: &Mutex<BTreeSet<String>>) {
    let taken = backend.take_requests();
    let names = taken.iter().filter(|request| request.answer.accepts());
    arrived.lock().unwrap().extend(names.flat_map(|request| span_names(&request.message())));
}

/// What the senders have to do, and what has become of it.
#[derive(Default)]
struct Load {
    next: AtomicU64,
    refused: AtomicU64,
    acknowledged: Mutex<BTreeSet<String>>,
}

/// Sends requests until all are acknowledged. What is pushed back is sent again, sooner than was asked for.
async fn send(mut client: Http2, load: Arc<Load>) {
    loop {
        let number = load.next.fetch_add(1, SeqCst);
        if number >= (LOAD / REQUEST) as u64 {
            return;
        }
        let name = format!("item {number}");
        let request = frame(0, &spans_of([span(&name, number)]));
        loop {
            let answer = client.export(Signal::Traces, &[], pieces([request.clone()])).await;
            let status = answer.status();
            match status.code() {
                Code::Ok => break,
                Code::Unavailable => {
                    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
                    let after = after.unwrap_or_else(|| panic!("no RetryInfo: {status}"));
                    assert!(
                        (Duration::from_millis(100)..=Duration::from_secs(5)).contains(&after),
                        "{after:?}"
                    );
                    load.refused.fetch_add(1, SeqCst);
                    tokio::time::sleep(after.min(Duration::from_millis(200))).await;
                }
                _ => panic!("{status}"),
            }
        }
        load.acknowledged.lock().unwrap().insert(name);
    }
}

/// A span whose attribute does not compress.
fn span(name: &str, seed: u64) -> Span {
    let mut noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; REQUEST];
    for chunk in bytes.chunks_mut(8) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        chunk.copy_from_slice(&noise.to_le_bytes());
    }
    let value = Some(AnyValue { value: Some(Value::BytesValue(bytes)) });
    let attribute = KeyValue { key: "noise".to_owned(), value, ..KeyValue::default() };
    Span { name: name.to_owned(), attributes: vec![attribute], ..Span::default() }
}

fn anonymous_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or_default() * 1024
}

/// A cgroup with a memory limit. Dropped, it is removed.
struct Cage {
    path: PathBuf,
}

impl Cage {
    /// None, and a message, where this user may not make one.
    fn new(limit: usize) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own_path = |controller: &str| {
            let line = own.lines().find(|line| line.split(':').nth(1) == Some(controller))?;
            Some(line.splitn(3, ':').nth(2)?.trim_start_matches('/').to_owned())
        };
        let name = format!("refusal-collector-test-{}", std::process::id());
        let v1 = own_path("memory")
            .map(|path| (Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes"));
        let v2 = own_path("").map(|path| (Path::new("/sys/fs/cgroup").join(path), "memory.max"));
        for (around, file) in [v1, v2].into_iter().flatten() {
            let cage = Cage { path: around.join(&name) };
            if std::fs::create_dir(&cage.path).is_err() {
                continue;
            }
            if std::fs::write(cage.path.join(file), limit.to_string()).is_ok() {
                // Swap would hide what is too much.
                for file in ["memory.memsw.limit_in_bytes", "memory.swap.max"] {
                    let bytes = if file == "memory.swap.max" { 0 } else { limit };
                    let _ = std::fs::write(cage.path.join(file), bytes.to_string());
                }
                return Some(cage);
            }
        }
        eprintln!("no cgroup with a memory limit can be made here: only the peak of memory is looked at");
        None
    }

    fn prelude(&self) -> String {
        format!("echo $$ > '{}/cgroup.procs' || exit 1", self.path.display())
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while std::fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
