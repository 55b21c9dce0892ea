//! The memory budget: how many bytes of export requests may be in memory at one time.

use super::drain_rate::DrainRate;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes of export requests that may be in memory at one time, over all receivers and exporters. Cloning is cheap;
/// all clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    capacity: usize,
    /// Bytes that are waited for.
    wanted: AtomicUsize,
    rate: DrainRate,
}

impl Budget {
    /// A budget of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let free = Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)));
        let rate = DrainRate::new(Instant::now());
        Budget { shared: Arc::new(Shared { free, capacity, wanted: AtomicUsize::new(0), rate }) }
    }

    /// The whole budget, in bytes.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// What is occupied now, in bytes.
    pub fn used(&self) -> usize {
        self.shared.capacity.saturating_sub(self.shared.free.available_permits())
    }

    /// Waits until `bytes` are free and takes them. The caller bounds the wait.
    pub async fn acquire(&self, bytes: u32) -> Permit {
        let _wanted = Wanted::new(&self.shared.wanted, bytes as usize);
        // The semaphore is never closed.
        let held = self.shared.free.clone().acquire_many_owned(bytes).await.ok();
        self.permit(held)
    }

    /// Takes `bytes` if they are free now.
    pub fn try_acquire(&self, bytes: u32) -> Option<Permit> {
        let held = self.shared.free.clone().try_acquire_many_owned(bytes).ok()?;
        Some(self.permit(Some(held)))
    }

    /// When `bytes` more will be free, behind all those who wait already, as far as the pace of what left last tells:
    /// between a tenth of a second and five seconds.
    pub fn time_for(&self, bytes: usize) -> Duration {
        let wanted = self.shared.wanted.load(Relaxed).saturating_add(bytes);
        let missing = wanted.saturating_sub(self.shared.free.available_permits());
        self.shared.rate.time_for(missing, Instant::now())
    }

    fn permit(&self, held: Option<OwnedSemaphorePermit>) -> Permit {
        Permit { held: Mutex::new(held), of: Some(self.shared.clone()), is_used: AtomicBool::new(false) }
    }
}

/// Bytes that somebody waits for, as long as that takes.
struct Wanted<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Wanted<'a> {
    fn new(all: &'a AtomicUsize, bytes: usize) -> Self {
        all.fetch_add(bytes, Relaxed);
        Wanted { all, bytes }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

/// A share of a [`Budget`], given back on drop.
#[derive(Debug, Default)]
pub struct Permit {
    held: Mutex<Option<OwnedSemaphorePermit>>,
    of: Option<Arc<Shared>>,
    is_used: AtomicBool,
}

impl Permit {
    /// How many bytes it covers.
    pub fn bytes(&self) -> usize {
        self.held.lock().as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Adds `more`, which must be of the same budget.
    pub fn merge(&mut self, more: Permit) {
        self.of = self.of.take().or_else(|| more.of.clone());
        self.extend(more);
    }

    /// Adds `more`, of the same budget, to a permit that is shared.
    pub fn extend(&self, more: Permit) {
        let Some(more) = more.held.lock().take() else { return };
        let mut held = self.held.lock();
        match held.as_mut() {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&self, bytes: usize) {
        let surplus = self.bytes().saturating_sub(bytes);
        if let Some(held) = self.held.lock().as_mut() {
            drop(held.split(surplus));
        }
    }

    /// Its request was taken: giving it back tells how fast requests leave. What was turned away tells nothing of that.
    pub fn used(&self) {
        self.is_used.store(true, Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(of) = self.of.as_ref().filter(|_| self.is_used.load(Relaxed)) {
            of.rate.left(u32::try_from(self.bytes()).unwrap_or(u32::MAX), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_budget_of_which_nothing_leaves_asks_for_the_longest_wait() {
        let budget = Budget::new(1000);
        let _all = budget.try_acquire(1000).unwrap();
        assert_eq!(budget.time_for(100), Duration::from_secs(5));
        // What was turned away is no sign of life.
        let other = Budget::new(1000);
        drop(other.try_acquire(1000));
        assert_eq!(other.time_for(2000), Duration::from_secs(5));
    }

    #[test]
    fn the_wait_is_what_is_missing_over_what_leaves() {
        let budget = Budget::new(1000);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(40));
            let permit = budget.try_acquire(80).unwrap();
            permit.used();
        }
        let _all = budget.try_acquire(1000).unwrap();
        let alone = budget.time_for(1000).as_secs_f64();
        assert!((0.45..4.0).contains(&alone), "2000 bytes a second or somewhat less: {alone}");
        let mut waiting = Box::pin(budget.acquire(1000));
        assert!(waiting.as_mut().now_or_never().is_none());
        let second = budget.time_for(1000).as_secs_f64();
        assert!(second > 1.9 * alone || second == 5.0, "{second} after {alone}");
        drop(waiting);
        assert!(budget.time_for(1000).as_secs_f64() < 1.9 * alone);
    }

    #[test]
    fn a_permit_grows_and_shrinks() {
        let budget = Budget::new(1000);
        let mut permit = Permit::default();
        permit.merge(budget.try_acquire(300).unwrap());
        permit.extend(budget.try_acquire(200).unwrap());
        assert_eq!((permit.bytes(), budget.used()), (500, 500));
        permit.shrink_to(100);
        assert_eq!((permit.bytes(), budget.used()), (100, 100));
        drop(permit);
        assert_eq!(budget.used(), 0);
    }
}
