//! The capture contract for people who control their client code (`docs/capture.md`), and keys that are known by their
//! form only: indexed ones, and fields of a vendor's answer under a vendor's namespace.

use super::{Meaning, Meaning::*, Table};

pub(super) const KEYS: Table = &[];

/// What a key tells that stands in no table.
#[inline(always)]
pub(crate) fn pattern(key: &[u8]) -> Option<Meaning> {
    // Nearly all keys end here.
    if key.first_chunk().is_some_and(|start| STARTS.may_have(start)) {
        by_form(namespace(key), key)
    } else if ends_like_a_field(key) {
        by_form(Namespace::Foreign, key)
    } else {
        None
    }
}

#[inline(never)]
fn by_form(namespace: Namespace, key: &[u8]) -> Option<Meaning> {
    match namespace {
        Namespace::Llm => llm_key(key),
        Namespace::GenAi => gen_ai_key(key),
        Namespace::Vendor => vendor_key(key),
        Namespace::Foreign => match last_field(key)? {
            Field::Stop => Some(ForeignStop),
            Field::Piece => Some(ForeignField),
        },
    }
}

/// The part of a contract key that names fields of the vendor's answer, from the outermost on:
/// `stop_details.category` of `anthropic.message.stop_details.category`.
pub(crate) fn nested_path(key: &str) -> &str {
    let mut from = 0;
    for segment in key.split('.') {
        let before = key.get(..from).unwrap_or_default();
        if is_piece(segment.as_bytes(), before.as_bytes()) {
            return key.get(from..).unwrap_or(key);
        }
        from += segment.len() + 1;
    }
    key.rsplit('.').next().unwrap_or(key)
}

/// Whose keys these are, by how they begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    GenAi,
    Llm,
    Vendor,
    Foreign,
}

fn namespace(key: &[u8]) -> Namespace {
    if key.starts_with(b"gen_ai.") {
        return Namespace::GenAi;
    }
    if key.starts_with(b"llm.") {
        return Namespace::Llm;
    }
    match VENDORS.iter().any(|vendor| key.starts_with(vendor.as_bytes())) {
        true => Namespace::Vendor,
        false => Namespace::Foreign,
    }
}

/// How keys start that may be known by their form and mark an item.
pub(super) fn namespaces() -> impl Iterator<Item = &'static str> {
    ["gen_ai.", "llm."].into_iter().chain(VENDORS.iter().copied())
}

/// Under what names people put the fields of vendors' answers.
const VENDORS: &[&str] = &[
    "ai.",
    "anthropic.",
    "aws.bedrock.",
    "az.",
    "azure.",
    "bedrock.",
    "cerebras.",
    "claude.",
    "cohere.",
    "dashscope.",
    "deepseek.",
    "fireworks.",
    "gcp.",
    "gemini.",
    "google.",
    "groq.",
    "langfuse.",
    "langsmith.",
    "litellm.",
    "mistral.",
    "mistral_ai.",
    "mistralai.",
    "moonshot.",
    "ollama.",
    "openai.",
    "openrouter.",
    "perplexity.",
    "portkey.",
    "qwen.",
    "together.",
    "vertex.",
    "vertex_ai.",
    "vertexai.",
    "vllm.",
    "x_ai.",
    "xai.",
    "zai.",
    "zhipu.",
];

/// How keys start that are looked at more closely.
static STARTS: Starts = {
    let mut starts = Starts([0; 16]).with(b"gen").with(b"llm");
    let mut rest = VENDORS;
    while let [vendor, others @ ..] = rest {
        if let Some(start) = vendor.as_bytes().first_chunk() {
            starts = starts.with(start);
        }
        rest = others;
    }
    starts
};

/// A set of first letters that may take others for its own, but rarely does.
struct Starts([u64; 16]);

impl Starts {
    const fn with(mut self, start: &[u8; 3]) -> Self {
        let bit = Starts::bit(start);
        let mut words: &mut [u64] = &mut self.0;
        let mut skip = bit / 64;
        while let [first, rest @ ..] = words {
            if skip == 0 {
                *first |= 1 << (bit % 64);
                break;
            }
            skip -= 1;
            words = rest;
        }
        self
    }

    #[inline(always)]
    fn may_have(&self, start: &[u8; 3]) -> bool {
        let bit = Starts::bit(start);
        self.0.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    #[inline(always)]
    const fn bit(start: &[u8; 3]) -> u32 {
        let [a, b, c] = *start;
        u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9e37_79b1) >> 22
    }
}

/// Whether a key ends like a field of vendors' answers that says how they ended: the last letters of those that
/// [`last_field`] knows, as one number, because this is asked of nearly every attribute there is.
#[inline(always)]
fn ends_like_a_field(key: &[u8]) -> bool {
    const fn of(end: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*end)
    }
    const ENDS: [u64; 16] = [
        of(b"p_reason"),
        of(b"opReason"),
        of(b"h_reason"),
        of(b"shReason"),
        of(b"_reasons"),
        of(b"hReasons"),
        of(b"_details"),
        of(b"pDetails"),
        of(b"_results"),
        of(b"r_result"),
        of(b"_filters"),
        of(b"Feedback"),
        of(b"feedback"),
        of(b"yRatings"),
        of(b"_ratings"),
        of(b".refusal"),
    ];
    match key.last_chunk() {
        Some(end) => ENDS.contains(&of(end)),
        None => key == b"refusal",
    }
}

/// `gen_ai.*`: Traceloop's indexed keys, and contract keys.
fn gen_ai_key(key: &[u8]) -> Option<Meaning> {
    if key.starts_with(b"gen_ai.completion.") && key.ends_with(b".content") {
        return Some(OutputText);
    }
    match last_field(key)? {
        Field::Stop => Some(FinishReason),
        Field::Piece => Some(ContractField),
    }
}

/// `llm.*`: OpenInference's indexed keys, LiteLLM's fields of a raw answer, and contract keys.
fn llm_key(key: &[u8]) -> Option<Meaning> {
    if let Some(rest) = key.strip_prefix(b"llm.output_messages.") {
        return match rest {
            _ if rest.ends_with(b".message_content.type") => Some(OutputPartType),
            _ if rest.ends_with(b".message_content.text") => Some(OutputText),
            _ if rest.ends_with(b".message.content") => Some(OutputText),
            _ => None,
        };
    }
    let mut segments = key.split(|byte| *byte == b'.').skip(1);
    if let (Some(vendor), Some(field), None) = (segments.next(), segments.next(), segments.next())
        && !NOT_A_VENDOR.contains(&vendor)
        && RAW_FIELDS.contains(&field)
    {
        return Some(RawField);
    }
    match last_field(key)? {
        Field::Stop => Some(VendorStop),
        Field::Piece => Some(ContractField),
    }
}

/// What stands behind `llm.` in the conventions of others.
const NOT_A_VENDOR: &[&[u8]] =
    &[b"request", b"response", b"usage", b"token_count", b"prompts", b"completions", b"cost"];

/// The fields of vendors' answers that say how they ended, or whether there was content.
const RAW_FIELDS: &[&[u8]] = &[
    b"stop_reason",
    b"stopReason",
    b"stop_details",
    b"finish_reason",
    b"choices",
    b"candidates",
    b"promptFeedback",
    b"prompt_filter_results",
    b"trace",
    b"additionalModelResponseFields",
    b"content",
    b"output",
    b"message",
    b"status",
    b"incomplete_details",
    b"error",
    b"amazon-bedrock-guardrailAction",
    b"amazon-bedrock-trace",
];

/// Keys under a vendor's name: contract keys, perhaps flattened, so that the telling field stands in the middle.
fn vendor_key(key: &[u8]) -> Option<Meaning> {
    match last_field(key) {
        Some(Field::Stop) => return Some(VendorStop),
        Some(Field::Piece) => return Some(ContractField),
        None => {}
    }
    let mut from = 0;
    for segment in key.split(|byte| *byte == b'.') {
        if is_piece(segment, key.get(..from).unwrap_or_default()) {
            return Some(ContractField);
        }
        from += segment.len() + 1;
    }
    None
}

enum Field {
    Stop,
    Piece,
}

/// Whether the last segment of a key is a field of vendors' answers that says how they ended.
#[inline]
fn last_field(key: &[u8]) -> Option<Field> {
    let start = key.iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
    let (before, segment) = key.split_at_checked(start)?;
    match segment {
        b"stop_reason"
        | b"stopReason"
        | b"native_finish_reason"
        | b"finish_reason"
        | b"finishReason"
        | b"finish_reasons"
        | b"finishReasons" => Some(Field::Stop),
        _ => is_piece(segment, before).then_some(Field::Piece),
    }
}

/// Whether `segment`, behind `before`, is a field of vendors' answers that says how they ended, beside the stop word.
fn is_piece(segment: &[u8], before: &[u8]) -> bool {
    match segment {
        b"stop_details"
        | b"stopDetails"
        | b"content_filter_results"
        | b"content_filter_result"
        | b"prompt_filter_results"
        | b"content_filters"
        | b"promptFeedback"
        | b"prompt_feedback"
        | b"safetyRatings"
        | b"safety_ratings"
        | b"refusal"
        | b"incomplete_details" => true,
        b"status" => before.ends_with(b"response."),
        b"error" => namespace(before) != Namespace::Foreign,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_capture_contract_are_known_by_how_they_end_and_where_they_stand() {
        for (key, expected) in [
            ("anthropic.message.stop_details", Some(ContractField)),
            ("anthropic.message.stop_details.category", Some(ContractField)),
            ("anthropic.response.stop_reason", Some(VendorStop)),
            ("azure.content_filter_results", Some(ContractField)),
            ("azure.content_filter_results.violence.filtered", Some(ContractField)),
            ("gcp.gemini.promptFeedback", Some(ContractField)),
            ("gcp.gemini.safetyRatings", Some(ContractField)),
            ("openai.response.status", Some(ContractField)),
            ("openai.response.incomplete_details.reason", Some(ContractField)),
            ("openai.message.refusal", Some(ContractField)),
            ("openai.error", Some(ContractField)),
            ("stop_reason", Some(ForeignStop)),
            ("myapp.llm_call.finish_reasons", Some(ForeignStop)),
            ("myapp.refusal", Some(ForeignField)),
            ("gen_ai.completion.0.finish_reason", Some(FinishReason)),
            ("gen_ai.completion.12.content", Some(OutputText)),
            ("llm.output_messages.0.message.contents.1.message_content.text", Some(OutputText)),
            ("llm.output_messages.0.message.role", None),
            ("llm.anthropic.stop_reason", Some(RawField)),
            ("llm.gemini.candidates", Some(RawField)),
            ("llm.gemini.contents", None),
            ("llm.request.functions.0.name", None),
            ("gen_ai.request.stop_sequences", None),
            ("http.response.status", None),
            ("order.status", None),
            ("gen_ai.response.error", Some(ContractField)),
            ("myapp.call.error", None),
            ("error", None),
            ("aws.request.error", None),
        ] {
            let found = pattern(key.as_bytes());
            assert_eq!(found, expected, "{key}");
        }
    }

    #[test]
    fn the_path_of_a_contract_key_begins_at_the_field_of_the_answer() {
        assert_eq!(nested_path("anthropic.message.stop_details.category"), "stop_details.category");
        assert_eq!(nested_path("azure.content_filter_results"), "content_filter_results");
        assert_eq!(nested_path("langfuse.observation.metadata.status"), "status");
        assert_eq!(nested_path("openai.response.error.code"), "error.code");
    }
}
