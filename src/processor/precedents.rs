//! What was decided of the calls of one scope, for others of it that tell the same.

use crate::refusal::evidence::{Ending, Evidence, Likeness, SpanHead, Template};
use crate::telemetry::tally::Row;

/// The decisions of one scope of one request.
#[derive(Debug, Default)]
pub(super) struct Precedents<'m> {
    known: Vec<Known<'m>>,
    /// The one that was met last.
    last: usize,
    /// How many spans have been judged that nothing was noted of, because others may not follow.
    few: usize,
    /// How many decisions were noted since one was of use.
    in_vain: usize,
    /// The span that was looked for last, if it is like one of them and nothing had been decided of its ending.
    open: Option<Open<'m>>,
}

/// What was decided of a span, and holds for all that tell the same.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// As what it counts.
    pub(super) row: Row,
    /// What was appended to it.
    pub(super) appended: Box<[u8]>,
}

#[derive(Debug)]
struct Known<'m> {
    template: Template<'m>,
    decisions: Vec<(Ending<'m>, Decision)>,
}

#[derive(Debug)]
struct Open<'m> {
    /// Where the span starts in its request.
    span: usize,
    /// Which of the known it is like.
    known: usize,
    ending: Ending<'m>,
}

/// How many ways to look are told apart. More would be compared with in vain.
const MOST_TEMPLATES: usize = 4;

/// How many endings of each way to look.
const MOST_ENDINGS: usize = 16;

/// So many spans are judged sooner than precedents are made of them.
const FEW: usize = 8;

/// After so many decisions that were of no use, the spans of a scope have nothing in common.
const MOST_IN_VAIN: usize = 32;

impl<'m> Precedents<'m> {
    /// Forgets all: what comes is of another scope.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        (self.few, self.in_vain, self.open) = (0, 0, None);
    }

    /// What holds for a span.
    pub(super) fn find(&mut self, span: &SpanHead<'m>) -> Option<(&Decision, Likeness<'m>)> {
        self.open = None;
        if self.in_vain > MOST_IN_VAIN {
            return None;
        }
        let (at, likeness) = self.like(span)?;
        self.last = at;
        let decisions = &self.known.get(at)?.decisions;
        let Some((_, decision)) = decisions.iter().find(|(ending, _)| *ending == likeness.ending) else {
            self.open = Some(Open { span: span.start(), known: at, ending: likeness.ending });
            return None;
        };
        self.in_vain = 0;
        Some((decision, likeness))
    }

    /// Notes what was decided of a span that was looked for, so far as there is room, and others can be known by it at all.
    pub(super) fn note(&mut self, evidence: &Evidence<'m>, decide: impl FnOnce() -> Decision) {
        if self.few < FEW {
            self.few += 1;
            return;
        }
        if self.in_vain > MOST_IN_VAIN {
            return;
        }
        self.in_vain += 1;
        if let Some(open) = self.open.take().filter(|open| open.span == evidence.item().start) {
            let known = self.known.get_mut(open.known);
            if let Some(known) = known.filter(|known| known.decisions.len() < MOST_ENDINGS) {
                known.decisions.push((open.ending, decide()));
            }
        } else if self.known.len() < MOST_TEMPLATES
            && let Some((template, likeness)) = Template::of(evidence)
        {
            self.last = self.known.len();
            self.known.push(Known { template, decisions: vec![(likeness.ending, decide())] });
        }
    }

    /// Which of them a span is like, the one first that the last one was like.
    fn like(&mut self, span: &SpanHead<'m>) -> Option<(usize, Likeness<'m>)> {
        let Precedents { known, last, .. } = self;
        let mut likeness = |at: usize| Some((at, known.get_mut(at)?.template.likeness(span)?));
        likeness(*last).or_else(|| (0..MOST_TEMPLATES).filter(|at| at != last).find_map(likeness))
    }
}
