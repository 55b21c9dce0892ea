//! The accounts as metrics, under the OpenTelemetry Collector's names where it has one.

use super::process::Process;
use super::tap;
use super::{
    BudgetSnapshot, DropReason, ExporterSnapshot, Own, OwnSnapshot, ReceiverSnapshot, RejectReason, Transport,
};
use crate::config::ComponentId;
use crate::otlp::Signal;
use crate::telemetry::metric::{Descriptor, Point, Sink, Unit, Value};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A counter for each signal, in the order of [`Signal::ALL`].
macro_rules! counter_by_signal {
    ($name:literal, $help:literal) => {
        [
            Descriptor::counter(concat!($name, "_spans"), Unit::Things("{span}"), concat!("Spans ", $help)),
            Descriptor::counter(
                concat!($name, "_log_records"),
                Unit::Things("{record}"),
                concat!("Log records ", $help),
            ),
            Descriptor::counter(
                concat!($name, "_metric_points"),
                Unit::Things("{datapoint}"),
                concat!("Metric data points ", $help),
            ),
        ]
    };
}

type BySignal = [Descriptor; Signal::ALL.len()];
type OfReceiver = fn(&ReceiverSnapshot) -> u64;
type OfExporter = fn(&ExporterSnapshot) -> u64;

const RECEIVED: [(BySignal, OfReceiver); 3] = [
    (counter_by_signal!("otelcol_receiver_accepted", "that were taken and answered with OK."), |receiver| {
        receiver.accepted.items
    }),
    (
        counter_by_signal!(
            "otelcol_receiver_refused",
            "that were pushed back by what is behind the receiver."
        ),
        |receiver| receiver.refused.items,
    ),
    (counter_by_signal!("otelcol_receiver_failed", "that failed in the receiver itself."), |receiver| {
        receiver.failed.items
    }),
];

const REQUESTS: Descriptor =
    Descriptor::counter("otelcol_receiver_requests", Unit::Things("{request}"), "Requests by their outcome.");

const MALFORMED: Descriptor = Descriptor::counter(
    "refusal_collector.receiver.malformed_requests",
    Unit::Things("{request}"),
    "Requests that were refused for good because their bytes are no export request.",
);

const SENT: [(BySignal, OfExporter); 3] = [
    (counter_by_signal!("otelcol_exporter_sent", "that the backend took."), |exporter| exporter.exported),
    (counter_by_signal!("otelcol_exporter_send_failed", "in attempts to send that failed."), |exporter| {
        exporter.send_failed
    }),
    (
        counter_by_signal!("otelcol_exporter_enqueue_failed", "that found no room in the sending queue."),
        |exporter| exporter.enqueue_failed,
    ),
];

const QUEUE_SIZE: Descriptor = Descriptor::gauge(
    "otelcol_exporter_queue_size",
    Unit::Things("{sizer}"),
    "What is in the sending queue, in units of its sizer.",
);
const QUEUE_CAPACITY: Descriptor = Descriptor::gauge(
    "otelcol_exporter_queue_capacity",
    Unit::Things("{sizer}"),
    "What the sending queue holds at most, in units of its sizer.",
);
const IN_FLIGHT_REQUESTS: Descriptor = Descriptor::gauge(
    "otelcol_exporter_in_flight_requests",
    Unit::Things("{request}"),
    "Requests on their way to the backend, or waiting to be tried again.",
);

/// Every item of an exporter's account; they add up.
const ACCOUNT: [(Descriptor, OfExporter); 7] = [
    (item_counter("refusal_collector.exporter.accepted_items", "Items taken from receivers."), |e| {
        e.accepted
    }),
    (
        item_counter(
            "refusal_collector.exporter.restored_items",
            "Items taken over from an earlier process.",
        ),
        |e| e.restored,
    ),
    (item_counter("refusal_collector.exporter.exported_items", "Items that the backend took."), |e| {
        e.exported
    }),
    (item_gauge("refusal_collector.exporter.queued_items", "Items in the sending queue."), |e| {
        e.queued.items
    }),
    (item_gauge("refusal_collector.exporter.in_flight_items", "Items on their way to the backend."), |e| {
        e.in_flight.items
    }),
    (
        Descriptor::gauge(
            "refusal_collector.exporter.queued_size",
            Unit::Bytes,
            "Bytes of uncompressed protobuf in the sending queue.",
        ),
        |e| e.queued.bytes,
    ),
    (
        Descriptor::gauge(
            "refusal_collector.exporter.in_flight_size",
            Unit::Bytes,
            "Bytes of uncompressed protobuf on their way to the backend.",
        ),
        |e| e.in_flight.bytes,
    ),
];
const REJECTED: Descriptor =
    item_counter("refusal_collector.exporter.rejected_items", "Items that the backend refused for good.");
const DROPPED: Descriptor =
    item_counter("refusal_collector.exporter.dropped_items", "Accepted items that were given up.");

const fn item_counter(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor::counter(name, Unit::Things("{item}"), help)
}

const fn item_gauge(name: &'static str, help: &'static str) -> Descriptor {
    Descriptor::gauge(name, Unit::Things("{item}"), help)
}

const QUARANTINED: Descriptor = Descriptor::counter(
    "refusal_collector.exporter.quarantined_records",
    Unit::Things("{record}"),
    "Damaged records of a sending queue on disk; their bytes are kept in its quarantine.",
);

const BUDGET_USED: Descriptor = Descriptor::gauge(
    "refusal_collector.memory_budget.used",
    Unit::Bytes,
    "Bytes of the memory budget that requests occupy.",
);
const BUDGET_CAPACITY: Descriptor = Descriptor::gauge(
    "refusal_collector.memory_budget.capacity",
    Unit::Bytes,
    "Bytes that requests may occupy in memory.",
);

const UPTIME: Descriptor =
    Descriptor::counter("otelcol_process_uptime", Unit::Seconds, "Time since the start of the process.");
const CPU: Descriptor = Descriptor::counter(
    "otelcol_process_cpu_seconds",
    Unit::Seconds,
    "Processor time of the process, user and system.",
);
const MEMORY: Descriptor =
    Descriptor::gauge("otelcol_process_memory_rss", Unit::Bytes, "Memory of the process that is in RAM.");
const BUILD: Descriptor = Descriptor::gauge(
    "refusal_collector.build_info",
    Unit::Things("{build}"),
    "Which build this is; always 1.",
);

impl Own {
    /// Gives all accounts to `sink`, of one snapshot.
    pub fn collect(&self, sink: &mut impl Sink) {
        self.snapshot().collect(sink);
    }
}

impl OwnSnapshot {
    fn collect(&self, sink: &mut impl Sink) {
        let mut out = Out { sink, started: self.started };
        self.collect_receivers(&mut out);
        self.collect_exporters(&mut out);
        tap::collect(&self.taps, &mut out);
        if let Some(BudgetSnapshot { used, capacity }) = self.budget {
            out.one(&BUDGET_USED, Value::Integer(used as u64));
            out.one(&BUDGET_CAPACITY, Value::Integer(capacity as u64));
        }
        out.one(&UPTIME, Value::Float(self.started.elapsed().unwrap_or_default().as_secs_f64()));
        if let Some(process) = Process::now() {
            out.one(&CPU, Value::Float(process.cpu_seconds));
            out.one(&MEMORY, Value::Integer(process.memory_rss_bytes));
        }
        out.sink.metric(&BUILD);
        out.gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    fn collect_receivers<S: Sink>(&self, out: &mut Out<'_, S>) {
        let names: Vec<String> = self.receivers.iter().map(|r| r.receiver.to_string()).collect();
        for (metrics, read) in RECEIVED {
            for (signal, metric) in Signal::ALL.into_iter().zip(&metrics) {
                out.sink.metric(metric);
                for (receiver, name) in self.receivers.iter().zip(&names).filter(|(r, _)| r.signal == signal)
                {
                    let labels = [("receiver", name.as_str()), ("transport", receiver.transport.as_str())];
                    out.counter(&labels, read(receiver));
                }
            }
        }
        // The Collector does not tell signals apart here.
        let mut outcomes: BTreeMap<(&ComponentId, Transport), [u64; 3]> = BTreeMap::new();
        for receiver in &self.receivers {
            let [success, refused, failure] =
                outcomes.entry((&receiver.receiver, receiver.transport)).or_default();
            *success += receiver.accepted.requests;
            *refused += receiver.refused.requests;
            *failure += receiver.failed.requests;
        }
        out.sink.metric(&REQUESTS);
        for ((receiver, transport), counts) in outcomes {
            let name = receiver.to_string();
            for (outcome, count) in ["success", "refused", "failure"].into_iter().zip(counts) {
                let labels =
                    [("receiver", name.as_str()), ("transport", transport.as_str()), ("outcome", outcome)];
                out.counter(&labels, count);
            }
        }
        out.sink.metric(&MALFORMED);
        for (receiver, name) in self.receivers.iter().zip(&names) {
            let labels = [
                ("receiver", name.as_str()),
                ("transport", receiver.transport.as_str()),
                ("data_type", receiver.signal.name()),
            ];
            out.counter(&labels, receiver.malformed_requests);
        }
    }

    fn collect_exporters<S: Sink>(&self, out: &mut Out<'_, S>) {
        let names: Vec<String> = self.exporters.iter().map(|e| e.exporter.to_string()).collect();
        let exporters = || self.exporters.iter().zip(&names);
        for (metrics, read) in SENT {
            for (signal, metric) in Signal::ALL.into_iter().zip(&metrics) {
                out.sink.metric(metric);
                for (exporter, name) in exporters().filter(|(exporter, _)| exporter.signal == signal) {
                    out.counter(&[("exporter", name)], read(exporter));
                }
            }
        }
        for (metric, read) in ACCOUNT {
            out.sink.metric(&metric);
            for (exporter, name) in exporters() {
                let labels = [("exporter", name.as_str()), ("data_type", exporter.signal.name())];
                out.point(&metric, &labels, Value::Integer(read(exporter)));
            }
        }
        out.sink.metric(&REJECTED);
        for (exporter, name) in exporters() {
            for reason in RejectReason::ALL {
                let labels = account_labels(name, exporter, reason.as_str());
                out.counter(&labels, exporter.rejected_for(reason));
            }
        }
        out.sink.metric(&DROPPED);
        for (exporter, name) in exporters() {
            for reason in DropReason::ALL {
                let labels = account_labels(name, exporter, reason.as_str());
                out.counter(&labels, exporter.dropped_for(reason));
            }
        }
        out.sink.metric(&QUARANTINED);
        for (exporter, name) in exporters() {
            let labels = [("exporter", name.as_str()), ("data_type", exporter.signal.name())];
            out.counter(&labels, exporter.quarantined_records);
        }
        out.sink.metric(&IN_FLIGHT_REQUESTS);
        for (exporter, name) in exporters() {
            let labels = [("exporter", name.as_str()), ("data_type", exporter.signal.name())];
            out.gauge(&labels, exporter.in_flight.requests);
        }
        for (metric, is_capacity) in [(QUEUE_SIZE, false), (QUEUE_CAPACITY, true)] {
            out.sink.metric(&metric);
            for (exporter, name) in exporters() {
                let Some(queue) = exporter.queue else { continue };
                let labels = [("exporter", name.as_str()), ("data_type", exporter.signal.name())];
                out.gauge(&labels, if is_capacity { queue.capacity } else { queue.size });
            }
        }
    }
}

fn account_labels<'a>(
    name: &'a str,
    exporter: &ExporterSnapshot,
    reason: &'a str,
) -> [(&'static str, &'a str); 3] {
    [("exporter", name), ("data_type", exporter.signal.name()), ("reason", reason)]
}

/// Writes points of counters that all started with the process, and gauges.
pub(super) struct Out<'a, S> {
    pub(super) sink: &'a mut S,
    started: SystemTime,
}

impl<S: Sink> Out<'_, S> {
    pub(super) fn counter(&mut self, labels: &[(&'static str, &str)], value: u64) {
        let (value, start) = (Value::Integer(value), Some(self.started));
        self.sink.point(&Point { labels, value, start, exemplar: None });
    }

    pub(super) fn gauge(&mut self, labels: &[(&'static str, &str)], value: u64) {
        self.sink.point(&Point { labels, value: Value::Integer(value), start: None, exemplar: None });
    }

    fn point(&mut self, metric: &Descriptor, labels: &[(&'static str, &str)], value: Value) {
        let start = metric.is_counter().then_some(self.started);
        self.sink.point(&Point { labels, value, start, exemplar: None });
    }

    /// A metric that is one series.
    fn one(&mut self, metric: &Descriptor, value: Value) {
        self.sink.metric(metric);
        self.point(metric, &[], value);
    }
}
