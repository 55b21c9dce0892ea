//! OpenTelemetry eBPF Instrumentation. Its scope has no name; the resource tells. It follows the GenAI conventions with
//! operations of its own (`message`, `response`, `error`), or, with body enrichment, puts the answer itself on a plain
//! client span.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[("http.response.body.content", VerbatimBody)];
