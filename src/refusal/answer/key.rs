//! The keys of vendor answers that mean something, however they are spelled.

/// A key, whatever its style: `finish_reason`, `finishReason`, `finish-reason` and `FinishReason` are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// Any other key.
    #[default]
    Unknown,
    /// What the request said, what tools said, what the model made up: never evidence, whatever is in it.
    Opaque,
    Action,
    Assessments,
    AwsType,
    BilledUnits,
    BlockReason,
    Blocked,
    Body,
    Bytes,
    Candidates,
    Category,
    Choices,
    Chunk,
    Code,
    /// The text of an answer in older APIs, or a wrapper around an answer.
    Completion,
    Content,
    ContentBlock,
    /// A key that only events of ConverseStream have.
    ConverseEvent,
    /// Zhipu's `contentFilter`.
    ContentFilter,
    ContentFilterResults,
    ContentFilters,
    Delta,
    Done,
    Error,
    ErrorType,
    EvalCount,
    Fallback,
    Filtered,
    FinishReason,
    From,
    Guardrail,
    GuardrailAction,
    Id,
    IncompleteDetails,
    InnerError,
    InputTokens,
    Item,
    Iterations,
    Media,
    Message,
    Metadata,
    Model,
    ModelOutput,
    NativeFinishReason,
    Object,
    Output,
    OutputTokens,
    Parts,
    Patterns,
    PromptEvalCount,
    PromptFeedback,
    PromptFilterResults,
    Raw,
    Reason,
    Reasoning,
    Reasons,
    RecommendedModel,
    Refusal,
    ResponseId,
    /// A key that only answers of the Responses API have.
    ResponsesMark,
    Role,
    SafetyRatings,
    SourceType,
    Status,
    StatusCode,
    StopDetails,
    StopReason,
    StopSequence,
    Text,
    To,
    ToolCalls,
    Trace,
    Trigger,
    Type,
    Unified,
    Usage,
}

impl Key {
    /// The key that is spelled so.
    pub fn of(spelled: &[u8]) -> Key {
        if spelled == b"__type" {
            return Key::AwsType;
        }
        let mut plain = [0u8; LONGEST];
        let mut length = 0;
        let mut hash = 0;
        for byte in spelled.iter().filter(|byte| !matches!(byte, b'_' | b'-')) {
            let Some(place) = plain.get_mut(length) else { return Key::Unknown };
            *place = byte.to_ascii_lowercase();
            hash = hash_in(hash, *place);
            length += 1;
        }
        let plain = plain.get(..length).unwrap_or_default();
        let mut slot = slot_of(hash);
        loop {
            let place = SLOTS.get(slot).copied().unwrap_or(EMPTY);
            let Some((name, key)) = KEYS.get(usize::from(place)) else { return Key::Unknown };
            if name.as_bytes() == plain {
                return *key;
            }
            slot = (slot + 1) % SLOT_COUNT;
        }
    }
}

/// The length of the longest name in [`KEYS`].
const LONGEST: usize = 31;

/// The places of [`KEYS`] by the hash of their names; the next free one when that is taken. Most keys of an answer
/// mean nothing, and most of those are known by an empty place at once.
static SLOTS: [u8; SLOT_COUNT] = slots();

const SLOT_COUNT: usize = 1024;

const EMPTY: u8 = u8::MAX;

const fn hash_in(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(0x0100_0193)
}

const fn slot_of(hash: u32) -> usize {
    (hash ^ (hash >> 15)) as usize % SLOT_COUNT
}

#[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
const fn slots() -> [u8; SLOT_COUNT] {
    assert!(KEYS.len() < EMPTY as usize);
    let mut slots = [EMPTY; SLOT_COUNT];
    let mut place = 0;
    while place < KEYS.len() {
        let name = KEYS[place].0.as_bytes();
        let (mut at, mut hash) = (0, 0);
        while at < name.len() {
            hash = hash_in(hash, name[at]);
            at += 1;
        }
        let mut slot = slot_of(hash);
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOT_COUNT;
        }
        slots[slot] = place as u8;
        place += 1;
    }
    slots
}

/// Sorted by name: lower case, without `_` and `-`.
const KEYS: &[(&str, Key)] = &[
    ("action", Key::Action),
    ("amazonbedrockguardrailaction", Key::GuardrailAction),
    ("amazonbedrocktrace", Key::Trace),
    ("annotations", Key::Opaque),
    ("args", Key::Opaque),
    ("arguments", Key::Opaque),
    ("assessments", Key::Assessments),
    ("audio", Key::Media),
    ("automaticfunctioncallinghistory", Key::Opaque),
    ("billedunits", Key::BilledUnits),
    ("blocked", Key::Blocked),
    ("blockreason", Key::BlockReason),
    ("body", Key::Body),
    ("bytes", Key::Bytes),
    ("candidates", Key::Candidates),
    ("candidatestokencount", Key::OutputTokens),
    ("category", Key::Category),
    ("chathistory", Key::Opaque),
    ("choices", Key::Choices),
    ("chunk", Key::Chunk),
    ("citationmetadata", Key::Opaque),
    ("citations", Key::Opaque),
    ("code", Key::Code),
    ("completion", Key::Completion),
    ("completionreason", Key::FinishReason),
    ("completiontokens", Key::OutputTokens),
    ("content", Key::Content),
    ("contentblock", Key::ContentBlock),
    ("contentblockdelta", Key::ConverseEvent),
    ("contentblockstart", Key::ConverseEvent),
    ("contentblockstop", Key::ConverseEvent),
    ("contentfilter", Key::ContentFilter),
    ("contentfilterresult", Key::ContentFilterResults),
    ("contentfilterresults", Key::ContentFilterResults),
    ("contentfilters", Key::ContentFilters),
    ("contents", Key::Opaque),
    ("context", Key::Opaque),
    ("conversation", Key::Opaque),
    ("delta", Key::Delta),
    ("document", Key::Media),
    ("documents", Key::Opaque),
    ("done", Key::Done),
    ("donereason", Key::FinishReason),
    ("error", Key::Error),
    ("errortype", Key::ErrorType),
    ("evalcount", Key::EvalCount),
    ("eventtype", Key::Type),
    ("examples", Key::Opaque),
    ("executablecode", Key::Media),
    ("fallback", Key::Fallback),
    ("filedata", Key::Media),
    ("filtered", Key::Filtered),
    ("finaloutput", Key::Opaque),
    ("finishreason", Key::FinishReason),
    ("finishreasons", Key::FinishReason),
    ("flaggedinput", Key::Opaque),
    ("from", Key::From),
    ("functioncall", Key::ToolCalls),
    ("functionresponse", Key::Opaque),
    ("functions", Key::Opaque),
    ("generatedtext", Key::Completion),
    ("generation", Key::Completion),
    ("generationid", Key::ResponseId),
    ("groundingmetadata", Key::Opaque),
    ("guardrail", Key::Guardrail),
    ("headers", Key::Opaque),
    ("history", Key::Opaque),
    ("id", Key::Id),
    ("image", Key::Media),
    ("incompletedetails", Key::IncompleteDetails),
    ("inlinedata", Key::Media),
    ("innererror", Key::InnerError),
    ("input", Key::Opaque),
    ("inputmessages", Key::Opaque),
    ("inputs", Key::Opaque),
    ("inputschema", Key::Opaque),
    ("inputtokens", Key::InputTokens),
    ("instructions", Key::Opaque),
    ("invocationparams", Key::Opaque),
    ("item", Key::Item),
    ("iterations", Key::Iterations),
    ("jsonschema", Key::Opaque),
    ("lasterror", Key::Error),
    ("logprobs", Key::Opaque),
    ("message", Key::Message),
    ("messages", Key::Opaque),
    ("messagestart", Key::ConverseEvent),
    ("messagestop", Key::ConverseEvent),
    ("metadata", Key::Metadata),
    ("model", Key::Model),
    ("modelid", Key::Model),
    ("modelname", Key::Model),
    ("modeloutput", Key::ModelOutput),
    ("modelversion", Key::Model),
    ("moderation", Key::Opaque),
    ("nativefinishreason", Key::NativeFinishReason),
    ("object", Key::Object),
    ("output", Key::Output),
    ("outputparsed", Key::Opaque),
    ("outputtext", Key::Completion),
    ("outputtokens", Key::OutputTokens),
    ("paralleltoolcalls", Key::ResponsesMark),
    ("parameters", Key::Opaque),
    ("parsed", Key::Opaque),
    ("part", Key::ContentBlock),
    ("parts", Key::Parts),
    ("patterns", Key::Patterns),
    ("prefill", Key::Opaque),
    ("previousinteractionid", Key::ResponsesMark),
    ("previousresponseid", Key::ResponsesMark),
    ("prompt", Key::Opaque),
    ("promptannotations", Key::PromptFilterResults),
    ("promptevalcount", Key::PromptEvalCount),
    ("promptfeedback", Key::PromptFeedback),
    ("promptfilterresults", Key::PromptFilterResults),
    ("prompts", Key::Opaque),
    ("prompttokencount", Key::InputTokens),
    ("prompttokens", Key::InputTokens),
    ("raw", Key::Raw),
    ("reason", Key::Reason),
    ("reasoning", Key::Reasoning),
    ("reasoningcontent", Key::Reasoning),
    ("reasons", Key::Reasons),
    ("recommendedmodel", Key::RecommendedModel),
    ("refusal", Key::Refusal),
    ("request", Key::Opaque),
    ("requestbody", Key::Opaque),
    ("requestdata", Key::Opaque),
    ("responseformat", Key::Opaque),
    ("responseid", Key::ResponseId),
    ("role", Key::Role),
    ("safeguardresults", Key::Opaque),
    ("safetyratings", Key::SafetyRatings),
    ("schema", Key::Opaque),
    ("sdkhttpresponse", Key::Opaque),
    ("searchresults", Key::Opaque),
    ("sources", Key::Opaque),
    ("sourcetype", Key::SourceType),
    ("status", Key::Status),
    ("statuscode", Key::StatusCode),
    ("statusdetails", Key::IncompleteDetails),
    ("stopdetails", Key::StopDetails),
    ("stopreason", Key::StopReason),
    ("stopsequence", Key::StopSequence),
    ("structuredoutput", Key::Opaque),
    ("structuredresponse", Key::Opaque),
    ("summary", Key::Opaque),
    ("system", Key::Opaque),
    ("systeminstruction", Key::Opaque),
    ("systeminstructions", Key::Opaque),
    ("text", Key::Text),
    ("thinking", Key::Reasoning),
    ("to", Key::To),
    ("tokens", Key::Usage),
    ("tokenusage", Key::Usage),
    ("toolcall", Key::ToolCalls),
    ("toolcalls", Key::ToolCalls),
    ("toolchoice", Key::Opaque),
    ("tooldefinitions", Key::Opaque),
    ("tooloutput", Key::Opaque),
    ("toolresult", Key::Opaque),
    ("toolresults", Key::Opaque),
    ("tools", Key::Opaque),
    ("tooluse", Key::ToolCalls),
    ("trace", Key::Trace),
    ("trigger", Key::Trigger),
    ("turncompletereason", Key::FinishReason),
    ("type", Key::Type),
    ("unified", Key::Unified),
    ("urlcontextmetadata", Key::Opaque),
    ("usage", Key::Usage),
    ("usageiterations", Key::Iterations),
    ("usagemetadata", Key::Usage),
    ("usageobject", Key::Usage),
    ("variables", Key::Opaque),
    ("video", Key::Media),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_plain() {
        for pair in KEYS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} comes before {}", pair[1].0, pair[0].0);
        }
        let longest = KEYS.iter().map(|(name, _)| name.len()).max();
        assert_eq!(longest, Some(LONGEST));
        for (name, key) in KEYS {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
            assert_eq!(Key::of(name.as_bytes()), *key);
        }
    }

    #[test]
    fn style_does_not_matter() {
        for spelled in ["finish_reason", "finishReason", "finish-reason", "FinishReason", "FINISH_REASON"] {
            assert_eq!(Key::of(spelled.as_bytes()), Key::FinishReason, "{spelled}");
        }
        assert_eq!(Key::of(b"amazon-bedrock-guardrailAction"), Key::GuardrailAction);
        assert_eq!(Key::of(b"__type"), Key::AwsType);
        assert_eq!(Key::of(b"_type"), Key::Type);
        assert_eq!(Key::of(b""), Key::Unknown);
        assert_eq!(Key::of(&[b'a'; 500]), Key::Unknown);
    }
}
