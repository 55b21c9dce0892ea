//! Reads a vendor's own answer (JSON, a stream of events, or what an instrumentation made of one), whole, cut off or
//! in pieces, and keeps only how it ended. No text of the answer is stored.
//!
//! Bytes go, once their [`coding`] is undone, from the [`Reader`] through their framing (`sse`, `event_stream`) and the tokenizer (`json`) to the
//! [`Extractor`], which a walk over a structured value may call itself. It believes a key only where an answer has it:
//! unknown objects are wrappers and are looked into; content, arguments and results of tools, the request and what the
//! model made up are not.

pub mod coding;
mod event_stream;
mod extract;
mod json;
mod key;
mod reader;
mod sse;

pub use extract::Extractor;
pub use reader::Reader;

use crate::refusal::verdict::Side;
use smallvec::SmallVec;
use std::fmt;

/// What one vendor answer tells about its end. Everything is a fact of the body; what it means is the judge's matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Which API's answer this looks like, when its fields tell.
    pub shape: Option<Shape>,
    /// Stop words in the order found, each once; for several choices or candidates, each one's. A word that says that
    /// there is none yet (`""`, `"null"`, a status `in_progress`) is there only when nothing else tells the end.
    pub stops: SmallVec<[StopWord; 2]>,
    /// The words that name a reason for a refusal, with where they stood.
    pub categories: SmallVec<[CategoryWord; 2]>,
    /// Whether a field for the category was there at all and said null (`stop_details: null`, `category: null`):
    /// the vendor named none, which differs from telemetry that lost it.
    pub category_null: bool,
    /// A non-empty `refusal` field or a part of type `refusal`: the model declined in words.
    pub refusal_part: bool,
    /// Whether the answer holds any content that is not a refusal text: text, thinking, a call of a tool, an image.
    pub content: Content,
    /// A call of a tool that the caller must answer is among the content.
    pub tool_call: bool,
    /// What was declined, where the vendor tells that without naming a category (Zhipu's `contentFilter[].role`).
    pub side: Option<Side>,
    /// The `error` of an error body, or of an answer that failed.
    pub error: Option<ErrorFacts>,
    /// A hop from a model that declined to one that served (Anthropic's `fallback` block or iteration).
    pub fallback: Option<Fallback>,
    /// The model that the vendor recommends instead (`stop_details.recommended_model`).
    pub recommended_model: Option<Box<str>>,
    /// A customer guardrail intervened (`amazon-bedrock-guardrailAction: INTERVENED`, a guardrail trace that blocked).
    pub guardrail_intervened: bool,
    /// The vendor's id of the response.
    pub id: Option<Box<str>>,
    /// The model that answered.
    pub model: Option<Box<str>>,
    /// Input tokens, as the vendor counts them.
    pub input_tokens: Option<u64>,
    /// Output tokens, as the vendor counts them.
    pub output_tokens: Option<u64>,
    /// The body ended before its JSON or its stream did: what is absent may have been lost.
    pub incomplete: bool,
}

impl Answer {
    /// Reads a text that is a vendor's whole answer, or the start of one.
    pub fn read(text: &[u8]) -> Answer {
        let mut reader = Reader::new();
        reader.feed(text);
        reader.finish()
    }

    /// Reads a value that stood under `key` in a vendor's answer and is told apart: a word, a text, JSON or a Python
    /// repr of it. `key` is the last part of an attribute's name, as `stop_details` of
    /// `anthropic.message.stop_details`.
    pub fn read_under(key: &str, text: &str) -> Answer {
        if text.trim_start().starts_with(['{', '[', '"']) {
            let mut reader = Reader::under(key);
            reader.feed(text.as_bytes());
            return reader.finish();
        }
        let mut extractor = Extractor::new();
        extractor.begin_part(key);
        extractor.string(text);
        extractor.end();
        extractor.finish()
    }

    /// Reads the text of an error as clients print it: prose that may hold the vendor's JSON, or a Python repr of it,
    /// as in `Error code: 400 - {'error': {...}}`. Without any, its start is the message.
    pub fn read_error(text: &str) -> Answer {
        let mut reader = Reader::of_error();
        reader.feed(text.as_bytes());
        let mut answer = reader.finish();
        let error = answer.error.get_or_insert_default();
        if error.message.is_none() {
            error.message = Some(json::Text::whole(text, extract::MAX_MESSAGE).start_str().into());
        }
        answer
    }
}

/// Whose API an answer is shaped like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Anthropic Messages.
    AnthropicMessages,
    /// OpenAI Chat Completions and all that imitate it.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
    /// Gemini and Vertex `generateContent`.
    GeminiGenerateContent,
    /// Bedrock Converse.
    BedrockConverse,
    /// Cohere Chat, version 1 or 2.
    CohereChat,
    /// Ollama's own API.
    Ollama,
    /// DashScope's own API.
    DashScope,
}

/// A stop word and the field it stood in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopWord {
    /// The field.
    pub field: StopField,
    /// The word as it stood there, at most 256 bytes.
    pub word: Box<str>,
}

/// The fields of vendor answers that say how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopField {
    /// `stop_reason`, `stopReason`.
    StopReason,
    /// `finish_reason`, `finishReason`, `done_reason`.
    FinishReason,
    /// `native_finish_reason`: the backend's own word behind a gateway.
    NativeFinishReason,
    /// `status` of an OpenAI Responses answer (or of Gemini Interactions).
    Status,
    /// `incomplete_details.reason`.
    IncompleteReason,
    /// `promptFeedback.blockReason`.
    BlockReason,
    /// `amazon-bedrock-guardrailAction`, `action` of ApplyGuardrail.
    GuardrailAction,
}

/// A word that names why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryWord {
    /// Where it stood.
    pub source: CategorySource,
    /// The vendor's word; for guardrail policies `policy:word`, as in `topicPolicy:DENY` and
    /// `wordPolicy:customWords`, but for those of `contentPolicy`, which stand alone (`VIOLENCE`).
    pub word: Box<str>,
    /// What it speaks of, when its place tells.
    pub side: Side,
}

/// Where categories stand in vendor answers. Only entries that say that they fired are facts: `filtered: true`,
/// `blocked: true`, `action: BLOCKED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CategorySource {
    /// Anthropic `stop_details.category`.
    StopDetails,
    /// Azure `content_filter_results`, `content_filter_result`, `content_filters[]`, `prompt_filter_results`.
    ContentFilter,
    /// Gemini `safetyRatings[]`.
    SafetyRating,
    /// Bedrock `trace.guardrail.*`.
    GuardrailTrace,
    /// `error.code`-like detail, as xAI's `SAFETY_CHECK_TYPE_*` or OpenRouter's `metadata.reasons[]`.
    ErrorDetail,
}

/// Whether an answer held content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// The body does not tell (masked, cut off, or never there).
    #[default]
    Unknown,
    /// It has the place for content, and that is empty.
    Empty,
    /// There was some.
    Some,
}

impl Content {
    /// What a text of the answer tells.
    pub(crate) fn of_text(text: &[u8]) -> Self {
        if text.trim_ascii().is_empty() { Content::Empty } else { Content::Some }
    }

    /// What two looks at the same answer come to.
    pub(crate) fn or_more(self, other: Content) -> Self {
        match (self, other) {
            (Content::Some, _) | (_, Content::Some) => Content::Some,
            (Content::Empty, _) | (_, Content::Empty) => Content::Empty,
            (Content::Unknown, Content::Unknown) => Content::Unknown,
        }
    }
}

/// The facts of an error.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorFacts {
    /// `error.code` (or `code`), as text.
    pub code: Option<Box<str>>,
    /// `error.innererror.code`.
    pub inner_code: Option<Box<str>>,
    /// `error.type`, `error.status`, `__type`.
    pub kind: Option<Box<str>>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Which findings came with it.
    pub findings: Option<Findings>,
    /// The start of the vendor's sentence, at most 512 bytes; for matching signatures, never passed on.
    pub message: Option<Box<str>>,
}

/// Leaves the message out: vendors quote prompts in it.
impl fmt::Debug for ErrorFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorFacts")
            .field("code", &self.code)
            .field("inner_code", &self.inner_code)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("findings", &self.findings)
            .field("message_bytes", &self.message.as_ref().map(|message| message.len()))
            .finish()
    }
}

/// The lists of findings that OpenRouter puts into `error.metadata` of what it refuses itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Findings {
    /// `reasons`: its moderation flagged the input. The reasons are among the categories.
    Reasons,
    /// `patterns`: a guardrail of the customer matched.
    Patterns,
}

/// A request that one model declined and another served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallback {
    /// Who declined.
    pub from: Option<Box<str>>,
    /// Who served.
    pub to: Option<Box<str>>,
    /// `trigger.category`; the outer `None` means that no such field was there, the inner that it was null.
    pub category: Option<Option<Box<str>>>,
}
