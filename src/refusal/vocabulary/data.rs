//! The shape of the data files: strict serde types, in which nothing is optional that a fact needs.

use crate::refusal::answer::{Findings, Shape, StopField};
use crate::refusal::verdict::{Actor, Billing, Category, Class, Phase, Side};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingsName {
    /// `error.metadata.reasons`.
    Reasons,
    /// `error.metadata.patterns`.
    Patterns,
}

/// One word or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

/// Where a stop word stands in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StopInSentence {
    /// What stands right before it; it ends at the next quote, comma, bracket or white space.
    pub after: String,
    /// The field whose word it is.
    pub field: FieldName,
}

/// What refusals cost, by phase.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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

/// A field as files name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName(pub StopField);

impl FieldName {
    /// All fields and their names.
    pub const ALL: [(&'static str, StopField); 7] = [
        ("stop_reason", StopField::StopReason),
        ("finish_reason", StopField::FinishReason),
        ("native_finish_reason", StopField::NativeFinishReason),
        ("status", StopField::Status),
        ("incomplete_reason", StopField::IncompleteReason),
        ("block_reason", StopField::BlockReason),
        ("guardrail_action", StopField::GuardrailAction),
    ];

    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            StopField::StopReason => "stop_reason",
            StopField::FinishReason => "finish_reason",
            StopField::NativeFinishReason => "native_finish_reason",
            StopField::Status => "status",
            StopField::IncompleteReason => "incomplete_reason",
            StopField::BlockReason => "block_reason",
            StopField::GuardrailAction => "guardrail_action",
        }
    }
}

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let field = FieldName::ALL.iter().find(|(known, _)| *known == name);
        field.map(|(_, field)| FieldName(*field)).ok_or_else(|| {
            const NAMES: &[&str] = &[
                "stop_reason",
                "finish_reason",
                "native_finish_reason",
                "status",
                "incomplete_reason",
                "block_reason",
                "guardrail_action",
            ];
            de::Error::unknown_variant(&name, NAMES)
        })
    }
}

impl Serialize for FieldName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A shape as files name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeName(pub Shape);

const SHAPES: [(&str, Shape); 8] = [
    ("anthropic_messages", Shape::AnthropicMessages),
    ("openai_chat", Shape::OpenAiChat),
    ("openai_responses", Shape::OpenAiResponses),
    ("gemini_generate_content", Shape::GeminiGenerateContent),
    ("bedrock_converse", Shape::BedrockConverse),
    ("cohere_chat", Shape::CohereChat),
    ("ollama", Shape::Ollama),
    ("dashscope", Shape::DashScope),
];

impl<'de> Deserialize<'de> for ShapeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let shape = SHAPES.iter().find(|(known, _)| *known == name);
        shape.map(|(_, shape)| ShapeName(*shape)).ok_or_else(|| {
            let known: Vec<&str> = SHAPES.iter().map(|(known, _)| *known).collect();
            de::Error::custom(format_args!("unknown shape `{name}`, expected one of {}", known.join(", ")))
        })
    }
}

impl Serialize for ShapeName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = SHAPES.iter().find(|(_, shape)| *shape == self.0).map_or("", |(name, _)| name);
        serializer.serialize_str(name)
    }
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

impl Words {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Words {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a list of words")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Words, E> {
                Ok(Words(vec![word.to_owned()]))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Words, E> {
                Ok(Words(vec![number.to_string()]))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Words, E> {
                Ok(Words(vec![number.to_string()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut words: A) -> Result<Words, A::Error> {
                let mut all = Vec::new();
                while let Some(word) = words.next_element::<String>()? {
                    all.push(word);
                }
                Ok(Words(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl<'de> Deserialize<'de> for StopEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            class: ListedClass,
            category: Option<ListedCategory>,
            actor: Option<Actor>,
            actor_when_categorized: Option<Actor>,
            side: Option<Side>,
            phase: Option<Phase>,
            names_category: Option<bool>,
            #[serde(default)]
            lossy: bool,
            note: Option<String>,
            evidence: Option<Evidence>,
            source: Option<String>,
            checked: Option<String>,
        }

        struct ShortOrLong;
        impl<'de> Visitor<'de> for ShortOrLong {
            type Value = StopEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class, or a map with `class`")
            }
            fn visit_str<E: de::Error>(self, class: &str) -> Result<StopEntry, E> {
                let ListedClass(class) = ListedClass::deserialize(de::value::StrDeserializer::new(class))?;
                Ok(StopEntry::of(class))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StopEntry, A::Error> {
                let long = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(StopEntry {
                    class: long.class.0,
                    category: long.category.map(|category| category.0),
                    actor: long.actor,
                    actor_when_categorized: long.actor_when_categorized,
                    side: long.side,
                    phase: long.phase,
                    names_category: long.names_category,
                    lossy: long.lossy,
                    about: About {
                        note: long.note,
                        evidence: long.evidence,
                        source: long.source,
                        checked: long.checked,
                    },
                })
            }
        }
        deserializer.deserialize_any(ShortOrLong)
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

impl<'de> Deserialize<'de> for CategoryEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            category: ListedCategory,
            actor: Option<Actor>,
            note: Option<String>,
            evidence: Option<Evidence>,
            source: Option<String>,
            checked: Option<String>,
        }

        struct ShortOrLong;
        impl<'de> Visitor<'de> for ShortOrLong {
            type Value = CategoryEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a category, or a map with `category`")
            }
            fn visit_str<E: de::Error>(self, category: &str) -> Result<CategoryEntry, E> {
                let ListedCategory(category) =
                    ListedCategory::deserialize(de::value::StrDeserializer::new(category))?;
                Ok(CategoryEntry { category, actor: None, about: About::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CategoryEntry, A::Error> {
                let Long { category: ListedCategory(category), actor, note, evidence, source, checked } =
                    Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CategoryEntry { category, actor, about: About { note, evidence, source, checked } })
            }
        }
        deserializer.deserialize_any(ShortOrLong)
    }
}

/// A class that a listed word can have: all but what words are that are not listed.
struct ListedClass(Class);

impl<'de> Deserialize<'de> for ListedClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[&str] =
            &["complete", "length", "tool_use", "stop_sequence", "pause", "refusal", "error", "other"];
        let name = String::deserialize(deserializer)?;
        match Class::from_name(&name) {
            Some(Class::Unknown | Class::Missing) | None => Err(de::Error::unknown_variant(&name, NAMES)),
            Some(class) => Ok(ListedClass(class)),
        }
    }
}

/// A category that a listed word can have: all but what words are that are not listed.
struct ListedCategory(Category);

impl<'de> Deserialize<'de> for ListedCategory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Category::deserialize(deserializer)? {
            category @ (Category::Unknown | Category::Missing) => Err(de::Error::custom(format_args!(
                "a listed word cannot be `{category}`: that is what words that are not listed are"
            ))),
            category => Ok(ListedCategory(category)),
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
