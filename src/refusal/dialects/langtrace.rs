//! Langtrace. It records no stop reason anywhere; what it keeps stands in span events: the messages, with Azure's
//! filter results in them.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("langtrace.service.type", SpanKind),
    ("langtrace.service.name", OtherProvider),
    ("gen_ai.response_id", ResponseId),
    ("gen_ai.generation_id", ResponseId),
    ("llm.model", ModelName),
];
