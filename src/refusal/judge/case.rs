//! What has been found of one response, and which of it counts.

use super::{Rule, bounded};
use crate::otlp::any_value::AnyValue;
use crate::refusal::answer::{
    Answer, CategorySource, CategoryWord, Content, ErrorFacts, Fallback, StopField,
};
use crate::refusal::dialects::{self, Meaning};
use crate::refusal::evidence::Words;
use crate::refusal::verdict::{Category, Class, Side};
use crate::refusal::vocabulary::{ErrorMeaning, Lookup, Provider, Stop, Vendor, Vocabulary};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Everything that speaks for one verdict or another.
pub(super) struct Case<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) provider: Option<Provider<'a>>,
    /// The stop word that counts.
    pub(super) ending: Option<Ending<'a>>,
    /// Where a refusal in words stands.
    pub(super) refusal_text: Option<Cow<'a, str>>,
    /// The answer that holds that refusal holds other content, too.
    pub(super) refusal_beside_content: bool,
    /// Where filters or guardrails say that they fired.
    pub(super) fired: Option<Cow<'a, str>>,
    pub(super) guardrail: bool,
    pub(super) refusal_event: bool,
    /// The refusal is only a hop to another model.
    pub(super) hop: bool,
    pub(super) categories: SmallVec<[CategoryWord; 2]>,
    pub(super) category_null: bool,
    pub(super) side: Option<Side>,
    pub(super) content: Content,
    pub(super) error: Option<ErrorFacts>,
    /// An error that is known, with where it stands.
    pub(super) failure: Option<(ErrorMeaning, Cow<'a, str>)>,
    /// The vendor's word for a category in the sentence of that error.
    pub(super) failure_word: Option<Box<str>>,
    pub(super) fallback: Option<Fallback>,
    pub(super) recommended_model: Option<Box<str>>,
    pub(super) response_id: Option<Box<str>>,
    pub(super) output_tokens: Option<u64>,
    /// The answer was read as it came from the vendor, whole: what is not there was never said.
    pub(super) is_verbatim: bool,
    /// Something was read that is an answer of a vendor's.
    pub(super) is_answer: bool,
}

/// A stop word, where it stood, and what it means.
#[derive(Clone, Debug)]
pub(super) struct Ending<'a> {
    pub(super) trust: Trust,
    pub(super) class: Class,
    /// What the vocabulary says of it; `None` for an unknown word.
    pub(super) stop: Option<Stop>,
    pub(super) word: Cow<'a, str>,
    pub(super) key: &'a [u8],
    pub(super) field: Option<StopField>,
}

/// How much a stop word is trusted over others, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// The vendor's own.
    Vendor,
    /// A finish reason, perhaps translated.
    Reason,
    /// An answer that a library wrote out again, and may have filled in.
    Answer,
    /// A message's finish reason, the most translated of all.
    Message,
}

impl Ending<'_> {
    /// Whether this counts rather than `other`: policy over all, then trust; of equals the unknown one, else the first.
    fn beats(&self, other: &Ending<'_>) -> bool {
        let rank = |ending: &Ending<'_>| {
            (ending.class == Class::Refusal, std::cmp::Reverse(ending.trust), ending.class == Class::Unknown)
        };
        rank(self) > rank(other)
    }

    /// The attribute or field it stood in.
    pub(super) fn signal(&self) -> Cow<'static, str> {
        let key = String::from_utf8_lossy(self.key);
        match self.field {
            None => Cow::Owned(key.into_owned()),
            Some(field) => Cow::Owned(format!("{key}:{}", field_name(field))),
        }
    }
}

impl<'a> Case<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, provider: Option<Provider<'a>>) -> Self {
        Case {
            vocabulary,
            provider,
            ending: None,
            refusal_text: None,
            refusal_beside_content: false,
            fired: None,
            guardrail: false,
            refusal_event: false,
            hop: false,
            categories: SmallVec::new(),
            category_null: false,
            side: None,
            content: Content::Unknown,
            error: None,
            failure: None,
            failure_word: None,
            fallback: None,
            recommended_model: None,
            response_id: None,
            output_tokens: None,
            is_verbatim: false,
            is_answer: false,
        }
    }

    pub(super) fn vendor(&self) -> Option<Vendor> {
        self.provider.map(|provider| provider.vendor)
    }

    /// A stop word under a key of its own.
    #[inline]
    pub(super) fn sight_word(&mut self, meaning: Meaning, key: &'a [u8], word: &'a str) {
        let trust = match meaning {
            Meaning::VendorStop | Meaning::ForeignStop => Trust::Vendor,
            _ => Trust::Reason,
        };
        let field = match key {
            _ if key.ends_with(b"native_finish_reason") => StopField::NativeFinishReason,
            _ if key.ends_with(b"finish_reasons") || key.ends_with(b"finish_reason") => {
                StopField::FinishReason
            }
            _ if key.ends_with(b"stop_reason") || key.ends_with(b"stopReason") => StopField::StopReason,
            _ => StopField::FinishReason,
        };
        self.sight(trust, field, Cow::Borrowed(word), key, None);
    }

    /// Stop words in a span event.
    pub(super) fn sight_words(&mut self, key: &'a str, value: AnyValue<'a>) {
        Words::of(value).for_each(|word| {
            self.sight(
                Trust::Reason,
                StopField::FinishReason,
                Cow::Borrowed(word),
                key.as_bytes(),
                Some(StopField::FinishReason),
            );
        });
    }

    /// The status of a response, under a key of its own.
    pub(super) fn sight_status(&mut self, key: &'a str, status: &'a str) {
        self.sight(Trust::Vendor, StopField::Status, Cow::Borrowed(status), key.as_bytes(), None);
    }

    fn sight(
        &mut self,
        trust: Trust,
        meant: StopField,
        word: Cow<'a, str>,
        key: &'a [u8],
        field: Option<StopField>,
    ) {
        let meaning = self.vocabulary.lookup(self.vendor(), meant, &word);
        self.take_word(Ending { trust, class: Class::Unknown, stop: None, word, key, field }, meaning);
    }

    fn take_word(&mut self, mut ending: Ending<'a>, meaning: Lookup) {
        match meaning {
            Lookup::Known(stop) => (ending.class, ending.stop) = (stop.class, Some(stop)),
            Lookup::Unknown => {}
            Lookup::Absent => return,
        }
        if self.ending.as_ref().is_none_or(|other| ending.beats(other)) {
            self.ending = Some(ending);
        }
    }

    /// Takes over what an answer, or a piece of one, says.
    pub(super) fn take_answer(&mut self, answer: Answer, key: &'a str, trust: Trust) {
        self.is_answer |= answer.shape.is_some() || !answer.stops.is_empty() || answer.error.is_some();
        let by_shape = answer.shape.and_then(|shape| self.vocabulary.vendor_of_shape(shape));
        // A status says less than the reason for it.
        let (status, reasons): (SmallVec<[_; 2]>, SmallVec<[_; 2]>) =
            answer.stops.into_iter().partition(|stop| stop.field == StopField::Status);
        for stop in reasons.into_iter().chain(status) {
            let trust = match stop.field {
                StopField::NativeFinishReason | StopField::BlockReason | StopField::GuardrailAction => {
                    Trust::Vendor
                }
                _ => trust,
            };
            // Behind a gateway the provider is the backend, while the answer may speak another vendor's API.
            let meaning = match self.vocabulary.lookup(self.vendor(), stop.field, &stop.word) {
                Lookup::Unknown if by_shape.is_some() => {
                    self.vocabulary.lookup(by_shape, stop.field, &stop.word)
                }
                meaning => meaning,
            };
            let (class, word) = (Class::Unknown, Cow::Owned(stop.word.into()));
            let (key, field) = (key.as_bytes(), Some(stop.field));
            self.take_word(Ending { trust, class, stop: None, word, key, field }, meaning);
        }
        for category in answer.categories {
            if self.fired.is_none() {
                self.fired = Some(Cow::Owned(format!("{key}:{}", source_name(category.source))));
            }
            self.add_category(category);
        }
        self.category_null |= answer.category_null;
        if answer.refusal_part && self.refusal_text.is_none() {
            self.refusal_text = Some(Cow::Owned(format!("{key}:refusal")));
        }
        self.refusal_beside_content |= answer.refusal_part && answer.content == Content::Some;
        self.guardrail |= answer.guardrail_intervened;
        self.side = self.side.or(answer.side);
        self.content = self.content.or_more(answer.content);
        self.error = self.error.take().or(answer.error);
        if answer.fallback.is_some() {
            self.fallback = answer.fallback;
        }
        self.recommended_model = self.recommended_model.take().or(answer.recommended_model);
        self.response_id = self.response_id.take().or(answer.id);
        self.output_tokens = self.output_tokens.or(answer.output_tokens);
    }

    pub(super) fn add_category(&mut self, category: CategoryWord) {
        if !self.categories.iter().any(|known| known.word == category.word) {
            self.categories.push(category);
        }
    }

    /// What a guardrail found, as JSON of names by policy. That it found something does not say that it intervened.
    pub(super) fn name_policies(&mut self, side: Side, value: AnyValue<'a>) {
        let AnyValue::Str(text) = value else { return };
        let Ok(found) = serde_json::from_slice::<serde_json::Value>(text) else { return };
        self.name_policies_in(side, "", &found);
    }

    fn name_policies_in(&mut self, side: Side, policy: &str, found: &serde_json::Value) {
        match found {
            serde_json::Value::Object(lists) => {
                for (list, found) in lists {
                    self.name_policies_in(side, dialects::guardrail_policy(list), found);
                }
            }
            serde_json::Value::Array(names) => {
                for name in names.iter().filter_map(|name| name.as_str()) {
                    let word = format!("{policy}:{name}").into();
                    self.add_category(CategoryWord { source: CategorySource::GuardrailTrace, word, side });
                }
            }
            _ => {}
        }
    }

    /// A word for the category that stands by itself.
    pub(super) fn name_category(&mut self, word: &str) {
        self.add_category(CategoryWord {
            source: CategorySource::StopDetails,
            word: word.into(),
            side: Side::Unknown,
        });
    }

    pub(super) fn see_text(&mut self, value: AnyValue<'a>) {
        if let AnyValue::Str(text) = value {
            self.content = self.content.or_more(Content::of_text(text));
        }
    }

    pub(super) fn see_part_type(&mut self, value: AnyValue<'a>) {
        match value {
            AnyValue::Str(b"fallback" | b"anthropic_fallback") => {
                self.fallback.get_or_insert_default();
            }
            AnyValue::Str(b"refusal") => {
                self.refusal_text.get_or_insert(Cow::Borrowed("llm.output_messages"));
            }
            _ => {}
        }
    }

    /// What a category word means; `unknown` for one that nobody lists.
    pub(super) fn category_of(&self, word: &str) -> Category {
        self.vocabulary.category(self.vendor(), word).unwrap_or(Category::Unknown)
    }

    /// Whether the answer came by an API of OpenAI's or one that imitates it.
    pub(super) fn speaks_openai(&self) -> bool {
        self.provider.is_some_and(|provider| matches!(provider.name, "openai" | "azure.ai.openai"))
    }

    /// Whether something says by itself that this was a refusal.
    pub(super) fn is_policy(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.class == Class::Refusal)
            || self.refusal_text.is_some()
            || self.guardrail
            || self.refusal_event
    }

    /// Whether the stop words so far leave open how the response ended, or why it was refused.
    pub(super) fn is_open(&self) -> bool {
        match self.ending.as_ref().map(|ending| ending.class) {
            Some(Class::Complete | Class::ToolUse | Class::StopSequence | Class::Length | Class::Pause) => {
                false
            }
            Some(Class::Refusal | Class::Error | Class::Other | Class::Unknown | Class::Missing) | None => {
                true
            }
        }
    }

    /// How the response ended, and by which rule.
    pub(super) fn class(&self, application: bool, has_failed: bool) -> (Class, Rule) {
        let by_ending = |ending: &Ending<'_>| match ending.trust {
            Trust::Vendor => Rule::VendorStop,
            Trust::Reason => Rule::FinishReason,
            Trust::Answer => Rule::Answer,
            Trust::Message => Rule::MessageFinishReason,
        };
        if application {
            return (Class::Refusal, Rule::Application);
        }
        if self.refusal_event {
            return (Class::Refusal, Rule::RefusalEvent);
        }
        match &self.ending {
            Some(ending) if ending.class == Class::Refusal => return (Class::Refusal, by_ending(ending)),
            _ => {}
        }
        if self.hop {
            return (Class::Complete, Rule::RefusalEvent);
        }
        if let Some((ErrorMeaning { class: Class::Refusal, .. }, _)) = &self.failure {
            return (Class::Refusal, Rule::ErrorSignature);
        }
        if self.refusal_text.is_some() {
            return (Class::Refusal, Rule::RefusalText);
        }
        if self.guardrail {
            return (Class::Refusal, Rule::Guardrail);
        }
        if self.fired.is_some() {
            return (Class::Refusal, Rule::FilterFired);
        }
        match (&self.failure, &self.ending) {
            (Some((meaning, _)), _) if meaning.class == Class::Refusal => {
                (Class::Refusal, Rule::ErrorSignature)
            }
            (_, Some(ending)) => (ending.class, by_ending(ending)),
            (Some((meaning, _)), None) => (meaning.class, Rule::ErrorSignature),
            (None, None) if has_failed => (Class::Error, Rule::Error),
            (None, None) => (Class::Missing, Rule::Nothing),
        }
    }

    /// `llm.stop_reason.value`: the word that counts, where there is one.
    pub(super) fn take_value(&mut self, class: Class) -> Option<Cow<'a, str>> {
        match class {
            Class::Missing => None,
            _ => self.ending.take().map(|ending| bounded(ending.word)),
        }
    }
}

fn field_name(field: StopField) -> &'static str {
    match field {
        StopField::StopReason => "stop_reason",
        StopField::FinishReason => "finish_reason",
        StopField::NativeFinishReason => "native_finish_reason",
        StopField::Status => "status",
        StopField::IncompleteReason => "incomplete_details.reason",
        StopField::BlockReason => "promptFeedback.blockReason",
        StopField::GuardrailAction => "guardrailAction",
    }
}

fn source_name(source: CategorySource) -> &'static str {
    match source {
        CategorySource::StopDetails => "stop_details.category",
        CategorySource::ContentFilter => "content_filter_results",
        CategorySource::SafetyRating => "safetyRatings",
        CategorySource::GuardrailTrace => "trace.guardrail",
        CategorySource::ErrorDetail => "error",
    }
}
