//! What is known of an item by nothing but the name of its scope.

/// The families of scopes that need to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    /// Tells nothing by itself.
    #[default]
    Any,
    /// An instrumentation of a vendor's SDK: a span of it that is named like a call is one, even when it failed before
    /// any attribute was set (OpenLIT).
    Sdk,
    /// OpenTelemetry's own instrumentations of vendors' SDKs, and the library that they share. That one writes `error`
    /// where no finish reason came, on calls that did not fail.
    GenAiUtil,
    /// OpenLIT, whose log events repeat its spans, at times without any id.
    OpenLit,
    /// Traceloop's for LangChain, which writes parts that are no text as text: JSON of the part.
    TraceloopLangChain,
    /// A coding agent: keys without namespace are read.
    CodingAgent,
    /// This program itself: never judged again.
    Own,
}

impl ScopeKind {
    /// The kind of the scope with this name.
    pub(crate) fn of(scope: &str) -> Self {
        if scope.is_empty() {
            return ScopeKind::Any;
        }
        let known = KNOWN.iter().find(|(start, _)| scope.starts_with(start));
        known.map_or(ScopeKind::Any, |(_, kind)| *kind)
    }

    /// Whether a span that is named like a call is one, whatever attributes it has.
    pub(crate) fn names_calls(self) -> bool {
        matches!(self, ScopeKind::Sdk | ScopeKind::GenAiUtil | ScopeKind::OpenLit)
    }
}

/// By how names start; the longer of two first.
const KNOWN: &[(&str, ScopeKind)] = &[
    ("opentelemetry.instrumentation.genai.", ScopeKind::GenAiUtil),
    ("opentelemetry.util.genai", ScopeKind::GenAiUtil),
    ("opentelemetry.instrumentation.openai_v2", ScopeKind::GenAiUtil),
    ("opentelemetry.instrumentation.langchain", ScopeKind::TraceloopLangChain),
    ("opentelemetry.instrumentation.openai", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.anthropic", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.google_genai", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.google_generativeai", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.bedrock", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.cohere", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.groq", ScopeKind::Sdk),
    ("opentelemetry.instrumentation.mistralai", ScopeKind::Sdk),
    ("openlit.", ScopeKind::OpenLit),
    ("openinference.instrumentation.", ScopeKind::Sdk),
    ("com.anthropic.claude_code", ScopeKind::CodingAgent),
    ("com.anthropic.", ScopeKind::Sdk),
    ("gemini-cli", ScopeKind::CodingAgent),
    ("codex_otel", ScopeKind::CodingAgent),
    ("refusal-collector", ScopeKind::Own),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_known_by_how_their_names_start() {
        for (scope, expected) in [
            ("", ScopeKind::Any),
            ("opentelemetry.instrumentation.httpx", ScopeKind::Any),
            ("opentelemetry.instrumentation.openai_v2", ScopeKind::GenAiUtil),
            ("opentelemetry.instrumentation.openai.v1", ScopeKind::Sdk),
            ("com.anthropic.claude_code.events", ScopeKind::CodingAgent),
            ("com.anthropic.sdk.python", ScopeKind::Sdk),
        ] {
            assert_eq!(ScopeKind::of(scope), expected, "{scope}");
        }
    }
}
