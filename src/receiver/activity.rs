//! What a connection is doing: its requests, and what it may read for them.

use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Waker;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    state: State,
    /// Bytes of requests that have been admitted: the memory budget has room for them.
    admitted: usize,
    /// Who reads, while it waits and holds memory or needs some.
    reader: Option<Waker>,
    /// Whether it may not read before it has memory.
    needs_room: bool,
}

/// A moment in the life of a connection.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// How many requests are being answered.
    pub in_flight: usize,
    /// Since when there is none.
    pub quiet_since: Instant,
    /// When the first byte came that no request has claimed yet.
    pub unclaimed_since: Option<Instant>,
    /// Since when it holds memory for its windows, if it does.
    pub busy_since: Option<Instant>,
}

impl Activity {
    /// A new connection, whose first bytes came already.
    pub fn new(now: Instant) -> Self {
        let state = State { in_flight: 0, quiet_since: now, unclaimed_since: Some(now), busy_since: None };
        Activity(Mutex::new(Inner { state, admitted: 0, reader: None, needs_room: false }))
    }

    /// The state now.
    pub fn now(&self) -> State {
        self.0.lock().state
    }

    /// A request's head has come; it is being answered until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> Answering {
        let state = &mut self.0.lock().state;
        state.in_flight = state.in_flight.saturating_add(1);
        state.unclaimed_since = None;
        Answering(self.clone())
    }

    /// More is being read than a quiet connection may hold.
    pub fn busy(&self) {
        self.0.lock().state.busy_since = Some(Instant::now());
    }

    /// Whether no request is being answered: then the connection is not busy any more.
    pub fn rest(&self) -> bool {
        let mut inner = self.0.lock();
        let is_quiet = inner.state.in_flight == 0;
        if is_quiet {
            inner.state.busy_since = None;
            inner.admitted = 0;
        }
        is_quiet
    }

    /// The bytes that have been admitted since this was asked.
    pub fn take_admitted(&self) -> usize {
        std::mem::take(&mut self.0.lock().admitted)
    }

    /// Wakes the reader as soon as no request is being answered, and if it needs room, when something is admitted.
    pub fn wake_later(&self, reader: &Waker, needs_room: bool) {
        let mut inner = self.0.lock();
        inner.needs_room = needs_room;
        if inner.state.in_flight == 0 || needs_room && inner.admitted > 0 {
            drop(inner);
            return reader.wake_by_ref();
        }
        match &mut inner.reader {
            Some(waker) => waker.clone_from(reader),
            none => *none = Some(reader.clone()),
        }
    }

    /// Bytes were read.
    pub fn bytes_came(&self) {
        let state = &mut self.0.lock().state;
        if state.in_flight == 0 && state.unclaimed_since.is_none() {
            state.unclaimed_since = Some(Instant::now());
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Activity>);

impl Answering {
    /// So many bytes of the request have room in the memory budget: they may be read even where there is no memory for
    /// windows. Who has the one must not wait for the other.
    pub fn admitted(&self, bytes: usize) {
        let mut inner = self.0.0.lock();
        inner.admitted = inner.admitted.saturating_add(bytes);
        let reader = if inner.needs_room { inner.reader.take() } else { None };
        drop(inner);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut inner = self.0.0.lock();
        inner.state.in_flight = inner.state.in_flight.saturating_sub(1);
        inner.state.quiet_since = Instant::now();
        let reader = if inner.state.in_flight == 0 { inner.reader.take() } else { None };
        drop(inner);
        reader.into_iter().for_each(Waker::wake);
    }
}
