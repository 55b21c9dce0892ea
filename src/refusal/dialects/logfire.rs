//! Logfire's own instrumentations of the vendors' SDKs. Reasons are JSON text of an array.
//!
//! A streamed call is two spans: one that ends when the stream begins and tells nothing of the answer, and a second,
//! whose kind is `log`, with the answer. Only the second is a response. A span that is still running may be exported
//! early, as a placeholder of kind `pending_span`.

use super::{Meaning::*, Table};

/// Whether a span of this kind, from a scope of Logfire's, does not tell of a finished response. `answered` is whether
/// it has anything that only a finished answer has, or an error.
pub(crate) fn unfinished(kind: &[u8], scope: &str, answered: bool) -> bool {
    match kind {
        b"pending_span" => true,
        b"span" => scope.starts_with("logfire.") && !answered,
        _ => false,
    }
}

pub(super) const KEYS: Table = &[("logfire.span_type", ItemKind), ("response_data", Body)];
