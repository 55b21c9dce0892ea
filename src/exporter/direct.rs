//! Sending without a queue and without an account: for what the collector tells of itself.

use super::outcome::{Failure, Outcome};
use super::retry::Backoff;
use super::{Backend, StartError};
use crate::config::model::{self, ComponentId, Config, OtlpTarget, Retry};
use crate::otlp::Signal;
use crate::payload::{Message, Payload, Permit};
use crate::telemetry::spans::Caller;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A way to a backend for one signal. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Direct {
    backend: Arc<Backend>,
    signal: Signal,
    retry: Retry,
}

/// Why something did not reach the backend as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// It did not arrive in time, or was refused for good.
    #[error("{address}: {failure}")]
    Failed {
        /// Scheme, host and port.
        address: String,
        /// What happened last.
        failure: Failure,
    },
    /// The backend has it, but for some of it.
    #[error("{address} refused {items} of {of}: {message}")]
    InPart {
        /// Scheme, host and port.
        address: String,
        /// How many items.
        items: u64,
        /// Of how many.
        of: usize,
        /// Why, in its words.
        message: String,
    },
}

impl Direct {
    /// A way that has not connected yet.
    pub fn new(target: &OtlpTarget, signal: Signal) -> Result<Self, StartError> {
        let exporter = target.exporter(signal);
        let retry = match &exporter {
            model::Exporter::OtlpGrpc(exporter) => exporter.retry,
            model::Exporter::OtlpHttp(exporter) => exporter.retry,
            model::Exporter::Debug(_) => Retry::default(),
        };
        let id = ComponentId::new("telemetry");
        let backend = Backend::new(&id, &exporter, &Config::default(), &[signal])?;
        Ok(Direct { backend: Arc::new(backend), signal, retry })
    }

    /// Sends an export request of so many items, again and again until it is delivered, refused for good, or `deadline` has
    /// come.
    pub async fn send(&self, message: Bytes, items: usize, deadline: Instant) -> Result<(), Undelivered> {
        let address = || self.backend.address(self.signal);
        let (message, permit) = (Message::Bare(message), Arc::new(Permit::default()));
        let payload =
            Payload { signal: self.signal, message, arrived: None, items, permit, caller: Caller::default() };
        let failed = |failure| Undelivered::Failed { address: address(), failure };
        let encoded = self.backend.encoder.encode(&payload).await;
        let encoded = encoded.map_err(|error| failed(Failure::Unsendable(error.to_string())))?;
        let mut backoff = Backoff::new(&self.retry);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = tokio::time::timeout(left, self.backend.attempt(&payload, &encoded)).await;
            let (after, failure) = match attempt {
                Ok(Outcome::Delivered) => return Ok(()),
                Ok(Outcome::PartiallyRejected { items: 0, .. }) => return Ok(()),
                Ok(Outcome::PartiallyRejected { items: rejected, message }) => {
                    return Err(Undelivered::InPart {
                        address: address(),
                        items: rejected,
                        of: items,
                        message,
                    });
                }
                Ok(Outcome::Permanent { failure, .. }) => return Err(failed(failure)),
                Ok(Outcome::Retryable { after, failure }) => (after, failure),
                Err(_) => return Err(failed(Failure::TimedOut(left))),
            };
            let wait = backoff.next_wait(after);
            if wait >= deadline.saturating_duration_since(Instant::now()) {
                return Err(failed(failure));
            }
            sleep(wait).await;
        }
    }
}

/// How often a failure is told at most.
pub const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);
