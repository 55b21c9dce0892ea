//! The shape of the data files: strict serde types, in which nothing is optional that a fact needs.

mod spelling;

pub use spelling::{FieldName, ShapeName, Words};

use crate::refusal::answer::Findings;
use crate::refusal::verdict::{Actor, Billing, Category, Class, Phase, Side};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One vendor: the content of one file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VendorFile {
    /// What the file is named after, and what configuration calls the vendor.
    pub vendor: String,
    /// What people call it.
    pub name: String,
    /// How telemetry tells that it is this vendor.
    pub identity: Identity,
    /// Its APIs and what is known of each.
    pub surfaces: Vec<Facts>,
}

/// How telemetry tells that a response came from a vendor.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The names it goes by; the first is the usual one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderNames>,
    /// The answers that only this vendor shapes so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shapes: Vec<ShapeName>,
    /// It passes on the words of any other vendor.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gateway: bool,
    /// It imitates OpenAI's API, and clients often call it `openai`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub imitates_openai: bool,
    /// Its API has a field for the category of a refusal (words may say otherwise of themselves).
    #[serde(default, skip_serializing_if = "is_false")]
    pub names_categories: bool,
}

/// One canonical provider name and everything that means it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderNames {
    /// The value of `gen_ai.provider.name`, as OpenTelemetry lists it where it does.
    pub name: String,
    /// Other spellings; case and punctuation do not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Domains (`openai.com` covers all below it), or patterns with `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Patterns of model names with `*`, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// What is known of one API; also what an extension says of a vendor.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How well it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Where it was read. Facts below may name their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// The day it was read, `YYYY-MM-DD`. Facts below may name their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// Traps and remarks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Additions to how the vendor is told; extensions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Stop words by the field they stand in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stop: BTreeMap<FieldName, BTreeMap<String, StopEntry>>,
    /// Category words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, CategoryEntry>,
    /// Errors that mean something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorEntry>,
    /// Errors that look like refusals and are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_refusals: Vec<Condition>,
    /// What refusals cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billing: Vec<BillingEntry>,
    /// Lookups and what they must give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// How well a fact is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Read in the types or code of something published.
    Sdk,
    /// Read in the vendor's documentation.
    Doc,
    /// Somebody's recording of the real thing.
    Capture,
    /// Another project's mapping.
    ThirdParty,
    /// Concluded; no source says it.
    Inferred,
    /// Said by the user.
    Configuration,
}

/// What a stop word means. In files a class alone will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StopEntry {
    /// Its class.
    pub class: Class,
    /// The category that the word names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Who declines with this word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Who declines with this word when a category came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_when_categorized: Option<Actor>,
    /// What is declined with this word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// When it is declined with this word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Whether a field beside this word names the category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names_category: Option<bool>,
    /// Whether unknown words are folded into this one.
    #[serde(skip_serializing_if = "is_false")]
    pub lossy: bool,
    /// Remark, evidence and source of this one word.
    #[serde(flatten)]
    pub about: About,
}

/// What a category word means. In files a category alone will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CategoryEntry {
    /// Its category.
    pub category: Category,
    /// Who declines for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Remark, evidence and source of this one word.
    #[serde(flatten)]
    pub about: About,
}

/// Where one fact comes from, when that is not what its surface says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How well it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Where it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The day it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
}

/// An error and what it means.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorEntry {
    /// How it is told.
    pub when: Condition,
    /// `refusal`, `length` or `error`.
    pub class: Class,
    /// The category that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The beginning of the word in the sentence that names the category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_word: Option<String>,
    /// A stop word that stands in the sentence; then the error means what that word means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_word: Option<StopInSentence>,
    /// Who declines so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// What is declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The category stands beside it in the vendor's answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub names_category: bool,
    /// Distinct enough to be recognized whichever vendor the telemetry names.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anywhere: bool,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How well it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The day it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
}

/// How an error is told: everything that is given must hold; of a list, one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// A machine word, wherever the telemetry left it: code, inner code, type, or quoted in the sentence.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub word: Words,
    /// Only the code.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub code: Words,
    /// Only the type.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub kind: Words,
    /// The HTTP status, also when only the sentence tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Which list of findings came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<FindingsName>,
    /// Part of the sentence; case does not matter.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub message: Words,
    /// Part of the sentence that must not be there.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub without: Words,
}

/// Lists of findings as files name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingsName {
    /// `error.metadata.reasons`.
    Reasons,
    /// `error.metadata.patterns`.
    Patterns,
}

/// Where a stop word stands in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopInSentence {
    /// What stands right before it; it ends at the next quote, comma, bracket or white space.
    pub after: String,
    /// The field whose word it is.
    pub field: FieldName,
}

/// What refusals cost, by phase.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BillingEntry {
    /// Only for refusals by this actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Declined before any output.
    pub before_output: Billing,
    /// Declined in the middle of a stream.
    pub mid_stream: Billing,
    /// Declined after the whole answer.
    pub after_output: Billing,
    /// Delivered as an error.
    pub error: Billing,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A lookup and what it must give. Exactly one of `word`, `category_word` and `error` is asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The field of `word`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<FieldName>,
    /// A stop word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// A category word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_word: Option<String>,
    /// An error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorExample>,
    /// The class it must have; `unknown` and `missing` are allowed here. An error without a meaning is `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The category it must have; `unknown` is allowed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The side it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The actor it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
}

/// The facts of an error in an example.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorExample {
    /// `error.code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `error.innererror.code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_code: Option<String>,
    /// `error.type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Which list of findings came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<FindingsName>,
    /// The sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The words of emitters (instrumentation libraries, gateways, agents), and who they are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EmittersFile {
    /// Where it was read.
    pub source: Vec<String>,
    /// The day it was read.
    pub checked: String,
    /// Words of their own in finish and stop reasons.
    pub words: BTreeMap<String, StopEntry>,
    /// What stands where no value came.
    pub absent: Vec<String>,
    /// Names of enums that stand before a word (`FinishReason.STOP`, `FINISH_REASON_STOP`), folded.
    pub enum_names: Vec<String>,
    /// Errors as emitters name them.
    pub errors: Vec<ErrorEntry>,
    /// Errors that are never refusals, whoever sends them.
    pub not_refusals: Vec<Condition>,
    /// Lookups without a vendor and what they must give.
    pub examples: Vec<Example>,
    /// Who emits, and what they lose.
    pub emitters: Vec<EmitterEntry>,
}

/// An emitter.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EmitterEntry {
    /// What people call it.
    pub name: String,
    /// Its scope names; patterns with `*`.
    pub scopes: Vec<String>,
    /// What becomes of a stop reason that it does not know.
    pub unknown_stop_reasons: UnknownWords,
    /// What of a refusal survives.
    pub survives: String,
    /// What is lost.
    pub lost: String,
    /// What to switch on or use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The version that was looked at, and where it was read.
    pub source: String,
    /// How well it is known.
    pub evidence: Evidence,
}

/// What becomes of an unknown stop reason on its way through an emitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownWords {
    /// It arrives as it was.
    Raw,
    /// It arrives on some paths only.
    Partly,
    /// It becomes an ordinary word.
    Rewritten,
    /// It is left out; the response looks as if it had no stop reason.
    Dropped,
    /// No stop reason is emitted at all.
    Never,
}

impl FindingsName {
    /// What the answer reader calls it.
    pub fn findings(self) -> Findings {
        match self {
            FindingsName::Reasons => Findings::Reasons,
            FindingsName::Patterns => Findings::Patterns,
        }
    }
}

impl StopEntry {
    /// A word that means a class and tells nothing more.
    pub fn of(class: Class) -> Self {
        StopEntry {
            class,
            category: None,
            actor: None,
            actor_when_categorized: None,
            side: None,
            phase: None,
            names_category: None,
            lossy: false,
            about: About::default(),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
