//! Merges requests on their way out, and splits them: by concatenation and by cutting, never by decoding.

use super::queue::{Batch, Entry};
use crate::config::model::{QueueBatch, Sizer};
use crate::otlp::batch::{self, Part, Split};
use crate::payload::Payload;
use crate::telemetry::own::RejectReason;
use crate::telemetry::spans::Caller;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::num::NonZeroUsize;

/// Requests that wait for company.
#[derive(Debug, Default)]
pub struct Pending {
    entries: Batch,
    size: usize,
    bytes: usize,
    number: u64,
}

impl Pending {
    /// Adds a request; gives the batches that are complete by that, in order. None is merged to more than `most_bytes`.
    pub fn add(&mut self, entry: Entry, limits: &QueueBatch, most_bytes: usize) -> SmallVec<[Batch; 2]> {
        let mut complete = SmallVec::new();
        let added = usize::try_from(entry.amount().in_units_of(limits.sizer)).unwrap_or(usize::MAX);
        let is_too_much = limits.max_size > 0 && self.size.saturating_add(added) > limits.max_size;
        let bytes = usize::try_from(entry.amount().bytes).unwrap_or(usize::MAX);
        if is_too_much || self.bytes.saturating_add(bytes) > most_bytes {
            complete.extend(self.take());
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.push(entry);
        self.size = self.size.saturating_add(added);
        if self.size >= limits.min_size.max(1) {
            complete.extend(self.take());
        }
        complete
    }

    /// All that wait, unless none do.
    pub fn take(&mut self) -> Option<Batch> {
        (self.size, self.bytes) = (0, 0);
        self.number = self.number.wrapping_add(1);
        let entries = std::mem::take(&mut self.entries);
        (!entries.is_empty()).then_some(entries)
    }

    /// Tells one batch from another.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The requests as one; a single one stays what it is.
pub fn merge(payloads: &[Payload]) -> Option<Payload> {
    let (first, others) = payloads.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    Some(Payload {
        message: batch::merge(payloads.iter().map(|payload| &payload.message)),
        arrived: None,
        items: payloads.iter().map(|payload| payload.items).fold(0, usize::saturating_add),
        caller: Caller::merged(payloads.iter().map(|payload| &payload.caller)),
        ..first.clone()
    })
}

/// Cuts a request into parts of `max_size`, if it is larger than that. Bytes are kept to as nearly as whole items allow. A
/// request that cannot be cut is left as it is.
pub fn within(payload: Payload, limits: &QueueBatch) -> VecDeque<Payload> {
    let Some(max_size) = NonZeroUsize::new(limits.max_size) else { return VecDeque::from([payload]) };
    match limits.sizer {
        Sizer::Requests => VecDeque::from([payload]),
        Sizer::Items if payload.items <= max_size.get() => VecDeque::from([payload]),
        Sizer::Items => {
            let parts = Split::new(payload.signal, payload.message.clone(), max_size)
                .and_then(|split| split.map(|part| Ok(part_of(&payload, part?))).collect());
            parts.unwrap_or_else(|_| VecDeque::from([payload]))
        }
        Sizer::Bytes => {
            let (mut parts, mut fitting) = (VecDeque::from([payload]), VecDeque::new());
            while let Some(part) = parts.pop_front() {
                match halves(&part).filter(|_| part.message.len() > max_size.get()) {
                    Some([first, second]) => {
                        parts.push_front(second);
                        parts.push_front(first);
                    }
                    None => fitting.push_back(part),
                }
            }
            fitting
        }
    }
}

/// Finds the items that a backend does not take in a request that it refused, by halving: most of the items of a request
/// should not be lost because of one of them.
///
/// Bounded, because a backend may refuse everything: after 64 cuts, and when the request is in eighths of which none was
/// taken, the rest is rejected as it is. A request that is too large is no such case: its parts get smaller all the time.
/// Parts repeat their resources, which may be huge: all cuts together may repeat as many bytes as the request has, so that
/// the parts are never more than twice as large as the whole. (A mebibyte may always be repeated.)
#[derive(Debug)]
pub struct Bisection {
    repeatable: usize,
    cuts: u32,
    refusals: u32,
    is_any_delivered: bool,
}

impl Bisection {
    /// Of a request of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let repeatable = bytes.max(ALWAYS_REPEATABLE);
        Bisection { repeatable, cuts: 0, refusals: 0, is_any_delivered: false }
    }

    /// A part was taken.
    pub fn delivered(&mut self) {
        self.is_any_delivered = true;
    }

    /// A part was refused: whether it may come to a cut, once all parts of its size have been tried.
    pub fn refused(&mut self, part: &Payload, reason: RejectReason) -> bool {
        match reason {
            RejectReason::TooLarge => {}
            RejectReason::Invalid | RejectReason::Permanent => {
                self.refusals = self.refusals.saturating_add(1);
            }
            // The call is refused, whatever is in it.
            RejectReason::PartialSuccess | RejectReason::Unauthorized | RejectReason::Unsupported => {
                return false;
            }
        }
        part.items > 1
    }

    /// The halves of a part that was refused, if it still makes sense to try them.
    pub fn cut(&mut self, part: &Payload) -> Option<[Payload; 2]> {
        let is_hopeless = !self.is_any_delivered && self.refusals >= WHOLE_HALVES_QUARTERS_EIGHTHS;
        if is_hopeless || self.cuts >= MOST_CUTS {
            return None;
        }
        let halves = halves(part)?;
        let bytes = halves.iter().map(|half| half.message.len()).fold(0, usize::saturating_add);
        self.repeatable = self.repeatable.checked_sub(bytes.saturating_sub(part.message.len()))?;
        self.cuts = self.cuts.saturating_add(1);
        Some(halves)
    }
}

const ALWAYS_REPEATABLE: usize = 1 << 20;

const MOST_CUTS: u32 = 64;
const WHOLE_HALVES_QUARTERS_EIGHTHS: u32 = 1 + 2 + 4 + 8;

/// None if there is only one item, or if the bytes cannot be understood after all.
fn halves(payload: &Payload) -> Option<[Payload; 2]> {
    let mut split = Split::halves(payload.signal, payload.message.clone(), payload.items).ok()??;
    let halves = [split.next()?.ok()?, split.next()?.ok()?].map(|part| part_of(payload, part));
    split.next().is_none().then_some(halves)
}

fn part_of(payload: &Payload, part: Part) -> Payload {
    Payload { message: part.message, arrived: None, items: part.items, ..payload.clone() }
}
