//! Types of the data files that are written in more than one way, or as names of things that live elsewhere.

use super::{About, CategoryEntry, Evidence, StopEntry};
use crate::refusal::answer::{Shape, StopField};
use crate::refusal::verdict::{Actor, Category, Class, Phase, Side};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// One word or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

/// A field as files name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName(pub StopField);

impl FieldName {
    const NAMES: &'static [&'static str] = &[
        "stop_reason",
        "finish_reason",
        "native_finish_reason",
        "status",
        "incomplete_reason",
        "block_reason",
        "guardrail_action",
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

    fn from_name(name: &str) -> Option<Self> {
        let field = match name {
            "stop_reason" => StopField::StopReason,
            "finish_reason" => StopField::FinishReason,
            "native_finish_reason" => StopField::NativeFinishReason,
            "status" => StopField::Status,
            "incomplete_reason" => StopField::IncompleteReason,
            "block_reason" => StopField::BlockReason,
            "guardrail_action" => StopField::GuardrailAction,
            _ => return None,
        };
        Some(FieldName(field))
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
        FieldName::from_name(&name).ok_or_else(|| de::Error::unknown_variant(&name, FieldName::NAMES))
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

/// A [`StopEntry`] as a map.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongStopEntry {
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

impl<'de> Deserialize<'de> for StopEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
                let long = LongStopEntry::deserialize(MapAccessDeserializer::new(map))?;
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

/// A [`CategoryEntry`] as a map.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LongCategoryEntry {
    category: ListedCategory,
    actor: Option<Actor>,
    note: Option<String>,
    evidence: Option<Evidence>,
    source: Option<String>,
    checked: Option<String>,
}

impl<'de> Deserialize<'de> for CategoryEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
                let LongCategoryEntry {
                    category: ListedCategory(category),
                    actor,
                    note,
                    evidence,
                    source,
                    checked,
                } = LongCategoryEntry::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CategoryEntry { category, actor, about: About { note, evidence, source, checked } })
            }
        }
        deserializer.deserialize_any(ShortOrLong)
    }
}

/// A class that a listed word can have: all but what words are that are not listed.
struct ListedClass(Class);

impl ListedClass {
    const NAMES: &'static [&'static str] =
        &["complete", "length", "tool_use", "stop_sequence", "pause", "refusal", "error", "other"];
}

impl<'de> Deserialize<'de> for ListedClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match Class::from_name(&name) {
            Some(Class::Unknown | Class::Missing) | None => {
                Err(de::Error::unknown_variant(&name, ListedClass::NAMES))
            }
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

/// Implements [`JsonSchema`] for types that are written in their own way.
macro_rules! spelled {
    ($($name:ident: $schema:expr;)+) => {
        $(impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        })+
    };
}

spelled! {
    Words: |generator| json_schema!({"anyOf": [{"type": "string"}, generator.subschema_for::<Vec<String>>()]});
    FieldName: |_| json_schema!({"type": "string", "enum": FieldName::NAMES});
    ShapeName: |_| json_schema!({"type": "string", "enum": SHAPES.map(|(name, _)| name)});
    ListedClass: |_| json_schema!({"type": "string", "enum": ListedClass::NAMES});
    ListedCategory: |generator| generator.subschema_for::<Category>();
    StopEntry: |generator| json_schema!({"anyOf": [
        generator.subschema_for::<ListedClass>(),
        generator.subschema_for::<LongStopEntry>(),
    ]});
    CategoryEntry: |generator| json_schema!({"anyOf": [
        generator.subschema_for::<ListedCategory>(),
        generator.subschema_for::<LongCategoryEntry>(),
    ]});
}
