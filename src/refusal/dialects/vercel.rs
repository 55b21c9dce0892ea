//! The Vercel AI SDK: `@ai-sdk/otel` by the GenAI conventions, and the `ai.*` spans of ai 3 to 6.
//!
//! Words are of its own (`content-filter`, `tool-calls`); whatever it does not know becomes `other`, in messages even
//! `stop`. The chat span, the step and the agent around them repeat the reason. Only the older spans have the vendor's
//! pieces: `ai.response.providerMetadata`, by vendor.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("ai.operationId", SpanKind),
    ("ai.model.provider", OtherProvider),
    ("ai.model.id", ModelName),
    ("ai.response.model", ResponseModel),
    ("ai.response.id", ResponseId),
    ("ai.response.finishReason", FinishReason),
    ("ai.response.providerMetadata", Details),
    ("ai.response.text", OutputText),
    ("ai.response.msToFirstChunk", StreamTiming),
    ("ai.usage.inputTokens", InputTokens),
    ("ai.usage.outputTokens", OutputTokens),
    ("ai.usage.promptTokens", InputTokens),
    ("ai.usage.completionTokens", OutputTokens),
];
