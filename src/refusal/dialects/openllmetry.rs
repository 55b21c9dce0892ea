//! OpenLLMetry (Traceloop), newer spans by the GenAI conventions, older ones (Cohere, Mistral, Vertex) with indexed keys.
//!
//! `gen_ai.completion.N.finish_reason` and `.content` are matched by form (see `contract::pattern`). Bedrock's guardrail
//! filters are JSON of names by policy, under keys of their own. The LangChain instrumentation writes a finish
//! reason of `""` for Anthropic, which is none.

use super::{Meaning::*, Table};
use memchr::memmem;

/// The policy of Bedrock's that a list in a guardrail filter's JSON belongs to.
pub(crate) fn guardrail_policy(list: &str) -> &str {
    match list {
        "content" => "contentPolicy",
        "topic" => "topicPolicy",
        "words" => "wordPolicy",
        "pii" | "regex" => "sensitiveInformationPolicy",
        other => other,
    }
}

/// Whether messages hold a refusal part that the LangChain instrumentation has written as the text of a part: JSON within
/// JSON, and nothing else in that text.
pub(crate) fn is_refusal_as_text(messages: &[u8]) -> bool {
    memmem::find(messages, br#""content": "{\"type\": \"refusal\", \"refusal\": \""#).is_some()
}

pub(super) const KEYS: Table = &[
    ("gen_ai.is_streaming", Streaming),
    ("llm.is_streaming", Streaming),
    ("llm.request.type", SpanKind),
    ("traceloop.span.kind", SpanKind),
    ("gen_ai.openai.api_base", Url),
    ("gen_ai.prompt.prompt_filter_results", Details),
    ("gen_ai.bedrock.guardrail.input_filter", InputGuardrail),
    ("gen_ai.bedrock.guardrail.output_filter", OutputGuardrail),
    ("traceloop.association.properties.ls_provider", OtherProvider),
];
