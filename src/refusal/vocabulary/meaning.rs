//! What lookups give.

use super::data::{BillingEntry, StopEntry};
use crate::refusal::verdict::{Actor, Billing, Category, Class, Phase, Side};

/// What a lookup of a stop word gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The vocabulary lists the word.
    Known(Stop),
    /// The word says that no value came (an empty string, `null`, `None`): as good as no value at all.
    Absent,
    /// The vocabulary does not list the word.
    Unknown,
}

/// What the vocabulary says of a stop word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its class; never `unknown` or `missing`.
    pub class: Class,
    /// The category that the word itself names (`RECITATION` is `copyright`); `None` means: look elsewhere.
    pub category: Option<Category>,
    /// Who declines with this word; `None` means: not told by the word.
    pub actor: Option<Actor>,
    /// Who declines with this word when the vendor named a category with it.
    pub actor_when_categorized: Option<Actor>,
    /// What is declined with this word.
    pub side: Option<Side>,
    /// When it is declined with this word; `None` means: content tells.
    pub phase: Option<Phase>,
    /// Whether the vendor names a category beside this word; `None` means: as the vendor usually does.
    pub names_category: Option<bool>,
    /// Whether the emitter that uses this word is known to fold unknown words into it (Vercel's `other`).
    pub lossy: bool,
}

/// What the vocabulary says of a category word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CategoryMeaning {
    /// Its category; never `unknown` or `missing`.
    pub category: Category,
    /// Who declines for it, when only one can (Azure's `custom_blocklists` are the customer's).
    pub actor: Option<Actor>,
}

/// What the vocabulary says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorMeaning {
    /// `refusal`, `length` or `error`.
    pub class: Class,
    /// The category that the signature or a word of the sentence names; `unknown` when that word is not listed.
    pub category: Option<Category>,
    /// Who declines so.
    pub actor: Actor,
    /// What is declined.
    pub side: Side,
    /// When.
    pub phase: Phase,
    /// Whether the vendor names the category of such an error somewhere; if so, one that did not arrive is `missing`.
    pub names_category: bool,
}

/// How a vendor charges for refusals, by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingRules {
    /// Declined before any output.
    pub before_output: Billing,
    /// Declined in the middle of a stream.
    pub mid_stream: Billing,
    /// Declined after the whole answer.
    pub after_output: Billing,
    /// Delivered as an error.
    pub error: Billing,
}

impl Stop {
    pub(super) fn from_entry(entry: &StopEntry) -> Self {
        Stop {
            class: entry.class,
            category: entry.category,
            actor: entry.actor,
            actor_when_categorized: entry.actor_when_categorized,
            side: entry.side,
            phase: entry.phase,
            names_category: entry.names_category,
            lossy: entry.lossy,
        }
    }
}

impl BillingRules {
    pub(super) const UNKNOWN: BillingRules = BillingRules {
        before_output: Billing::Unknown,
        mid_stream: Billing::Unknown,
        after_output: Billing::Unknown,
        error: Billing::Unknown,
    };

    pub(super) fn from_entry(entry: &BillingEntry) -> Self {
        BillingRules {
            before_output: entry.before_output,
            mid_stream: entry.mid_stream,
            after_output: entry.after_output,
            error: entry.error,
        }
    }
}
