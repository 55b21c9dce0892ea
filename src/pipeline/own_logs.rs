//! Brings the collector's own log records into the queues of the exporters of all logs pipelines.

use crate::exporter::Exporter;
use crate::otlp::Signal;
use crate::payload::{Budget, Message, Payload, Refused};
use crate::telemetry::own_logs::{DropReason, Outlet, OutletMetrics, count};
use crate::telemetry::spans::Caller;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use prost::Message as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Those who carry. There is one for each exporter, so that one whose queue is full keeps the others from nothing.
#[derive(Debug)]
pub(super) struct Carriers {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// One exporter's.
struct Carrier {
    outlet: Outlet,
    exporter: Exporter,
    budget: Budget,
}

/// How many records leave as one request.
const BATCH: usize = 512;

/// How long a record waits for others.
const LINGER: Duration = Duration::from_millis(100);

/// How long to wait before a queue that was full is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Carriers {
    /// Starts one for each outlet, whose exporter is among `exporters`.
    pub(super) fn start(outlets: Vec<Outlet>, exporters: &[Exporter], budget: &Budget) -> Self {
        let carriers = Carriers { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for outlet in outlets {
            let exporter = exporters.iter().find(|exporter| exporter.id() == outlet.metrics.exporter());
            let Some(exporter) = exporter.cloned() else { continue };
            let carrier = Carrier { outlet, exporter, budget: budget.clone() };
            carriers.tasks.spawn(carrier.run(carriers.stop.clone()));
        }
        carriers
    }

    /// Brings what has been offered into the queues, until `deadline`; what finds no room by then is dropped and counted.
    pub(super) async fn finish(self, deadline: Instant) {
        self.stop.cancel();
        self.tasks.close();
        // What is dropped here counts its own records.
        let _ = timeout_at(deadline, self.tasks.wait()).await;
    }
}

impl Carrier {
    async fn run(mut self, stop: CancellationToken) {
        let mut records = Vec::with_capacity(BATCH);
        loop {
            let is_stopping = stop.is_cancelled();
            if is_stopping {
                self.outlet.records.close();
            }
            let received = tokio::select! {
                received = self.outlet.records.recv_many(&mut records, BATCH) => received,
                () = stop.cancelled(), if !is_stopping => continue,
            };
            if received == 0 {
                return;
            }
            if !is_stopping && records.len() < BATCH {
                sleep(LINGER).await;
                while let Some(more) = (records.len() < BATCH).then(|| self.outlet.records.try_recv().ok()) {
                    match more {
                        Some(more) => records.push(more),
                        None => break,
                    }
                }
            }
            self.carry(&mut records).await;
        }
    }

    /// Brings these records into the queue, however long that takes.
    async fn carry(&self, records: &mut Vec<Arc<ResourceLogs>>) {
        let mut load = Load { records, metrics: &self.outlet.metrics };
        let mut size = load.records.len();
        while !load.records.is_empty() {
            size = size.min(load.records.len());
            match self.put(load.records.get(..size).unwrap_or_default()).await {
                Ok(()) => drop(load.records.drain(..size)),
                Err(Refused::LargerThanQueue { .. }) if size > 1 => size /= 2,
                Err(
                    Refused::OverBudget { retry_after }
                    | Refused::QueueFull { retry_after, .. }
                    | Refused::StorageUnavailable { retry_after, .. }
                    | Refused::BackendUnavailable { retry_after, .. },
                ) => sleep(retry_after.min(LONGEST_PAUSE)).await,
                Err(Refused::ShuttingDown) => return,
                Err(
                    Refused::LargerThanQueue { .. } | Refused::BackendRefused { .. } | Refused::Malformed(_),
                ) => {
                    load.lose(size, DropReason::Refused);
                }
            }
        }
    }

    async fn put(&self, records: &[Arc<ResourceLogs>]) -> Result<(), Refused> {
        let resource_logs = records.iter().map(|records| ResourceLogs::clone(records)).collect();
        let message = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
        // More than all there is would be waited for in vain.
        let bytes = message.len().min(self.budget.capacity() / 4);
        let permit = self.budget.acquire(u32::try_from(bytes).unwrap_or(u32::MAX)).await;
        let payload = Payload {
            signal: Signal::Logs,
            message: Message::Bare(message.into()),
            arrived: None,
            items: records.iter().map(|records| usize::try_from(count(records)).unwrap_or(0)).sum(),
            permit: Arc::new(permit),
            caller: Caller::default(),
        };
        self.exporter.reserve(&payload).await?.commit(payload).await
    }
}

/// Records that are in no queue yet. Dropped, they are lost for lack of time.
struct Load<'a> {
    records: &'a mut Vec<Arc<ResourceLogs>>,
    metrics: &'a OutletMetrics,
}

impl Load<'_> {
    fn lose(&mut self, how_many: usize, reason: DropReason) {
        let lost = self.records.drain(..how_many).map(|records| count(&records)).sum();
        self.metrics.dropped(reason, lost);
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.lose(self.records.len(), DropReason::Shutdown);
    }
}
