//! The Langfuse SDK. Everything that is not text is JSON, so a word stands in quotes.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("langfuse.observation.type", SpanKind),
    ("langfuse.observation.model.name", ModelName),
    ("langfuse.observation.metadata.finish_reason", FinishReason),
    ("langfuse.observation.metadata.stop_reason", VendorStop),
    ("langfuse.observation.metadata.id", ResponseId),
    ("langfuse.observation.metadata.status", ContractField),
    ("langfuse.observation.metadata.incomplete_details", ContractField),
    ("langfuse.observation.output", Body),
    ("langfuse.observation.level", Level),
    ("langfuse.observation.status_message", ErrorMessage),
];
