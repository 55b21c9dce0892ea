//! What the collector counts and says: the refusal counters, its own metrics, their text forms, its logs.

pub mod events;
pub mod http;
pub mod label;
pub mod logs;
pub mod metric;
pub mod otlp;
pub mod own;
pub mod own_logs;
pub mod registry;
pub mod responses;
pub mod seen;
pub mod series;
pub mod server;
pub mod spans;
pub mod tally;
pub mod text;

pub use crate::refusal::evidence::Identity;
use crate::refusal::verdict::{Action, Actor, Category, Class, Delivery, Phase, Refusal};

/// One judged LLM response, as it is counted. Everything is borrowed; labels are capped when they are counted.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// `gen_ai.provider.name`.
    pub provider: &'a str,
    /// `gen_ai.request.model`, else the response's.
    pub model: &'a str,
    /// `llm.workload`.
    pub workload: &'a str,
    /// `llm.instrumentation`: the scope's name.
    pub instrumentation: &'a str,
    /// How it ended.
    pub class: Class,
    /// The stop value as it arrived.
    pub value: Option<&'a str>,
    /// The vendor's category as it arrived, of a refusal or of a decline that a fallback served.
    pub vendor_category: Option<&'a str>,
    /// Set for refusals.
    pub refusal: Option<RefusalLabels>,
    /// The category of the decline that a fallback served.
    pub recovered: Option<Category>,
    /// Input tokens, where known.
    pub input_tokens: Option<u64>,
    /// Output tokens, where known.
    pub output_tokens: Option<u64>,
    /// Whether the output is to be thrown away.
    pub discard_output: bool,
    /// Whether the emitter is known to hide unknown stop reasons.
    pub blind_emitter: bool,
    /// What tells this response from others.
    pub identity: Identity<'a>,
}

impl<'a> Observation<'a> {
    /// The word that nobody lists: the stop reason, else the vendor's category.
    pub fn unlisted(&self) -> Option<&'a str> {
        let category = self.refusal.map(|refusal| refusal.category).or(self.recovered);
        match self.class {
            Class::Unknown => self.value,
            _ if category == Some(Category::Unknown) => self.vendor_category,
            _ => None,
        }
    }
}

impl RefusalLabels {
    /// Those of a refusal.
    pub fn of(refusal: &Refusal<'_>) -> Self {
        RefusalLabels {
            category: refusal.category,
            actor: refusal.actor,
            phase: refusal.phase,
            delivery: refusal.delivery,
            action: refusal.action,
        }
    }
}

/// The labels of `llm_refusals_total` beyond provider, model and workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefusalLabels {
    /// `llm.refusal.category`.
    pub category: Category,
    /// `llm.refusal.actor`.
    pub actor: Actor,
    /// `llm.refusal.phase`.
    pub phase: Phase,
    /// `llm.refusal.delivery`.
    pub delivery: Delivery,
    /// `llm.refusal.action`.
    pub action: Action,
}
