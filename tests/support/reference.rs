//! A slow and obvious judge: it decodes a span into structs and JSON into trees, reads everything, and applies the rules
//! one after the other. For the conventions of OpenTelemetry, Anthropic's SDK, OpenLLMetry and OpenInference.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use refusal_collector::refusal::answer::{ErrorFacts, StopField};
use refusal_collector::refusal::verdict::{Category, Class};
use refusal_collector::refusal::vocabulary::{Lookup, Provider, Stop, Vocabulary};

/// What is compared of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub class: Class,
    pub value: Option<String>,
    /// Of refusals.
    pub category: Option<Category>,
}

/// Where a word was found; earlier ones are trusted more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Vendor,
    FinishReason,
    Answer,
    Message,
}

#[derive(Clone, Debug)]
struct Word {
    trust: Trust,
    text: String,
    class: Class,
    stop: Option<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Unsure,
    Call,
    Agent,
    Other,
}

/// The verdict on a span of this scope; `None` when it is no response.
pub fn judge(span: &Span, scope: &str, vocabulary: &Vocabulary) -> Option<Told> {
    let item = Item { span, scope, vocabulary };
    if span.end_time_unix_nano == 0 || !item.speaks_of_a_call() {
        return None;
    }
    let role = item.role();
    if role == Role::Other {
        return None;
    }
    let mut found = item.words_of_keys();
    if role != Role::Agent {
        item.read_answers(&mut found);
    }
    let ending = found.ending();
    let is_policy = ending.as_ref().is_some_and(|word| word.class == Class::Refusal) || found.refusal_text;
    let failure = if item.has_failed() && !is_policy { item.failure() } else { None };
    let class = match &ending {
        Some(word) if word.class == Class::Refusal => Class::Refusal,
        _ if failure.is_some() => Class::Refusal,
        _ if found.refusal_text || !found.categories.is_empty() => Class::Refusal,
        Some(word) => word.class,
        None if item.has_failed() => Class::Error,
        None => Class::Missing,
    };
    let is_response = match (role, class) {
        (Role::Call, _) | (_, Class::Refusal | Class::Unknown) => true,
        (Role::Agent, Class::Error | Class::Missing) => ending.is_some(),
        (Role::Unsure, Class::Missing) => item.number("gen_ai.usage.output_tokens").is_some(),
        (Role::Unsure, Class::Error) => ending.is_some() || item.provider().is_some() && found.is_answer,
        _ => true,
    };
    if !is_response {
        return None;
    }
    let category = (class == Class::Refusal).then(|| item.category(&found, ending.as_ref(), failure));
    Some(Told { class, value: ending.map(|word| word.text).filter(|_| class != Class::Missing), category })
}

#[derive(Default)]
struct Found {
    words: Vec<Word>,
    refusal_text: bool,
    categories: Vec<String>,
    category_null: bool,
    is_answer: bool,
}

impl Found {
    /// The word that counts: a policy word if there is one, else the most trusted, of equals an unknown one, else the
    /// first.
    fn ending(&self) -> Option<Word> {
        let policy: Vec<&Word> = self.words.iter().filter(|word| word.class == Class::Refusal).collect();
        let among: Vec<&Word> = if policy.is_empty() { self.words.iter().collect() } else { policy };
        let trust = among.iter().map(|word| word.trust).min()?;
        let mut among = among.into_iter().filter(|word| word.trust == trust);
        let first = among.next()?;
        let unknown = std::iter::once(first).chain(among).find(|word| word.class == Class::Unknown);
        Some(unknown.unwrap_or(first).clone())
    }
}

struct Item<'a> {
    span: &'a Span,
    scope: &'a str,
    vocabulary: &'a Vocabulary,
}

impl Item<'_> {
    fn values<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s Value> {
        let attributes = self.span.attributes.iter().filter(move |attribute| attribute.key == key);
        attributes.filter_map(|attribute| attribute.value.as_ref()?.value.as_ref())
    }

    fn text(&self, keys: &[&str]) -> Option<String> {
        let attributes =
            self.span.attributes.iter().filter(|attribute| keys.contains(&attribute.key.as_str()));
        let mut texts =
            attributes.filter_map(|attribute| match attribute.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => {
                    Some(text.trim_matches('"').to_owned()).filter(|text| !text.is_empty())
                }
                _ => None,
            });
        texts.next()
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.values(key).find_map(|value| match value {
            Value::IntValue(number) => Some(*number),
            _ => None,
        })
    }

    fn has(&self, key: &str) -> bool {
        self.span.attributes.iter().any(|attribute| attribute.key == key)
    }

    fn speaks_of_a_call(&self) -> bool {
        const KEYS: [&str; 10] = [
            "gen_ai.provider.name",
            "gen_ai.system",
            "llm.provider",
            "gen_ai.request.model",
            "gen_ai.operation.name",
            "openinference.span.kind",
            "anthropic.message.stop_reason",
            "llm.finish_reason",
            "gen_ai.response.finish_reasons",
            "gen_ai.output.messages",
        ];
        KEYS.iter().any(|key| self.has(key))
    }

    fn role(&self) -> Role {
        let of = |word: &str| match word.to_ascii_lowercase().as_str() {
            "chat" | "llm" => Role::Call,
            "invoke_agent" | "agent" => Role::Agent,
            "execute_tool" | "tool" => Role::Other,
            _ => Role::Unsure,
        };
        let keys = ["gen_ai.operation.name", "openinference.span.kind"];
        let told = keys.iter().flat_map(|key| self.values(key)).filter_map(|value| match value {
            Value::StringValue(word) => Some(of(word)),
            _ => None,
        });
        let has_provider =
            ["gen_ai.provider.name", "gen_ai.system", "llm.provider"].iter().any(|key| self.has(key));
        let has_model = ["gen_ai.request.model", "llm.model_name"].iter().any(|key| self.has(key));
        told.max().unwrap_or(if has_provider && has_model { Role::Call } else { Role::Unsure })
    }

    fn provider(&self) -> Option<Provider<'_>> {
        let model = self.text(&["gen_ai.request.model"]).or_else(|| self.text(&["llm.model_name"]));
        let by_model = || model.as_deref().and_then(|model| self.vocabulary.provider_of_model(model));
        let keys = ["gen_ai.provider.name", "gen_ai.system", "llm.provider"];
        let texts = keys.iter().filter_map(|key| self.text(&[key]));
        let mut named = None;
        for key in texts {
            named = named.or_else(|| self.vocabulary.provider_of_key(&key));
        }
        match named {
            Some(provider) if provider.name == "openai" => by_model().or(named),
            Some(_) => named,
            None => self
                .scope
                .rsplit('.')
                .find_map(|part| match part {
                    "opentelemetry" | "instrumentation" | "openinference" | "genai" | "com" => None,
                    part => self.vocabulary.provider_of_key(part),
                })
                .or_else(by_model),
        }
    }

    fn word(&self, trust: Trust, field: StopField, text: &str) -> Option<Word> {
        let vendor = self.provider().map(|provider| provider.vendor);
        let (class, stop) = match self.vocabulary.lookup(vendor, field, text) {
            Lookup::Known(stop) => (stop.class, Some(stop)),
            Lookup::Unknown => (Class::Unknown, None),
            Lookup::Absent => return None,
        };
        Some(Word { trust, text: text.to_owned(), class, stop })
    }

    fn words_of_keys(&self) -> Found {
        const KEYS: [(&str, Trust, StopField); 3] = [
            ("anthropic.message.stop_reason", Trust::Vendor, StopField::StopReason),
            ("llm.finish_reason", Trust::Vendor, StopField::FinishReason),
            ("gen_ai.response.finish_reasons", Trust::FinishReason, StopField::FinishReason),
        ];
        let mut found = Found::default();
        for attribute in &self.span.attributes {
            let Some((_, trust, field)) = KEYS.iter().find(|(key, ..)| *key == attribute.key) else {
                continue;
            };
            let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
            for text in value.map(texts).unwrap_or_default() {
                // What OpenTelemetry's own libraries write where no reason came.
                let is_filler =
                    self.scope.starts_with("opentelemetry.instrumentation.genai.") && text == "error";
                if !is_filler || self.has_failed() {
                    found.words.extend(self.word(*trust, *field, &text));
                }
            }
        }
        found
    }

    fn read_answers(&self, found: &mut Found) {
        for attribute in &self.span.attributes {
            let Some(Value::StringValue(text)) =
                attribute.value.as_ref().and_then(|value| value.value.as_ref())
            else {
                continue;
            };
            let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { continue };
            match attribute.key.as_str() {
                "gen_ai.output.messages" => self.read_messages(&json, found),
                "output.value" => self.read_answer(&json, found),
                "metadata" => read_details(&json, found),
                _ => {}
            }
        }
    }

    fn read_messages(&self, messages: &serde_json::Value, found: &mut Found) {
        for message in messages.as_array().into_iter().flatten() {
            if let Some(word) = message["finish_reason"].as_str() {
                found.is_answer = true;
                found.words.extend(self.word(Trust::Message, StopField::FinishReason, word));
            }
            let parts = message["parts"].as_array().into_iter().flatten();
            found.refusal_text |= parts.into_iter().any(|part| part["type"] == "refusal");
        }
    }

    fn read_answer(&self, answer: &serde_json::Value, found: &mut Found) {
        if let Some(word) = answer["stop_reason"].as_str() {
            found.words.extend(self.word(Trust::Answer, StopField::StopReason, word));
        }
        found.is_answer |= answer.is_object();
        read_details(answer, found);
        for choice in answer["choices"].as_array().into_iter().flatten() {
            if let Some(word) = choice["finish_reason"].as_str() {
                found.words.extend(self.word(Trust::Answer, StopField::FinishReason, word));
            }
            found.refusal_text |= choice["message"]["refusal"].as_str().is_some_and(|text| !text.is_empty());
        }
    }

    fn has_failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == 2)
            || self.text(&["error.type"]).is_some()
    }

    /// The category of an error that is a refusal.
    fn failure(&self) -> Option<Category> {
        let facts = ErrorFacts {
            kind: self.text(&["error.type"]).map(Into::into),
            message: self.span.status.as_ref().map(|status| status.message.as_str().into()),
            ..ErrorFacts::default()
        };
        let vendor = self.provider().map(|provider| provider.vendor);
        let meaning = self.vocabulary.error(vendor, &facts)?;
        let absent = if meaning.names_category { Category::Missing } else { Category::Unspecified };
        (meaning.class == Class::Refusal).then_some(meaning.category.unwrap_or(absent))
    }

    fn category(&self, found: &Found, ending: Option<&Word>, failure: Option<Category>) -> Category {
        let vendor = self.provider().map(|provider| provider.vendor);
        let named: Vec<Category> = found
            .categories
            .iter()
            .map(|word| self.vocabulary.category(vendor, word).unwrap_or(Category::Unknown))
            .collect();
        if named.contains(&Category::Unknown) {
            return Category::Unknown;
        }
        if let Some(category) = named.into_iter().min() {
            return category;
        }
        let absent = |word: Option<&str>| match vendor {
            Some(vendor) if self.vocabulary.names_categories(vendor, word) => Category::Missing,
            _ => Category::Unspecified,
        };
        let policy = ending.filter(|word| word.class == Class::Refusal);
        match (policy, failure) {
            (None, Some(category)) => category,
            (None, None) => Category::Unspecified,
            (Some(_), _) if found.category_null => Category::Unspecified,
            (Some(word), _) => match word.stop {
                Some(Stop { category: Some(category), .. }) => category,
                Some(Stop { names_category: Some(false), .. }) => Category::Unspecified,
                _ => absent(Some(&word.text)),
            },
        }
    }
}

/// Anthropic's `stop_details`; that they are null says that no category was named.
fn read_details(answer: &serde_json::Value, found: &mut Found) {
    let Some(details) = answer.get("stop_details") else { return };
    found.category_null |= details.is_null();
    found.is_answer = true;
    match details.get("category") {
        Some(serde_json::Value::String(word)) => found.categories.push(word.clone()),
        Some(serde_json::Value::Null) => found.category_null = true,
        _ => {}
    }
}

/// The words of an attribute, in every form in which they are generated.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::ArrayValue(array) => {
            let values = array.values.iter().filter_map(|value| value.value.as_ref());
            values.flat_map(texts).collect()
        }
        Value::StringValue(text) => {
            let inner = text.trim_start_matches('[').trim_end_matches(']');
            let words = inner.split(',').map(|word| word.trim().trim_matches(['"', '\'']));
            words.filter(|word| !word.is_empty() && *word != "None").map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
