//! Who may bring how many bytes: a request is read only when the memory budget has room for all of it.

use crate::payload::{Budget, Permit};
use crate::receiver::respond::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory budget as receivers ask it. Cloning is cheap; every clone is the same.
#[derive(Clone, Debug)]
pub struct Admission {
    budget: Budget,
    wait: Duration,
    /// HTTP/2 hands out a request's first piece before its length is known. Requests that wait hold that piece without
    /// a permit, so that these pieces have a bound of their own.
    waiting_room: Arc<Semaphore>,
    /// A request costs some memory before it has a byte.
    places: Arc<Semaphore>,
}

/// A request that is open; given back on drop.
#[derive(Debug)]
pub struct Place {
    _held: OwnedSemaphorePermit,
}

impl Admission {
    /// Asks `budget`, and waits up to `wait` for it.
    pub fn new(budget: Budget, wait: Duration) -> Self {
        let room = (budget.capacity() / WAITING_ROOM_SHARE).min(Semaphore::MAX_PERMITS);
        let places = (budget.capacity() / BYTES_PER_PLACE).clamp(LEAST_PLACES, Semaphore::MAX_PERMITS);
        let (waiting_room, places) = (Arc::new(Semaphore::new(room)), Arc::new(Semaphore::new(places)));
        Admission { budget, wait, waiting_room, places }
    }

    /// A place for one more open request.
    pub fn enter(&self) -> Result<Place, Error> {
        let held = self.places.clone().try_acquire_owned().map_err(|_| self.over_budget(0))?;
        Ok(Place { _held: held })
    }

    /// The budget itself, for what is taken without waiting.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The largest request that is ever taken: larger ones would leave no room for others to move.
    pub fn largest(&self) -> usize {
        self.budget.capacity() / LARGEST_SHARE
    }

    /// Takes `bytes` of the budget if they are free now.
    pub fn now(&self, bytes: usize) -> Result<Permit, Error> {
        let permits = u32::try_from(bytes).map_err(|_| self.over_budget(bytes))?;
        self.budget.try_acquire(permits).ok_or_else(|| self.over_budget(bytes))
    }

    /// Takes `bytes` of the budget, of which `in_hand` are in memory already; waits for them while the wait and the
    /// waiting room allow it.
    pub async fn admit(&self, bytes: usize, in_hand: usize) -> Result<Permit, Error> {
        if let Ok(permit) = self.now(bytes) {
            return Ok(permit);
        }
        let refused = || self.over_budget(bytes);
        let permits = u32::try_from(bytes).map_err(|_| refused())?;
        let in_hand = u32::try_from(in_hand).map_err(|_| refused())?;
        let _place = self.waiting_room.try_acquire_many(in_hand).map_err(|_| refused())?;
        let permit = tokio::time::timeout(self.wait, self.budget.acquire(permits)).await;
        permit.map_err(|_| refused())
    }

    /// There is no room for a request of so many bytes, or it is not to be waited for.
    pub fn over_budget(&self, bytes: usize) -> Error {
        Error::OverBudget { retry_after: self.budget.time_for(bytes) }
    }
}

/// The waiting room is so much smaller than the budget.
pub const WAITING_ROOM_SHARE: usize = 12;

/// So much of the budget is there for each open request, of which each costs a few KiB beside the budget.
const BYTES_PER_PLACE: usize = 64 << 10;

/// Even the smallest budget lets so many requests be open.
const LEAST_PLACES: usize = 64;

/// The largest request is so much smaller than the budget: it is there twice while it is rewritten.
const LARGEST_SHARE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_request_waits_until_another_has_left() {
        let admission = Admission::new(Budget::new(1000), Duration::from_secs(60));
        let first = admission.admit(800, 0).await.unwrap();
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.admit(300, 83).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.unwrap().unwrap().bytes(), 300);
        assert_eq!(admission.budget().used(), 0);
    }

    #[tokio::test]
    async fn the_wait_ends_and_leaves_nothing_behind() {
        let wait = Duration::from_millis(20);
        let admission = Admission::new(Budget::new(1000), wait);
        let first = admission.admit(800, 0).await.unwrap();
        let start = tokio::time::Instant::now();
        assert!(matches!(admission.admit(300, 83).await, Err(Error::OverBudget { .. })));
        assert!(start.elapsed() >= wait);
        drop(first);
        assert_eq!(admission.budget().used(), 0);
        assert_eq!(admission.waiting_room.available_permits(), 83);
    }

    #[tokio::test]
    async fn what_waits_in_memory_has_a_bound() {
        let admission = Admission::new(Budget::new(1000), Duration::from_secs(60));
        let _all = admission.admit(1000, 0).await.unwrap();
        assert!(matches!(admission.admit(300, 84).now_or_never(), Some(Err(Error::OverBudget { .. }))));
    }

    #[test]
    fn open_requests_have_a_bound_and_their_places_come_back() {
        let admission = Admission::new(Budget::new(8 << 20), Duration::ZERO);
        let places: Vec<Place> = std::iter::from_fn(|| admission.enter().ok()).collect();
        assert_eq!(places.len(), 128);
        drop(places);
        assert!(admission.enter().is_ok());
    }
}
