//! The rules by which a response is known again, as far as they need nothing but flags.

use super::bucket::Flags;
use super::groups::Groups;
use super::{Counted, Sighting, Weight};

/// Flags of a response id.
pub mod response {
    pub const SEEN: u8 = 1;
}

/// Flags of a request id: whether it came with a response id.
pub mod request {
    pub const UNNAMED: u8 = 1;
    pub const NAMED: u8 = 2;
}

/// Flags of a span.
pub mod span {
    use super::Flags;

    /// The first four flags tell with which of the vendor's ids its response came, one flag per value of
    /// [`Sighting::ids`](super::Sighting::ids); this is the one for none.
    pub const UNNAMED: u8 = 1;
    /// All of these four.
    pub const IDS: u8 = 0b1111;
    /// It was seen itself, not only named by a child or by a log record of a response with ids.
    pub const ITSELF: u8 = 1 << 4;
    /// A response right below it was seen.
    pub const CHILD: u8 = 1 << 5;
    /// It stands for the first response below it that comes.
    pub const STANDS_IN: u8 = 1 << 6;
    /// It is an agent's.
    pub const AGENT: u8 = 1 << 7;

    /// The flag of a response with these ids.
    pub fn ids_flag(ids: u8) -> Flags {
        UNNAMED << (ids & 0b11)
    }

    /// The flag of a response that has no id of a kind that is in `ids`, so that it may be the same one. The one of which
    /// least is known comes first.
    pub fn complement(flags: Flags, ids: u8) -> Option<Flags> {
        let others = [0b00, 0b10, 0b01].into_iter().filter(|other| other & ids == 0);
        others.map(ids_flag).find(|flag| flags & flag != 0)
    }

    /// After the response with the flag `met` turned out to be one with `ids`.
    pub fn identified(flags: Flags, met: Flags, ids: u8) -> Flags {
        let ids_of_met = met.trailing_zeros() as u8;
        (flags & !met) | ids_flag(ids_of_met | ids)
    }

    /// After a response right below it was seen.
    pub fn with_child(flags: Flags) -> Flags {
        (flags & !STANDS_IN) | CHILD
    }
}

/// Flags of a trace: whether a call in it was seen, and above that how many agents stand in for calls that may come.
pub mod trace {
    pub const CALL: u8 = 1;
    pub const AGENT: u8 = 2;
    pub const AGENTS: u8 = 0xfe;
}

/// The flags of a sighting's keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub response: Flags,
    pub request: Flags,
    pub span: Flags,
    pub parent: Flags,
    pub trace: Flags,
}

/// What the table says to a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was counted.
    Known,
    /// It was counted if nothing else claims what stands in for it.
    Claims,
    /// It was never seen.
    New,
}

/// What stands in for a response that may be the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A response with the same request id and no response id.
    Request,
    /// A response of the same span without the ids that this one has; `met` is its flag.
    Span { met: Flags },
    /// The span above.
    Parent,
    /// An agent of the same trace.
    Trace,
}

/// All sightings of one response in one request, and what was known of them before.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    sightings: &'a [Sighting],
    known: &'a [Known],
    groups: &'a Groups,
    members: &'a [u32],
    summary: Summary,
}

/// What the sightings of a response tell together.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Which of the vendor's ids it has, as [`Sighting::ids`].
    pub ids: u8,
    /// Whether it was seen as a call to a model.
    pub has_leaf: bool,
}

/// One sighting of a response.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub sighting: &'a Sighting,
    pub known: Known,
    /// Whether a span below it is a member too.
    is_covered: bool,
}

impl<'a> Member<'a> {
    /// The only one of its response.
    pub fn only(sighting: &'a Sighting, known: Known) -> Self {
        Member { sighting, known, is_covered: false }
    }

    /// What is known of its own span. One above others stands or falls with the one that it is joined to.
    pub fn span_flags(&self) -> Flags {
        if self.is_covered { 0 } else { self.known.span }
    }
}

impl<'a> Response<'a> {
    pub fn new(
        sightings: &'a [Sighting],
        known: &'a [Known],
        groups: &'a Groups,
        members: &'a [u32],
    ) -> Self {
        let summary = Summary { ids: 0, has_leaf: false };
        let response = Response { sightings, known, groups, members, summary };
        Response { summary: Summary::of(response.members().map(|member| member.sighting)), ..response }
    }

    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let Response { sightings, known, groups, members, .. } = *self;
        members.iter().filter_map(move |index| {
            let (sighting, known) = (sightings.get(*index as usize)?, *known.get(*index as usize)?);
            Some(Member { sighting, known, is_covered: groups.is_covered(*index) })
        })
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The sightings that count.
    pub fn counted(&self) -> Counted {
        if let [only] = self.members {
            return Counted::only(*only as usize);
        }
        let sightings = || {
            let sighting = |index: &u32| Some((*index as usize, self.sightings.get(*index as usize)?));
            self.members.iter().filter_map(sighting)
        };
        let richest = sightings().max_by_key(|(_, sighting)| sighting.weight());
        let described = sightings().max_by_key(|(_, sighting)| (sighting.has_model, sighting.weight()));
        let index = |found: Option<(usize, _)>| found.map_or(0, |(index, _)| index);
        Counted { richest: index(richest), described: index(described) }
    }

    /// The weight of the richest sighting.
    pub fn weight(&self) -> Weight {
        self.members().map(|member| member.sighting.weight()).max().unwrap_or_default()
    }

    /// What was known of it before its request came.
    pub fn standing(&self) -> Standing {
        self.summary.standing(self.members())
    }
}

impl Summary {
    /// What `sightings` of one response tell.
    pub fn of<'a>(sightings: impl IntoIterator<Item = &'a Sighting>) -> Self {
        let nothing = Summary { ids: 0, has_leaf: false };
        sightings.into_iter().fold(nothing, |Summary { ids, has_leaf }, sighting| Summary {
            ids: ids | sighting.ids(),
            has_leaf: has_leaf | sighting.leaf,
        })
    }

    /// What is known of a response with these members.
    pub fn standing<'a>(self, members: impl IntoIterator<Item = Member<'a>>) -> Standing {
        let mut standing = Standing::New;
        for member in members {
            if self.is_known(&member) {
                return Standing::Known;
            }
            if self.claim(&member).is_some() {
                standing = Standing::Claims;
            }
        }
        standing
    }

    fn is_known(self, member: &Member<'_>) -> bool {
        let (known, of_span) = (&member.known, member.span_flags());
        known.response != 0
            || (self.ids & 1 == 0 && known.request != 0)
            || (self.ids == 0 && of_span & span::IDS != 0)
            || (of_span & span::CHILD != 0 && member.sighting.speaks_for_span())
            || (!self.has_leaf && known.trace & trace::CALL != 0)
    }

    /// What stands in for the response, as far as `member` leads there.
    pub fn claim(self, member: &Member<'_>) -> Option<Claim> {
        let known = &member.known;
        if known.request & request::UNNAMED != 0 {
            return Some(Claim::Request);
        }
        if let Some(met) = span::complement(member.span_flags(), self.ids) {
            return Some(Claim::Span { met });
        }
        // An agent stands in for calls by the trace.
        let stands_in = known.parent & span::STANDS_IN != 0;
        if stands_in && !(self.has_leaf && known.parent & span::AGENT != 0) {
            return Some(Claim::Parent);
        }
        (self.has_leaf && known.trace & trace::AGENTS != 0).then_some(Claim::Trace)
    }

    /// The flags of a request id, after `flags`.
    pub fn request_flags_after(self, flags: Flags) -> Flags {
        match self.ids & 1 {
            0 if flags == 0 => request::UNNAMED,
            0 => flags,
            _ => request::NAMED,
        }
    }

    /// The flags of a member's own span, after `flags`.
    pub fn span_flags_after(self, mut flags: Flags, member: &Member<'_>) -> Flags {
        let before = flags;
        if self.ids != 0 {
            flags = (flags & !span::UNNAMED) | span::ids_flag(self.ids);
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
        if self.has_leaf {
            flags &= !span::AGENT;
        }
        flags
    }
}
