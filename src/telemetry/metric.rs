//! What a metric is, before it has any text or wire form.

use std::time::SystemTime;

/// What all points of a metric share. Names are OpenTelemetry's, dotted; text forms derive theirs from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// As in `llm.refusals`.
    pub name: &'static str,
    /// What is counted or measured.
    pub unit: Unit,
    /// Whether it only grows.
    pub kind: Kind,
    /// One sentence for people.
    pub help: &'static str,
}

impl Descriptor {
    /// A cumulative, monotonic sum of `unit`.
    pub const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Descriptor { name, unit, kind: Kind::Counter, help }
    }

    /// A value of the moment in `unit`.
    pub const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Descriptor { name, unit, kind: Kind::Gauge, help }
    }

    /// Whether it only grows.
    pub fn is_counter(&self) -> bool {
        self.kind == Kind::Counter
    }
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cumulative, monotonic sum.
    Counter,
    /// A value of the moment.
    Gauge,
}

/// The unit of a metric, as UCUM has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things that are counted, in braces: `{response}`. They leave no trace in Prometheus' names.
    Things(&'static str),
    /// `s`.
    Seconds,
    /// `By`.
    Bytes,
}

impl Unit {
    /// As OTLP wants it.
    pub fn ucum(self) -> &'static str {
        match self {
            Unit::Things(things) => things,
            Unit::Seconds => "s",
            Unit::Bytes => "By",
        }
    }

    /// As Prometheus appends it to names; none for things that are counted.
    pub fn prometheus(self) -> Option<&'static str> {
        match self {
            Unit::Things(_) => None,
            Unit::Seconds => Some("seconds"),
            Unit::Bytes => Some("bytes"),
        }
    }
}

/// The value of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(u64),
    /// Any number.
    Float(f64),
}

/// One series of a metric at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// Attribute names, dotted, with their values.
    pub labels: &'a [(&'static str, &'a str)],
    /// Its value now.
    pub value: Value,
    /// When a counter stood at zero for the last time; `None` for gauges.
    pub start: Option<SystemTime>,
    /// The event that moved it last.
    pub exemplar: Option<Exemplar>,
}

/// An event that moved a counter, and where to find its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace of the event.
    pub trace_id: [u8; 16],
    /// The span of the event.
    pub span_id: [u8; 8],
    /// By how much it moved the counter.
    pub value: u64,
    /// When.
    pub time: SystemTime,
}

/// Whatever takes metrics: a text form, an export request. Points belong to the metric that was announced last.
pub trait Sink {
    /// The points of another metric follow; a metric is announced once.
    fn metric(&mut self, metric: &Descriptor);

    /// One series.
    fn point(&mut self, point: &Point<'_>);
}
