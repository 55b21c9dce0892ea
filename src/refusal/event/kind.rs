//! Why there is an event.

use crate::proto::v1 as proto;
use crate::refusal::verdict::{Category, Class, Verdict, closed_enum};
use std::borrow::Cow;
use std::fmt;
use std::ops::BitOr;

closed_enum! {
    /// What an event says of its response: `event_name` of its log record.
    Kind {
        /// It was refused.
        Refused = "llm.response.refused",
        /// Nobody knows its stop reason.
        StopReasonUnknown = "llm.response.stop_reason_unknown",
        /// It was refused, or another one was that a fallback then served, and nobody knows the vendor's category.
        CategoryUnknown = "llm.response.category_unknown",
        /// It came without a stop reason.
        StopReasonMissing = "llm.response.stop_reason_missing",
    }
}

closed_enum! {
    /// A word of `processors.refusal.events`.
    Selection {
        /// All refusals, those of unknown category included.
        Refusals = "refusals",
        /// Unknown stop reasons.
        Unknown = "unknown",
        /// Unknown categories.
        CategoryUnknown = "category_unknown",
        /// Missing stop reasons.
        Missing = "missing",
    }
}

impl Kind {
    /// What there is to tell of a response, if anything.
    #[inline]
    pub fn of(verdict: &Verdict<'_>) -> Option<Kind> {
        let refused = verdict.refusal.as_ref().map(|refusal| refusal.category);
        let recovered = verdict.recovered.as_ref().map(|recovered| recovered.category);
        match verdict.class {
            Class::Unknown => Some(Kind::StopReasonUnknown),
            Class::Missing => Some(Kind::StopReasonMissing),
            _ if refused.or(recovered) == Some(Category::Unknown) => Some(Kind::CategoryUnknown),
            Class::Refusal => Some(Kind::Refused),
            Class::Complete
            | Class::Length
            | Class::ToolUse
            | Class::StopSequence
            | Class::Pause
            | Class::Error
            | Class::Other => None,
        }
    }

    /// As it stands in an event.
    pub fn of_event(event: &proto::RefusalEvent) -> Option<Kind> {
        super::Numbered::of_number(event.kind)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// None.
    pub const NONE: Kinds = Kinds(0);
    /// All.
    pub const ALL: Kinds = Kinds(0b1111);
    /// Those in which a word stands that nobody knows.
    pub const UNKNOWN: Kinds = Kinds(1 << Kind::StopReasonUnknown as u8 | 1 << Kind::CategoryUnknown as u8);

    /// What a configuration selects.
    pub fn selected(selections: &[Selection]) -> Self {
        selections.iter().fold(Kinds::NONE, |kinds, selection| {
            kinds
                | match selection {
                    Selection::Refusals => Kinds::one(Kind::Refused) | Kinds::one(Kind::CategoryUnknown),
                    Selection::Unknown => Kinds::one(Kind::StopReasonUnknown),
                    Selection::CategoryUnknown => Kinds::one(Kind::CategoryUnknown),
                    Selection::Missing => Kinds::one(Kind::StopReasonMissing),
                }
        })
    }

    /// Whether `kind` is one of them.
    #[inline]
    pub fn has(self, kind: Kind) -> bool {
        self.0 & Kinds::one(kind).0 != 0
    }

    const fn one(kind: Kind) -> Self {
        Kinds(1 << kind as u8)
    }
}

impl BitOr for Kinds {
    type Output = Kinds;

    fn bitor(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }
}
