//! Log records of the collector's own, on their way into the logs pipelines.
//!
//! Whoever has a record to tell [offers](OwnLogs::offer) it and goes on. For each exporter of a logs pipeline there is a
//! bounded buffer, which the pipeline empties into the exporter's queue; from there on a record is an item like any other.
//! A buffer that is full, because its exporter's queue is, takes nothing more: what is lost so is counted and told. So
//! records of the collector never stand in the way of data that was accepted.

use crate::config::ComponentId;
use crate::telemetry::metric::{Descriptor, Point, Sink, Unit, Value};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Takes log records. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OwnLogs {
    inlets: Arc<[Inlet]>,
    started: SystemTime,
}

/// This end of one exporter's buffer.
#[derive(Debug)]
struct Inlet {
    buffer: Sender<Arc<ResourceLogs>>,
    metrics: Arc<OutletMetrics>,
}

/// The other end of one exporter's buffer.
#[derive(Debug)]
pub struct Outlet {
    /// What was offered.
    pub records: Receiver<Arc<ResourceLogs>>,
    /// Where losses are counted.
    pub metrics: Arc<OutletMetrics>,
}

/// What became of the records for one exporter.
#[derive(Debug)]
pub struct OutletMetrics {
    exporter: ComponentId,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

/// Why a record reached no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The buffer was full.
    BufferFull,
    /// The exporter will never take it.
    Refused,
    /// There was no time left.
    Shutdown,
}

impl DropReason {
    const ALL: [DropReason; 3] = [DropReason::BufferFull, DropReason::Refused, DropReason::Shutdown];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::BufferFull => "buffer_full",
            DropReason::Refused => "refused",
            DropReason::Shutdown => "shutdown",
        }
    }
}

const DROPPED: Descriptor = Descriptor::counter(
    "refusal_collector.own_log_records_dropped",
    Unit::Things("{record}"),
    "Log records of the collector's own that reached no sending queue.",
);

impl OwnLogs {
    /// A buffer of `capacity` records for each of these exporters.
    pub fn new(exporters: impl IntoIterator<Item = ComponentId>, capacity: usize) -> (Self, Vec<Outlet>) {
        let open = |exporter| {
            let (buffer, records) = mpsc::channel(capacity.max(1));
            let metrics = Arc::new(OutletMetrics { exporter, dropped: Default::default() });
            (Inlet { buffer, metrics: metrics.clone() }, Outlet { records, metrics })
        };
        let (inlets, outlets): (Vec<_>, Vec<_>) = exporters.into_iter().map(open).unzip();
        (OwnLogs { inlets: inlets.into(), started: SystemTime::now() }, outlets)
    }

    /// Whether nobody takes records, because there is no logs pipeline.
    pub fn is_empty(&self) -> bool {
        self.inlets.is_empty()
    }

    /// Gives records to every exporter that has room for them. Waits for nobody.
    pub fn offer(&self, records: ResourceLogs) {
        let records = Arc::new(records);
        for Inlet { buffer, metrics } in self.inlets.iter() {
            if buffer.try_send(records.clone()).is_err() {
                metrics.dropped(DropReason::BufferFull, count(&records));
            }
        }
    }

    /// Gives all metrics to `sink`.
    pub fn collect(&self, sink: &mut impl Sink) {
        if self.is_empty() {
            return;
        }
        sink.metric(&DROPPED);
        for Inlet { metrics, .. } in self.inlets.iter() {
            let exporter = metrics.exporter.to_string();
            for (reason, dropped) in DropReason::ALL.iter().zip(&metrics.dropped) {
                let labels = [("exporter", exporter.as_str()), ("reason", reason.as_str())];
                let value = Value::Integer(dropped.load(Relaxed));
                sink.point(&Point { labels: &labels, value, start: Some(self.started), exemplar: None });
            }
        }
    }
}

impl OutletMetrics {
    /// The exporter.
    pub fn exporter(&self) -> &ComponentId {
        &self.exporter
    }

    /// Counts records that are lost, and tells the first time.
    pub fn dropped(&self, reason: DropReason, records: u64) {
        let Some(dropped) = self.dropped.get(reason as usize) else { return };
        if records > 0 && dropped.fetch_add(records, Relaxed) == 0 {
            tracing::warn!(
                exporter = %self.exporter,
                reason = reason.as_str(),
                "log records of the collector's own are dropped; refusal_collector_own_log_records_dropped_total counts them"
            );
        }
    }
}

/// How many log records there are.
pub fn count(records: &ResourceLogs) -> u64 {
    records.scope_logs.iter().map(|scope| scope.log_records.len() as u64).sum()
}
