//! Those who watch events as they come: each has a filter and a bounded buffer, and is told what it missed.

use crate::refusal::event::{Numbered, RefusalEvent};
use crate::refusal::pattern::Pattern;
use crate::refusal::verdict::{Category, Class};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// All who watch.
#[derive(Debug)]
pub struct Watchers {
    limits: WatchLimits,
    list: Mutex<List>,
    /// How many there are, to be read without the lock.
    count: AtomicUsize,
    missed: AtomicU64,
}

/// What watchers may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// How many may watch at one time.
    pub watchers: usize,
    /// How many events wait for each.
    pub buffer: usize,
}

/// Why somebody cannot watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotWatch {
    /// There are enough.
    #[error("{0} are watching already")]
    TooMany(usize),
    /// The collector stops.
    #[error("the collector is shutting down")]
    ShuttingDown,
}

/// Which events somebody wants: those that have one of each list that is not empty.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `llm.workload`.
    pub workloads: Vec<Pattern>,
    /// `gen_ai.provider.name`.
    pub providers: Vec<Pattern>,
    /// `llm.stop_reason.class`.
    pub classes: Vec<Class>,
    /// `llm.refusal.category` or one of `llm.refusal.categories`.
    pub categories: Vec<Category>,
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// An event.
    Event(Arc<RefusalEvent>),
    /// So many events were wanted and lost here, because the buffer was full.
    Missed(u64),
}

/// Somebody who watches. Dropped, it watches no more.
#[derive(Debug)]
pub struct Watch {
    buffer: Receiver<Sight>,
    state: Arc<State>,
    watchers: Arc<Watchers>,
}

#[derive(Debug, Default)]
struct List {
    is_closed: bool,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    filter: Filter,
    buffer: Sender<Sight>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Events that were lost since the watcher was told.
    missed: AtomicU64,
    is_gone: AtomicBool,
}

impl Watchers {
    /// Nobody yet.
    pub fn new(limits: WatchLimits) -> Self {
        Watchers { limits, list: Mutex::default(), count: AtomicUsize::new(0), missed: AtomicU64::new(0) }
    }

    /// Watches from now on.
    pub fn watch(self: &Arc<Self>, filter: Filter) -> Result<Watch, CannotWatch> {
        let (sender, receiver) = mpsc::channel(self.limits.buffer.max(1));
        let state = Arc::new(State::default());
        let mut list = self.list.lock();
        if list.is_closed {
            return Err(CannotWatch::ShuttingDown);
        }
        if list.watchers.len() >= self.limits.watchers {
            return Err(CannotWatch::TooMany(list.watchers.len()));
        }
        list.watchers.push(Watcher { filter, buffer: sender, state: state.clone() });
        self.count.store(list.watchers.len(), Relaxed);
        Ok(Watch { buffer: receiver, state, watchers: self.clone() })
    }

    /// How many watch.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// How many events watchers have missed so far.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Gives an event to all who want it and have room. Waits for nobody.
    pub fn show(&self, event: &Arc<RefusalEvent>) {
        if self.count() == 0 {
            return;
        }
        for watcher in self.list.lock().watchers.iter().filter(|watcher| watcher.filter.wants(event)) {
            if !watcher.offer(event) {
                self.missed.fetch_add(1, Relaxed);
            }
        }
    }

    /// Nobody is shown anything any more: each gets what is in its buffer, then its end.
    pub fn close(&self) {
        let mut list = self.list.lock();
        list.is_closed = true;
        list.watchers.clear();
        self.count.store(0, Relaxed);
    }
}

impl Watcher {
    /// Whether there was room. What was missed is told in its place.
    fn offer(&self, event: &Arc<RefusalEvent>) -> bool {
        let missed = self.state.missed.load(Relaxed);
        let needed = if missed > 0 { 2 } else { 1 };
        let Ok(mut room) = self.buffer.try_reserve_many(needed) else {
            self.state.missed.fetch_add(1, Relaxed);
            return false;
        };
        // The watcher itself may have been told meanwhile.
        let missed = self.state.missed.swap(0, Relaxed);
        if missed > 0
            && needed == 2
            && let Some(place) = room.next()
        {
            place.send(Sight::Missed(missed));
        }
        if let Some(place) = room.next() {
            place.send(Sight::Event(event.clone()));
        }
        true
    }
}

impl Watch {
    /// What comes next; `None` at the end.
    pub async fn next(&mut self) -> Option<Sight> {
        match self.buffer.try_recv() {
            Ok(sight) => return Some(sight),
            Err(TryRecvError::Disconnected) => return self.last(),
            Err(TryRecvError::Empty) => {}
        }
        match self.state.missed.swap(0, Relaxed) {
            0 => match self.buffer.recv().await {
                Some(sight) => Some(sight),
                None => self.last(),
            },
            missed => Some(Sight::Missed(missed)),
        }
    }

    /// What was missed at the very end.
    fn last(&self) -> Option<Sight> {
        match self.state.missed.swap(0, Relaxed) {
            0 => None,
            missed => Some(Sight::Missed(missed)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.is_gone.store(true, Relaxed);
        let mut list = self.watchers.list.lock();
        list.watchers.retain(|watcher| !watcher.state.is_gone.load(Relaxed));
        self.watchers.count.store(list.watchers.len(), Relaxed);
    }
}

impl Filter {
    /// Whether an event is wanted.
    pub fn wants(&self, event: &RefusalEvent) -> bool {
        let workload = event.resource.as_ref().map_or("", |resource| &resource.workload);
        let class = event.stop_reason.as_ref().and_then(|reason| Class::of_number(reason.class));
        let fits =
            |patterns: &[Pattern], text| patterns.is_empty() || patterns.iter().any(|p| p.matches(text));
        fits(&self.workloads, workload)
            && fits(&self.providers, &event.provider)
            && (self.classes.is_empty() || class.is_some_and(|class| self.classes.contains(&class)))
            && (self.categories.is_empty() || self.has_category(event))
    }

    fn has_category(&self, event: &RefusalEvent) -> bool {
        let refusal = event.refusal.as_ref();
        let primary = refusal.map(|refusal| refusal.category);
        let all = refusal.into_iter().flat_map(|refusal| &refusal.categories).copied();
        let recovered = event.recovery.as_ref().map(|recovery| recovery.category);
        let numbers = primary.into_iter().chain(recovered).chain(all);
        numbers.filter_map(Category::of_number).any(|category| self.categories.contains(&category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1 as proto;

    fn event(workload: &str, category: Category) -> Arc<RefusalEvent> {
        Arc::new(RefusalEvent {
            resource: Some(proto::Resource { workload: workload.to_owned(), ..Default::default() }),
            provider: "anthropic".to_owned(),
            stop_reason: Some(proto::StopReason { class: Class::Refusal.number(), value: None }),
            refusal: Some(proto::Refusal { category: category.number(), ..Default::default() }),
            ..RefusalEvent::default()
        })
    }

    fn watchers(watchers: usize, buffer: usize) -> Arc<Watchers> {
        Arc::new(Watchers::new(WatchLimits { watchers, buffer }))
    }

    #[tokio::test]
    async fn what_a_slow_watcher_misses_is_told_in_its_place_and_counted() {
        let all = watchers(1, 3);
        let mut watch = all.watch(Filter::default()).unwrap();
        for number in 0..5 {
            all.show(&event(&number.to_string(), Category::Bio));
        }
        let seen = |sight: Option<Sight>| match sight {
            Some(Sight::Event(event)) => event.resource.as_ref().unwrap().workload.clone(),
            Some(Sight::Missed(missed)) => format!("missed {missed}"),
            None => "end".to_owned(),
        };
        assert_eq!([seen(watch.next().await), seen(watch.next().await)], ["0", "1"]);
        all.show(&event("5", Category::Bio));
        all.show(&event("6", Category::Bio));
        assert_eq!([seen(watch.next().await), seen(watch.next().await)], ["2", "missed 2"]);
        assert_eq!([seen(watch.next().await), seen(watch.next().await)], ["5", "missed 1"]);
        assert_eq!(all.missed(), 3);
        all.close();
        assert_eq!(seen(watch.next().await), "end");
        assert_eq!(all.watch(Filter::default()).unwrap_err(), CannotWatch::ShuttingDown);
    }

    #[tokio::test]
    async fn filters_ask_for_one_of_each_list() {
        let all = watchers(2, 3);
        let mut watch = all
            .watch(Filter {
                workloads: vec![Pattern::new("shop-*"), Pattern::new("search")],
                providers: vec![Pattern::new("anthropic")],
                classes: vec![Class::Refusal],
                categories: vec![Category::Bio, Category::Cyber],
            })
            .unwrap();
        for (workload, category) in
            [("shop-1", Category::Hate), ("mail", Category::Bio), ("search", Category::Cyber)]
        {
            all.show(&event(workload, category));
        }
        assert_eq!(watch.next().await, Some(Sight::Event(event("search", Category::Cyber))));
        assert_eq!(all.missed(), 0, "what nobody wants is not missed");
    }

    #[tokio::test]
    async fn the_number_of_watchers_is_bounded_and_those_who_left_make_room() {
        let all = watchers(1, 1);
        let watch = all.watch(Filter::default()).unwrap();
        assert_eq!(all.watch(Filter::default()).unwrap_err(), CannotWatch::TooMany(1));
        drop(watch);
        assert_eq!(all.count(), 0);
        assert!(all.watch(Filter::default()).is_ok());
    }
}
