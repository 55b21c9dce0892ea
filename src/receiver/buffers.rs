//! What connections may hold in memory before a request of theirs is admitted: the windows of HTTP/2, into which a
//! peer may send without being asked, and one frame or header that is being read.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory for the buffers of all connections. The more connections are open, the smaller is the share of a new
/// one: a few have wide windows, hundreds still fit. Cloning is cheap; every clone is the same memory.
#[derive(Clone, Debug)]
pub struct Buffers {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    capacity: usize,
    free: Arc<Semaphore>,
    open: AtomicUsize,
}

impl Buffers {
    /// Buffers of at most `capacity` bytes, but at least what ten connections need.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(10 * bytes(*WINDOW.start()), Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(capacity));
        Buffers { pool: Arc::new(Pool { capacity, free, open: AtomicUsize::new(0) }) }
    }

    /// The share of a new connection; waits for one to be closed when there is nothing left.
    pub async fn share(&self) -> Share {
        let open = self.pool.open.fetch_add(1, Relaxed).saturating_add(1);
        // Dropped with this future, or with the connection.
        let place = Place(self.pool.clone());
        let window = window(self.pool.capacity, open);
        let free = self.pool.free.clone();
        if let Ok(held) = free.clone().try_acquire_many_owned(bytes(window) as u32) {
            return Share::new(window, Some(held), place);
        }
        let window = *WINDOW.start();
        // The semaphore is never closed.
        let held = free.acquire_many_owned(bytes(window) as u32).await.ok();
        Share::new(window, held, place)
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
    _held: Option<OwnedSemaphorePermit>,
    _place: Place,
}

impl Share {
    fn new(window: usize, held: Option<OwnedSemaphorePermit>, place: Place) -> Self {
        Share {
            connection: window as u32,
            stream: window.min(STREAM_WINDOW) as u32,
            frame: frame(window) as u32,
            _held: held,
            _place: place,
        }
    }
}

/// Counts an open connection until it is dropped.
#[derive(Debug)]
struct Place(Arc<Pool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// The windows of connections 1, 2, 3 … are capacity / 8 x (1, 1/2, 1/3 …): a sum that grows with the logarithm only.
fn window(capacity: usize, open: usize) -> usize {
    let share = (capacity / 8).checked_div(open).and_then(usize::checked_ilog2).map_or(0, |log| 1 << log);
    share.clamp(*WINDOW.start(), *WINDOW.end())
}

fn frame(window: usize) -> usize {
    (window / 4).clamp(*FRAME.start(), *FRAME.end())
}

fn bytes(window: usize) -> usize {
    window + frame(window)
}

/// From what HTTP/2 begins every connection with, and no setting makes smaller, to four streams at full speed.
const WINDOW: RangeInclusive<usize> = 64 << 10..=4 << 20;

/// A stream gains nothing from a wider window; one of 64 KiB costs twice the CPU.
const STREAM_WINDOW: usize = 1 << 20;

/// HTTP/2 allows no smaller frames; larger ones gain nothing.
const FRAME: RangeInclusive<usize> = 16 << 10..=1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_first_connections_have_wide_windows_and_hundreds_fit() {
        let buffers = Buffers::new(64 << 20);
        let shares: Vec<Share> = std::iter::from_fn(|| buffers.share().now_or_never()).collect();
        assert!(shares.len() > 400, "{}", shares.len());
        assert_eq!((shares[0].connection, shares[0].stream, shares[0].frame), (4 << 20, 1 << 20, 1 << 20));
        assert!(shares.is_sorted_by(|a, b| a.connection >= b.connection));
        let held: usize = shares.iter().map(|s| (s.connection + s.frame) as usize).sum();
        assert!(held <= 64 << 20, "{held}");
    }

    #[test]
    fn a_share_comes_back_and_is_wide_again() {
        let buffers = Buffers::new(64 << 20);
        let shares: Vec<Share> = std::iter::from_fn(|| buffers.share().now_or_never()).collect();
        drop(shares);
        assert_eq!(buffers.share().now_or_never().unwrap().connection, 4 << 20);
    }

    #[tokio::test]
    async fn without_a_share_a_connection_waits_for_another_to_close() {
        let buffers = Buffers::new(0);
        let mut shares: Vec<Share> = std::iter::from_fn(|| buffers.share().now_or_never()).collect();
        assert_eq!(shares.len(), 10);
        let next = tokio::spawn({
            let buffers = buffers.clone();
            async move { buffers.share().await.connection }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        shares.pop();
        assert_eq!(next.await.unwrap(), 64 << 10);
    }
}
