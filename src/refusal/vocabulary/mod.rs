//! What vendors' words mean: data, one YAML file per vendor, embedded and extended by configuration.

use crate::refusal::answer::{ErrorFacts, Shape, StopField};
use crate::refusal::verdict::{Actor, Billing, Category, Class, Phase, Side};

/// The words of all vendors, indexed for lookup. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Vocabulary {}

/// A vendor of a [`Vocabulary`]: what its file is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vendor(pub u16);

/// What the vocabulary says of a stop word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its class; never `unknown` or `missing`.
    pub class: Class,
    /// The category that the word itself names (`RECITATION` is `copyright`); `None` means: look elsewhere.
    pub category: Option<Category>,
    /// Who declines with this word; `None` means: not told by the word.
    pub actor: Option<Actor>,
    /// What is declined with this word.
    pub side: Option<Side>,
    /// Whether the emitter that uses this word is known to fold unknown words into it (Vercel's `other`).
    pub lossy: bool,
}

/// What the vocabulary says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorMeaning {
    /// `refusal`, `length` or `error`.
    pub class: Class,
    /// The category that the signature names.
    pub category: Option<Category>,
    /// Who declines so.
    pub actor: Actor,
    /// What is declined.
    pub side: Side,
    /// When.
    pub phase: Phase,
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

impl Vocabulary {
    /// The vocabulary that is compiled in.
    pub fn embedded() -> Self {
        Vocabulary {}
    }

    /// The vendor that a provider key means: the values of `gen_ai.provider.name`, `gen_ai.system`, `llm.provider`,
    /// `llm.system`, in any case, with the emitters' own spellings (`anthropic.messages`, `az.ai.openai`, `google`).
    pub fn vendor_of_provider(&self, _provider: &str) -> Option<Vendor> {
        None
    }

    /// The vendor behind a host name (`server.address`, the host of a URL).
    pub fn vendor_of_host(&self, _host: &str) -> Option<Vendor> {
        None
    }

    /// The vendor that makes a model (`claude-*`, `gpt-*`, `gemini-*`, Bedrock's `anthropic.claude-*`, ...).
    pub fn vendor_of_model(&self, _model: &str) -> Option<Vendor> {
        None
    }

    /// The vendor whose answers have this shape.
    pub fn vendor_of_shape(&self, _shape: Shape) -> Option<Vendor> {
        None
    }

    /// The canonical `gen_ai.provider.name` of a vendor.
    pub fn provider_name(&self, _vendor: Vendor) -> &str {
        ""
    }

    /// What `word` in `field` means: first in the vendor's own words, then OpenAI's and Anthropic's, then the words of
    /// emitters; exactly first, then by known form (case, enum prefix, dash). `None`: the word is unknown.
    pub fn stop(&self, _vendor: Option<Vendor>, _field: StopField, _word: &str) -> Option<Stop> {
        None
    }

    /// What a vendor's category word means. `None`: the word is unknown.
    pub fn category(&self, _vendor: Option<Vendor>, _word: &str) -> Option<Category> {
        None
    }

    /// Whether the vendor's API has a field for the category of such a refusal at all; if so, a category that did not
    /// arrive is `missing`, else `unspecified`. `word` is the stop word, when there was one.
    pub fn names_categories(&self, _vendor: Vendor, _word: Option<&str>) -> bool {
        false
    }

    /// What an error means; `None`: it is no refusal, only an error.
    pub fn error(&self, _vendor: Option<Vendor>, _facts: &ErrorFacts) -> Option<ErrorMeaning> {
        None
    }

    /// How the vendor charges for refusals.
    pub fn billing(&self, _vendor: Option<Vendor>) -> BillingRules {
        let unknown = Billing::Unknown;
        BillingRules { before_output: unknown, mid_stream: unknown, after_output: unknown, error: unknown }
    }
}
