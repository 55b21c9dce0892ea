//! What a tap saw, and what became of it.

use super::metrics::Out;
use crate::config::ComponentId;
use crate::telemetry::metric::{Descriptor, Sink, Unit};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A closed enum whose variants are labels.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: [$name; [$($text),+].len()] = [$($name::$variant,)+];

            /// The value of the label.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
    };
}

labels! {
    /// How the copy of a call ended.
    StreamEnd {
        /// With the end of the answer.
        Whole = "eos",
        /// Before it: the vendor or the client broke the call off, or Envoy the copy.
        Cut = "cut",
        /// The call is none to a model.
        Declined = "declined",
        /// Over a limit of this receiver.
        Limit = "limit",
        /// The answer's content coding could not be undone.
        Undecodable = "undecodable",
        /// What came is not what Envoy sends.
        Malformed = "malformed",
        /// This collector stops.
        Shutdown = "shutdown",
        /// A fault of this program's.
        Panic = "panic",
    }
}

labels! {
    /// By what a record and a span were known to be one call.
    JoinRule {
        /// The vendor's response id.
        ResponseId = "response_id",
        /// The vendor's request id.
        RequestId = "request_id",
        /// The span that the request was made in.
        Span = "span",
        /// A span beside or right above the one that the request was made in.
        Relative = "relative",
    }
}

labels! {
    /// Why something of a record was lost.
    TapDrop {
        /// Too many records waited: one was counted before its time, and not told.
        Waiting = "waiting",
        /// No pipeline took the record: it was counted, and not told.
        Refused = "refused",
    }
}

/// The account of one tap.
#[derive(Debug)]
pub struct TapMetrics {
    receiver: ComponentId,
    open: AtomicUsize,
    streams: [AtomicU64; StreamEnd::ALL.len()],
    joined: [AtomicU64; JoinRule::ALL.len()],
    unmatched: AtomicU64,
    incomplete: AtomicU64,
    undecodable: [AtomicU64; CODINGS.len()],
    dropped: [AtomicU64; TapDrop::ALL.len()],
    disagreements: AtomicU64,
    answering: AtomicU64,
    waiting: AtomicUsize,
}

/// The values of the label `encoding`.
pub(super) const CODINGS: [&str; 5] = ["gzip", "deflate", "br", "zstd", "other"];

impl TapMetrics {
    pub(super) fn new(receiver: ComponentId) -> Self {
        TapMetrics {
            receiver,
            open: AtomicUsize::new(0),
            streams: Default::default(),
            joined: Default::default(),
            unmatched: AtomicU64::new(0),
            incomplete: AtomicU64::new(0),
            undecodable: Default::default(),
            dropped: Default::default(),
            disagreements: AtomicU64::new(0),
            answering: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn is_of(&self, receiver: &ComponentId) -> bool {
        self.receiver == *receiver
    }

    /// The copy of a call begins.
    pub fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// The copy of a call ended.
    pub fn closed(&self, end: StreamEnd) {
        self.open.fetch_sub(1, Relaxed);
        add(&self.streams, end as usize);
    }

    /// The copy of a call was refused as soon as it began.
    pub fn refused(&self) {
        add(&self.streams, StreamEnd::Limit as usize);
    }

    /// Envoy waits for replies, so that the call depends on this receiver.
    pub fn answering(&self) {
        self.answering.fetch_add(1, Relaxed);
    }

    /// An answer could be read only in part.
    pub fn incomplete(&self) {
        self.incomplete.fetch_add(1, Relaxed);
    }

    /// An answer's content coding could not be undone.
    pub fn undecodable(&self, encoding: &str) {
        let place = CODINGS.iter().position(|known| *known == encoding).unwrap_or(CODINGS.len() - 1);
        add(&self.undecodable, place);
    }

    /// A record was joined by a span.
    pub fn joined(&self, rule: JoinRule) {
        add(&self.joined, rule as usize);
    }

    /// A record waited in vain.
    pub fn unmatched(&self) {
        self.unmatched.fetch_add(1, Relaxed);
    }

    /// A span by itself would have come to another verdict than the record that it joined.
    pub fn disagreed(&self) {
        self.disagreements.fetch_add(1, Relaxed);
    }

    /// Something of a record was lost.
    pub fn dropped(&self, reason: TapDrop) {
        add(&self.dropped, reason as usize);
    }

    /// So many records wait.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Relaxed);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> TapSnapshot {
        TapSnapshot {
            receiver: self.receiver.clone(),
            open: self.open.load(Relaxed) as u64,
            streams: read(&self.streams),
            joined: read(&self.joined),
            unmatched: self.unmatched.load(Relaxed),
            incomplete: self.incomplete.load(Relaxed),
            undecodable: read(&self.undecodable),
            dropped: read(&self.dropped),
            disagreements: self.disagreements.load(Relaxed),
            answering: self.answering.load(Relaxed),
            waiting: self.waiting.load(Relaxed) as u64,
        }
    }
}

fn add(counters: &[AtomicU64], place: usize) {
    if let Some(counter) = counters.get(place) {
        counter.fetch_add(1, Relaxed);
    }
}

fn read<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    counters.each_ref().map(|counter| counter.load(Relaxed))
}

/// The account of one tap at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSnapshot {
    /// Whose account it is.
    pub receiver: ComponentId,
    /// Calls that are being copied.
    pub open: u64,
    /// Calls whose copy ended, in the order of [`StreamEnd::ALL`].
    pub streams: [u64; StreamEnd::ALL.len()],
    /// Records that spans have joined, in the order of [`JoinRule::ALL`].
    pub joined: [u64; JoinRule::ALL.len()],
    /// Records that waited in vain.
    pub unmatched: u64,
    /// Answers that were read only in part.
    pub incomplete: u64,
    /// Answers whose content coding could not be undone, in the order of the codings.
    pub(super) undecodable: [u64; CODINGS.len()],
    /// What was lost of records, in the order of [`TapDrop::ALL`].
    pub dropped: [u64; TapDrop::ALL.len()],
    /// Records that told another end than the spans that joined them.
    pub disagreements: u64,
    /// Calls that waited for replies.
    pub answering: u64,
    /// Records that wait.
    pub waiting: u64,
}

impl TapSnapshot {
    /// How many copies ended so.
    pub fn ended(&self, end: StreamEnd) -> u64 {
        self.streams.get(end as usize).copied().unwrap_or_default()
    }

    /// How many records were joined by this rule.
    pub fn joined_by(&self, rule: JoinRule) -> u64 {
        self.joined.get(rule as usize).copied().unwrap_or_default()
    }
}

const STREAMS: Descriptor = Descriptor::counter(
    "refusal_collector.tap.streams",
    Unit::Things("{call}"),
    "Calls whose copy ended, by how it ended.",
);
const OPEN_STREAMS: Descriptor = Descriptor::gauge(
    "refusal_collector.tap.open_streams",
    Unit::Things("{call}"),
    "Calls that are being copied.",
);
const RECORDS: Descriptor = Descriptor::counter(
    "refusal_collector.tap.records",
    Unit::Things("{record}"),
    "Vendor answers that were read, by what joined them to a span; none: they were counted by themselves.",
);
const WAITING: Descriptor = Descriptor::gauge(
    "refusal_collector.tap.waiting_records",
    Unit::Things("{record}"),
    "Vendor answers that wait for the spans of their calls.",
);
const INCOMPLETE: Descriptor = Descriptor::counter(
    "refusal_collector.tap.incomplete",
    Unit::Things("{answer}"),
    "Vendor answers that were read only in part.",
);
const UNDECODABLE: Descriptor = Descriptor::counter(
    "refusal_collector.tap.undecodable",
    Unit::Things("{answer}"),
    "Vendor answers whose content coding could not be undone.",
);
const TAP_DROPPED: Descriptor = Descriptor::counter(
    "refusal_collector.tap.dropped",
    Unit::Things("{record}"),
    "Vendor answers that were counted and not told of.",
);
const DISAGREEMENTS: Descriptor = Descriptor::counter(
    "refusal_collector.tap.disagreements",
    Unit::Things("{record}"),
    "Vendor answers that ended in another way than the spans that joined them say.",
);
const ANSWERING: Descriptor = Descriptor::counter(
    "refusal_collector.tap.answering_streams",
    Unit::Things("{call}"),
    "Calls that waited for this collector, because Envoy's filter is not in observability mode.",
);

/// Gives the accounts to `out`.
pub(super) fn collect<S: Sink>(taps: &[TapSnapshot], out: &mut Out<'_, S>) {
    if taps.is_empty() {
        return;
    }
    let names: Vec<String> = taps.iter().map(|tap| tap.receiver.to_string()).collect();
    let each = || taps.iter().zip(names.iter().map(String::as_str));
    let labelled: [(_, &str, Labelled); 4] = [
        (&STREAMS, "end", |tap| labels_of(StreamEnd::ALL.map(StreamEnd::as_str), tap.streams)),
        (&RECORDS, "joined", |tap| {
            let mut records = labels_of(JoinRule::ALL.map(JoinRule::as_str), tap.joined);
            records.push(("none", tap.unmatched));
            records
        }),
        (&UNDECODABLE, "encoding", |tap| labels_of(CODINGS, tap.undecodable)),
        (&TAP_DROPPED, "reason", |tap| labels_of(TapDrop::ALL.map(TapDrop::as_str), tap.dropped)),
    ];
    for (metric, label, read) in labelled {
        out.sink.metric(metric);
        for (tap, name) in each() {
            for (value, count) in read(tap) {
                out.counter(&[("receiver", name), (label, value)], count);
            }
        }
    }
    let plain: [(_, Plain); 3] = [
        (&INCOMPLETE, |tap| tap.incomplete),
        (&DISAGREEMENTS, |tap| tap.disagreements),
        (&ANSWERING, |tap| tap.answering),
    ];
    for (metric, read) in plain {
        out.sink.metric(metric);
        each().for_each(|(tap, name)| out.counter(&[("receiver", name)], read(tap)));
    }
    let gauges: [(_, Plain); 2] = [(&OPEN_STREAMS, |tap| tap.open), (&WAITING, |tap| tap.waiting)];
    for (metric, read) in gauges {
        out.sink.metric(metric);
        each().for_each(|(tap, name)| out.gauge(&[("receiver", name)], read(tap)));
    }
}

/// Reads numbers out of an account, by the values of a label.
type Labelled = fn(&TapSnapshot) -> Vec<(&'static str, u64)>;

/// Reads a number out of an account.
type Plain = fn(&TapSnapshot) -> u64;

fn labels_of<const N: usize>(labels: [&'static str; N], counts: [u64; N]) -> Vec<(&'static str, u64)> {
    labels.into_iter().zip(counts).collect()
}
