//! The way of a request from its body to the pipeline, as far as gRPC and HTTP share it.

use crate::config::ComponentId;
use crate::otlp::Signal;
use crate::payload::{Compressed, Consume, Message, NotTaken, Payload, Permit, Refused};
use crate::receiver::admission::{Admission, Place};
use crate::receiver::auth::Authenticator;
use crate::receiver::inflate::{Codec, Failed, inflate};
use crate::receiver::respond::Error;
use crate::telemetry::own::{Own, ReceiverMetrics, Transport};
use crate::telemetry::spans::{self, Caller};
use bytes::Bytes;
use http::HeaderMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::Span;

/// Takes bodies, admits them, makes payloads of them, and counts what becomes of them.
#[derive(Debug)]
pub struct Intake<C> {
    receiver: ComponentId,
    transport: Transport,
    consumer: C,
    admission: Admission,
    limit: usize,
    read_timeout: Duration,
    authenticator: Option<Authenticator>,
    accounts: [(Signal, Arc<ReceiverMetrics>); 3],
}

/// What a receiver's ports have in common.
#[derive(Debug)]
pub struct Source<'a, C> {
    /// Whose requests these are.
    pub receiver: &'a ComponentId,
    /// Who takes them.
    pub consumer: C,
    /// Who may send; none means everybody.
    pub authenticator: Option<Authenticator>,
    /// Who lets them in.
    pub admission: &'a Admission,
    /// Where they are counted.
    pub own: &'a Own,
}

impl<C: Consume> Intake<C> {
    /// Takes messages of up to `limit` bytes, which may take `read_timeout` to arrive.
    pub fn new(source: Source<'_, C>, transport: Transport, limit: usize, read_timeout: Duration) -> Self {
        let account = |signal| (signal, source.own.receiver(source.receiver, transport, signal));
        Intake {
            receiver: source.receiver.clone(),
            transport,
            limit: limit.min(source.admission.largest()),
            accounts: Signal::ALL.map(account),
            admission: source.admission.clone(),
            authenticator: source.authenticator,
            consumer: source.consumer,
            read_timeout,
        }
    }

    /// The largest request that is taken, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Who lets requests in.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The span of a request, from its head to its answer.
    pub fn span(&self, signal: Signal, headers: &HeaderMap) -> Span {
        spans::receive(&self.receiver, self.transport, signal, headers)
    }

    /// A place for a request, if the sender may send and some pipeline takes `signal`.
    pub async fn offer(&self, signal: Signal, headers: &HeaderMap) -> Result<Place, Error> {
        if let Some(authenticator) = &self.authenticator {
            authenticator.check(headers).await?;
        }
        if !self.consumer.takes(signal) {
            return Err(Error::NoPipeline(signal));
        }
        self.admission.enter()
    }

    /// The clock of one request, which has just begun to arrive.
    pub fn clock(&self) -> Clock {
        Clock { timeout: self.read_timeout, started: Instant::now(), waited: Duration::ZERO }
    }

    /// Inflates a body that arrived compressed.
    pub async fn inflate(&self, codec: Codec, body: &[u8], permit: &mut Permit) -> Result<Bytes, Error> {
        let inflated = inflate(codec, body, self.limit, self.admission.budget(), permit).await;
        inflated.map_err(|failed| match failed {
            Failed::Broken(broken) => Error::Inflate { codec, broken },
            Failed::TooLarge => Error::TooLarge { limit: self.limit },
            Failed::OverBudget => self.admission.over_budget(body.len()),
        })
    }

    /// Hands a request to the consumer, if it was received, and counts what became of it. `span` is the one that is open.
    pub async fn take(
        &self,
        signal: Signal,
        received: Result<Received, Error>,
        span: &Span,
    ) -> Result<(), Error> {
        let (outcome, items) = match received {
            Err(error) => (Err(error), 0),
            Ok(Received { message, arrived, permit, place: _place }) => {
                let (permit, caller) = (Arc::new(permit), Caller::of(span));
                let payload = Payload { signal, message, arrived, items: 0, permit: permit.clone(), caller };
                match self.consumer.consume(payload).await {
                    Ok(items) => {
                        permit.used();
                        (Ok(()), items)
                    }
                    Err(NotTaken { why, items }) => (Err(Error::Refused(why)), items),
                }
            }
        };
        if !span.is_disabled() {
            span.record(if outcome.is_ok() { "items.accepted" } else { "items.refused" }, items);
            outcome.as_ref().err().into_iter().for_each(|error| spans::fail(span, error));
        }
        if let Some((_, account)) = self.accounts.iter().find(|(s, _)| *s == signal) {
            match &outcome {
                Ok(()) => account.accepted(items),
                Err(Error::Refused(Refused::Malformed(_)) | Error::Inflate { .. } | Error::Json(_)) => {
                    account.malformed()
                }
                Err(Error::Refused(_) | Error::OverBudget { .. }) => account.refused(items),
                Err(_) => account.failed(items),
            }
        }
        outcome
    }
}

/// A request that has arrived as a whole.
#[derive(Debug)]
pub struct Received {
    /// Its uncompressed protobuf.
    pub message: Message,
    /// The compressed body, if `message` is what is in it and others can read it.
    pub arrived: Option<Compressed>,
    /// Covers both.
    pub permit: Permit,
    /// Held until the request is answered.
    pub place: Place,
}

/// Bounds the time that a request takes to arrive. Waiting for admission does not count: that is our doing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    timeout: Duration,
    started: Instant,
    waited: Duration,
}

impl Clock {
    /// Waits for `read`, until the time is over.
    pub async fn reading<T>(&self, read: impl Future<Output = T>) -> Result<T, Error> {
        let left = self.timeout.saturating_add(self.waited).saturating_sub(self.started.elapsed());
        timeout(left, read).await.map_err(|_| Error::ReadTimeout(self.timeout))
    }

    /// Waits for `admitted`, and stands still meanwhile.
    pub async fn waiting<T>(&mut self, admitted: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let admitted = admitted.await;
        self.waited = self.waited.saturating_add(start.elapsed());
        admitted
    }
}
