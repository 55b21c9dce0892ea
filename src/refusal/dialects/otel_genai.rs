//! OpenTelemetry's GenAI semantic conventions, old and new, and everybody who follows them: the official Python
//! instrumentations, OpenLIT, Logfire, pydantic-ai, Google ADK, Mistral's SDK, Bifrost, Kong, Spring AI and others.
//!
//! `gen_ai.response.finish_reasons` has no defined vocabulary, and four types: an array, JSON text of an array, one
//! word, and words joined by commas. Semantic Kernel writes the singular key with the text of a Python enum.
//! Content capture adds `gen_ai.output.messages`, JSON on spans, structured on log records, with a finish reason of
//! each message that may differ from the span's.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("gen_ai.provider.name", Provider),
    ("gen_ai.system", System),
    ("gen_ai.request.model", RequestModel),
    ("gen_ai.response.model", ResponseModel),
    ("gen_ai.response.id", ResponseId),
    ("gen_ai.operation.name", Operation),
    ("gen_ai.request.stream", Streaming),
    ("gen_ai.response.finish_reasons", FinishReason),
    ("gen_ai.response.finish_reason", FinishReason),
    ("gen_ai.output.messages", Messages),
    ("gen_ai.usage.input_tokens", InputTokens),
    ("gen_ai.usage.output_tokens", OutputTokens),
    ("gen_ai.usage.prompt_tokens", InputTokens),
    ("gen_ai.usage.completion_tokens", OutputTokens),
    ("gen_ai.response.time_to_first_chunk", StreamTiming),
    ("gen_ai.client.operation.time_to_first_chunk", StreamTiming),
    ("error.type", ErrorType),
    ("exception.type", ErrorType),
    ("exception.message", ErrorMessage),
    ("error.message", ErrorMessage),
    ("error.code", ErrorCode),
    ("http.response.status_code", HttpStatus),
    ("http.status_code", HttpStatus),
    ("server.address", ServerAddress),
    ("url.full", Url),
    ("http.url", Url),
    ("event.name", EventName),
    ("gen_ai.request.max_tokens", Nothing),
    ("gen_ai.request.stop_sequences", Nothing),
    ("gen_ai.usage.total_tokens", Nothing),
    ("gen_ai.usage.cache_read.input_tokens", Nothing),
    ("gen_ai.usage.cache_creation.input_tokens", Nothing),
    ("gen_ai.usage.reasoning.output_tokens", Nothing),
];
