//! The collector's own accounting: what receivers took and what became of it in each exporter.
//!
//! Receivers count with plain atomics. An exporter's account of one signal is one small mutex, taken once per
//! transition of a request (never per item), so that every snapshot balances, also under concurrency:
//!
//! accepted + restored = exported + queued + in flight + rejected + dropped, in items.
//!
//! Each transition keeps the balance by itself: what one place gains, another loses. A request that is split or
//! answered with a partial success makes one transition per part.

mod exporter;
mod metrics;
mod process;
mod reason;
mod receiver;
mod tap;
#[cfg(test)]
mod tests;

pub use exporter::{Amount, ExporterMetrics, ExporterSnapshot, QueueSnapshot};
pub use reason::{DropReason, RejectReason};
pub use receiver::{OutcomeSnapshot, ReceiverMetrics, ReceiverSnapshot, Transport};
pub use tap::{JoinRule, StreamEnd, TapDrop, TapMetrics, TapSnapshot};

use crate::config::ComponentId;
use crate::otlp::Signal;
use crate::payload::Budget;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::SystemTime;

/// All accounts of the process. Cloning is cheap; every clone is the same accounts.
#[derive(Clone, Debug)]
pub struct Own {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: SystemTime,
    receivers: RwLock<Vec<Arc<ReceiverMetrics>>>,
    exporters: RwLock<Vec<Arc<ExporterMetrics>>>,
    taps: RwLock<Vec<Arc<TapMetrics>>>,
    budget: RwLock<Option<Budget>>,
}

impl Default for Own {
    fn default() -> Self {
        Own::new()
    }
}

impl Own {
    /// No accounts yet; uptime starts now.
    pub fn new() -> Self {
        let shared = Shared {
            started: SystemTime::now(),
            receivers: RwLock::default(),
            exporters: RwLock::default(),
            taps: RwLock::default(),
            budget: RwLock::default(),
        };
        Own { shared: Arc::new(shared) }
    }

    /// The account of a receiver's signal over one transport, opened at the first call. Keep the handle: this looks
    /// it up.
    pub fn receiver(
        &self,
        receiver: &ComponentId,
        transport: Transport,
        signal: Signal,
    ) -> Arc<ReceiverMetrics> {
        let mut accounts = self.shared.receivers.write();
        if let Some(account) = accounts.iter().find(|a| a.is_of(receiver, transport, signal)) {
            return account.clone();
        }
        let account = Arc::new(ReceiverMetrics::new(receiver.clone(), transport, signal));
        accounts.push(account.clone());
        account
    }

    /// The account of an exporter's signal, opened at the first call. Keep the handle: this looks it up.
    pub fn exporter(&self, exporter: &ComponentId, signal: Signal) -> Arc<ExporterMetrics> {
        let mut accounts = self.shared.exporters.write();
        if let Some(account) = accounts.iter().find(|a| a.is_of(exporter, signal)) {
            return account.clone();
        }
        let account = Arc::new(ExporterMetrics::new(exporter.clone(), signal));
        accounts.push(account.clone());
        account
    }

    /// The account of a tap, opened at the first call. Keep the handle: this looks it up.
    pub fn tap(&self, receiver: &ComponentId) -> Arc<TapMetrics> {
        let mut accounts = self.shared.taps.write();
        if let Some(account) = accounts.iter().find(|a| a.is_of(receiver)) {
            return account.clone();
        }
        let account = Arc::new(TapMetrics::new(receiver.clone()));
        accounts.push(account.clone());
        account
    }

    /// Shows the memory budget of requests among the metrics.
    pub fn show_budget(&self, budget: Budget) {
        *self.shared.budget.write() = Some(budget);
    }

    /// The memory budget of requests, once it is known.
    pub(crate) fn budget(&self) -> Option<Budget> {
        self.shared.budget.read().clone()
    }

    /// All accounts, in the order of their ids. Each account is consistent in itself.
    pub fn snapshot(&self) -> OwnSnapshot {
        let shared = &self.shared;
        let mut receivers: Vec<_> = shared.receivers.read().iter().map(|a| a.snapshot()).collect();
        receivers
            .sort_by(|a, b| (&a.receiver, a.transport, a.signal).cmp(&(&b.receiver, b.transport, b.signal)));
        let mut exporters: Vec<_> = shared.exporters.read().iter().map(|a| a.snapshot()).collect();
        exporters.sort_by(|a, b| (&a.exporter, a.signal).cmp(&(&b.exporter, b.signal)));
        let mut taps: Vec<_> = shared.taps.read().iter().map(|a| a.snapshot()).collect();
        taps.sort_by(|a, b| a.receiver.cmp(&b.receiver));
        let budget = shared.budget.read();
        let budget = budget.as_ref().map(|b| BudgetSnapshot { used: b.used(), capacity: b.capacity() });
        OwnSnapshot { started: shared.started, receivers, exporters, taps, budget }
    }
}

/// Everything that [`Own`] knows at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSnapshot {
    /// When [`Own::new`] was called.
    pub started: SystemTime,
    /// One per receiver, transport and signal.
    pub receivers: Vec<ReceiverSnapshot>,
    /// One per exporter and signal.
    pub exporters: Vec<ExporterSnapshot>,
    /// One per tap.
    pub taps: Vec<TapSnapshot>,
    /// The memory budget, once [`Own::show_budget`] has been called.
    pub budget: Option<BudgetSnapshot>,
}

/// The bytes of requests in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSnapshot {
    /// Occupied now.
    pub used: usize,
    /// The whole budget.
    pub capacity: usize,
}
