//! OpenLLMetry (Traceloop), newer spans by the GenAI conventions, older ones (Cohere, Mistral, Vertex) with indexed keys.
//!
//! `gen_ai.completion.N.finish_reason` and `.content` are matched by form (see `contract::pattern`). Bedrock's guardrail
//! filters are JSON of names by policy, under keys of their own. The LangChain instrumentation writes a finish
//! reason of `""` for Anthropic, which is none.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("gen_ai.is_streaming", Streaming),
    ("llm.is_streaming", Streaming),
    ("llm.request.type", SpanKind),
    ("traceloop.span.kind", SpanKind),
    ("gen_ai.openai.api_base", Url),
    ("gen_ai.prompt.prompt_filter_results", Details),
    ("gen_ai.bedrock.guardrail.input_filter", Details),
    ("gen_ai.bedrock.guardrail.output_filter", Details),
    ("traceloop.association.properties.ls_provider", OtherProvider),
];
