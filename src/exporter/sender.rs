//! Sends one request, again and again, until it is delivered or given up.

use super::Backend;
use super::life::Life;
use super::log::{Log, shown};
use super::outcome::{Failure, Outcome};
use super::queue::Undelivered;
use super::retry::Backoff;
use crate::config::model::Retry;
use crate::payload::Payload;
use crate::telemetry::own::{DropReason, ExporterMetrics, RejectReason};
use crate::telemetry::spans;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// What the workers of one signal need to send.
#[derive(Debug)]
pub struct Sender {
    /// Where to.
    pub backend: Arc<Backend>,
    /// How patiently.
    pub retry: Retry,
    /// Failed attempts are counted here; endings are the caller's matter.
    pub account: Arc<ExporterMetrics>,
    /// What is said about it.
    pub log: Log,
    /// How long there is.
    pub life: Life,
}

/// How it ended.
#[derive(Debug)]
pub enum Ending {
    /// The backend has it, but for so many items.
    Delivered {
        /// How many.
        rejected: u64,
    },
    /// The backend refused it for good.
    Rejected {
        /// As what it is counted.
        reason: RejectReason,
        /// What happened.
        failure: Failure,
    },
    /// It was given up.
    GivenUp {
        /// As what it is counted.
        reason: DropReason,
        /// What happened last.
        failure: Failure,
        /// When coming back makes sense.
        retry_after: Duration,
    },
}

impl Sender {
    /// Sends a request that has been on its way since `start`.
    pub async fn send(&self, payload: &Payload, start: Instant) -> Ending {
        let span = spans::export(self.log.exporter(), payload.signal, &payload.caller);
        let ending = self.send_untraced(payload, start).instrument(span.clone()).await;
        if !span.is_disabled() {
            ending.tell(&span, payload);
        }
        ending
    }

    async fn send_untraced(&self, payload: &Payload, start: Instant) -> Ending {
        let message = match self.backend.encoder.encode(payload).await {
            Ok(message) => message,
            Err(error) => {
                let failure = Failure::Unsendable(error.to_string());
                let reason = DropReason::Unsendable;
                return Ending::GivenUp { reason, failure, retry_after: Duration::ZERO };
            }
        };
        let mut backoff = Backoff::new(&self.retry);
        loop {
            let (after, failure) = match self.backend.attempt(payload, &message).await {
                Outcome::Delivered => {
                    self.log.delivered();
                    return Ending::Delivered { rejected: 0 };
                }
                Outcome::PartiallyRejected { items, message } => {
                    self.log.partially_rejected(payload, items, &message);
                    return Ending::Delivered { rejected: items };
                }
                Outcome::Permanent { reason, failure } => {
                    self.account.send_failed(payload.items);
                    return Ending::Rejected { reason, failure };
                }
                Outcome::Retryable { after, failure } => (after, failure),
            };
            self.account.send_failed(payload.items);
            let proper = backoff.next_wait(after);
            let Some(wait) = self.affordable(proper, start) else {
                let reason = match self.retry.enabled {
                    true => DropReason::RetryExhausted,
                    false => DropReason::RetryDisabled,
                };
                return Ending::GivenUp { reason, failure, retry_after: proper };
            };
            self.log.retrying(payload, &failure, wait);
            self.life.pause(wait).await;
        }
    }

    /// `wait`, or what is left of `max_elapsed_time`: there is one last attempt at its end. None if nothing is left.
    fn affordable(&self, wait: Duration, start: Instant) -> Option<Duration> {
        if !self.retry.enabled {
            return None;
        }
        if self.retry.max_elapsed_time.is_zero() {
            return Some(wait);
        }
        let left = self.retry.max_elapsed_time.saturating_sub(start.elapsed());
        (!left.is_zero()).then(|| wait.min(left))
    }
}

impl Ending {
    /// What there is to tell of it in a trace: as in the log, without anything of the request.
    fn tell(&self, span: &Span, payload: &Payload) {
        let items = payload.items as u64;
        match self {
            Ending::Delivered { rejected } => {
                span.record("items.sent", items.saturating_sub(*rejected));
                span.record("items.failed", rejected);
            }
            Ending::Rejected { failure, .. } | Ending::GivenUp { failure, .. } => {
                span.record("items.failed", items);
                spans::fail(span, &shown(failure, payload));
            }
        }
    }

    /// What a sender is told who waits for it.
    pub fn answer(&self, payload: &Payload) -> Result<(), Undelivered> {
        match self {
            Ending::Delivered { .. } => Ok(()),
            Ending::Rejected { failure, .. }
            | Ending::GivenUp { reason: DropReason::Unsendable, failure, .. } => {
                Err(Undelivered::Refused { reason: shown(failure, payload) })
            }
            Ending::GivenUp { failure, retry_after, .. } => {
                let reason = shown(failure, payload);
                Err(Undelivered::Unavailable { retry_after: *retry_after, reason })
            }
        }
    }
}
