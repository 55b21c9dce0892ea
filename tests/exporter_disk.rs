//! What a queue on disk promises: nothing that was acknowledged is lost with the process, a disk that takes nothing pushes
//! back, and requests on disk take up no memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::{Answer, Backend};
use exporters::{payload, span_names, spans};
use refusal_collector::config::model::{
    ClientTls, ComponentId, Compression, Config, Exporter as ExporterConfig, Extension, FileStorage,
    OtlpGrpcExporter, Pipeline, QueueBatch, Retry, SendingQueue,
};
use refusal_collector::exporter::{Drained, Exporter, StartError, commit_all};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Budget, Compressed, Encoding, Payload, Refused};
use refusal_collector::telemetry::own::{Amount, DropReason, ExporterSnapshot, Own};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// One exporter with its queues in a directory.
struct Stored {
    storage: FileStorage,
    queue: SendingQueue,
    compression: Compression,
}

struct Running {
    exporter: Exporter,
    own: Own,
}

impl Stored {
    fn at(directory: &Path) -> Self {
        Stored {
            storage: FileStorage { directory: directory.to_owned(), ..FileStorage::default() },
            queue: SendingQueue {
                storage: Some(ComponentId::new("file_storage")),
                num_consumers: 1,
                ..SendingQueue::default()
            },
            compression: Compression::None,
        }
    }

    fn start(&self, address: SocketAddr) -> Result<Running, StartError> {
        let own = Own::new();
        own.show_budget(Budget::new(1 << 20));
        let exporter = self.start_with(address, "exporter", &own)?;
        Ok(Running { exporter, own })
    }

    fn start_with(&self, address: SocketAddr, id: &str, own: &Own) -> Result<Exporter, StartError> {
        let id = ComponentId::new(id);
        let mut config = Config::default();
        let exporter = OtlpGrpcExporter {
            endpoint: address.to_string(),
            tls: ClientTls { insecure: true, ..ClientTls::default() },
            compression: self.compression,
            queue: self.queue.clone(),
            retry: Retry {
                initial_interval: Duration::from_millis(10),
                max_interval: Duration::from_millis(50),
                ..Retry::default()
            },
            ..OtlpGrpcExporter::default()
        };
        config.exporters.insert(id.clone(), ExporterConfig::OtlpGrpc(exporter));
        config
            .extensions
            .insert(ComponentId::new("file_storage"), Extension::FileStorage(self.storage.clone()));
        for signal in Signal::ALL {
            let pipeline =
                Pipeline { signal, receivers: vec![], processors: vec![], exporters: vec![id.clone()] };
            config.service.pipelines.insert(ComponentId::new(signal.name()), pipeline);
        }
        Exporter::start(&id, &config, own)
    }
}

impl Running {
    async fn send(&self, payload: Payload) -> Result<(), Refused> {
        self.exporter.reserve(&payload).await?.commit(payload).await
    }

    fn account(&self) -> ExporterSnapshot {
        let accounts = self.own.snapshot().exporters;
        assert!(accounts.iter().all(ExporterSnapshot::balances), "{accounts:#?}");
        accounts.into_iter().find(|account| account.signal == Signal::Traces).unwrap()
    }

    async fn until(&self, is_so: impl Fn(&ExporterSnapshot) -> bool) -> ExporterSnapshot {
        let start = Instant::now();
        loop {
            let account = self.account();
            if is_so(&account) {
                return account;
            }
            assert!(start.elapsed() < backend::PATIENCE, "{account:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn settled(&self) -> ExporterSnapshot {
        self.until(|a| (a.queued, a.in_flight) == (Amount::default(), Amount::default())).await
    }

    async fn stop(self) -> Drained {
        self.exporter.shutdown(Instant::now() + Duration::from_millis(50)).await
    }
}

fn names(backend: &Backend) -> Vec<String> {
    backend.accepted().iter().flat_map(|request| span_names(&request.message())).collect()
}

fn expected(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("item {n}")).collect()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("exporter/traces")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn what_is_left_at_the_end_is_no_loss_and_is_sent_first_and_in_order_by_the_next_process() {
    for fsync in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let backend = Backend::start().await;
        backend.always(Answer::Grpc(Code::Unavailable, "not now"));
        let mut stored = Stored::at(directory.path());
        stored.storage.fsync = fsync;
        let running = stored.start(backend.address).unwrap();
        for n in 0..20 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        running.send(payload(Signal::Logs, 0..3)).await.unwrap();
        let own = running.own.clone();
        let drained = running.stop().await;
        assert_eq!((drained.items(), drained.kept), (0, 23));
        let account = &own.snapshot().exporters;
        assert!(account.iter().all(|a| a.balances() && a.dropped_total() == 0));

        backend.always(Answer::Accept);
        let running = stored.start(backend.address).unwrap();
        assert_eq!(running.account().restored, 20);
        running.send(spans(20..21)).await.unwrap();
        let account = running.settled().await;
        assert_eq!((account.restored, account.accepted, account.exported), (20, 1, 21));
        let traces: Vec<_> = backend.accepted().into_iter().filter(|r| r.path.contains("trace")).collect();
        let names: Vec<_> = traces.iter().flat_map(|request| span_names(&request.message())).collect();
        assert_eq!(names, expected(0..21));
        assert_eq!(running.stop().await, Drained::default());
        assert_eq!(stored.start(backend.address).unwrap().account().restored, 0, "all of it has left");
    }
}

#[tokio::test]
async fn a_request_on_disk_takes_up_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    backend.always(Answer::Hang);
    let running = Stored::at(directory.path()).start(backend.address).unwrap();
    let budget = Budget::new(1000);
    for n in 0..10 {
        let mut request = spans(n..n + 1);
        request.permit = Arc::new(budget.try_acquire(600).unwrap());
        running.send(request).await.unwrap();
        assert_eq!(budget.used(), 0, "request {n} is acknowledged and still in memory");
    }
    backend.wait_for_requests(1).await;
    assert_eq!(running.account().queued.requests + running.account().in_flight.requests, 10);
    let in_flight = running.account().in_flight.bytes;
    assert_eq!(running.own.snapshot().budget.unwrap().used as u64, in_flight);
}

#[tokio::test]
async fn a_body_that_arrived_compressed_is_stored_and_leaves_as_it_came() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let mut stored = Stored::at(directory.path());
    stored.compression = Compression::Gzip;
    let mut request = spans(0..200);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    gzip.write_all(request.message.as_slice()).unwrap();
    let bytes = gzip.finish().unwrap();
    request.arrived = Some(Compressed { encoding: Encoding::Gzip, bytes: bytes.clone().into() });
    let running = stored.start(backend.address).unwrap();
    running.send(request).await.unwrap();
    let received = backend.wait_for_accepted(1).await;
    assert_eq!(received[0].body[5..], bytes);
    assert_eq!(span_names(&received[0].message()).len(), 200);
    running.settled().await;
}

#[tokio::test]
async fn merging_goes_on_behind_a_queue_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let mut stored = Stored::at(directory.path());
    let batch = QueueBatch { min_size: 10, flush_timeout: Duration::from_secs(600), ..QueueBatch::default() };
    stored.queue.batch = Some(batch);
    let running = stored.start(backend.address).unwrap();
    for n in 0..14 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    backend.wait_for_accepted(1).await;
    running.until(|account| account.exported == 10).await;
    // What waits for company survives too, and finds it in the next process.
    drop(running);
    let running = stored.start(backend.address).unwrap();
    let restored = running.account().restored;
    assert!(restored >= 4, "{restored}");
    assert_eq!(running.exporter.shutdown(Instant::now() + backend::PATIENCE).await, Drained::default());
    let names = names(&backend);
    assert!(expected(0..14).iter().all(|name| names.contains(name)), "{names:?}");
}

#[tokio::test]
async fn a_full_disk_pushes_back_and_nothing_of_the_request_is_in_any_queue() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let mut small = Stored::at(directory.path());
    small.storage.max_size = 300_000;
    let own = Own::new();
    let full = small.start_with(backend.address, "full", &own).unwrap();
    let large = Stored::at(directory.path()).start_with(backend.address, "large", &own).unwrap();
    let memory = Stored { queue: SendingQueue::default(), ..Stored::at(directory.path()) };
    let memory = memory.start_with(backend.address, "memory", &own).unwrap();
    let send = async |request: Payload| {
        let mut requests = Vec::new();
        for exporter in [&memory, &large, &full] {
            requests.push((exporter.reserve(&request).await?, request.clone()));
        }
        commit_all(requests).await
    };
    let mut accepted = 0;
    let refused = loop {
        match send(spans(0..1000)).await {
            Ok(()) => accepted += 1000,
            Err(refused) => break refused,
        }
    };
    assert!(accepted > 5000, "{accepted}");
    let text = refused.to_string();
    let Refused::StorageUnavailable { exporter, retry_after, .. } = refused else { panic!("{text}") };
    assert_eq!((exporter.to_string().as_str(), retry_after), ("full", Duration::from_secs(1)));
    for account in own.snapshot().exporters.iter().filter(|account| account.signal == Signal::Traces) {
        assert!(account.balances());
        assert_eq!(account.accepted, accepted, "{}", account.exporter);
        assert_eq!(account.enqueue_failed, if account.exporter.to_string() == "full" { 1000 } else { 0 });
    }
    // And it goes on as soon as something has left.
    backend.always(Answer::Accept);
    let start = Instant::now();
    while send(spans(0..1000)).await.is_err() {
        assert!(start.elapsed() < backend::PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for exporter in [full, large, memory] {
        assert_eq!(exporter.shutdown(Instant::now() + backend::PATIENCE).await, Drained::default());
    }
    let left: u64 = std::fs::read_dir(directory.path().join("full/traces"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum();
    assert!(left < 70_000, "the files shrink again: {left} bytes are left");
}

#[tokio::test]
async fn a_disk_that_fails_pushes_back_and_is_used_again_when_it_works() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let stored = Stored::at(directory.path());
    let running = stored.start(backend.address).unwrap();
    let (there, away) = (directory.path().join("exporter/traces"), directory.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    let refused = running.send(spans(0..1)).await.unwrap_err();
    assert!(matches!(refused, Refused::StorageUnavailable { .. }), "{refused}");
    std::fs::rename(&away, &there).unwrap();
    running.send(spans(1..2)).await.unwrap();
    let account = running.settled().await;
    assert_eq!((account.accepted, account.enqueue_failed), (1, 1));
    assert_eq!(names(&backend), expected(1..2));
}

#[tokio::test]
async fn a_sender_who_hangs_up_leaves_the_request_in_every_queue_or_in_none() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let stored = Stored::at(directory.path());
    let own = Own::new();
    let disk = stored.start_with(backend.address, "disk", &own).unwrap();
    let memory = Stored { queue: SendingQueue::default(), ..Stored::at(directory.path()) };
    let memory = memory.start_with(backend.address, "memory", &own).unwrap();
    let mut acknowledged = 0;
    for n in 0..300 {
        let request = spans(n..n + 1);
        let requests = vec![
            (memory.reserve(&request).await.unwrap(), request.clone()),
            (disk.reserve(&request).await.unwrap(), request),
        ];
        let patience = Duration::from_micros(u64::from(n % 30) * 10);
        match tokio::time::timeout(patience, commit_all(requests)).await {
            Ok(result) => {
                result.unwrap();
                acknowledged += 1;
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
    for exporter in [&disk, &memory] {
        assert_eq!(exporter.shutdown(Instant::now() + backend::PATIENCE).await, Drained::default());
    }
    for account in own.snapshot().exporters.iter().filter(|account| account.signal == Signal::Traces) {
        assert_eq!((account.accepted, account.exported), (acknowledged, acknowledged), "{account:#?}");
    }
    drop((disk, memory));
    assert!(acknowledged > 0);
    let again = stored.start_with(backend.address, "disk", &Own::new());
    assert!(again.is_ok(), "{:?}", again.err());
    assert_eq!(names(&backend).len() as u64, 2 * acknowledged);
}

#[tokio::test]
async fn damage_is_counted_and_the_rest_is_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let stored = Stored::at(directory.path());
    let running = stored.start(backend.address).unwrap();
    for n in 0..5 {
        running.send(spans(10 * n..10 * n + 10)).await.unwrap();
    }
    running.stop().await;
    // The first request is damaged within, the last one is torn.
    let path = segments(directory.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    bytes.truncate(bytes.len() - 7);
    std::fs::write(&path, bytes).unwrap();

    backend.always(Answer::Accept);
    let running = stored.start(backend.address).unwrap();
    let account = running.settled().await;
    assert_eq!(account.restored, 50);
    assert_eq!((account.exported, account.dropped_for(DropReason::Quarantined)), (30, 20));
    assert_eq!(account.quarantined_records, 2);
    assert_eq!(names(&backend), expected(10..40));
    let kept = std::fs::read_dir(directory.path().join("exporter/traces/quarantine")).unwrap();
    assert_eq!(kept.count(), 2);
    running.stop().await;
    let running = stored.start(backend.address).unwrap();
    assert_eq!((running.account().restored, running.account().quarantined_records), (0, 0));
}

#[tokio::test]
async fn what_is_restored_beyond_the_size_of_the_queue_is_sent_before_anything_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "not now"));
    let mut stored = Stored::at(directory.path());
    let running = stored.start(backend.address).unwrap();
    for n in 0..20 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    running.stop().await;
    stored.queue.queue_size = 5;
    let running = stored.start(backend.address).unwrap();
    assert!(matches!(running.send(spans(20..21)).await, Err(Refused::QueueFull { .. })));
    backend.always(Answer::Accept);
    assert_eq!(running.settled().await.exported, 20);
    for n in 20..25 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    running.settled().await;
    assert_eq!(names(&backend), expected(0..25));
}

#[tokio::test]
async fn a_storage_that_cannot_be_used_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let mut stored = Stored::at(directory.path());
    stored.storage.timeout = Duration::from_millis(20);
    let running = stored.start(backend.address).unwrap();
    let told = |stored: &Stored| stored.start(backend.address).map(|_| ()).unwrap_err().to_string();
    assert!(told(&stored).contains("is used by another process"), "{}", told(&stored));
    running.stop().await;

    stored.storage.directory = directory.path().join("not there");
    assert!(told(&stored).ends_with("does not exist; create_directory: true makes it"), "{}", told(&stored));
    stored.storage.create_directory = true;
    stored.start(backend.address).unwrap();

    stored.queue.storage = Some(ComponentId::new("file_storage/other"));
    assert!(matches!(stored.start(backend.address), Err(StartError::NoStorage(_))));
}
