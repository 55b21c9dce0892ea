//! What connections may hold in memory before a request of theirs is admitted: the windows of HTTP/2, into which a
//! peer may send without being asked, and one frame or header that is being read.
//!
//! A connection always has room for one small frame. The rest it holds only while it has requests: connections that are
//! quiet cost next to nothing, and where there is not enough for all that are busy, they take turns.

use parking_lot::Mutex;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The memory for the buffers of all connections. The more connections are open, the narrower are the windows of a new
/// one. Cloning is cheap; every clone is the same memory.
#[derive(Clone, Debug)]
pub struct Buffers {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    /// For one small frame of each open connection.
    least: Arc<Semaphore>,
    /// For the windows of those that are busy.
    windows: Arc<Semaphore>,
    windows_capacity: usize,
    open: AtomicUsize,
    waiting: AtomicUsize,
    leaving: AtomicUsize,
    /// When it was last said that connections have to wait.
    last_warning: Mutex<Option<Instant>>,
}

impl Buffers {
    /// Buffers of at most `capacity` bytes, but at least what ten connections need.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(10 * bytes(*WINDOW.start()), Semaphore::MAX_PERMITS);
        let least = capacity / LEAST_SHARE;
        let windows_capacity = capacity - least;
        let pool = Pool {
            least: Arc::new(Semaphore::new(least)),
            windows: Arc::new(Semaphore::new(windows_capacity)),
            windows_capacity,
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            last_warning: Mutex::default(),
        };
        Buffers { pool: Arc::new(pool) }
    }

    /// The share of a new connection; waits for one to be closed when there is nothing left.
    pub async fn share(&self) -> Share {
        let pool = &self.pool;
        // Dropped with this future, or with the connection.
        let counted = Counted::new(pool, |pool| &pool.open);
        if pool.least.available_permits() < LEAST {
            pool.warn();
        }
        // The semaphore is never closed.
        let least = pool.least.clone().acquire_many_owned(LEAST as u32).await.ok();
        let window = window(pool.windows_capacity, pool.open.load(Relaxed));
        Share {
            connection: window as u32,
            stream: window.min(STREAM_WINDOW) as u32,
            frame: frame(window) as u32,
            pool: pool.clone(),
            _least: least,
            _counted: counted,
        }
    }
}

/// What one connection may hold, in bytes; given back on drop.
#[derive(Debug)]
pub struct Share {
    /// The HTTP/2 window of the connection.
    pub connection: u32,
    /// The HTTP/2 window of each stream.
    pub stream: u32,
    /// The largest HTTP/2 frame, and about the largest read from the socket in HTTP/1.
    pub frame: u32,
    pool: Arc<Pool>,
    _least: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

impl Share {
    /// The part that the connection holds only while it is busy: all but [`LEAST`].
    pub fn lease(&self) -> Lease {
        let pool = self.pool.clone();
        let bytes = bytes(self.connection as usize).saturating_sub(LEAST) as u32;
        let windows = PollSemaphore::new(pool.windows.clone());
        Lease { bytes, windows, state: LeaseState::Free, is_kept: false, pool }
    }

    /// A reason to end this connection: others wait for memory, more of them than have been made room for already.
    pub fn leave(&self) -> Option<Counted> {
        let leaving = Counted::new(&self.pool, |pool| &pool.leaving);
        (self.pool.waiting.load(Relaxed) >= self.pool.leaving.load(Relaxed)).then_some(leaving)
    }
}

/// Memory for the windows of one connection.
#[derive(Debug)]
pub struct Lease {
    bytes: u32,
    windows: PollSemaphore,
    state: LeaseState,
    is_kept: bool,
    pool: Arc<Pool>,
}

#[derive(Debug)]
enum LeaseState {
    Free,
    Waiting { _counted: Counted },
    Held { _permit: Option<OwnedSemaphorePermit> },
}

impl Lease {
    /// Whether the memory is held.
    pub fn is_held(&self) -> bool {
        matches!(self.state, LeaseState::Held { .. })
    }

    /// Takes the memory, as soon as there is enough and those have theirs who asked before.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_held() {
            return Poll::Ready(());
        }
        match self.windows.poll_acquire_many(cx, self.bytes) {
            // The semaphore is never closed.
            Poll::Ready(permit) => {
                self.state = LeaseState::Held { _permit: permit };
                Poll::Ready(())
            }
            Poll::Pending => {
                if matches!(self.state, LeaseState::Free) {
                    self.pool.warn();
                    self.state =
                        LeaseState::Waiting { _counted: Counted::new(&self.pool, |pool| &pool.waiting) };
                }
                Poll::Pending
            }
        }
    }

    /// Whether the memory is waited for.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, LeaseState::Waiting { .. })
    }

    /// Takes the memory for as long as the connection is open.
    pub async fn keep(&mut self) {
        poll_fn(|cx| self.poll_take(cx)).await;
        self.is_kept = true;
    }

    /// Whether it is held or waited for, to be given back before the connection ends.
    pub fn is_taken_for_now(&self) -> bool {
        !self.is_kept && !matches!(self.state, LeaseState::Free)
    }

    /// Gives the memory back, or ceases to wait for it; what is kept stays.
    pub fn give_back(&mut self) {
        if self.is_waiting() {
            // Else the place in the row would remain, and take the memory that nobody asks for any more.
            self.windows = PollSemaphore::new(self.windows.clone_inner());
        }
        if !self.is_kept {
            self.state = LeaseState::Free;
        }
    }
}

/// A connection that is counted in `of` until this is dropped.
#[derive(Debug)]
pub struct Counted {
    pool: Arc<Pool>,
    of: Counter,
}

type Counter = fn(&Pool) -> &AtomicUsize;

impl Counted {
    fn new(pool: &Arc<Pool>, of: Counter) -> Self {
        of(pool).fetch_add(1, Relaxed);
        Counted { pool: pool.clone(), of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.pool).fetch_sub(1, Relaxed);
    }
}

impl Pool {
    fn warn(&self) {
        let mut last = self.last_warning.lock();
        if last.is_some_and(|last| last.elapsed() < BETWEEN_WARNINGS) {
            return;
        }
        *last = Some(Instant::now());
        let open = self.open.load(Relaxed);
        tracing::warn!(
            open,
            "there is not enough memory for the buffers of all connections, some have to wait for others: \
             raise service.admission.budget_mib or the memory limit, or run more replicas"
        );
    }
}

/// The windows of connections 1, 2, 3 … are capacity / 8 x (1, 1/2, 1/3 …): a sum that grows with the logarithm only.
fn window(capacity: usize, open: usize) -> usize {
    let share = (capacity / 8).checked_div(open).unwrap_or(0);
    share.clamp(*WINDOW.start(), *WINDOW.end())
}

fn frame(window: usize) -> usize {
    (window / 4).clamp(*FRAME.start(), *FRAME.end())
}

fn bytes(window: usize) -> usize {
    window + frame(window)
}

/// What a connection may hold without requests: one small frame, or the part of a header.
pub const LEAST: usize = *FRAME.start();

/// What all connections need for that is at most so small a part of the memory.
const LEAST_SHARE: usize = 4;

/// From what HTTP/2 begins every connection with, and no setting makes smaller, to four streams at full speed.
const WINDOW: RangeInclusive<usize> = 64 << 10..=4 << 20;

/// A stream gains nothing from a wider window; one that is narrower than a request costs more CPU.
const STREAM_WINDOW: usize = 1 << 20;

/// HTTP/2 allows no smaller frames; larger ones gain nothing.
const FRAME: RangeInclusive<usize> = 16 << 10..=1 << 20;

const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn all(buffers: &Buffers) -> Vec<Share> {
        std::iter::from_fn(|| buffers.share().now_or_never()).collect()
    }

    fn take(lease: &mut Lease) -> Option<()> {
        poll_fn(|cx| lease.poll_take(cx)).now_or_never()
    }

    #[test]
    fn the_first_connections_have_wide_windows_and_a_thousand_fit() {
        let buffers = Buffers::new(64 << 20);
        let shares = all(&buffers);
        assert_eq!(shares.len(), 1024);
        assert_eq!((shares[0].connection, shares[0].stream, shares[0].frame), (4 << 20, 1 << 20, 1 << 20));
        assert!(shares.is_sorted_by(|a, b| a.connection >= b.connection));
        assert_eq!((shares[1023].connection, shares[1023].frame), (64 << 10, 16 << 10));
        drop(shares);
        assert_eq!(buffers.share().now_or_never().unwrap().connection, 4 << 20);
    }

    #[test]
    fn hundreds_are_busy_at_once_within_the_bound() {
        let buffers = Buffers::new(64 << 20);
        let shares = all(&buffers);
        let mut leases: Vec<Lease> = shares.iter().map(Share::lease).collect();
        let busy = leases.iter_mut().filter_map(take).count();
        assert!((200..1000).contains(&busy), "{busy}");
        let held: usize = shares.iter().take(busy).map(|s| bytes(s.connection as usize) - LEAST).sum();
        assert!(held + shares.len() * LEAST <= 64 << 20, "{held}");
    }

    /// docs/receiver.md says so.
    #[test]
    fn with_the_default_budget_fifteen_hundred_are_open_and_three_hundred_busy() {
        let shares = all(&Buffers::new(96 << 20));
        assert_eq!(shares.len(), 1536);
        let mut leases: Vec<Lease> = shares.iter().map(Share::lease).collect();
        assert!(leases.iter_mut().filter_map(take).count() >= 300);
    }

    #[tokio::test]
    async fn without_a_share_a_connection_waits_for_another_to_close() {
        let buffers = Buffers::new(0);
        let mut shares = all(&buffers);
        assert_eq!(shares.len(), 12);
        let next = tokio::spawn({
            let buffers = buffers.clone();
            async move { buffers.share().await.connection }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        shares.pop();
        assert_eq!(next.await.unwrap(), 64 << 10);
    }

    #[tokio::test]
    async fn who_is_busy_waits_until_another_is_quiet_and_that_is_known() {
        let buffers = Buffers::new(0);
        let shares = all(&buffers);
        let mut leases: Vec<Lease> = shares.iter().cycle().take(100).map(Share::lease).collect();
        let first_without = leases.iter_mut().position(|lease| take(lease).is_none()).unwrap();
        assert!(first_without > 5 && shares[0].leave().is_some());
        leases[0].give_back();
        let mut waiting = leases.swap_remove(first_without);
        poll_fn(|cx| waiting.poll_take(cx)).await;
        assert!(waiting.is_held() && !leases[0].is_held() && shares[0].leave().is_none());
    }

    #[tokio::test]
    async fn who_ceases_to_wait_takes_nothing() {
        let buffers = Buffers::new(0);
        let share = buffers.share().await;
        let mut leases: Vec<Lease> = (0..100).map(|_| share.lease()).collect();
        let first_without = leases.iter_mut().position(|lease| take(lease).is_none()).unwrap();
        let mut next = leases.swap_remove(first_without + 1);
        assert!(take(&mut next).is_none());
        let leaving = share.leave().unwrap();
        let other = share.leave();
        assert!(other.is_some() && share.leave().is_none(), "two wait, two make room");
        leases[first_without].give_back();
        drop((leaving, other));
        leases[0].give_back();
        poll_fn(|cx| next.poll_take(cx)).await;
        assert!(next.is_held() && share.leave().is_none());
    }
}
