//! What an exporter says about itself: loud enough to be seen, bounded when every request fails.

use super::disk::{AppendError, Unreadable};
use super::outcome::Failure;
use super::quote::without_quotations;
use crate::config::model::ComponentId;
use crate::otlp::Signal;
use crate::payload::Payload;
use crate::telemetry::logs::Gate;
use crate::telemetry::own::{Amount, DropReason, RejectReason};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The log of one exporter's signal. Of each kind of event one line is written in ten seconds; it says how many items the
/// lines left out would have told of.
#[derive(Debug)]
pub struct Log {
    exporter: ComponentId,
    signal: Signal,
    backend: String,
    is_failing: AtomicBool,
    retrying: Gate,
    partial: Gate,
    rejected: Gate,
    dropped: Gate,
    not_stored: Gate,
}

impl Log {
    /// Nothing said yet. `backend` is where requests go, in a form that holds no secrets.
    pub fn new(exporter: ComponentId, signal: Signal, backend: String) -> Self {
        Log {
            exporter,
            signal,
            backend,
            is_failing: AtomicBool::new(false),
            retrying: Gate::new(PERIOD),
            partial: Gate::new(PERIOD),
            rejected: Gate::new(PERIOD),
            dropped: Gate::new(PERIOD),
            not_stored: Gate::new(PERIOD),
        }
    }

    /// Whose it is.
    pub fn exporter(&self) -> &ComponentId {
        &self.exporter
    }

    /// The backend took a request.
    pub fn delivered(&self) {
        if self.is_failing.load(Relaxed) && self.is_failing.swap(false, Relaxed) {
            let Log { exporter, signal, backend, .. } = self;
            tracing::info!(%exporter, %signal, %backend, "the backend takes requests again");
        }
    }

    /// An attempt failed and will be repeated.
    pub fn retrying(&self, payload: &Payload, failure: &Failure, wait: Duration) {
        self.is_failing.store(true, Relaxed);
        let Some(items) = self.retrying.pass(payload.items) else { return };
        let reason = shown(failure, payload);
        let Log { exporter, signal, backend, .. } = self;
        tracing::warn!(
            %exporter, %signal, %backend, items, %reason, ?wait,
            "sending failed and will be tried again"
        );
    }

    /// The backend took a request without some of its items; with none of them it only had something to say about it.
    pub fn partially_rejected(&self, payload: &Payload, rejected: u64, message: &str) {
        let rejected = usize::try_from(rejected).unwrap_or(usize::MAX).min(payload.items);
        let Some(items) = self.partial.pass(rejected) else { return };
        let reason = without_quotations(message, payload.message.as_slice());
        let Log { exporter, signal, backend, .. } = self;
        match items {
            0 => {
                tracing::warn!(%exporter, %signal, %backend, %reason, "the backend took a request with a warning")
            }
            items => tracing::warn!(
                %exporter, %signal, %backend, items, %reason,
                "the backend took requests, but rejected items of them; these are lost"
            ),
        }
    }

    /// The backend refused items for good.
    pub fn rejected(&self, payload: &Payload, kind: RejectReason, failure: &Failure) {
        let Some(items) = self.rejected.pass(payload.items) else { return };
        let reason = shown(failure, payload);
        let Log { exporter, signal, backend, .. } = self;
        tracing::error!(
            %exporter, %signal, %backend, items, %kind, %reason,
            "the backend rejected items; they are lost"
        );
    }

    /// Items were given up.
    pub fn dropped(&self, payload: &Payload, kind: DropReason, failure: &Failure) {
        let Some(items) = self.dropped.pass(payload.items) else { return };
        let reason = shown(failure, payload);
        let Log { exporter, signal, backend, .. } = self;
        tracing::error!(
            %exporter, %signal, %backend, items, %kind, %reason,
            "items were given up; they are lost"
        );
    }

    /// The disk did not take items; their senders were told to come again.
    pub fn not_stored(&self, items: usize, error: &AppendError) {
        let Some(items) = self.not_stored.pass(items) else { return };
        let Log { exporter, signal, .. } = self;
        tracing::warn!(%exporter, %signal, items, %error, "the queue on disk takes nothing; senders have to come again");
    }

    /// A request on disk cannot be read.
    pub fn unreadable(&self, amount: Amount, error: &Unreadable) {
        let Log { exporter, signal, .. } = self;
        tracing::error!(%exporter, %signal, items = amount.items, %error, "the queue on disk is damaged");
    }

    /// The grace time of the shutdown was over, and the queue is on disk.
    pub fn kept(&self, amount: Amount) {
        let Log { exporter, signal, backend, .. } = self;
        let Amount { requests, items, .. } = amount;
        tracing::info!(
            %exporter, %signal, %backend, requests, items,
            "the grace time is over; what could not be delivered stays on disk"
        );
    }

    /// The grace time of the shutdown was over.
    pub fn lost(&self, amount: Amount) {
        let Log { exporter, signal, backend, .. } = self;
        let Amount { requests, items, .. } = amount;
        tracing::error!(
            %exporter, %signal, %backend, requests, items,
            "the grace time is over; what could not be delivered is lost"
        );
    }
}

/// What happened, without anything of the request.
pub fn shown(failure: &Failure, payload: &Payload) -> String {
    without_quotations(&failure.to_string(), payload.message.as_slice())
}

/// How long a kind of event stays quiet after it was told.
const PERIOD: Duration = Duration::from_secs(10);
