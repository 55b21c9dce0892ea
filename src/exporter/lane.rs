//! The way of one signal through an exporter: its queue, and the workers who empty it.
//!
//! Workers come when there is work and go when there is none, at most `num_consumers` at a time. A worker stays with its
//! request until that is delivered or given up.

use super::batch::{self, Bisection};
use super::disk::AppendError;
use super::flight::Flight;
use super::queue::{Batch, Left, Place, Queue, Request, Undelivered, Wanted};
use super::reserve::Reserve;
use super::sender::{Ending, Sender};
use crate::config::model::ComponentId;
use crate::payload::{Payload, Refused};
use crate::telemetry::own::{Amount, RejectReason};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// One signal's way.
#[derive(Debug)]
pub struct Lane {
    /// Of which exporter.
    pub exporter: ComponentId,
    /// None: whoever brings a request waits until it is delivered.
    pub queue: Option<Arc<Queue>>,
    /// With a queue, whoever brings a request waits all the same.
    pub wait_for_result: bool,
    /// Sends.
    pub sender: Sender,
    /// Where memory for sending comes from.
    pub reserve: Reserve,
}

impl Lane {
    /// Brings a request to where the queue keeps it, if there is one. It is in no queue by that.
    pub async fn keep(&self, payload: Payload) -> Result<Request, Refused> {
        let Some(queue) = &self.queue else { return Ok(Request::Memory(payload)) };
        let (items, size) = (payload.items, payload.message.len());
        queue.keep(payload).await.map_err(|error| {
            self.sender.account.enqueue_failed(items);
            let exporter = self.exporter.clone();
            match error {
                AppendError::TooLarge { limit, .. } => {
                    let capacity = usize::try_from(limit).unwrap_or(usize::MAX);
                    Refused::LargerThanQueue { exporter, size, capacity, unit: "bytes" }
                }
                AppendError::Full { .. } | AppendError::Io(_) => {
                    self.sender.log.not_stored(items, &error);
                    let reason = error.to_string();
                    Refused::StorageUnavailable { exporter, retry_after: RETRY_STORAGE, reason }
                }
            }
        })
    }

    /// Puts a request that is kept where room was set aside for it. It is refused only when the time of a shutdown is over.
    pub fn put(self: &Arc<Self>, place: Place, request: Request) -> Result<(), Refused> {
        self.engage(place.put(request, None)?);
        Ok(())
    }

    /// Delivers a request whose sender waits for that: through the queue, or at once if there is none.
    pub async fn deliver_now(
        self: &Arc<Self>,
        place: Option<Place>,
        payload: Payload,
    ) -> Result<(), Refused> {
        let result = match place {
            None => self.send_now(payload).await,
            Some(place) => {
                let (answer, result) = oneshot::channel();
                let request = self.keep(payload).await?;
                self.engage(place.put(request, Some(answer))?);
                result.await.unwrap_or(Err(Undelivered::ShuttingDown))
            }
        };
        result.map_err(|undelivered| self.refused(undelivered))
    }

    /// Begins to send what an earlier process left.
    pub fn begin(self: &Arc<Self>) {
        if let Some(queue) = &self.queue {
            self.engage(queue.begin());
        }
    }

    /// Sends what is in the queue until it is empty or `deadline` has come. The rest is given up, or stays on disk; says what
    /// that was.
    pub async fn drain(self: &Arc<Self>, deadline: Instant) -> Left {
        let Some(queue) = &self.queue else { return Left::default() };
        self.engage(queue.drain());
        if tokio::time::timeout_at(deadline, queue.until_idle()).await.is_err() {
            queue.close();
            // Those on their way stop by themselves now.
            queue.until_idle().await;
        }
        queue.close();
        queue.write_down().await;
        let left = queue.left();
        if left.lost != Amount::default() {
            self.sender.log.lost(left.lost);
        }
        if left.kept != Amount::default() {
            self.sender.log.kept(left.kept);
        }
        left
    }

    fn engage(self: &Arc<Self>, wanted: Wanted) {
        let Some(queue) = &self.queue else { return };
        for _ in 0..wanted.workers {
            tokio::spawn(self.clone().work(queue.clone()));
        }
        if let (Some(number), Some(limits)) = (wanted.flush, queue.batch()) {
            // What waits keeps no exporter alive that nobody has any more, nor its files.
            let (lane, queue, timeout) = (Arc::downgrade(self), Arc::downgrade(queue), limits.flush_timeout);
            tokio::spawn(async move {
                sleep(timeout).await;
                if let (Some(lane), Some(queue)) = (lane.upgrade(), queue.upgrade()) {
                    lane.engage(queue.flush(number));
                }
            });
        }
    }

    async fn work(self: Arc<Self>, queue: Arc<Queue>) {
        while let Some(batch) = queue.next() {
            // Nothing here panics by intent. If something does, its request is counted as given up, and the others go on.
            if AssertUnwindSafe(self.deliver(queue.clone(), batch)).catch_unwind().await.is_err() {
                tracing::error!(exporter = %self.exporter, "sending a request panicked");
            }
        }
    }

    async fn deliver(&self, queue: Arc<Queue>, batch: Batch) {
        let needs = Flight::needs(&batch, &self.sender.backend.encoder);
        let loan = tokio::select! {
            biased;
            () = self.sender.life.expired() => return queue.abandon(batch),
            loan = self.reserve.borrow(needs) => loan,
        };
        let unreadable = |amount, error| self.sender.log.unreadable(amount, &error);
        let flight = Flight::begin(queue, batch, loan, unreadable).await;
        let Some((payload, mut flight)) = flight else { return };
        let result = tokio::select! {
            biased;
            () = self.sender.life.expired() => Err(Undelivered::ShuttingDown),
            result = self.send_in_parts(payload, &mut flight) => result,
        };
        flight.end(&result);
    }

    /// Sends a request, in parts if it is larger than a batch may be, and what the backend refuses for good in ever smaller
    /// parts. The last thing that went wrong is the result, if anybody waits for one.
    async fn send_in_parts(&self, payload: Payload, flight: &mut Flight) -> Result<(), Undelivered> {
        let start = Instant::now();
        let mut bisection = Bisection::new(payload.message.len());
        let mut untried = match self.queue.as_ref().and_then(|queue| queue.batch()) {
            Some(limits) => batch::within(payload, limits),
            None => VecDeque::from([payload]),
        };
        let mut refused = VecDeque::new();
        let mut result = Ok(());
        loop {
            let (part, ending) = if let Some(part) = untried.pop_front() {
                let ending = self.sender.send(&part, start).await;
                if let Ending::Rejected { reason, .. } = &ending
                    && bisection.refused(&part, *reason)
                {
                    refused.push_back((part, ending));
                    continue;
                }
                (part, ending)
            } else if let Some((part, refusal)) = refused.pop_front() {
                if let Some(halves) = bisection.cut(&part) {
                    untried.extend(halves);
                    continue;
                }
                (part, refusal)
            } else {
                return result;
            };
            if matches!(ending, Ending::Delivered { .. }) {
                bisection.delivered();
            }
            self.settle(&part, &ending, flight, untried.is_empty() && refused.is_empty());
            if flight.is_awaited() {
                result = ending.answer(&part).and(result);
            }
        }
    }

    /// Accounts for a part, and tells when it is lost.
    fn settle(&self, part: &Payload, ending: &Ending, flight: &mut Flight, is_last: bool) {
        match ending {
            Ending::Delivered { rejected } => flight.delivered(part, *rejected, is_last),
            Ending::Rejected { reason, failure } => {
                self.sender.log.rejected(part, *reason, failure);
                flight.rejected(part, *reason, is_last);
            }
            Ending::GivenUp { reason, failure, .. } => {
                self.sender.log.dropped(part, *reason, failure);
                flight.dropped(part, *reason, is_last);
            }
        }
    }

    /// Sends at once. What is not delivered was never accepted: it is still the sender's.
    async fn send_now(&self, payload: Payload) -> Result<(), Undelivered> {
        let arrived = payload.arrived.as_ref().map(|arrived| arrived.encoding);
        let needs = self.sender.backend.encoder.needs(payload.message.len(), arrived);
        let sending = async {
            let _loan = self.reserve.borrow(needs).await;
            self.sender.send(&payload, Instant::now()).await
        };
        let ending = tokio::select! {
            biased;
            () = self.sender.life.expired() => return Err(Undelivered::ShuttingDown),
            ending = sending => ending,
        };
        if let Ending::Delivered { rejected } = ending {
            let account = &self.sender.account;
            let amount = Amount::request(payload.items, payload.message.len());
            let rejected = rejected.min(amount.items);
            account.accept_in_flight(amount);
            account.rejected(RejectReason::PartialSuccess, Amount { items: rejected, ..Amount::default() });
            account.exported(Amount { items: amount.items.saturating_sub(rejected), ..amount });
        }
        ending.answer(&payload)
    }

    fn refused(&self, undelivered: Undelivered) -> Refused {
        let exporter = self.exporter.clone();
        match undelivered {
            Undelivered::Unavailable { retry_after, reason } => {
                Refused::BackendUnavailable { exporter, retry_after, reason }
            }
            Undelivered::Refused { reason } => Refused::BackendRefused { exporter, reason },
            Undelivered::ShuttingDown => Refused::ShuttingDown,
        }
    }
}

/// When a sender may come back whose request the disk did not take.
const RETRY_STORAGE: Duration = Duration::from_secs(1);
