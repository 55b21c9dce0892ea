//! What became of the accepted items in exporters.

use super::{DropReason, RejectReason};
use crate::config::ComponentId;
use crate::config::model::Sizer;
use crate::otlp::Signal;
use parking_lot::Mutex;

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
    quarantined_records: u64,
    queued: Amount,
    in_flight: Amount,
    is_durable: bool,
    capacity: Option<(usize, Sizer)>,
}

impl ExporterMetrics {
    pub(super) fn new(exporter: ComponentId, signal: Signal) -> Self {
        ExporterMetrics { exporter, signal, account: Mutex::default() }
    }

    pub(super) fn is_of(&self, exporter: &ComponentId, signal: Signal) -> bool {
        self.exporter == *exporter && self.signal == signal
    }

    /// How large the sending queue is, and in what unit; without a call there is no queue.
    pub fn set_queue_capacity(&self, capacity: usize, sizer: Sizer) {
        self.account.lock().capacity = Some((capacity, sizer));
    }

    /// What is in the queue or in flight is on disk, and outlives the process.
    pub fn set_durable(&self) {
        self.account.lock().is_durable = true;
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

    /// So many records of a queue on disk were damaged. Their items, as far as they are known, are dropped besides; this is
    /// no transition.
    pub fn quarantined(&self, records: u64) {
        let mut account = self.account.lock();
        account.quarantined_records = account.quarantined_records.saturating_add(records);
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
            quarantined_records: account.quarantined_records,
            queued: account.queued,
            in_flight: account.in_flight,
            is_durable: account.is_durable,
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
    /// Damaged records of a queue on disk. This counts records, not items.
    pub quarantined_records: u64,
    /// In the queue.
    pub queued: Amount,
    /// On the way to the backend.
    pub in_flight: Amount,
    /// Whether what is in the queue and in flight is on disk as well.
    pub is_durable: bool,
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
