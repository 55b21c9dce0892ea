//! Buffers for rewritten requests, used again when the last byte of them has been sent.
//!
//! A request of a megabyte costs more in page faults than in copying when its buffer is mapped anew each time.

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Keeps a few large buffers between uses.
#[derive(Debug)]
pub(super) struct Pool {
    /// The one that has been idle longest stands first.
    idle: Mutex<Vec<Vec<u8>>>,
    max_idle_bytes: AtomicUsize,
}

/// Of idle buffers, at most so many bytes are kept: 16 MiB, unless less is said here.
pub fn keep_idle(bytes: usize) {
    POOL.max_idle_bytes.store(bytes.min(MAX_IDLE_BYTES), Relaxed);
}

/// The pool of this process.
pub(super) static POOL: Pool = Pool::new();

/// How many idle buffers are kept.
const MAX_IDLE: usize = 4;
/// How many bytes all idle buffers may have together. Larger buffers go back to the allocator.
const MAX_IDLE_BYTES: usize = 16 << 20;
/// Smaller buffers are the allocator's daily work and need no pool.
const SMALLEST: usize = 32 << 10;

impl Pool {
    const fn new() -> Self {
        Pool { idle: Mutex::new(Vec::new()), max_idle_bytes: AtomicUsize::new(MAX_IDLE_BYTES) }
    }

    /// An empty buffer with room for at least `capacity` bytes.
    pub(super) fn take(&'static self, capacity: usize) -> Pooled {
        let kept = if capacity < SMALLEST { None } else { self.find(capacity) };
        Pooled { buffer: kept.unwrap_or_else(|| Vec::with_capacity(capacity)), pool: self }
    }

    /// An idle buffer that has room, but not so much that a small request would hold a large one in a queue.
    fn find(&self, capacity: usize) -> Option<Vec<u8>> {
        let mut idle = self.idle.lock();
        let fits = |buffer: &Vec<u8>| (capacity..capacity.saturating_mul(4)).contains(&buffer.capacity());
        let at = idle.iter().rposition(fits)?;
        Some(idle.remove(at))
    }

    /// Keeps a buffer that is no longer used; those that have been idle longest make room for it.
    fn put_back(&self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        let most = self.max_idle_bytes.load(Relaxed);
        if bytes < SMALLEST || bytes > most {
            return;
        }
        buffer.clear();
        let mut surplus = SmallVec::<[Vec<u8>; MAX_IDLE]>::new();
        let mut idle = self.idle.lock();
        while idle.len() >= MAX_IDLE || sum(&idle) + bytes > most {
            surplus.push(idle.remove(0));
        }
        idle.push(buffer);
        // Freeing megabytes takes longer than others should wait for the lock.
        drop(idle);
        drop(surplus);
    }
}

fn sum(buffers: &[Vec<u8>]) -> usize {
    buffers.iter().map(Vec::capacity).sum()
}

/// A buffer on loan from a [`Pool`].
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) buffer: Vec<u8>,
    pool: &'static Pool,
}

impl Pooled {
    /// The content; the buffer goes back to the pool when the last clone is gone.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.put_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    fn idle(pool: &Pool) -> Vec<usize> {
        pool.idle.lock().iter().map(Vec::capacity).collect()
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_clone_is_gone() {
        let pool = pool();
        let mut buffer = pool.take(100_000);
        buffer.buffer.extend_from_slice(b"something");
        let bytes = buffer.freeze();
        let clone = bytes.slice(2..4);
        drop(bytes);
        assert!(idle(pool).is_empty());
        assert_eq!(&clone[..], b"me");
        drop(clone);
        assert_eq!(idle(pool).len(), 1);
        assert!(pool.take(90_000).buffer.is_empty());
        assert_eq!(idle(pool).len(), 1);
    }

    #[test]
    fn a_small_request_does_not_take_a_large_buffer() {
        let pool = pool();
        drop(pool.take(MAX_IDLE_BYTES));
        let small = pool.take(SMALLEST);
        assert!(small.buffer.capacity() < MAX_IDLE_BYTES / 4);
        assert_eq!(idle(pool), [MAX_IDLE_BYTES]);
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes_and_the_newest_stays() {
        let pool = pool();
        let loans: Vec<_> = (0..3 * MAX_IDLE).map(|more| pool.take(SMALLEST + more)).collect();
        drop(loans);
        assert_eq!(idle(pool), [8, 9, 10, 11].map(|more| SMALLEST + more));
        drop(pool.take(MAX_IDLE_BYTES - 2 * SMALLEST));
        assert_eq!(idle(pool), [SMALLEST + 11, MAX_IDLE_BYTES - 2 * SMALLEST]);
        drop(pool.take(MAX_IDLE_BYTES + 1));
        drop(pool.take(SMALLEST - 1));
        assert_eq!(idle(pool).len(), 2);
    }
}
