//! The log for those who must not block: requests that come together are written together, on a thread for blocking work.

use super::lock::{self, OpenError};
use super::log::{AppendError, Limits, Log, Position};
use super::ticket::Ticket;
use crate::config::model::{ComponentId, FileStorage};
use crate::otlp::Signal;
use crate::payload::Payload;
use crate::telemetry::own::{Amount, DropReason, ExporterMetrics};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The queue of one signal of one exporter on disk.
#[derive(Debug)]
pub struct Store {
    exporter: ComponentId,
    signal: Signal,
    log: Log,
    inbox: Mutex<Inbox>,
    is_maintenance_due: AtomicBool,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Vec<Write>,
    is_written: bool,
}

#[derive(Debug)]
struct Write {
    request: Payload,
    answer: oneshot::Sender<Result<Ticket, AppendError>>,
}

/// Which queue, and where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The configuration of the storage.
    pub storage: FileStorage,
    /// Whose queue it is.
    pub exporter: ComponentId,
    /// Of which signal.
    pub signal: Signal,
}

/// A queue with what an earlier process left in it.
#[derive(Debug)]
pub struct Restored {
    /// The queue.
    pub store: Arc<Store>,
    /// The requests, in the order in which they came; they are in `account`.
    pub tickets: Vec<Ticket>,
}

impl Store {
    /// Opens the queue of `place` and restores what is in it. Blocks.
    pub fn open(place: Place, account: &ExporterMetrics) -> Result<Restored, OpenError> {
        let Place { storage, exporter, signal } = place;
        let directory = directory(&storage, &exporter, signal)?;
        let (log, positions, damages) = Log::open(&directory, limits(&storage), storage.timeout)?;
        for damage in damages.iter().filter(|damage| !damage.is_known) {
            let amount = Amount::part(usize::try_from(damage.items).unwrap_or(usize::MAX), 0);
            account.restore(amount);
            account.dropped_from_queue(DropReason::Quarantined, amount);
            account.quarantined(damage.records);
            let (what, records, items, bytes) = (damage.what, damage.records, damage.items, damage.bytes);
            let kept = damage.kept.display();
            match &damage.error {
                None => tracing::error!(
                    %exporter, %signal, what, records, items, bytes, %kept,
                    "the queue on disk is damaged; what cannot be read is in quarantine"
                ),
                Some(error) => tracing::error!(
                    %exporter, %signal, what, records, items, bytes, %error,
                    "the queue on disk is damaged, and what cannot be read cannot be put into quarantine either"
                ),
            }
        }
        let store = Arc::new(Store {
            exporter,
            signal,
            log,
            inbox: Mutex::default(),
            is_maintenance_due: AtomicBool::new(false),
        });
        let tickets: Vec<_> =
            positions.into_iter().map(|position| Ticket::restored(store.clone(), position)).collect();
        let items: u64 = tickets.iter().map(|ticket| ticket.amount().items).sum();
        if !tickets.is_empty() {
            let (exporter, requests) = (&store.exporter, tickets.len());
            tracing::info!(%exporter, %signal, requests, items, "the queue on disk holds requests of before");
        }
        for ticket in &tickets {
            account.restore(ticket.amount());
        }
        Ok(Restored { store, tickets })
    }

    /// Writes a request. A future that is dropped before leaves nothing in the queue.
    pub async fn write(self: &Arc<Self>, request: Payload) -> Result<Ticket, AppendError> {
        let (answer, ticket) = oneshot::channel();
        {
            let mut inbox = self.inbox.lock();
            inbox.waiting.push(Write { request, answer });
            if !std::mem::replace(&mut inbox.is_written, true) {
                let store = self.clone();
                tokio::task::spawn_blocking(move || while store.write_waiting() {});
            }
        }
        ticket.await.unwrap_or_else(|_| Err(io::Error::other("the process is ending").into()))
    }

    /// Writes how far everything has left; to be called at the end.
    pub async fn close(self: &Arc<Self>) {
        let store = self.clone();
        // At the end of the process there may be nobody any more to do it: then more is sent twice.
        let _ = tokio::task::spawn_blocking(move || store.maintain()).await;
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    pub(super) fn leave(self: &Arc<Self>, position: &Position) {
        self.log.leave(position);
        if self.is_maintenance_due.swap(true, AcqRel) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            self.is_maintenance_due.store(false, Release);
            return;
        };
        // An exporter that is gone has done this by itself, and its files may be another's.
        let store = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep(MAINTENANCE).await;
            let Some(store) = store.upgrade() else { return };
            store.is_maintenance_due.store(false, Release);
            let _ = tokio::task::spawn_blocking(move || store.maintain()).await;
        });
    }

    /// `false`: there was nothing to write.
    fn write_waiting(self: &Arc<Self>) -> bool {
        let waiting = {
            let mut inbox = self.inbox.lock();
            inbox.is_written = !inbox.waiting.is_empty();
            std::mem::take(&mut inbox.waiting)
        };
        let (requests, answers): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|Write { request, answer }| (request, answer)).unzip();
        let results = self.log.append(&requests);
        let is_over = requests.is_empty();
        // Their memory is free before their senders hear of it.
        drop(requests);
        for (result, answer) in results.into_iter().zip(answers) {
            // A ticket that nobody takes leaves the queue again.
            let _ = answer.send(result.map(|position| Ticket::written(self.clone(), position)));
        }
        !is_over
    }

    fn maintain(&self) {
        if let Err(error) = self.log.maintain() {
            let (exporter, signal) = (&self.exporter, self.signal);
            tracing::warn!(
                %exporter, %signal, %error,
                "the queue on disk cannot be tidied up; after a restart some requests would be sent again"
            );
        }
    }
}

/// What left in this time before the process is killed is sent again.
const MAINTENANCE: Duration = Duration::from_millis(100);

fn limits(storage: &FileStorage) -> Limits {
    let total = storage.max_size as u64;
    Limits { total, segment: (total / SEGMENTS).clamp(LEAST_SEGMENT, LARGEST_SEGMENT), fsync: storage.fsync }
}

/// A segment takes its room until its last record has left: with many of them little is wasted.
const SEGMENTS: u64 = 32;
const LEAST_SEGMENT: u64 = 64 << 10;
const LARGEST_SEGMENT: u64 = 32 << 20;

fn directory(storage: &FileStorage, exporter: &ComponentId, signal: Signal) -> Result<PathBuf, OpenError> {
    let base = &storage.directory;
    if !storage.create_directory && !base.is_dir() {
        return Err(OpenError::Missing(base.clone()));
    }
    let directory = path(base, exporter, signal);
    lock::make_directory(&directory)?;
    Ok(directory)
}

/// Where a queue is in a storage's directory.
pub fn path(storage: &Path, exporter: &ComponentId, signal: Signal) -> PathBuf {
    let exporter = exporter.to_string();
    let name = percent_encoding::utf8_percent_encode(&exporter, UNSAFE).to_string();
    storage.join(name).join(signal.name())
}

/// What may mean something in a path.
const UNSAFE: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_');
