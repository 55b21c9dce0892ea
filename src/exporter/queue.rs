//! The sending queue of one signal of an exporter: bounded, in order, in memory or on disk.
//!
//! Room is reserved first and taken up later, so that a request can be put into the queues of several exporters or into
//! none. It is given back when the request has left: what is on its way, or waits for a retry, still counts. Requests are
//! taken out in the order in which they were put in; with one worker they are also sent in that order, with more of them
//! as many as there are workers may overtake each other.
//!
//! Of a request on disk only its place there is held, from before it is put in until a worker takes it. What is left when
//! time is over stays on disk, and in the account; what is in memory is lost then.

use super::batch::Pending;
use super::disk::{AppendError, Restored, Store, Ticket};
use crate::config::model::{ComponentId, QueueBatch, SendingQueue, Sizer};
use crate::payload::{DrainRate, Payload, Refused};
use crate::telemetry::own::{Amount, DropReason, ExporterMetrics};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// A queue; shared by those who put in and the workers who take out.
#[derive(Debug)]
pub struct Queue {
    exporter: ComponentId,
    sizer: Sizer,
    capacity: usize,
    block_on_overflow: bool,
    max_workers: usize,
    batch: Option<QueueBatch>,
    /// The most bytes that are merged.
    largest_batch: usize,
    account: Arc<ExporterMetrics>,
    disk: Option<Arc<Store>>,
    room: Arc<Semaphore>,
    rate: DrainRate,
    state: Mutex<State>,
    /// Told when there is nothing left to wait for, perhaps.
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Reservations that may still be taken up.
    reserved: usize,
    pending: Pending,
    waiting: VecDeque<Batch>,
    workers: usize,
    left: Left,
}

/// What was not delivered when time was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Given up.
    pub lost: Amount,
    /// On disk, for the next process.
    pub kept: Amount,
}

/// From one to the next, never back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// No more reservations; what has been promised is kept.
    Draining,
    Closed,
}

/// Requests that leave as one.
pub type Batch = SmallVec<[Entry; 1]>;

/// A request in the queue.
#[derive(Debug)]
pub struct Entry {
    /// The request, or where it is.
    pub request: Request,
    /// The room that it takes up.
    pub room: Room,
    /// Told what became of it.
    pub answer: Option<oneshot::Sender<Result<(), Undelivered>>>,
}

/// A request that can be put in.
#[derive(Debug)]
pub enum Request {
    /// In memory.
    Memory(Payload),
    /// On disk.
    Disk(Ticket),
}

impl Entry {
    /// What it is in the account.
    pub fn amount(&self) -> Amount {
        match &self.request {
            Request::Memory(payload) => Amount::request(payload.items, payload.message.len()),
            Request::Disk(ticket) => ticket.amount(),
        }
    }
}

/// Why a request did not reach the backend, for a sender who waits for that.
#[derive(Clone, Debug, PartialEq)]
pub enum Undelivered {
    /// Coming back makes sense.
    Unavailable {
        /// When.
        retry_after: std::time::Duration,
        /// What happened.
        reason: String,
    },
    /// The backend refused it for good.
    Refused {
        /// What it said.
        reason: String,
    },
    /// There was no time left.
    ShuttingDown,
}

/// A part of the queue's capacity; given back on drop.
#[derive(Debug)]
pub struct Room {
    permit: OwnedSemaphorePermit,
}

/// Room for one request that has not been put in yet. Dropped, it is free for others.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    room: Option<Room>,
}

/// Who has to be called after something was put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// So many new workers.
    pub workers: usize,
    /// [`Queue::flush`] with this number, after `flush_timeout`.
    pub flush: Option<u64>,
}

impl Queue {
    /// A queue that counts in `account` and merges up to so many bytes: an empty one in memory, or the one of `disk` with what is in it.
    pub fn new(
        exporter: ComponentId,
        config: &SendingQueue,
        (batch, largest_batch): (Option<QueueBatch>, usize),
        account: Arc<ExporterMetrics>,
        disk: Option<Restored>,
    ) -> Arc<Self> {
        let capacity = config.queue_size.min(Semaphore::MAX_PERMITS);
        account.set_queue_capacity(capacity, config.sizer);
        let (disk, tickets) = match disk {
            Some(Restored { store, tickets }) => (Some(store), tickets),
            None => (None, Vec::new()),
        };
        if disk.is_some() {
            account.set_durable();
        }
        let queue = Arc::new(Queue {
            exporter,
            sizer: config.sizer,
            capacity,
            block_on_overflow: config.block_on_overflow,
            max_workers: config.num_consumers.max(1),
            batch,
            largest_batch,
            account,
            disk,
            room: Arc::new(Semaphore::new(capacity)),
            rate: DrainRate::new(Instant::now()),
            state: Mutex::default(),
            idle: Notify::new(),
        });
        queue.restore(tickets);
        queue
    }

    /// Who has to be called for what was in the queue from the beginning.
    pub fn begin(&self) -> Wanted {
        let mut state = self.state.lock();
        let flush = (!state.pending.is_empty()).then(|| state.pending.number());
        Wanted { flush, ..self.wanted(&mut state) }
    }

    /// Brings a request to where the queue keeps it. Until it is put in, it is in no queue: dropped, it is forgotten.
    pub async fn keep(&self, payload: Payload) -> Result<Request, AppendError> {
        match &self.disk {
            Some(disk) => Ok(Request::Disk(disk.write(payload).await?)),
            None => Ok(Request::Memory(payload)),
        }
    }

    /// Whether requests are kept on disk.
    pub fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Whether a request of so many bytes, in which items have not been counted yet, could be pushed back now.
    pub fn may_lack_room(&self, bytes: usize) -> bool {
        let size_at_most = match self.sizer {
            Sizer::Requests => 1,
            Sizer::Items => bytes / LEAST_BYTES_OF_ITEM,
            Sizer::Bytes => bytes,
        };
        !self.block_on_overflow && self.room.available_permits() < size_at_most
    }

    /// Pushes the request back as [`Self::reserve`] would do now, but sets no room aside for it. A request that is not
    /// pushed back may still be by then.
    pub fn push_back(&self, payload: &Payload) -> Result<(), Refused> {
        let size = self.size(payload);
        let has_room = size <= self.room.available_permits();
        if has_room || size > self.capacity || self.block_on_overflow || self.room.is_closed() {
            return Ok(());
        }
        Err(self.full(size, payload.items))
    }

    /// Sets room aside for the request. Only with `block_on_overflow` this waits for it.
    pub async fn reserve(self: &Arc<Self>, payload: &Payload) -> Result<Place, Refused> {
        let size = self.size(payload);
        let permits = u32::try_from(size).ok().filter(|_| size <= self.capacity);
        let Some(permits) = permits else {
            self.account.enqueue_failed(payload.items);
            let (capacity, unit) = (self.capacity, unit(self.sizer));
            return Err(Refused::LargerThanQueue { exporter: self.exporter.clone(), size, capacity, unit });
        };
        let room = self.room.clone();
        let acquired = match room.try_acquire_many_owned(permits) {
            Ok(permit) => Some(permit),
            Err(_) if self.room.is_closed() => None,
            Err(_) if self.block_on_overflow => self.room.clone().acquire_many_owned(permits).await.ok(),
            Err(_) => return Err(self.full(size, payload.items)),
        };
        let Some(permit) = acquired else { return Err(Refused::ShuttingDown) };
        let mut state = self.state.lock();
        if state.stage != Stage::Open {
            return Err(Refused::ShuttingDown);
        }
        state.reserved = state.reserved.saturating_add(1);
        Ok(Place { queue: self.clone(), room: Some(Room { permit }) })
    }

    /// The next requests for a worker. None: it is dismissed.
    pub fn next(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.workers = state.workers.saturating_sub(1);
            self.tell_if_idle(&state);
        }
        next
    }

    /// Sends on what waits for company, if it is still the same that waited when `number` was told.
    pub fn flush(&self, number: u64) -> Wanted {
        let mut state = self.state.lock();
        if state.pending.number() == number {
            let batch = state.pending.take();
            state.waiting.extend(batch);
        }
        self.wanted(&mut state)
    }

    /// Takes no more reservations, and sends on what waits for company.
    pub fn drain(&self) -> Wanted {
        self.room.close();
        let mut state = self.state.lock();
        if state.stage == Stage::Open {
            state.stage = Stage::Draining;
        }
        let batch = state.pending.take();
        state.waiting.extend(batch);
        let wanted = self.wanted(&mut state);
        self.tell_if_idle(&state);
        wanted
    }

    /// Waits until the queue is empty, no reservation is open and no worker is out.
    pub async fn until_idle(&self) {
        while !self.state.lock().is_idle() {
            self.idle.notified().await;
        }
    }

    /// Writes down how far the queue on disk has been sent. What is still in it stays there.
    pub async fn write_down(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }

    /// Takes nothing more at all, and gives up what is in the queue and not on disk.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.stage = Stage::Closed;
        let pending = state.pending.take();
        let left = state.waiting.drain(..).chain(pending).flatten().collect();
        self.leave_behind(state, left);
    }

    /// Gives up requests that a worker had no time left for, if they are not on disk.
    pub fn abandon(&self, batch: Batch) {
        self.leave_behind(self.state.lock(), batch.into_vec());
    }

    fn leave_behind(&self, mut state: MutexGuard<'_, State>, left: Vec<Entry>) {
        for entry in &left {
            match &entry.request {
                Request::Memory(_) => {
                    self.account.dropped_from_queue(DropReason::Shutdown, entry.amount());
                    gain(&mut state.left.lost, entry.amount());
                }
                Request::Disk(_) => gain(&mut state.left.kept, entry.amount()),
            }
        }
        drop(state);
        for answer in left.into_iter().filter_map(|entry| entry.answer) {
            let _ = answer.send(Err(Undelivered::ShuttingDown));
        }
    }

    /// Time was over for requests on their way.
    pub fn cut_off(&self, amount: Amount) {
        let left = &mut self.state.lock().left;
        match self.disk {
            None => {
                self.account.dropped(DropReason::Shutdown, amount);
                gain(&mut left.lost, amount);
            }
            Some(_) => {
                self.account.requeue(amount);
                gain(&mut left.kept, amount);
            }
        }
    }

    /// Everything that was not delivered when time was over.
    pub fn left(&self) -> Left {
        self.state.lock().left
    }

    /// A request has left: its room is free again.
    pub fn leave(&self, room: Room) {
        let units = u32::try_from(room.permit.num_permits()).unwrap_or(u32::MAX);
        self.rate.left(units, Instant::now());
    }

    /// The account of what goes through the queue.
    pub fn account(&self) -> &Arc<ExporterMetrics> {
        &self.account
    }

    /// How requests are merged, if they are.
    pub fn batch(&self) -> Option<&QueueBatch> {
        self.batch.as_ref()
    }

    /// What is more than the queue holds takes up all its room, and stays.
    fn restore(&self, tickets: Vec<Ticket>) {
        let mut state = self.state.lock();
        for ticket in tickets {
            let size = usize::try_from(ticket.amount().in_units_of(self.sizer)).unwrap_or(usize::MAX);
            let permits = u32::try_from(size.min(self.room.available_permits())).unwrap_or(u32::MAX);
            let Ok(permit) = self.room.clone().try_acquire_many_owned(permits) else { continue };
            let entry = Entry { request: Request::Disk(ticket), room: Room { permit }, answer: None };
            self.admit(&mut state, entry);
        }
    }

    fn put(&self, mut entry: Entry) -> Result<Wanted, Refused> {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(1);
        if state.stage == Stage::Closed {
            self.tell_if_idle(&state);
            return Err(Refused::ShuttingDown);
        }
        self.account.accept(entry.amount());
        if let Request::Disk(ticket) = &mut entry.request {
            ticket.publish();
        }
        let flush = self.admit(&mut state, entry);
        Ok(Wanted { flush, ..self.wanted(&mut state) })
    }

    /// Gives the number of a batch that has just begun to wait.
    fn admit(&self, state: &mut State, entry: Entry) -> Option<u64> {
        let State { stage, pending, waiting, .. } = state;
        match &self.batch {
            Some(limits) if *stage == Stage::Open => {
                let was_empty = pending.is_empty();
                waiting.extend(pending.add(entry, limits, self.largest_batch));
                (was_empty && !pending.is_empty()).then(|| pending.number())
            }
            _ => {
                waiting.push_back(SmallVec::from_buf([entry]));
                None
            }
        }
    }

    /// Engages as many workers as there is work for.
    fn wanted(&self, state: &mut State) -> Wanted {
        let workers = state.waiting.len().min(self.max_workers.saturating_sub(state.workers));
        state.workers = state.workers.saturating_add(workers);
        Wanted { workers, flush: None }
    }

    fn full(&self, size: usize, items: usize) -> Refused {
        self.account.enqueue_failed(items);
        let missing = size.saturating_sub(self.room.available_permits());
        let retry_after = self.rate.turn(size, missing, Instant::now());
        Refused::QueueFull { exporter: self.exporter.clone(), retry_after }
    }

    fn tell_if_idle(&self, state: &State) {
        if state.is_idle() {
            self.idle.notify_one();
        }
    }

    fn size(&self, payload: &Payload) -> usize {
        match self.sizer {
            Sizer::Requests => 1,
            Sizer::Items => payload.items,
            Sizer::Bytes => payload.message.len(),
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        let is_empty = self.waiting.is_empty() && self.pending.is_empty();
        is_empty && self.workers == 0 && (self.reserved == 0 || self.stage == Stage::Closed)
    }
}

fn gain(sum: &mut Amount, amount: Amount) {
    sum.requests = sum.requests.saturating_add(amount.requests);
    sum.items = sum.items.saturating_add(amount.items);
    sum.bytes = sum.bytes.saturating_add(amount.bytes);
}

impl Place {
    /// Puts the request in. It is refused only when the time of a shutdown is over.
    pub fn put(
        mut self,
        request: Request,
        answer: Option<oneshot::Sender<Result<(), Undelivered>>>,
    ) -> Result<Wanted, Refused> {
        match self.room.take() {
            Some(room) => self.queue.put(Entry { request, room, answer }),
            None => Ok(Wanted::default()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.room.take().is_some() {
            let mut state = self.queue.state.lock();
            state.reserved = state.reserved.saturating_sub(1);
            self.queue.tell_if_idle(&state);
        }
    }
}

/// The tag and the length of an empty one.
const LEAST_BYTES_OF_ITEM: usize = 2;

fn unit(sizer: Sizer) -> &'static str {
    match sizer {
        Sizer::Requests => "requests",
        Sizer::Items => "items",
        Sizer::Bytes => "bytes",
    }
}
