//! The collector's own accounting: what receivers took and what became of it in each exporter.
//!
//! Receivers count with plain atomics. An exporter's account of one signal is one small mutex, taken once per
//! transition of a request (never per item), so that every snapshot balances, also under concurrency:
//!
//! accepted + restored = exported + queued + in flight + rejected + dropped, in items.
//!
//! Each transition keeps the balance by itself: what one place gains, another loses. A request that is split or
//! answered with a partial success makes one transition per part.

use crate::config::ComponentId;
use crate::config::model::Sizer;
use crate::otlp::Signal;
use crate::payload::Budget;
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// All accounts of the process. Cloning is cheap; every clone is the same accounts.
#[derive(Clone, Debug)]
pub struct Own {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    receivers: RwLock<Vec<Arc<ReceiverMetrics>>>,
    exporters: RwLock<Vec<Arc<ExporterMetrics>>>,
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
            started: Instant::now(),
            receivers: RwLock::default(),
            exporters: RwLock::default(),
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
        let is_same =
            |a: &&Arc<ReceiverMetrics>| (&a.receiver, a.transport, a.signal) == (receiver, transport, signal);
        if let Some(account) = accounts.iter().find(is_same) {
            return account.clone();
        }
        let account = Arc::new(ReceiverMetrics::new(receiver.clone(), transport, signal));
        accounts.push(account.clone());
        account
    }

    /// The account of an exporter's signal, opened at the first call. Keep the handle: this looks it up.
    pub fn exporter(&self, exporter: &ComponentId, signal: Signal) -> Arc<ExporterMetrics> {
        let mut accounts = self.shared.exporters.write();
        if let Some(account) = accounts.iter().find(|a| a.exporter == *exporter && a.signal == signal) {
            return account.clone();
        }
        let account = Arc::new(ExporterMetrics::new(exporter.clone(), signal));
        accounts.push(account.clone());
        account
    }

    /// Shows the memory budget of requests among the metrics.
    pub fn show_budget(&self, budget: Budget) {
        *self.shared.budget.write() = Some(budget);
    }

    /// All accounts, in the order in which they were opened. Each account is consistent in itself.
    pub fn snapshot(&self) -> OwnSnapshot {
        OwnSnapshot {
            uptime_seconds: self.shared.started.elapsed().as_secs_f64(),
            receivers: self.shared.receivers.read().iter().map(|a| a.snapshot()).collect(),
            exporters: self.shared.exporters.read().iter().map(|a| a.snapshot()).collect(),
            budget: self
                .shared
                .budget
                .read()
                .as_ref()
                .map(|b| BudgetSnapshot { used: b.used(), capacity: b.capacity() }),
        }
    }
}

/// Everything that [`Own`] knows at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnSnapshot {
    /// Since [`Own::new`].
    pub uptime_seconds: f64,
    /// One per receiver, transport and signal.
    pub receivers: Vec<ReceiverSnapshot>,
    /// One per exporter and signal.
    pub exporters: Vec<ExporterSnapshot>,
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

/// The label `transport` of a receiver's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

impl Transport {
    /// The value of the label, as the OpenTelemetry Collector has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one receiver answered to the requests of one signal over one transport.
#[derive(Debug)]
pub struct ReceiverMetrics {
    receiver: ComponentId,
    transport: Transport,
    signal: Signal,
    accepted: Outcome,
    refused: Outcome,
    failed: Outcome,
    malformed: AtomicU64,
}

/// Requests with one outcome, and the items in them.
#[derive(Debug, Default)]
struct Outcome {
    requests: AtomicU64,
    items: AtomicU64,
}

impl Outcome {
    fn add(&self, items: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.items.fetch_add(items as u64, Relaxed);
    }

    fn read(&self) -> OutcomeSnapshot {
        OutcomeSnapshot { requests: self.requests.load(Relaxed), items: self.items.load(Relaxed) }
    }
}

impl ReceiverMetrics {
    fn new(receiver: ComponentId, transport: Transport, signal: Signal) -> Self {
        ReceiverMetrics {
            receiver,
            transport,
            signal,
            accepted: Outcome::default(),
            refused: Outcome::default(),
            failed: Outcome::default(),
            malformed: AtomicU64::new(0),
        }
    }

    /// A request of so many items was taken and answered with OK.
    pub fn accepted(&self, items: usize) {
        self.accepted.add(items);
    }

    /// A request of so many items was pushed back by what stands behind the receiver; 0 where it was refused before
    /// its items could be counted.
    pub fn refused(&self, items: usize) {
        self.refused.add(items);
    }

    /// A request of so many items failed in the receiver itself; 0 where its items could not be counted.
    pub fn failed(&self, items: usize) {
        self.failed.add(items);
    }

    /// A request was refused for good because its bytes are no export request, or do not inflate. It is a failed one.
    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
        self.failed.add(0);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> ReceiverSnapshot {
        ReceiverSnapshot {
            receiver: self.receiver.clone(),
            transport: self.transport,
            signal: self.signal,
            accepted: self.accepted.read(),
            refused: self.refused.read(),
            failed: self.failed.read(),
            malformed_requests: self.malformed.load(Relaxed),
        }
    }
}

/// A receiver's account of one signal over one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverSnapshot {
    /// Whose account it is.
    pub receiver: ComponentId,
    /// Over what.
    pub transport: Transport,
    /// Of which signal.
    pub signal: Signal,
    /// Answered with OK.
    pub accepted: OutcomeSnapshot,
    /// Pushed back by what stands behind the receiver.
    pub refused: OutcomeSnapshot,
    /// Failed in the receiver itself.
    pub failed: OutcomeSnapshot,
    /// Those of the failed whose bytes are no export request.
    pub malformed_requests: u64,
}

/// Requests with one outcome, and the items in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeSnapshot {
    /// How many requests.
    pub requests: u64,
    /// How many items (spans, log records, data points) they held.
    pub items: u64,
}

/// One exporter's account of one signal.
#[derive(Debug)]
pub struct ExporterMetrics {
    exporter: ComponentId,
    signal: Signal,
    account: Mutex<Account>,
}

/// A number of requests with what they hold. A part of a request that leaves the account before the rest has
/// `requests: 0`; the request itself is counted with its last part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Requests as they were accepted.
    pub requests: u64,
    /// Spans, log records or data points.
    pub items: u64,
    /// Bytes of uncompressed protobuf.
    pub bytes: u64,
}

impl Amount {
    /// One request.
    pub fn request(items: usize, bytes: usize) -> Self {
        Amount { requests: 1, items: items as u64, bytes: bytes as u64 }
    }

    /// A part of a request.
    pub fn part(items: usize, bytes: usize) -> Self {
        Amount { requests: 0, items: items as u64, bytes: bytes as u64 }
    }

    /// In the unit that a queue's size is given in.
    pub fn in_units_of(self, sizer: Sizer) -> u64 {
        match sizer {
            Sizer::Requests => self.requests,
            Sizer::Items => self.items,
            Sizer::Bytes => self.bytes,
        }
    }

    fn gain(&mut self, other: Amount) {
        self.requests = self.requests.saturating_add(other.requests);
        self.items = self.items.saturating_add(other.items);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Taking more than there is would be a wrong transition: the balance shows it.
    fn lose(&mut self, other: Amount) {
        debug_assert!(
            self.requests >= other.requests && self.items >= other.items && self.bytes >= other.bytes,
            "{other:?} leaves a place that holds {self:?}"
        );
        self.requests = self.requests.saturating_sub(other.requests);
        self.items = self.items.saturating_sub(other.items);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    accepted: u64,
    restored: u64,
    exported: u64,
    rejected: [u64; RejectReason::ALL.len()],
    dropped: [u64; DropReason::ALL.len()],
    send_failed: u64,
    enqueue_failed: u64,
    queued: Amount,
    in_flight: Amount,
    capacity: Option<(usize, Sizer)>,
}

impl ExporterMetrics {
    fn new(exporter: ComponentId, signal: Signal) -> Self {
        ExporterMetrics { exporter, signal, account: Mutex::default() }
    }

    /// How large the sending queue is, and in what unit; without a call there is no queue.
    pub fn set_queue_capacity(&self, capacity: usize, sizer: Sizer) {
        self.account.lock().capacity = Some((capacity, sizer));
    }

    /// Accepted: into the queue.
    pub fn accept(&self, amount: Amount) {
        let mut account = self.account.lock();
        account.accepted = account.accepted.saturating_add(amount.items);
        account.queued.gain(amount);
    }

    /// Accepted by an exporter without a queue: at once in flight.
    pub fn accept_in_flight(&self, amount: Amount) {
        let mut account = self.account.lock();
        account.accepted = account.accepted.saturating_add(amount.items);
        account.in_flight.gain(amount);
    }

    /// Found in a queue on disk that an earlier process left.
    pub fn restore(&self, amount: Amount) {
        let mut account = self.account.lock();
        account.restored = account.restored.saturating_add(amount.items);
        account.queued.gain(amount);
    }

    /// Taken from the queue: on its way to the backend, until one of the endings below. Waiting for a retry is a part
    /// of that way.
    pub fn start(&self, amount: Amount) {
        let mut account = self.account.lock();
        account.queued.lose(amount);
        account.in_flight.gain(amount);
    }

    /// Back from its way into the queue.
    pub fn requeue(&self, amount: Amount) {
        let mut account = self.account.lock();
        account.in_flight.lose(amount);
        account.queued.gain(amount);
    }

    /// The end: the backend has it.
    pub fn exported(&self, amount: Amount) {
        let mut account = self.account.lock();
        account.in_flight.lose(amount);
        account.exported = account.exported.saturating_add(amount.items);
    }

    /// The end: the backend refused it for good.
    pub fn rejected(&self, reason: RejectReason, amount: Amount) {
        let mut account = self.account.lock();
        account.in_flight.lose(amount);
        if let Some(count) = account.rejected.get_mut(reason as usize) {
            *count = count.saturating_add(amount.items);
        }
    }

    /// The end: given up on its way.
    pub fn dropped(&self, reason: DropReason, amount: Amount) {
        let mut account = self.account.lock();
        account.in_flight.lose(amount);
        account.drop_items(reason, amount.items);
    }

    /// The end: given up in the queue.
    pub fn dropped_from_queue(&self, reason: DropReason, amount: Amount) {
        let mut account = self.account.lock();
        account.queued.lose(amount);
        account.drop_items(reason, amount.items);
    }

    /// An attempt to send so many items failed; it may be tried again. This is no transition.
    pub fn send_failed(&self, items: usize) {
        let mut account = self.account.lock();
        account.send_failed = account.send_failed.saturating_add(items as u64);
    }

    /// So many items found no room in the queue and were not accepted. This is no transition.
    pub fn enqueue_failed(&self, items: usize) {
        let mut account = self.account.lock();
        account.enqueue_failed = account.enqueue_failed.saturating_add(items as u64);
    }

    /// The account at one moment; it balances.
    pub fn snapshot(&self) -> ExporterSnapshot {
        let account = *self.account.lock();
        ExporterSnapshot {
            exporter: self.exporter.clone(),
            signal: self.signal,
            accepted: account.accepted,
            restored: account.restored,
            exported: account.exported,
            rejected: account.rejected,
            dropped: account.dropped,
            send_failed: account.send_failed,
            enqueue_failed: account.enqueue_failed,
            queued: account.queued,
            in_flight: account.in_flight,
            queue: account.capacity.map(|(capacity, sizer)| QueueSnapshot {
                size: account.queued.in_units_of(sizer),
                capacity: capacity as u64,
                sizer,
            }),
        }
    }
}

impl Account {
    fn drop_items(&mut self, reason: DropReason, items: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count = count.saturating_add(items);
        }
    }
}

/// An exporter's account of one signal. All but the amounts and the queue are counts of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterSnapshot {
    /// Whose account it is.
    pub exporter: ComponentId,
    /// Of which signal.
    pub signal: Signal,
    /// Taken from receivers.
    pub accepted: u64,
    /// Taken over from an earlier process.
    pub restored: u64,
    /// Taken by the backend.
    pub exported: u64,
    /// Refused by the backend for good, in the order of [`RejectReason::ALL`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Given up, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// In attempts that failed; an item may be in several.
    pub send_failed: u64,
    /// Not accepted because the queue was full.
    pub enqueue_failed: u64,
    /// In the queue.
    pub queued: Amount,
    /// On the way to the backend.
    pub in_flight: Amount,
    /// The queue in its own unit; none means that there is no queue.
    pub queue: Option<QueueSnapshot>,
}

/// A sending queue in its own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// What is in it.
    pub size: u64,
    /// What it holds at most.
    pub capacity: u64,
    /// The unit.
    pub sizer: Sizer,
}

impl ExporterSnapshot {
    /// Everything that the backend refused for good.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Everything that was given up.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The items that were given up for one reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    /// The items that the backend refused for one reason.
    pub fn rejected_for(&self, reason: RejectReason) -> u64 {
        self.rejected.get(reason as usize).copied().unwrap_or_default()
    }

    /// Accepted + restored = exported + queued + in flight + rejected + dropped.
    pub fn balances(&self) -> bool {
        let here = self.queued.items + self.in_flight.items;
        self.accepted + self.restored == self.exported + here + self.rejected_total() + self.dropped_total()
    }
}

/// Why a backend refused items for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// A partial success said so.
    PartialSuccess,
    /// INVALID_ARGUMENT, 400, and the like: the backend does not understand the data.
    Invalid,
    /// The backend does not take messages of that size: 413, OUT_OF_RANGE, RESOURCE_EXHAUSTED for good.
    TooLarge,
    /// UNAUTHENTICATED, PERMISSION_DENIED, 401, 403.
    Unauthorized,
    /// UNIMPLEMENTED, 404, 405: the backend does not take this signal.
    Unsupported,
    /// Any other answer that must not be retried.
    Permanent,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [RejectReason; 6] = [
        RejectReason::PartialSuccess,
        RejectReason::Invalid,
        RejectReason::TooLarge,
        RejectReason::Unauthorized,
        RejectReason::Unsupported,
        RejectReason::Permanent,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::PartialSuccess => "partial_success",
            RejectReason::Invalid => "invalid",
            RejectReason::TooLarge => "too_large",
            RejectReason::Unauthorized => "unauthorized",
            RejectReason::Unsupported => "unsupported",
            RejectReason::Permanent => "permanent",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why accepted items were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// `retry_on_failure.max_elapsed_time` was over.
    RetryExhausted,
    /// The attempt failed and `retry_on_failure` is off.
    RetryDisabled,
    /// The grace time of the shutdown was over.
    Shutdown,
    /// The queue on disk could not be read back: the bytes are in quarantine.
    Quarantined,
    /// The request could not be put into the form that the backend takes.
    Unsendable,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 5] = [
        DropReason::RetryExhausted,
        DropReason::RetryDisabled,
        DropReason::Shutdown,
        DropReason::Quarantined,
        DropReason::Unsendable,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::RetryExhausted => "retry_exhausted",
            DropReason::RetryDisabled => "retry_disabled",
            DropReason::Shutdown => "shutdown",
            DropReason::Quarantined => "quarantined",
            DropReason::Unsendable => "unsendable",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn exporter(own: &Own) -> Arc<ExporterMetrics> {
        own.exporter(&ComponentId::new("otlp_grpc"), Signal::Traces)
    }

    #[test]
    fn the_same_id_and_signal_is_the_same_account() {
        let own = Own::new();
        exporter(&own).accept(Amount::request(3, 300));
        exporter(&own.clone()).accept(Amount::request(4, 400));
        let snapshot = own.snapshot();
        assert_eq!(snapshot.exporters.len(), 1);
        assert_eq!(snapshot.exporters[0].accepted, 7);

        let grpc = own.receiver(&ComponentId::new("otlp"), Transport::Grpc, Signal::Traces);
        own.receiver(&ComponentId::new("otlp"), Transport::Grpc, Signal::Traces).accepted(5);
        own.receiver(&ComponentId::new("otlp"), Transport::Http, Signal::Traces).accepted(6);
        assert_eq!(grpc.snapshot().accepted, OutcomeSnapshot { requests: 1, items: 5 });
        assert_eq!(own.snapshot().receivers.len(), 2);
    }

    #[test]
    fn every_ending_is_told_and_the_account_balances_after_each_step() {
        let own = Own::new();
        let exporter = exporter(&own);
        let steps: [&dyn Fn(); 12] = [
            &|| exporter.accept(Amount::request(10, 1000)),
            &|| exporter.accept(Amount::request(20, 2000)),
            &|| exporter.restore(Amount::request(7, 700)),
            &|| exporter.enqueue_failed(99),
            &|| exporter.start(Amount::request(10, 1000)),
            &|| exporter.send_failed(10),
            &|| exporter.requeue(Amount::request(10, 1000)),
            &|| exporter.start(Amount::request(10, 1000)),
            &|| exporter.rejected(RejectReason::PartialSuccess, Amount::part(4, 400)),
            &|| exporter.exported(Amount::request(6, 600)),
            &|| exporter.dropped_from_queue(DropReason::Quarantined, Amount::request(7, 700)),
            &|| exporter.accept_in_flight(Amount::request(1, 100)),
        ];
        for step in steps {
            step();
            assert!(exporter.snapshot().balances());
        }
        exporter.dropped(DropReason::Shutdown, Amount::request(1, 100));

        let end = exporter.snapshot();
        assert!(end.balances());
        assert_eq!((end.accepted, end.restored, end.exported), (31, 7, 6));
        assert_eq!((end.rejected_total(), end.dropped_total()), (4, 8));
        assert_eq!(end.rejected_for(RejectReason::PartialSuccess), 4);
        assert_eq!(end.dropped_for(DropReason::Quarantined), 7);
        assert_eq!(end.queued, Amount::request(20, 2000));
        assert_eq!(end.in_flight, Amount::default());
        assert_eq!((end.send_failed, end.enqueue_failed), (10, 99));
    }

    #[test]
    fn the_queue_is_shown_in_its_own_unit() {
        let own = Own::new();
        let exporter = exporter(&own);
        assert_eq!(exporter.snapshot().queue, None);
        exporter.accept(Amount::request(10, 1000));
        for (sizer, size) in [(Sizer::Requests, 1), (Sizer::Items, 10), (Sizer::Bytes, 1000)] {
            exporter.set_queue_capacity(5000, sizer);
            assert_eq!(exporter.snapshot().queue, Some(QueueSnapshot { size, capacity: 5000, sizer }));
        }
    }

    #[test]
    fn an_account_that_several_threads_move_balances_in_every_snapshot() {
        let own = Own::new();
        let exporter = exporter(&own);
        let is_done = AtomicBool::new(false);
        let worker = |seed: u64| {
            for n in 0..20_000_u64 {
                let amount = Amount::request((n % 7) as usize, 100);
                exporter.accept(amount);
                exporter.start(amount);
                match (n + seed) % 4 {
                    0 => exporter.exported(amount),
                    1 => exporter.rejected(RejectReason::Invalid, amount),
                    2 => exporter.dropped(DropReason::RetryExhausted, amount),
                    _ => {
                        exporter.requeue(amount);
                        exporter.dropped_from_queue(DropReason::Shutdown, amount);
                    }
                }
            }
        };
        let snapshots = std::thread::scope(|scope| {
            let workers = [1, 2, 3].map(|seed| scope.spawn(move || worker(seed)));
            let watcher = scope.spawn(|| {
                let mut snapshots = 0;
                while !is_done.load(Relaxed) || snapshots == 0 {
                    assert!(exporter.snapshot().balances());
                    snapshots += 1;
                }
                snapshots
            });
            for worker in workers {
                worker.join().unwrap();
            }
            is_done.store(true, Relaxed);
            watcher.join().unwrap()
        });
        assert!(snapshots > 0);
        let end = exporter.snapshot();
        assert!(end.balances());
        assert_eq!(end.accepted, 3 * (0..20_000_u64).map(|n| n % 7).sum::<u64>());
        assert_eq!((end.queued, end.in_flight), (Amount::default(), Amount::default()));
    }

    #[test]
    fn a_malformed_request_is_a_failed_one() {
        let own = Own::new();
        let receiver = own.receiver(&ComponentId::new("otlp"), Transport::Http, Signal::Logs);
        receiver.malformed();
        receiver.refused(3);
        let snapshot = receiver.snapshot();
        assert_eq!((snapshot.malformed_requests, snapshot.failed.requests), (1, 1));
        assert_eq!(snapshot.refused, OutcomeSnapshot { requests: 1, items: 3 });
    }

    #[test]
    fn the_budget_is_told_once_it_is_known() {
        let own = Own::new();
        assert_eq!(own.snapshot().budget, None);
        let budget = Budget::new(1000);
        own.show_budget(budget.clone());
        let permit = budget.try_acquire(300);
        assert_eq!(own.snapshot().budget, Some(BudgetSnapshot { used: 300, capacity: 1000 }));
        drop(permit);
        assert_eq!(own.snapshot().budget, Some(BudgetSnapshot { used: 0, capacity: 1000 }));
    }
}
