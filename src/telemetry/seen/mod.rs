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
//! one, a recovered decline before none, a faithful emitter before a blind one, a call before an agent. Where the richest
//! does not tell the model, provider, model and workload are those of the richest that does.
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
//! 65,536), at most twice as many and those of one request. Each takes up to five keys of eight bytes, and the table is
//! at most five eighths full. By default that is 4 MiB where a sighting brings two new keys, 8 MiB where it brings three
//! or more, and 17 MiB at most. It starts with nothing and doubles as sightings come; while it does, it takes half as
//! much again. Ids are kept as keyed hashes only.

mod bucket;
mod cluster;
mod groups;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use cluster::cluster;
pub use groups::Clusters;

use crate::telemetry::Identity;
use bucket::Flags;
use groups::Groups;
use rules::{Claim, Known, Member, Response, Standing, Summary, request, response, span, trace};
use table::Table;

/// An id shorter than this many bytes is not unique by itself.
const SHORTEST_UNIQUE_ID: usize = 16;

/// So many sightings are looked up together: enough to wait for all their cache lines at once, and few enough for these
/// to be still there when they are needed.
const BLOCK: usize = 32;

/// One item that tells of a response.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// By what the response is known.
    pub keys: Keys,
    /// Whether it is a span, else a log record.
    pub is_span: bool,
    /// Whether it is one call to a model, else an agent's or framework's span around such calls.
    pub leaf: bool,
    /// Whether it tells the model.
    pub has_model: bool,
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
    /// Hashes an identity. Inline, because what is handed back is read before it has reached memory.
    #[inline(always)]
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

    fn all(&self) -> [u64; 5] {
        [self.response, self.request, self.span, self.parent, self.trace]
    }
}

/// A response that counts, by indices of its sightings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Tells how it ended.
    pub richest: usize,
    /// Tells where it comes from and who asked for it.
    pub described: usize,
}

impl Counted {
    /// By its only sighting.
    fn only(sighting: usize) -> Self {
        Counted { richest: sighting, described: sighting }
    }

    /// With so many sightings before.
    fn after(self, sightings: usize) -> Self {
        Counted { richest: self.richest + sightings, described: self.described + sightings }
    }
}

/// The responses that were counted, of the whole process.
#[derive(Debug)]
pub struct Seen {
    table: Table,
    window: usize,
    /// Sightings since the last rotation.
    young: usize,
}

impl Seen {
    /// Remembers at least the last `window` sightings.
    pub fn new(window: usize) -> Self {
        Seen { table: Table::default(), window: window.max(1), young: 0 }
    }

    /// Takes the sightings of one request, grouped by [`cluster`], and calls `count` for each response that was not
    /// counted before.
    pub fn admit(&mut self, sightings: &[Sighting], clusters: &Clusters, mut count: impl FnMut(Counted)) {
        if self.young >= self.window {
            self.table.rotate();
            self.young = 0;
        }
        self.young += sightings.len();
        match clusters {
            Clusters::Groups(groups) => self.admit_groups(sightings, groups, count),
            Clusters::Strangers(_) => {
                let taken = self.admit_strangers(sightings, &mut count);
                let rest = sightings.get(taken..).unwrap_or_default();
                if !rest.is_empty() {
                    let groups = Groups::each_alone(rest.len());
                    self.admit_groups(rest, &groups, |response| count(response.after(taken)));
                }
            }
        }
    }

    /// How many bytes the table takes.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Takes calls that have nothing in common one by one, up to the first that may claim what stands in for it; says how
    /// many it took. Who of several claimants is granted what they claim is found out with all of them at hand. The others
    /// may come in any order: all that one can change for another is that the span above it no longer stands in for a
    /// call. It does so as one that is known already, which goes before the claimants anyway; or that span is an agent's,
    /// which stands in for none of them.
    fn admit_strangers(&mut self, sightings: &[Sighting], count: &mut impl FnMut(Counted)) -> usize {
        let mut taken = 0;
        for block in sightings.chunks(BLOCK) {
            self.fetch(block);
            for sighting in block {
                match self.admit_stranger(sighting) {
                    Standing::New => count(Counted::only(taken)),
                    Standing::Known => {}
                    Standing::Claims => return taken,
                }
                taken += 1;
            }
        }
        taken
    }

    /// Takes a call, unless it may claim something: then all flags stay as they are.
    fn admit_stranger(&mut self, sighting: &Sighting) -> Standing {
        let (summary, keys) = (Summary::of([sighting]), &sighting.keys);
        // To note the keys tells what was known of them, so that each is looked up once.
        let known = self.note(summary, &Member::only(sighting, Known::default()));
        let standing = summary.standing([Member::only(sighting, known)]);
        if standing == Standing::Claims {
            self.update(keys.response, |_| known.response);
            self.update(keys.request, |_| known.request);
            self.update(keys.span, |_| known.span);
            self.update(keys.parent, |_| known.parent);
            self.update(keys.trace, |_| known.trace);
        }
        standing
    }

    fn admit_groups(&mut self, sightings: &[Sighting], groups: &Groups, mut count: impl FnMut(Counted)) {
        // All are compared with what was there before any of them comes in: what they are to each other is settled.
        let mut known: Vec<Known> = Vec::with_capacity(sightings.len());
        for block in sightings.chunks(BLOCK) {
            self.fetch(block);
            known.extend(block.iter().map(|sighting| self.known(&sighting.keys)));
        }
        let responses = || groups.iter().map(|members| Response::new(sightings, &known, groups, members));
        let mut standings: Vec<Standing> = responses().map(|response| response.standing()).collect();
        if standings.iter().any(|standing| *standing != Standing::New) {
            self.settle(responses(), &mut standings);
        }
        for (response, standing) in responses().zip(standings) {
            let is_new = standing == Standing::New;
            if is_new {
                count(response.counted());
            }
            self.remember(&response, is_new);
        }
    }

    /// Finds out who of the claimants is granted what stands in for them.
    fn settle<'a>(&mut self, responses: impl Iterator<Item = Response<'a>>, standings: &mut [Standing]) {
        let mut claimants = Vec::new();
        for (response, standing) in responses.zip(standings) {
            match standing {
                Standing::New => {}
                Standing::Known => self.release(&response),
                Standing::Claims => claimants.push((response.weight(), response, standing)),
            }
        }
        claimants.sort_by_key(|(weight, ..)| *weight);
        for (_, response, standing) in claimants {
            *standing = if self.grant(&response) { Standing::Known } else { Standing::New };
        }
    }

    /// Takes what stands in for `response`, if that is still there.
    fn grant(&mut self, response: &Response<'_>) -> bool {
        let summary = response.summary();
        let claims = response.members().filter_map(|mut member| {
            member.known = self.known(&member.sighting.keys);
            let claim = summary.claim(&member)?;
            Some((member.sighting.weight(), claim, member))
        });
        let Some((_, claim, member)) = claims.max_by_key(|(weight, ..)| *weight) else { return false };
        let keys = member.sighting.keys;
        match claim {
            Claim::Request => self.update(keys.request, |_| request::NAMED),
            Claim::Span { met } => self.update(keys.span, |flags| span::identified(flags, met, summary.ids)),
            Claim::Parent => self.update(keys.parent, span::with_child),
            Claim::Trace => self.update(keys.trace, |flags| flags.saturating_sub(trace::AGENT) | trace::CALL),
        };
        true
    }

    /// Takes away what stood in for a response that is known by other means, before others claim it.
    fn release(&mut self, response: &Response<'_>) {
        let ids = response.summary().ids;
        for member in response.members() {
            let (keys, known) = (member.sighting.keys, member.known);
            if ids & 1 != 0 && known.request & request::UNNAMED != 0 {
                self.update(keys.request, |_| request::NAMED);
            }
            if ids != 0 && member.span_flags() & span::UNNAMED != 0 {
                let identified = |flags| span::identified(flags, span::UNNAMED, ids);
                self.update(keys.span, identified);
            }
            if known.parent & span::STANDS_IN != 0 {
                self.update(keys.parent, span::with_child);
            }
        }
    }

    /// Notes all keys of a response.
    fn remember(&mut self, response: &Response<'_>, is_new: bool) {
        let summary = response.summary();
        for member in response.members() {
            self.note(summary, &member);
        }
        if is_new
            && !summary.has_leaf
            && let Some(agent) = response.members().max_by_key(|member| member.sighting.keys.trace)
        {
            let one_more = |flags: Flags| flags.checked_add(trace::AGENT).unwrap_or(flags);
            self.update(agent.sighting.keys.trace, one_more);
        }
    }

    /// Notes the keys of a member, of an agent all but its trace; says what was known of them.
    fn note(&mut self, summary: Summary, member: &Member<'_>) -> Known {
        let (sighting, keys) = (member.sighting, &member.sighting.keys);
        Known {
            response: self.update(keys.response, |_| response::SEEN),
            request: self.update(keys.request, |flags| summary.request_flags_after(flags)),
            span: self.update(keys.span, |flags| summary.span_flags_after(flags, member)),
            parent: self.update(keys.parent, span::with_child),
            trace: if sighting.leaf { self.update(keys.trace, |flags| flags | trace::CALL) } else { 0 },
        }
    }

    /// Brings what is to be looked up into the cache.
    fn fetch(&self, sightings: &[Sighting]) {
        sightings.iter().flat_map(|sighting| sighting.keys.all()).for_each(|key| self.table.fetch(key));
    }

    /// What the table knows of a sighting's keys now.
    fn known(&self, keys: &Keys) -> Known {
        let flags = |key| if key == 0 { 0 } else { self.table.get(key) };
        Known {
            response: flags(keys.response),
            request: flags(keys.request),
            span: flags(keys.span),
            parent: flags(keys.parent),
            trace: flags(keys.trace),
        }
    }

    /// Changes the flags of a key; gives those that it had.
    fn update(&mut self, key: u64, change: impl FnOnce(Flags) -> Flags) -> Flags {
        if key == 0 { 0 } else { self.table.update(key, change) }
    }
}
