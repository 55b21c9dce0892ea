//! The seen-table: a response that is seen several times counts once.
//!
//! One call to a model may reach the collector as a client's span, as the span of a library above or a proxy below
//! it, as log records, as the span of an agent that repeats how the call ended, and all of that again when an export
//! is retried. Each is a [`Sighting`]. What follows says which sightings are the same response.
//!
//! # Within one request
//!
//! The order of the sightings does not matter. They are the same response
//! 1. by `gen_ai.response.id`;
//! 2. by the vendor's request id, unless both have response ids (then those decide);
//! 3. by their span (trace id and span id; a log record's is the span that it was written in), unless the ids of 1
//!    and 2 say otherwise. So several responses that were logged in one span are several, and of the sightings
//!    without ids in that span all are one response, which is one of those with ids, if there are such;
//! 4. by parentage: a span is the same response as *one* of the spans right below it, rather one that ended the same
//!    way. The others below it (retries, fallbacks, the steps of an agent) count for themselves. A log record without
//!    ids speaks for its span here too;
//! 5. by trace: an agent's or framework's span without any call right below it is the same response as one of the
//!    calls of its trace, rather one that ended the same way.
//!
//! An empty id is no id. An id under 16 bytes is some proxy's or test's counter: it counts only together with the
//! trace id, and without that not at all.
//!
//! The richest sighting is the one that counts: a refusal with a category before one without, a refusal before any
//! other ending, an unknown reason before a known one, any reason before an error without one, that before a missing
//! one, a recovered decline before none, a faithful emitter before a blind one, a call before an agent.
//!
//! # Across requests
//!
//! The first sighting counts, whatever comes later; the rules are the same. Where a rule lets one thing be the same as
//! one of several (3, 4, 5) and that thing came first, it stands for the first of them that comes: an agent that was
//! counted before its three calls came stands for the first call, and the other two count. When several of one
//! request compete for that, the poorest is taken for the repetition, so that the richest counts. What links two
//! sightings must come before or with the second of them: two that were counted are not taken back.
//!
//! # Window and memory
//!
//! The table is one per process, in memory, and remembers at least the last N sightings (`limits.seen_responses`,
//! 65,536), at most twice as many. Each takes up to five keys of eight bytes: at most 128 bytes for each of the N, 8 MiB
//! by default, half of that in ordinary traffic. It starts small and grows as sightings come. Ids are kept as
//! keyed hashes only.

mod cluster;
mod table;
#[cfg(test)]
mod tests;

pub use cluster::{Clusters, cluster};

use crate::telemetry::Identity;
use table::{Flags, Table};

/// An id shorter than this many bytes is not unique by itself.
const SHORTEST_UNIQUE_ID: usize = 16;

/// One item that tells of a response.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// By what the response is known.
    pub keys: Keys,
    /// Whether it is a span, else a log record.
    pub is_span: bool,
    /// Whether it is one call to a model, else an agent's or framework's span around such calls.
    pub leaf: bool,
    /// Equal for sightings that tell the same ending.
    pub ending: u16,
    /// How much it tells; of several sightings the richest counts.
    pub richness: u32,
    /// A hash of all that would be counted, which makes the choice between equally rich ones independent of order.
    pub content: u64,
}

/// What decides between sightings: how rich they are, then something that depends on nothing but them.
type Weight = (u32, bool, bool, u64, Keys);

impl Sighting {
    /// Which of the vendor's ids it has: bit 0 the response's, bit 1 the request's.
    fn ids(&self) -> u8 {
        u8::from(self.keys.response != 0) | u8::from(self.keys.request != 0) << 1
    }

    /// Whether what is below its span is below it: a log record with ids may be one of several in its span.
    fn speaks_for_span(&self) -> bool {
        self.is_span || self.ids() == 0
    }

    fn weight(&self) -> Weight {
        (self.richness, self.leaf, self.is_span, self.content, self.keys)
    }

    /// A key for all sightings of one trace that tell the same ending.
    fn trace_and_ending(&self) -> u64 {
        self.keys.trace.wrapping_add((u64::from(self.ending) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// The identity of a sighting as keyed hashes; 0 stands for what it does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keys {
    /// `gen_ai.response.id`.
    pub response: u64,
    /// The vendor's request id.
    pub request: u64,
    /// Trace and span.
    pub span: u64,
    /// Trace and the span above; equal to that span's `span`.
    pub parent: u64,
    /// The trace.
    pub trace: u64,
}

impl Keys {
    /// Hashes an identity.
    pub fn new(identity: &Identity<'_>, hash: &ahash::RandomState) -> Self {
        let trace = match <[u8; 16]>::try_from(identity.trace_id) {
            Ok(id) if id != [0; 16] => hash.hash_one(u128::from_le_bytes(id)).max(1),
            _ => 0,
        };
        let span = |id: &[u8]| match <[u8; 8]>::try_from(id) {
            Ok(id) if id != [0; 8] && trace != 0 => hash.hash_one((trace, u64::from_le_bytes(id))).max(1),
            _ => 0,
        };
        let id = |kind: u8, id: &str| match id.len() {
            0 => 0,
            SHORTEST_UNIQUE_ID.. => hash.hash_one((kind, id)).max(1),
            _ if trace == 0 => 0,
            _ => hash.hash_one((kind, id, trace)).max(1),
        };
        let (own, above) = (span(identity.span_id), span(identity.parent_span_id));
        Keys {
            response: id(0, identity.response_id),
            request: id(1, identity.request_id),
            span: own,
            // No span is above itself.
            parent: if above == own { 0 } else { above },
            trace,
        }
    }
}

/// The responses that were counted, of the whole process.
#[derive(Debug)]
pub struct Seen {
    table: Table,
    window: usize,
    /// Sightings in the young generation.
    young: usize,
}

/// Flags of a response id.
mod response {
    pub const SEEN: u8 = 1;
}

/// Flags of a request id: whether it came with a response id.
mod request {
    pub const UNNAMED: u8 = 1;
    pub const NAMED: u8 = 2;
}

/// Flags of a span. The first four: with which of the vendor's ids its response came, one bit per value of
/// [`Sighting::ids`](super::Sighting::ids).
mod span {
    pub const UNNAMED: u8 = 1;
    pub const IDS: u8 = 0b1111;
    /// It was seen itself, not only named by a child or by a log record of a response with ids.
    pub const ITSELF: u8 = 1 << 4;
    /// A response right below it was seen.
    pub const CHILD: u8 = 1 << 5;
    /// It stands for the first response below it that comes.
    pub const STANDS_IN: u8 = 1 << 6;
    /// It is an agent's.
    pub const AGENT: u8 = 1 << 7;
}

/// Flags of a trace: whether a call in it was seen, and above that how many agents stand in for calls that may come.
mod trace {
    pub const CALL: u8 = 1;
    pub const AGENT: u8 = 2;
    pub const AGENTS: u8 = 0xfe;
}

/// What all sightings of one response tell together.
struct Response<'a> {
    sightings: &'a [Sighting],
    clusters: &'a Clusters,
    members: &'a [u32],
    /// Which of the vendor's ids it has, as [`Sighting::ids`].
    ids: u8,
    has_leaf: bool,
    /// The sighting that counts.
    richest: u32,
    weight: Weight,
}

/// One sighting of a response.
struct Member<'a> {
    sighting: &'a Sighting,
    /// Whether a span below it is a member too.
    is_covered: bool,
}

/// What stands in for a response that may be the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// A response with the same request id and no response id.
    Request { key: u64 },
    /// A response of the same span without the ids that this one has; `met` is its flag.
    Span { key: u64, met: Flags },
    /// The span above.
    Parent { key: u64 },
    /// An agent of the same trace.
    Trace { key: u64 },
}

/// What the table says to a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It was counted.
    Known,
    /// It was counted if nothing else claims what stands in for it.
    Claims,
    /// It was never seen.
    New,
}

impl Seen {
    /// Remembers at least the last `window` sightings.
    pub fn new(window: usize) -> Self {
        Seen { table: Table::default(), window: window.max(1), young: 0 }
    }

    /// Takes the sightings of one request, grouped by [`cluster`], and calls `count` with the index of the sighting
    /// that counts for each response that was not counted before.
    pub fn admit(&mut self, sightings: &[Sighting], clusters: &Clusters, mut count: impl FnMut(usize)) {
        // All are compared with what was there before any of them comes in: what they are to each other is settled.
        let mut standings = Vec::with_capacity(clusters.len());
        let mut claimants = Vec::new();
        for (place, members) in clusters.iter().enumerate() {
            let response = Response::new(sightings, clusters, members);
            let standing = self.standing(&response);
            match standing {
                Standing::New => {}
                Standing::Known => self.release(&response),
                Standing::Claims => claimants.push((response.weight, place, response)),
            }
            standings.push(standing);
        }
        claimants.sort_unstable_by_key(|(weight, place, _)| (*weight, *place));
        for (_, place, response) in claimants {
            let is_granted = self.grant(&response);
            if let Some(standing) = standings.get_mut(place) {
                *standing = if is_granted { Standing::Known } else { Standing::New };
            }
        }
        for (members, standing) in clusters.iter().zip(standings) {
            let response = Response::new(sightings, clusters, members);
            let is_new = standing == Standing::New;
            if is_new {
                count(response.richest as usize);
            }
            self.remember(&response, is_new);
        }
    }

    /// How many bytes the table takes.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    fn standing(&self, response: &Response<'_>) -> Standing {
        let mut standing = Standing::New;
        for member in response.members() {
            let keys = &member.sighting.keys;
            let of_span = self.span_flags(&member);
            let is_known = self.flags(keys.response) != 0
                || (response.ids & 1 == 0 && self.flags(keys.request) != 0)
                || (response.ids == 0 && of_span & span::IDS != 0)
                || (member.sighting.speaks_for_span() && of_span & span::CHILD != 0)
                || (!response.has_leaf && self.flags(keys.trace) & trace::CALL != 0);
            if is_known {
                return Standing::Known;
            }
            if self.claim(response, &member).is_some() {
                standing = Standing::Claims;
            }
        }
        standing
    }

    /// What stands in for `response`, as far as `member` leads to it.
    fn claim(&self, response: &Response<'_>, member: &Member<'_>) -> Option<Claim> {
        let keys = &member.sighting.keys;
        if self.flags(keys.request) & request::UNNAMED != 0 {
            return Some(Claim::Request { key: keys.request });
        }
        if let Some(met) = complement(self.span_flags(member), response.ids) {
            return Some(Claim::Span { key: keys.span, met });
        }
        // An agent stands in for calls by the trace.
        let above = self.flags(keys.parent);
        if above & span::STANDS_IN != 0 && !(response.has_leaf && above & span::AGENT != 0) {
            return Some(Claim::Parent { key: keys.parent });
        }
        let has_agent = response.has_leaf && self.flags(keys.trace) & trace::AGENTS != 0;
        has_agent.then_some(Claim::Trace { key: keys.trace })
    }

    /// Takes what stands in for `response`, if that is still there.
    fn grant(&mut self, response: &Response<'_>) -> bool {
        let claims = response.members().filter_map(|member| {
            let claim = self.claim(response, &member)?;
            Some((member.sighting.weight(), claim))
        });
        let Some((_, claim)) = claims.max_by_key(|(weight, _)| *weight) else { return false };
        match claim {
            Claim::Request { key } => self.update(key, |_| request::NAMED),
            Claim::Span { key, met } => {
                let both = ids_bit(ids_of_bit(met) | response.ids);
                self.update(key, |flags| (flags & !met) | both);
            }
            Claim::Parent { key } => self.update(key, |flags| (flags & !span::STANDS_IN) | span::CHILD),
            Claim::Trace { key } => {
                self.update(key, |flags| flags.saturating_sub(trace::AGENT) | trace::CALL)
            }
        }
        true
    }

    /// Takes away what stood in for a response that is known by other means, before others claim it.
    fn release(&mut self, response: &Response<'_>) {
        for member in response.members() {
            let keys = member.sighting.keys;
            if response.ids & 1 != 0 && self.flags(keys.request) & request::UNNAMED != 0 {
                self.update(keys.request, |_| request::NAMED);
            }
            if response.ids != 0 && self.span_flags(&member) & span::UNNAMED != 0 {
                self.update(keys.span, |flags| (flags & !span::UNNAMED) | ids_bit(response.ids));
            }
            if self.flags(keys.parent) & span::STANDS_IN != 0 {
                self.update(keys.parent, |flags| (flags & !span::STANDS_IN) | span::CHILD);
            }
        }
    }

    /// Notes all keys of a response.
    fn remember(&mut self, response: &Response<'_>, is_new: bool) {
        for member in response.members() {
            let (sighting, keys) = (member.sighting, member.sighting.keys);
            self.make_room();
            self.update(keys.response, |_| response::SEEN);
            self.update(keys.request, |flags| match response.ids & 1 {
                0 if flags == 0 => request::UNNAMED,
                0 => flags,
                _ => request::NAMED,
            });
            self.update(keys.span, |flags| span_flags(flags, &member, response));
            self.update(keys.parent, |flags| (flags & !span::STANDS_IN) | span::CHILD);
            if sighting.leaf {
                self.update(keys.trace, |flags| flags | trace::CALL);
            }
        }
        if is_new && !response.has_leaf {
            let trace = response.members().map(|agent| agent.sighting.keys.trace).max().unwrap_or_default();
            self.update(trace, |flags| flags.checked_add(trace::AGENT).unwrap_or(flags));
        }
    }

    fn make_room(&mut self) {
        self.young += 1;
        if self.young > self.window {
            self.table.rotate();
            self.young = 1;
        }
    }

    /// What is known of a member's own span. One above others stands or falls with the one that it is joined to.
    fn span_flags(&self, member: &Member<'_>) -> Flags {
        if member.is_covered { 0 } else { self.flags(member.sighting.keys.span) }
    }

    fn flags(&self, key: u64) -> Flags {
        if key == 0 { 0 } else { self.table.get(key) }
    }

    fn update(&mut self, key: u64, change: impl FnOnce(Flags) -> Flags) {
        if key != 0 {
            self.table.update(key, change);
        }
    }
}

/// The flags of a member's own span, after `before`.
fn span_flags(before: Flags, member: &Member<'_>, response: &Response<'_>) -> Flags {
    let (mut flags, ids) = (before, response.ids);
    if ids != 0 {
        flags = (flags & !span::UNNAMED) | ids_bit(ids);
    } else if before & span::IDS == 0 {
        flags |= span::UNNAMED;
    }
    if !member.sighting.speaks_for_span() {
        return flags;
    }
    if before & span::ITSELF == 0 {
        flags |= span::ITSELF | span::AGENT;
        if !member.is_covered && before & span::CHILD == 0 {
            flags |= span::STANDS_IN;
        }
    }
    if response.has_leaf {
        flags &= !span::AGENT;
    }
    flags
}

/// The bit in a span's flags for a response with these ids.
fn ids_bit(ids: u8) -> Flags {
    span::UNNAMED << (ids & 0b11)
}

/// The ids that [`ids_bit`] made a bit of.
fn ids_of_bit(bit: Flags) -> u8 {
    bit.trailing_zeros() as u8
}

/// The bit of a response among `of_span` that has no id of a kind that is in `ids`, so that it may be the same one.
/// The one that least is known of comes first.
fn complement(of_span: Flags, ids: u8) -> Option<Flags> {
    let mut candidates = [0b00, 0b10, 0b01].into_iter().filter(|other| other & ids == 0).map(ids_bit);
    candidates.find(|bit| of_span & bit != 0)
}

impl<'a> Response<'a> {
    fn new(sightings: &'a [Sighting], clusters: &'a Clusters, members: &'a [u32]) -> Self {
        let weight = Weight::default();
        let mut response =
            Response { sightings, clusters, members, ids: 0, has_leaf: false, richest: 0, weight };
        for index in members {
            let Some(sighting) = sightings.get(*index as usize) else { continue };
            response.ids |= sighting.ids();
            response.has_leaf |= sighting.leaf;
            if sighting.weight() >= response.weight {
                (response.richest, response.weight) = (*index, sighting.weight());
            }
        }
        response
    }

    fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let (sightings, clusters) = (self.sightings, self.clusters);
        self.members.iter().filter_map(move |index| {
            let sighting = sightings.get(*index as usize)?;
            Some(Member { sighting, is_covered: clusters.is_covered(*index) })
        })
    }
}
