//! What receivers answered.

use crate::config::ComponentId;
use crate::otlp::Signal;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    pub(super) fn new(receiver: ComponentId, transport: Transport, signal: Signal) -> Self {
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

    pub(super) fn is_of(&self, receiver: &ComponentId, transport: Transport, signal: Signal) -> bool {
        (&self.receiver, self.transport, self.signal) == (receiver, transport, signal)
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
