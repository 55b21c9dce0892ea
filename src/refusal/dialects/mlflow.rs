//! MLflow tracing. Every attribute is JSON, so a word stands in quotes.
//!
//! `mlflow.spanOutputs` is the whole answer, but for streams it is put together by the library, with a stop word of
//! its own invention; the chunks themselves are in span events.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("mlflow.spanType", SpanKind),
    ("mlflow.llm.provider", OtherProvider),
    ("mlflow.message.format", OtherSystem),
    ("mlflow.llm.model", ModelName),
    ("mlflow.spanOutputs", Body),
];
