//! OpenInference (Arize Phoenix) and what imitates it: Envoy AI Gateway's default, TensorZero's `openinference` format.
//!
//! `llm.finish_reason` is the vendor's word as it came, of the first choice, and stronger than the GenAI keys that
//! `OPENINFERENCE_ENABLE_GENAI_SEMCONV` adds: those are lower-cased and say `stop` when nothing came. `output.value` is
//! the whole answer where it is JSON, a list of answers for OpenAI Agents, the message alone for Bedrock. Anthropic's
//! `stop_details` stand in `metadata`. An Anthropic fallback is a part of type `fallback`.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("openinference.span.kind", SpanKind),
    ("llm.provider", OtherProvider),
    ("llm.system", OtherSystem),
    ("llm.model_name", ModelName),
    ("llm.request.model_name", RequestModel),
    ("llm.response.model_name", ResponseModel),
    ("llm.finish_reason", VendorStop),
    ("llm.token_count.prompt", InputTokens),
    ("llm.token_count.completion", OutputTokens),
    ("llm.invocation_parameters", InvocationParameters),
    ("output.value", Body),
    ("metadata", Details),
];
