//! LangChain through LangSmith's OTLP export.
//!
//! `gen_ai.completion` is the whole answer as JSON; for streams and for OpenAI Responses it is the only place where the
//! reason stands.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("gen_ai.completion", Body),
    ("langsmith.span.kind", SpanKind),
    ("langsmith.request.streaming", Streaming),
    ("langsmith.metadata.ls_provider", OtherProvider),
    ("langsmith.metadata.ls_model_name", ModelName),
];
