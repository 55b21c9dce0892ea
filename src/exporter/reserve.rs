//! Memory for what sending needs beside requests that are in memory already: requests that are read from disk, merged
//! requests, and their compressed forms.
//!
//! It is taken from the memory budget. Since what is in the budget may be waiting to be sent, sending must not wait for
//! it for ever: in each lane one sending at a time may go on without.

use crate::payload::{Budget, Permit};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where the senders of one lane borrow memory.
#[derive(Debug)]
pub struct Reserve {
    budget: Option<Budget>,
    turn: Arc<Semaphore>,
}

/// Borrowed memory, given back on drop.
#[derive(Debug, Default)]
pub struct Loan {
    _permit: Permit,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Reserve {
    /// Lends from `budget`; without one there is no bound.
    pub fn new(budget: Option<Budget>) -> Self {
        Reserve { budget, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Borrows `bytes`, as soon as they are free or nobody else of the lane goes without. A sending borrows once, for all
    /// that it needs: who holds one loan must not wait for another.
    pub async fn borrow(&self, bytes: usize) -> Loan {
        let Some(budget) = self.budget.as_ref().filter(|_| bytes > 0) else { return Loan::default() };
        // What is larger than the budget has to wait for its turn alone.
        let permits = u32::try_from(bytes).ok().filter(|_| bytes <= budget.capacity());
        if let Some(permit) = permits.and_then(|permits| budget.try_acquire(permits)) {
            permit.used();
            return Loan { _permit: permit, _turn: None };
        }
        let room = async {
            match permits {
                Some(permits) => budget.acquire(permits).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The semaphore is never closed.
            turn = self.turn.clone().acquire_owned() => Loan { _permit: Permit::default(), _turn: turn.ok() },
            permit = room => {
                permit.used();
                Loan { _permit: permit, _turn: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn without_room_one_of_a_lane_goes_on_at_a_time() {
        let budget = Budget::new(1000);
        let reserve = Reserve::new(Some(budget.clone()));
        let first = reserve.borrow(600).now_or_never().unwrap();
        assert_eq!(budget.used(), 600);
        let second = reserve.borrow(600).now_or_never().unwrap();
        assert_eq!(budget.used(), 600, "it goes without");
        let mut third = Box::pin(reserve.borrow(600));
        assert!(third.as_mut().now_or_never().is_none());
        let mut too_large = Box::pin(reserve.borrow(2000));
        assert!(too_large.as_mut().now_or_never().is_none());
        drop(first);
        let third = third.now_or_never().unwrap();
        assert_eq!(budget.used(), 600);
        drop(second);
        assert!(too_large.now_or_never().is_some());
        drop(third);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn lanes_do_not_wait_for_each_other() {
        let budget = Budget::new(1000);
        let _all = budget.try_acquire(1000).unwrap();
        for reserve in [Reserve::new(Some(budget.clone())), Reserve::new(Some(budget))] {
            assert!(reserve.borrow(600).now_or_never().is_some());
        }
    }
}
