//! Requests on their way: what they hold in memory and in the account until the last item of them has ended somewhere.

use super::batch;
use super::compress::Encoder;
use super::disk::{Ticket, Unreadable};
use super::queue::{Batch, Queue, Request, Room, Undelivered};
use super::reserve::Loan;
use crate::payload::{Payload, Permit};
use crate::telemetry::own::{Amount, DropReason, RejectReason};
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A batch on its way. Whatever has not ended when this is dropped has run out of time.
#[derive(Debug)]
pub struct Flight {
    queue: Arc<Queue>,
    remaining: Amount,
    held: SmallVec<[Held; 1]>,
    _loan: Loan,
}

/// What one request of the batch keeps until the whole batch has left.
#[derive(Debug)]
struct Held {
    room: Room,
    _permit: Arc<Permit>,
    /// Where on disk it stays until then.
    ticket: Option<Ticket>,
    answer: Option<oneshot::Sender<Result<(), Undelivered>>>,
}

impl Flight {
    /// The memory that it takes to send a batch, beside what is in memory already: what is read from disk, the merged
    /// request, and its compressed form.
    pub fn needs(batch: &Batch, encoder: &Encoder) -> usize {
        let is_merged = batch.len() > 1;
        let needs = batch.iter().map(|entry| {
            let len = usize::try_from(entry.amount().bytes).unwrap_or(usize::MAX);
            let (read, encoding) = match &entry.request {
                Request::Memory(payload) => (0, payload.arrived.as_ref().map(|arrived| arrived.encoding)),
                Request::Disk(ticket) => (ticket.len_in_memory(), ticket.encoding()),
            };
            let merged = if is_merged { len } else { 0 };
            let encoded = encoder.needs(len, encoding.filter(|_| !is_merged));
            read.saturating_add(merged).saturating_add(encoded)
        });
        needs.fold(0, usize::saturating_add)
    }

    /// Sets out with a batch, merged into one request, in memory that is lent for it; none if there is nothing in it.
    /// Requests on disk are read; those that cannot be read are `unreadable` and dropped.
    pub async fn begin(
        queue: Arc<Queue>,
        batch: Batch,
        loan: Loan,
        mut unreadable: impl FnMut(Amount, Unreadable),
    ) -> Option<(Payload, Self)> {
        let mut payloads = SmallVec::<[Payload; 1]>::new();
        let mut flight = Flight { queue, remaining: Amount::default(), held: SmallVec::new(), _loan: loan };
        for entry in batch {
            let amount = entry.amount();
            flight.queue.account().start(amount);
            let (payload, ticket) = match entry.request {
                Request::Memory(payload) => (payload, None),
                Request::Disk(ticket) => match ticket.read().await {
                    Ok(payload) => (payload, Some(ticket)),
                    Err(error) => {
                        flight.queue.account().dropped(DropReason::Quarantined, amount);
                        flight.queue.account().quarantined(1);
                        flight.queue.leave(entry.room);
                        if matches!(error, Unreadable::SetAside { .. }) {
                            ticket.leave();
                        }
                        unreadable(amount, error);
                        continue;
                    }
                },
            };
            flight.remaining.requests = flight.remaining.requests.saturating_add(amount.requests);
            flight.remaining.items = flight.remaining.items.saturating_add(amount.items);
            flight.remaining.bytes = flight.remaining.bytes.saturating_add(amount.bytes);
            let (room, permit, answer) = (entry.room, payload.permit.clone(), entry.answer);
            flight.held.push(Held { room, _permit: permit, ticket, answer });
            payloads.push(payload);
        }
        let payload = batch::merge(&payloads)?;
        Some((payload, flight))
    }

    /// The backend has `part`, but for `rejected` items of it.
    pub fn delivered(&mut self, part: &Payload, rejected: u64, is_last: bool) {
        let rejected = usize::try_from(rejected).unwrap_or(usize::MAX).min(part.items);
        if rejected > 0 {
            let amount = self.take(Amount::part(rejected, 0), false);
            self.queue.account().rejected(RejectReason::PartialSuccess, amount);
        }
        let rest = part.items.saturating_sub(rejected);
        let amount = self.take(Amount::part(rest, part.message.len()), is_last);
        self.queue.account().exported(amount);
    }

    /// The backend refused `part` for good.
    pub fn rejected(&mut self, part: &Payload, reason: RejectReason, is_last: bool) {
        let amount = self.take(Amount::part(part.items, part.message.len()), is_last);
        self.queue.account().rejected(reason, amount);
    }

    /// `part` was given up.
    pub fn dropped(&mut self, part: &Payload, reason: DropReason, is_last: bool) {
        let amount = self.take(Amount::part(part.items, part.message.len()), is_last);
        self.queue.account().dropped(reason, amount);
    }

    /// Whether anybody waits to be told how it ends.
    pub fn is_awaited(&self) -> bool {
        self.held.iter().any(|held| held.answer.is_some())
    }

    /// Arrived, however it ended: those who wait for it are told.
    pub fn end(mut self, result: &Result<(), Undelivered>) {
        for held in &mut self.held {
            if let Some(answer) = held.answer.take() {
                // Who hung up does not want to know.
                let _ = answer.send(result.clone());
            }
        }
    }

    /// Parts repeat their resources, so that only the last one can be known to take the rest with it.
    fn take(&mut self, part: Amount, is_last: bool) -> Amount {
        if is_last {
            return std::mem::take(&mut self.remaining);
        }
        let taken = Amount {
            requests: 0,
            items: part.items.min(self.remaining.items),
            bytes: part.bytes.min(self.remaining.bytes),
        };
        self.remaining.items = self.remaining.items.saturating_sub(taken.items);
        self.remaining.bytes = self.remaining.bytes.saturating_sub(taken.bytes);
        taken
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let remaining = std::mem::take(&mut self.remaining);
        let has_ended = remaining == Amount::default();
        if !has_ended {
            self.queue.cut_off(remaining);
        }
        for held in self.held.drain(..) {
            if let Some(ticket) = held.ticket.filter(|_| has_ended) {
                ticket.leave();
            }
            if let Some(answer) = held.answer {
                let _ = answer.send(Err(Undelivered::ShuttingDown));
            }
            self.queue.leave(held.room);
        }
    }
}
