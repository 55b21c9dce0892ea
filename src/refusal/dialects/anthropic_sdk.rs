//! The spans that Anthropic's own SDKs write as soon as a global tracer provider exists (scope
//! `com.anthropic.sdk.python`, since 1.14.0), and the Claude API's own OTLP export (`com.anthropic.claude-platform`).
//!
//! The stop reason is raw, and the only one on the span: there are no finish reasons. Neither carries `stop_details`,
//! and an error has a class and a status, no sentence. A request that a fallback served shows as a part of type
//! `anthropic_fallback` where content is captured, without the category of the decline.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table =
    &[("anthropic.message.stop_reason", VendorStop), ("anthropic.request.id", RequestId)];
