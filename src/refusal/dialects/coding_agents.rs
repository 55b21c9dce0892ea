//! Coding agents on the developer's machine: Claude Code, Gemini CLI, Codex. Their log records have keys without any
//! namespace (`model`, `error`, `category`), which are read in their scopes only.
//!
//! Claude Code tells a refusal by an event of its own, `api_refusal`, beside `api_request`, which has no stop reason; the
//! two share a request id. `server_fallback_hop` marks a decline that another model then served. The category comes only
//! with `OTEL_LOG_TOOL_DETAILS=1`. Gemini CLI writes each response twice, the second time by the GenAI conventions with
//! fewer words; only the first is read. Codex has no stop reason, only that a stream completed or failed, and errors.

use super::{Meaning, Meaning::*, Role};

/// What a log record of a coding agent stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentEvent {
    /// `claude_code.api_refusal`.
    Refusal,
    /// A response, or the request that got it.
    Response,
    /// A request that failed.
    Error,
    /// A request, of which only a failure says how the response ended.
    Request,
    /// An event of a response's stream; only the last one says how it ended.
    Stream,
    /// Anything else that the agent logs.
    Other,
}

impl AgentEvent {
    /// The event of this name in this scope; `None` when no coding agent wrote it.
    pub(crate) fn of(scope: &str, event: &str) -> Option<Self> {
        let agent =
            AGENTS.iter().find(|agent| scope.starts_with(agent.scope) || event.starts_with(agent.prefix))?;
        let short = event.strip_prefix(agent.prefix).unwrap_or(event);
        let known = agent.events.iter().find(|(name, _)| *name == short);
        Some(known.map_or(AgentEvent::Other, |(_, event)| *event))
    }

    /// What it stands for.
    pub(crate) fn role(self) -> Role {
        match self {
            AgentEvent::Refusal | AgentEvent::Response | AgentEvent::Error => Role::Leaf,
            AgentEvent::Request | AgentEvent::Stream => Role::Unsure,
            AgentEvent::Other => Role::Other,
        }
    }
}

/// What a key without namespace tells in the scope of a coding agent.
pub(crate) fn bare(key: &[u8]) -> Option<Meaning> {
    BARE.iter().find(|(known, _)| known.as_bytes() == key).map(|(_, meaning)| *meaning)
}

struct Agent {
    scope: &'static str,
    prefix: &'static str,
    events: &'static [(&'static str, AgentEvent)],
}

const AGENTS: &[Agent] = &[
    Agent {
        scope: "com.anthropic.claude_code",
        prefix: "claude_code.",
        events: &[
            ("api_refusal", AgentEvent::Refusal),
            ("api_request", AgentEvent::Response),
            ("api_response_body", AgentEvent::Response),
            ("api_error", AgentEvent::Error),
        ],
    },
    Agent {
        scope: "gemini-cli",
        prefix: "gemini_cli.",
        events: &[("api_response", AgentEvent::Response), ("api_error", AgentEvent::Error)],
    },
    Agent {
        scope: "codex_otel",
        prefix: "codex.",
        events: &[
            ("api_request", AgentEvent::Request),
            ("sse_event", AgentEvent::Stream),
            ("websocket_event", AgentEvent::Stream),
        ],
    },
];

const BARE: &[(&str, Meaning)] = &[
    ("model", RequestModel),
    ("request_id", RequestId),
    ("stop_reason", VendorStop),
    ("finish_reasons", FinishReason),
    ("category", AgentCategory),
    ("has_category", HasCategory),
    ("server_fallback_hop", FallbackHop),
    ("event.kind", EventKind),
    ("error", ErrorMessage),
    ("error_message", ErrorMessage),
    ("status_code", HttpStatus),
    ("input_tokens", InputTokens),
    ("output_tokens", OutputTokens),
    ("input_token_count", InputTokens),
    ("output_token_count", OutputTokens),
    ("body", Body),
];
