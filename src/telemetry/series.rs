//! The series table: metrics as families of series, each with its own start time and exemplar.
//!
//! Adding to a series that exists takes a read lock and an atomic addition; only a birth takes the write lock. Series
//! live as long as the process: a counter that vanished and came back would be born again, and be read as a reset.

use crate::telemetry::metric::{Descriptor, Exemplar, Point, Sink, Value};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

/// One series: a value that threads may move at the same time.
#[derive(Debug)]
pub struct Series {
    value: AtomicU64,
    start: SystemTime,
    exemplar: Mutex<Option<Exemplar>>,
}

impl Series {
    /// Born at zero.
    pub fn new(now: SystemTime) -> Self {
        Series { value: AtomicU64::new(0), start: now, exemplar: Mutex::new(None) }
    }

    /// Moves a counter by `n`; `exemplar` is kept as its newest.
    pub fn add(&self, n: u64, exemplar: Option<Exemplar>) {
        self.value.fetch_add(n, Relaxed);
        // Whoever finds the place taken lets the other's exemplar stand: both are of this moment.
        if let Some(exemplar) = exemplar
            && let Some(mut place) = self.exemplar.try_lock()
        {
            *place = Some(exemplar);
        }
    }

    /// Raises a gauge to `value`, if that is more.
    pub fn raise(&self, value: u64) {
        self.value.fetch_max(value, Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.value.load(Relaxed)
    }

    /// When it was born.
    pub fn start(&self) -> SystemTime {
        self.start
    }

    /// The event that moved it last, of those that have a trace.
    pub fn exemplar(&self) -> Option<Exemplar> {
        *self.exemplar.lock()
    }
}

/// The values of one series' labels, typed: closed enums stay enums.
pub trait LabelSet: Clone + Eq + Hash {
    /// The attribute names, dotted, in the order of [`LabelSet::values`].
    const NAMES: &'static [&'static str];

    /// One value for each name.
    fn values(&self) -> LabelValues<'_>;
}

/// The label values of one series.
pub type LabelValues<'a> = SmallVec<[&'a str; 8]>;

/// All series of one metric.
#[derive(Debug)]
pub struct Family<K> {
    metric: Descriptor,
    series: RwLock<HashMap<K, Arc<Series>, ahash::RandomState>>,
    sorted: Mutex<Sorted<K>>,
}

/// The series in the order of their labels, as of some moment.
type Sorted<K> = Arc<Vec<(K, Arc<Series>)>>;

impl<K: LabelSet> Family<K> {
    /// No series yet.
    pub fn new(metric: Descriptor) -> Self {
        Family { metric, series: RwLock::default(), sorted: Mutex::default() }
    }

    /// What it is.
    pub fn metric(&self) -> &Descriptor {
        &self.metric
    }

    /// How many series it has.
    pub fn len(&self) -> usize {
        self.series.read().len()
    }

    /// Whether nothing has been counted yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The series with these labels.
    pub fn get(&self, labels: &K) -> Option<Arc<Series>> {
        self.series.read().get(labels).cloned()
    }

    /// The first of `births`, all of them born at `now` if they are not there yet: siblings are born together. `None`
    /// when they are not there and `admits` says no, which it is asked only then.
    pub fn get_or_open(
        &self,
        births: &[K],
        now: SystemTime,
        admits: impl FnOnce(usize) -> bool,
    ) -> Option<Arc<Series>> {
        let wanted = births.first()?;
        if let Some(series) = self.get(wanted) {
            return Some(series);
        }
        let mut table = self.series.write();
        if let Some(series) = table.get(wanted) {
            return Some(series.clone());
        }
        let new = births.iter().filter(|labels| !table.contains_key(labels)).count();
        if !admits(new) {
            return None;
        }
        for labels in births {
            table.entry(labels.clone()).or_insert_with(|| Arc::new(Series::new(now)));
        }
        table.get(wanted).cloned()
    }

    /// Gives all series to `sink`, in the order of their label values.
    pub fn collect(&self, sink: &mut impl Sink) {
        sink.metric(&self.metric);
        for (labels, series) in self.sorted().iter() {
            let pairs: SmallVec<[_; 8]> = K::NAMES.iter().copied().zip(labels.values()).collect();
            sink.point(&Point {
                labels: &pairs,
                value: Value::Integer(series.value()),
                start: self.metric.is_counter().then(|| series.start()),
                exemplar: series.exemplar(),
            });
        }
    }

    /// Sorting is done again only after births; births never wait for it.
    fn sorted(&self) -> Sorted<K> {
        let mut sorted = self.sorted.lock();
        if sorted.len() != self.len() {
            let mut all: Vec<_> =
                self.series.read().iter().map(|(labels, series)| (labels.clone(), series.clone())).collect();
            all.sort_unstable_by(|(a, _), (b, _)| a.values().cmp(&b.values()));
            *sorted = Arc::new(all);
        }
        sorted.clone()
    }
}

/// How many series may be born, over several families.
#[derive(Debug)]
pub struct SeriesBudget {
    capacity: usize,
    used: AtomicUsize,
}

impl SeriesBudget {
    /// Room for `capacity` series.
    pub fn new(capacity: usize) -> Self {
        SeriesBudget { capacity, used: AtomicUsize::new(0) }
    }

    /// Takes room for `births` if that leaves no more than so many eighths of the budget in use.
    pub fn try_take(&self, births: usize, eighths: usize) -> bool {
        let bound = self.capacity / 8 * eighths + self.capacity % 8 * eighths / 8;
        let takes = |used: usize| used.checked_add(births).filter(|used| *used <= bound);
        self.used.fetch_update(Relaxed, Relaxed, takes).is_ok()
    }

    /// Takes room whether there is any or not.
    pub fn take(&self, births: usize) {
        self.used.fetch_add(births, Relaxed);
    }

    /// How many series there are.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metric::Unit;
    use std::time::{Duration, UNIX_EPOCH};

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Color(&'static str);

    impl LabelSet for Color {
        const NAMES: &'static [&'static str] = &["color"];

        fn values(&self) -> LabelValues<'_> {
            LabelValues::from_slice(&[self.0])
        }
    }

    const PAINTED: Descriptor =
        Descriptor::counter("painted", Unit::Things("{wall}"), "Walls that were painted.");

    fn exemplar(n: u8) -> Exemplar {
        Exemplar { trace_id: [n; 16], span_id: [n; 8], value: 1, time: UNIX_EPOCH }
    }

    /// Notes what it is given.
    #[derive(Default)]
    struct Notes(Vec<(String, Value, Option<SystemTime>, Option<Exemplar>)>);

    impl Sink for Notes {
        fn metric(&mut self, metric: &Descriptor) {
            assert_eq!(*metric, PAINTED);
        }

        fn point(&mut self, point: &Point<'_>) {
            let labels = point.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            self.0.push((labels, point.value, point.start, point.exemplar));
        }
    }

    #[test]
    fn series_are_walked_in_order_with_their_own_start_and_exemplar() {
        let family = Family::new(PAINTED);
        let later = UNIX_EPOCH + Duration::from_secs(5);
        let red = family.get_or_open(&[Color("red")], UNIX_EPOCH, |_| true).unwrap();
        red.add(1, Some(exemplar(1)));
        let mut first = Notes::default();
        family.collect(&mut first);
        assert_eq!(first.0.len(), 1);

        family.get_or_open(&[Color("blue")], later, |_| true).unwrap().add(7, None);
        family
            .get_or_open(&[Color("red")], later, |_| panic!("it is there"))
            .unwrap()
            .add(2, Some(exemplar(2)));
        let mut notes = Notes::default();
        family.collect(&mut notes);
        assert_eq!(
            notes.0,
            [
                ("color=blue".to_owned(), Value::Integer(7), Some(later), None),
                ("color=red".to_owned(), Value::Integer(3), Some(UNIX_EPOCH), Some(exemplar(2))),
            ]
        );
    }

    #[test]
    fn siblings_are_born_together_or_not_at_all() {
        let family = Family::new(PAINTED);
        let births = [Color("red"), Color("blue"), Color("green")];
        assert!(family.get_or_open(&births, UNIX_EPOCH, |_| false).is_none());
        assert!(family.is_empty());
        let mut asked = 0;
        family.get_or_open(&births, UNIX_EPOCH, |n| {
            asked = n;
            true
        });
        assert_eq!((asked, family.len()), (3, 3));
        assert_eq!(family.get(&Color("green")).unwrap().value(), 0);
    }

    #[test]
    fn additions_of_many_threads_are_all_there() {
        let family = Family::new(PAINTED);
        let colors = ["red", "blue", "green"];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..30_000 {
                        let series = family.get_or_open(&[Color(colors[n % 3])], UNIX_EPOCH, |_| true);
                        series.unwrap().add(1, Some(exemplar(3)));
                    }
                });
            }
        });
        for color in colors {
            assert_eq!(family.get(&Color(color)).unwrap().value(), 40_000);
        }
    }

    #[test]
    fn a_gauge_is_only_raised() {
        let series = Series::new(UNIX_EPOCH);
        series.raise(7);
        series.raise(3);
        assert_eq!(series.value(), 7);
    }

    #[test]
    fn a_budget_keeps_a_share_for_others() {
        let budget = SeriesBudget::new(10);
        assert!(budget.try_take(7, 6));
        assert!(!budget.try_take(1, 6));
        assert!(budget.try_take(3, 8));
        assert!(!budget.try_take(1, 8));
        budget.take(5);
        assert_eq!(budget.used(), 15);
        assert!(!SeriesBudget::new(10).try_take(usize::MAX, 8));
    }
}
