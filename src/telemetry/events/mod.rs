//! Refusal events, from the moment that their responses were counted: into the ledger of unknowns, to those who watch, and
//! as log records into the logs pipelines.
//!
//! An event is made while its request is judged, if somebody [wants](Events::wanted) it, and lies in the request's
//! [`Tally`](crate::telemetry::tally::Tally) until the request is taken and its responses are counted. Then it is
//! [published](Events::publish), if its response counted; a request that is pushed back or sent again gives none. The
//! ledger takes no events, of which nearly all would say the same, but what the tally comes to.

pub mod ledger;
pub mod log_record;
pub mod watch;

pub use ledger::{Encounter, Ledger, Lesson, Unknown, ValueKind};
pub use log_record::{SCOPE, severity};
pub use watch::{CannotWatch, Filter, Sight, Watch, WatchLimits, Watchers};

use crate::refusal::event::{Kind, Kinds, RefusalEvent};
use crate::telemetry::metric::{Descriptor, Point, Sink, Unit, Value};
use crate::telemetry::own_logs::OwnLogs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// An event that waits for its response to be counted.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The event.
    pub event: RefusalEvent,
    /// Whether it becomes a log record.
    pub is_exported: bool,
}

/// What is told of a request whose responses have been counted.
#[derive(Debug, Default)]
pub struct Counted {
    /// The unknown values of responses that counted.
    pub unknown: Vec<Encounter>,
    /// The events of responses that counted.
    pub events: Vec<Pending>,
    /// How many events were left out because one request had too many.
    pub left_out: u64,
}

/// Which events to make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether somebody watches.
    is_watched: bool,
    /// Whether there is a logs pipeline.
    is_exported: bool,
}

impl Wanted {
    /// The kinds, where those of `exported` are exported.
    pub fn kinds(self, exported: Kinds) -> Kinds {
        match (self.is_watched, self.is_exported) {
            (true, _) => Kinds::ALL,
            (false, true) => exported,
            (false, false) => Kinds::NONE,
        }
    }
}

/// Where events go. One per process.
#[derive(Debug)]
pub struct Events {
    ledger: Ledger,
    watchers: Arc<Watchers>,
    own_logs: OwnLogs,
    started: SystemTime,
    published: [AtomicU64; Kind::ALL.len()],
    left_out: AtomicU64,
}

const PUBLISHED: Descriptor = Descriptor::counter(
    "refusal_collector.events",
    Unit::Things("{event}"),
    "Refusal events that somebody wanted: the ledger, a logs pipeline, a watcher.",
);
const LEFT_OUT: Descriptor = Descriptor::counter(
    "refusal_collector.events_left_out",
    Unit::Things("{event}"),
    "Refusal events that were not made because one request had too many.",
);
const WATCHERS: Descriptor =
    Descriptor::gauge("refusal_collector.watchers", Unit::Things("{watcher}"), "Who watches events now.");
const MISSED: Descriptor = Descriptor::counter(
    "refusal_collector.watcher_missed_events",
    Unit::Things("{event}"),
    "Refusal events that watchers wanted and were too slow for.",
);
const UNKNOWN_VALUES: Descriptor = Descriptor::gauge(
    "refusal_collector.unknown_values",
    Unit::Things("{value}"),
    "Unknown stop reasons and categories in the ledger.",
);
const LEDGER_OVERFLOW: Descriptor = Descriptor::counter(
    "refusal_collector.unknown_values_overflow",
    Unit::Things("{response}"),
    "LLM responses with an unknown value that the full ledger does not list.",
);

impl Events {
    /// With a ledger that lists so many values.
    pub fn new(unknown_values: usize, watch: WatchLimits, own_logs: OwnLogs) -> Self {
        Events {
            ledger: Ledger::new(unknown_values),
            watchers: Arc::new(Watchers::new(watch)),
            own_logs,
            started: SystemTime::now(),
            published: Default::default(),
            left_out: AtomicU64::new(0),
        }
    }

    /// Which events are wanted now.
    pub fn wanted(&self) -> Wanted {
        Wanted { is_watched: self.watchers.count() > 0, is_exported: !self.own_logs.is_empty() }
    }

    /// Lists unknown values in the ledger and tells nobody: for `refusal-collector selftest`, which reads it back.
    pub fn list(&self, counted: &Counted) {
        counted.unknown.iter().for_each(|met| self.ledger.note(met));
    }

    /// Gives what is told of a request that was taken to all who want it. Waits for nobody.
    pub fn publish(&self, counted: Counted) {
        if counted.left_out > 0 {
            self.left_out.fetch_add(counted.left_out, Relaxed);
        }
        // The ledger hears of every unknown value, whoever else wants the event.
        for met in &counted.unknown {
            self.note_published(met.kind.of_events(), met.responses);
            self.ledger.note(met);
        }
        for Pending { event, is_exported } in counted.events {
            if let Some(kind) = Kind::of_event(&event).filter(|kind| !Kinds::UNKNOWN.has(*kind)) {
                self.note_published(kind, 1);
            }
            if is_exported && !self.own_logs.is_empty() {
                self.own_logs.offer(log_record::log_record(&event));
            }
            self.watchers.show(&Arc::new(event));
        }
    }

    fn note_published(&self, kind: Kind, events: u64) {
        if let Some(published) = self.published.get(kind as usize) {
            published.fetch_add(events, Relaxed);
        }
    }

    /// The unknown values.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Those who watch.
    pub fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    /// Gives all metrics to `sink`.
    pub fn collect(&self, sink: &mut impl Sink) {
        sink.metric(&PUBLISHED);
        for (kind, published) in Kind::ALL.iter().zip(&self.published) {
            let labels = [("event.name", kind.as_str())];
            let value = Value::Integer(published.load(Relaxed));
            sink.point(&Point { labels: &labels, value, start: Some(self.started), exemplar: None });
        }
        let numbers = [
            (LEFT_OUT, self.left_out.load(Relaxed)),
            (WATCHERS, self.watchers.count() as u64),
            (MISSED, self.watchers.missed()),
            (UNKNOWN_VALUES, self.ledger.len() as u64),
            (LEDGER_OVERFLOW, self.ledger.overflow()),
        ];
        for (metric, number) in numbers {
            sink.metric(&metric);
            let start = metric.is_counter().then_some(self.started);
            sink.point(&Point { labels: &[], value: Value::Integer(number), start, exemplar: None });
        }
        self.own_logs.collect(sink);
    }
}

impl Default for Events {
    /// With an ordinary ledger, and nobody who watches or exports.
    fn default() -> Self {
        let watch = WatchLimits { watchers: 0, buffer: 1 };
        Events::new(1000, watch, OwnLogs::new([], 1).0)
    }
}
