//! What a key, a string, a number, a boolean or a null says where it stands.

use super::super::json::Text;
use super::super::key::Key;
use super::super::{CategorySource, Shape, StopField};
use super::facts::bounded;
use super::role::Role;
use super::{Extractor, MAX_MESSAGE, MAX_WORD, Number, TEXT_START, Wanted, flag};
use crate::refusal::verdict::Side;

impl Extractor {
    pub(in super::super) fn set_key(&mut self, spelled: &[u8]) {
        let key = Key::of(spelled);
        let Some(frame) = self.frames.last_mut() else { return };
        frame.key = key;
        match frame.role {
            Role::Open | Role::Choice | Role::Candidate => {}
            Role::Filters(_) | Role::Guardrail(_) | Role::Policy(_) | Role::Error => {
                self.spelled.clear();
                self.spelled.extend_from_slice(spelled);
                return;
            }
            Role::Usage if key == Key::BilledUnits => return self.found_shape(Shape::CohereChat),
            _ => return,
        }
        match key {
            Key::StopReason if frame.role != Role::Choice => {
                frame.flags |= flag::ANSWER | flag::STOP_REASON;
                if spelled == b"stopReason" {
                    self.found_shape(Shape::BedrockConverse);
                } else if frame.flags & flag::MESSAGE != 0 {
                    self.found_shape(Shape::AnthropicMessages);
                }
            }
            Key::StopSequence | Key::StopDetails if frame.role == Role::Open => {
                frame.flags |= flag::ANSWER;
                self.found_shape(Shape::AnthropicMessages);
            }
            Key::FinishReason if spelled == b"done_reason" => {
                frame.flags |= flag::ANSWER;
                self.found_shape(Shape::Ollama);
            }
            Key::FinishReason | Key::Choices => frame.flags |= flag::ANSWER,
            Key::Candidates | Key::PromptFeedback => {
                frame.flags |= flag::ANSWER;
                self.found_shape(Shape::GeminiGenerateContent);
            }
            Key::IncompleteDetails | Key::ResponsesMark => {
                frame.flags |= flag::ANSWER | flag::RESPONSE | flag::OPENAI;
            }
            Key::BilledUnits => self.found_shape(Shape::CohereChat),
            Key::ConverseEvent => {
                self.stream = true;
                self.found_shape(Shape::BedrockConverse);
            }
            _ => {}
        }
    }

    /// What is wanted of the string that stands here.
    pub(in super::super) fn want(&self) -> Wanted {
        const WORD: Wanted = Wanted::Start(MAX_WORD);
        const TEXT: Wanted = Wanted::Start(TEXT_START);
        const MESSAGE: Wanted = Wanted::Start(MAX_MESSAGE);
        let Some(frame) = self.frames.last() else { return Wanted::Json };
        if frame.array {
            return match frame.role {
                Role::StopWords(_) | Role::Reasons => WORD,
                Role::Part => TEXT,
                // [DONE]
                Role::Open if self.frames.len() == 1 => TEXT,
                _ => Wanted::Nothing,
            };
        }
        match (frame.role, frame.key) {
            (Role::Choice, Key::StopReason) => Wanted::Nothing,
            (Role::Open | Role::Choice | Role::Candidate, key) => match key {
                Key::StopReason
                | Key::FinishReason
                | Key::NativeFinishReason
                | Key::BlockReason
                | Key::Action
                | Key::GuardrailAction
                | Key::Code
                | Key::Type
                | Key::AwsType
                | Key::Object
                | Key::Status
                | Key::Id
                | Key::ResponseId
                | Key::Model
                | Key::Role => WORD,
                Key::Content
                | Key::Parts
                | Key::Text
                | Key::Completion
                | Key::Reasoning
                | Key::Refusal
                | Key::Delta
                | Key::Output => TEXT,
                Key::Message | Key::Error => MESSAGE,
                Key::StopDetails | Key::Body => Wanted::Json,
                Key::Bytes if self.within_chunk() => Wanted::Base64,
                _ => Wanted::Nothing,
            },
            (Role::Item, Key::Type | Key::Status | Key::FinishReason | Key::StopReason) => WORD,
            (Role::Item | Role::Content, Key::Content | Key::Text | Key::Refusal) => TEXT,
            (Role::Part, Key::Type) => WORD,
            (Role::Part, Key::Text | Key::Content | Key::Reasoning | Key::Refusal) => TEXT,
            (Role::StopNames(_), Key::Unified | Key::Raw | Key::Type | Key::Reason) => WORD,
            (Role::StopDetails, Key::Category | Key::RecommendedModel) => WORD,
            (Role::IncompleteDetails, Key::Reason) => WORD,
            (Role::PromptFeedback, Key::BlockReason) => WORD,
            (Role::Rating(_), Key::Category) => WORD,
            (Role::FilterError(_), Key::Message) => MESSAGE,
            (Role::ContentFilter, Key::SourceType) => WORD,
            (Role::Audited, Key::Role) => WORD,
            (Role::Error, Key::Code | Key::Type | Key::Status | Key::ErrorType) => WORD,
            (Role::Error, Key::Message) => MESSAGE,
            (Role::InnerError, Key::Code) => WORD,
            (Role::ErrorMetadata, Key::ErrorType) => WORD,
            (Role::ErrorMetadata, Key::Raw) => Wanted::Json,
            (Role::Iteration, Key::Type | Key::Model) => WORD,
            (Role::FallbackFrom | Role::FallbackTo, Key::Model) => WORD,
            (Role::FallbackTrigger, Key::Category) => WORD,
            (Role::Finding(_), Key::Type | Key::Action) => WORD,
            _ => Wanted::Nothing,
        }
    }

    /// Whether this object is the payload of a chunk of InvokeModelWithResponseStream.
    fn within_chunk(&self) -> bool {
        self.frames.iter().rev().nth(1).is_some_and(|frame| frame.key == Key::Chunk)
    }

    pub(in super::super) fn set_string(&mut self, text: Text<'_>) {
        let Some(frame) = self.frames.last() else { return };
        let (role, key, flags) = (frame.role, frame.key, frame.flags);
        if frame.array {
            match role {
                Role::Part => self.found_text(text),
                Role::Open if text.start == b"DONE" => self.ended = true,
                Role::StopWords(field) => self.found_word(text, |this, word| this.found_stop(field, word)),
                Role::Reasons => self.found_word(text, |this, word| {
                    this.found_category(CategorySource::ErrorDetail, word, Side::Input);
                }),
                _ => {}
            }
            return;
        }
        match (role, key) {
            (Role::Open | Role::Choice | Role::Candidate, key) => {
                self.set_open_string(role, key, flags, text)
            }
            (Role::Part, Key::Type) => self.found_word(text, Self::found_part_type),
            (Role::Part, Key::Reasoning) => self.found_text(text),
            (Role::Part, Key::Refusal) => self.found_refusal(text),
            (Role::Part, _) if flags & flag::REFUSAL != 0 => self.found_refusal(text),
            (Role::Part, Key::Content) if flags & flag::TYPED == 0 => {
                if !text.is_empty() && !self.found_mask(text) {
                    self.flag(flag::TEXT);
                }
            }
            (Role::Item, Key::Refusal) => self.found_refusal(text),
            (Role::Part | Role::Content, _) | (Role::Item, Key::Content | Key::Text) => self.found_text(text),
            (Role::Error, Key::Message) => self.found_error_message(text),
            (Role::FilterError(side), _) => self.found_filter_label(text, side),
            _ => self.found_word(text, |this, word| this.set_word(role, key, word)),
        }
    }

    /// A word that stands where only its whole counts.
    fn set_word(&mut self, role: Role, key: Key, word: &str) {
        match (role, key) {
            (Role::Item, Key::Type) => self.found_item_type(word),
            (Role::Item, Key::FinishReason) => self.found_stop(StopField::FinishReason, word),
            (Role::Item, Key::StopReason) => self.found_stop(StopField::StopReason, word),
            (Role::Item, _) => self.item_status = Some(bounded(word.as_bytes())),
            (Role::StopNames(_), Key::Raw) => self.found_stop(StopField::NativeFinishReason, word),
            (Role::StopNames(field), _) => self.found_stop(field, word),
            (Role::StopDetails, Key::Category) => {
                self.flag(flag::CATEGORY);
                self.found_category(CategorySource::StopDetails, word, Side::Unknown);
            }
            (Role::StopDetails, _) => self.answer.recommended_model = Some(bounded(word.as_bytes())),
            (Role::IncompleteDetails, _) => self.found_stop(StopField::IncompleteReason, word),
            (Role::PromptFeedback, _) => self.found_stop(StopField::BlockReason, word),
            (Role::Rating(side), _) => {
                self.entry.word = Some(bounded(word.as_bytes()));
                self.found_rating(side);
            }
            (Role::ContentFilter, _) => {
                self.entry.side = match word {
                    "prompt" => Some(Side::Input),
                    "completion" => Some(Side::Output),
                    _ => None,
                };
            }
            (Role::Audited, _) => {
                let side = match word {
                    "user" => Some(Side::Input),
                    "assistant" => Some(Side::Output),
                    _ => None,
                };
                self.answer.side = self.answer.side.or(side);
            }
            (Role::Error, Key::Code) => self.found_error_code(word),
            (Role::Error, _) => self.found_error_kind(word),
            (Role::InnerError, _) => {
                let inner = &mut self.error().inner_code;
                inner.get_or_insert_with(|| bounded(word.as_bytes()));
            }
            (Role::ErrorMetadata, _) => self.found_error_kind(word),
            (Role::Iteration, Key::Type) => match word {
                "fallback_message" => self.flag(flag::FALLBACK),
                "message" => self.flag(flag::MESSAGE),
                _ => {}
            },
            (Role::Iteration, _) => self.entry.word = Some(bounded(word.as_bytes())),
            (Role::FallbackFrom, _) => self.fallback_part().from = Some(bounded(word.as_bytes())),
            (Role::FallbackTo, _) => self.fallback_part().to = Some(bounded(word.as_bytes())),
            (Role::FallbackTrigger, _) => {
                self.fallback_part().category = Some(Some(bounded(word.as_bytes())));
            }
            (Role::Finding(side), Key::Action) => {
                let blocked = word.rsplit('.').next() == Some("BLOCKED");
                self.entry.fired = Some(blocked);
                self.answer.guardrail_intervened |= blocked;
                self.found_finding(side, false);
            }
            (Role::Finding(side), _) => {
                self.entry.word = Some(bounded(word.as_bytes()));
                self.found_finding(side, false);
            }
            _ => {}
        }
    }

    fn set_open_string(&mut self, role: Role, key: Key, flags: u16, text: Text<'_>) {
        match key {
            Key::Content | Key::Parts | Key::Text | Key::Completion | Key::Reasoning | Key::Output => {
                if key == Key::Output && text.is_empty() {
                    return;
                }
                if flags & flag::REFUSAL != 0 {
                    return self.found_refusal(text);
                }
                self.found_text(text);
            }
            Key::Refusal => self.found_refusal(text),
            Key::Delta => self.found_delta(flags, text),
            Key::Error => self.found_error_message(text),
            Key::Message => {
                let message = text.start_str();
                self.wait(|waiting| waiting.message = Some(bounded(message.as_bytes())));
            }
            _ => self.found_word(text, |this, word| this.set_open_word(role, key, word)),
        }
    }

    fn set_open_word(&mut self, role: Role, key: Key, word: &str) {
        match key {
            Key::StopReason => self.found_stop(StopField::StopReason, word),
            Key::FinishReason => self.found_stop(StopField::FinishReason, word),
            Key::NativeFinishReason => self.found_stop(StopField::NativeFinishReason, word),
            Key::BlockReason => self.found_stop(StopField::BlockReason, word),
            Key::GuardrailAction if word != "NONE" => self.found_intervention(word),
            // Other answers have actions of their own.
            Key::Action if word == "GUARDRAIL_INTERVENED" => self.found_intervention(word),
            Key::Type => self.found_type(word),
            Key::Object => self.found_object(word),
            Key::AwsType => {
                self.flag(flag::ERROR);
                // com.amazonaws.bedrock#ValidationException
                let name = word.rsplit(['#', '/']).next().unwrap_or(word);
                self.wait(|waiting| waiting.kind = Some(bounded(name.as_bytes())));
            }
            Key::Role => match word {
                "assistant" | "model" | "ai" => self.flag(flag::ASSISTANT),
                "user" | "human" | "system" | "developer" | "tool" | "function" => self.flag(flag::FOREIGN),
                _ => {}
            },
            Key::ResponseId => self.found_id(word),
            Key::Id if self.answer.id.is_none() && !word.is_empty() => {
                self.wait(|waiting| waiting.id = Some(bounded(word.as_bytes())));
            }
            Key::Model if self.answer.model.is_none() && !word.is_empty() => {
                self.wait(|waiting| waiting.model = Some(bounded(word.as_bytes())));
            }
            Key::Status if role == Role::Open => {
                self.wait(|waiting| waiting.status = Some(bounded(word.as_bytes())));
            }
            Key::Code => self.wait(|waiting| waiting.code = Some(bounded(word.as_bytes()))),
            _ => {}
        }
    }

    pub(in super::super) fn set_number(&mut self, number: Number) {
        let Some(frame) = self.frames.last() else { return };
        if frame.array {
            return;
        }
        let http_error = || {
            number.count().and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code))
        };
        match (frame.role, frame.key) {
            (Role::Usage, Key::InputTokens) | (Role::Open, Key::PromptEvalCount) => {
                self.answer.input_tokens = number.count().or(self.answer.input_tokens);
            }
            (Role::Usage, Key::OutputTokens) | (Role::Open, Key::EvalCount) => {
                self.answer.output_tokens = number.count().or(self.answer.output_tokens);
            }
            (Role::Candidate, Key::FinishReason) => {
                if let Some(word) = number.count().and_then(gemini_finish_reason) {
                    self.found_stop(StopField::FinishReason, word);
                }
            }
            (Role::Error, Key::Code) => {
                if let Some(status) = http_error() {
                    self.error().status.get_or_insert(status);
                }
                if let Some(code) = number.count() {
                    self.found_error_code(&code.to_string());
                }
            }
            (Role::Error, Key::Status) | (Role::Open, Key::StatusCode | Key::Status) => {
                self.http_status = self.http_status.or(http_error());
            }
            (Role::Open, Key::Code) => {
                self.http_status = self.http_status.or(http_error());
                if let Some(code) = number.count() {
                    self.wait(|waiting| waiting.code = Some(code.to_string().into()));
                }
            }
            _ => {}
        }
    }

    pub(in super::super) fn set_boolean(&mut self, value: bool) {
        let Some(frame) = self.frames.last() else { return };
        if frame.array {
            return;
        }
        match (frame.role, frame.key) {
            (Role::Open, Key::Done) => {
                self.stream = true;
                self.ended |= value;
            }
            (Role::Rating(side), Key::Blocked) => {
                self.entry.fired = Some(value);
                self.found_rating(side);
            }
            (Role::Filter(side), Key::Filtered) if value => {
                if let Some(word) = self.entry.word.take() {
                    self.found_category(CategorySource::ContentFilter, &word, side);
                }
            }
            (Role::ContentFilter, Key::Blocked) => self.entry.fired = Some(value),
            _ => {}
        }
    }

    pub(in super::super) fn set_null(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        if frame.array {
            return;
        }
        match (frame.role, frame.key) {
            (Role::Open | Role::Choice, Key::StopDetails) => self.value.category_null = true,
            (Role::StopDetails, Key::Category) => {
                self.flag(flag::CATEGORY);
                self.value.category_null = true;
            }
            (Role::FallbackTrigger, Key::Category) => self.fallback_part().category = Some(None),
            (Role::Open | Role::Candidate | Role::Item, Key::Content | Key::Parts) => self.found_place(),
            (Role::Content, Key::Parts) => self.found_place(),
            _ => {}
        }
    }
}

/// The values of the protobuf enum that Gemini and Vertex have in common; from 6 on they differ.
fn gemini_finish_reason(value: u64) -> Option<&'static str> {
    match value {
        1 => Some("STOP"),
        2 => Some("MAX_TOKENS"),
        3 => Some("SAFETY"),
        4 => Some("RECITATION"),
        5 => Some("OTHER"),
        _ => None,
    }
}
