//! What a container in a vendor answer is, told by where it stands. This decides what is believed: a key counts only
//! in a role that it belongs to, and what stands in content, arguments or the request is never looked into.

use super::super::StopField;
use super::super::json::Container;
use super::super::key::Key;
use crate::refusal::verdict::Side;

/// What a container is. An array has the role of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An answer, a stream event, a message, or a wrapper around one: every fact is looked for.
    Open,
    /// An element of `choices`.
    Choice,
    /// An element of `candidates`.
    Candidate,
    /// An element of a Responses answer's `output`.
    Item,
    /// A part of content.
    Part,
    /// Content that is no list: an object around one, as Gemini's, or what the model made up.
    Content,
    /// Calls of tools.
    ToolCalls,
    /// A list of stop words.
    StopWords(StopField),
    /// A stop word with more than one name, as in `{"unified": "stop", "raw": "end_turn"}`.
    StopNames(StopField),
    /// `stop_details`.
    StopDetails,
    /// `incomplete_details`, `status_details`.
    IncompleteDetails,
    /// `promptFeedback`.
    PromptFeedback,
    /// An element of `safetyRatings`.
    Rating(Side),
    /// An element of `prompt_filter_results`.
    PromptFilter,
    /// `content_filter_results`: categories.
    Filters(Side),
    /// One category of them.
    Filter(Side),
    /// `content_filter_results.error`.
    FilterError(Side),
    /// An element of `content_filters`.
    ContentFilter,
    /// An element of Zhipu's `contentFilter`.
    Audited,
    /// `error`.
    Error,
    /// `error.innererror`, and what gateways wrap it in.
    InnerError,
    /// `error.metadata`.
    ErrorMetadata,
    /// `error.metadata.reasons`.
    Reasons,
    /// `usage`.
    Usage,
    /// An element of `usage.iterations`.
    Iteration,
    /// `from` of a fallback part.
    FallbackFrom,
    /// `to` of a fallback part.
    FallbackTo,
    /// `trigger` of a fallback part.
    FallbackTrigger,
    /// `trace`.
    Trace,
    /// A guardrail's assessments.
    Guardrail(Side),
    /// One of a guardrail's policies.
    Policy(Side),
    /// One finding of a policy.
    Finding(Side),
}

impl Role {
    /// The role of an element of an array with this role.
    pub fn of_element(self) -> Option<Role> {
        match self {
            Role::ToolCalls | Role::StopWords(_) | Role::Reasons => None,
            role => Some(role),
        }
    }

    /// The role of a container that stands under `key`; `None`: it is not looked into.
    pub fn of_value(self, key: Key, spelled: &[u8], container: Container, flags: u16) -> Option<Role> {
        match self {
            Role::Open | Role::Choice | Role::Candidate => self.of_open_value(key, container, flags),
            Role::Item => match key {
                Key::Content | Key::Parts if container == Container::Array => Some(Role::Part),
                Key::ToolCalls => Some(Role::ToolCalls),
                Key::Message => Some(Role::Open),
                Key::Choices => Some(Role::Choice),
                Key::StopDetails => Some(Role::StopDetails),
                Key::ContentFilterResults => Some(Role::Filters(Side::Output)),
                _ => None,
            },
            Role::Content => match key {
                Key::Parts => Some(Role::Part),
                _ => None,
            },
            Role::Part => match key {
                Key::ToolCalls => Some(Role::ToolCalls),
                Key::From => Some(Role::FallbackFrom),
                Key::To => Some(Role::FallbackTo),
                Key::Trigger => Some(Role::FallbackTrigger),
                _ => None,
            },
            Role::PromptFeedback => match key {
                Key::SafetyRatings => Some(Role::Rating(Side::Input)),
                _ => None,
            },
            Role::PromptFilter => match key {
                Key::ContentFilterResults => Some(Role::Filters(Side::Input)),
                _ => None,
            },
            Role::ContentFilter => match key {
                Key::ContentFilterResults => Some(Role::Filters(Side::Unknown)),
                _ => None,
            },
            Role::Filters(side) => match key {
                Key::Error => Some(Role::FilterError(side)),
                _ => Some(Role::Filter(side)),
            },
            Role::Error => match key {
                // A message may be the next one's error in JSON.
                Key::Error | Key::Message => Some(Role::Error),
                Key::Metadata => Some(Role::ErrorMetadata),
                Key::ContentFilterResults => Some(Role::Filters(Side::Input)),
                Key::InnerError => Some(Role::InnerError),
                _ if spelled == b"provider_specific_fields" => Some(Role::InnerError),
                _ => None,
            },
            Role::InnerError => match key {
                Key::InnerError => Some(Role::InnerError),
                Key::ContentFilterResults => Some(Role::Filters(Side::Input)),
                _ => None,
            },
            Role::ErrorMetadata => match key {
                Key::Reasons => Some(Role::Reasons),
                // The upstream's own error.
                Key::Raw => Some(Role::Open),
                _ => None,
            },
            Role::Usage => match key {
                Key::Usage => Some(Role::Usage),
                Key::Iterations => Some(Role::Iteration),
                _ => None,
            },
            Role::Trace => match key {
                Key::Guardrail => Some(Role::Guardrail(Side::Unknown)),
                _ => None,
            },
            Role::Guardrail(side) => match key {
                Key::ModelOutput => None,
                _ if ends_with(spelled, b"policy") => Some(Role::Policy(side)),
                _ if starts_with(spelled, b"input") => Some(Role::Guardrail(Side::Input)),
                _ if starts_with(spelled, b"output") => Some(Role::Guardrail(Side::Output)),
                _ => Some(Role::Guardrail(side)),
            },
            Role::Policy(side) => Some(Role::Finding(side)),
            Role::ToolCalls
            | Role::StopWords(_)
            | Role::StopNames(_)
            | Role::StopDetails
            | Role::IncompleteDetails
            | Role::Rating(_)
            | Role::Filter(_)
            | Role::FilterError(_)
            | Role::Audited
            | Role::Reasons
            | Role::Iteration
            | Role::FallbackFrom
            | Role::FallbackTo
            | Role::FallbackTrigger
            | Role::Finding(_) => None,
        }
    }

    /// Where every fact is looked for, whatever has no meaning of its own is a wrapper.
    fn of_open_value(self, key: Key, container: Container, flags: u16) -> Option<Role> {
        let object = container == Container::Object;
        let side = match self {
            Role::Choice | Role::Candidate => Side::Output,
            _ if flags & super::flag::ASSISTANT != 0 => Side::Output,
            _ => Side::Unknown,
        };
        match key {
            Key::Opaque | Key::Object | Key::Text | Key::Reasoning | Key::Refusal | Key::ModelOutput => None,
            Key::From | Key::To | Key::Trigger | Key::Media => None,
            // What a caller of OpenAI's APIs attached to the request is echoed there.
            Key::Metadata if flags & super::flag::OPENAI != 0 => None,
            Key::Choices => Some(Role::Choice),
            Key::Candidates => Some(Role::Candidate),
            Key::Output if !object => Some(Role::Item),
            Key::Item => Some(Role::Item),
            Key::Content if object => Some(Role::Content),
            Key::Content | Key::Parts | Key::ContentBlock => Some(Role::Part),
            Key::ToolCalls => Some(Role::ToolCalls),
            // Beside `finish_reason`, a choice's `stop_reason` is the matched string or token (vLLM).
            Key::StopReason if self == Role::Choice => None,
            Key::StopReason if object => Some(Role::StopNames(StopField::StopReason)),
            Key::StopReason => Some(Role::StopWords(StopField::StopReason)),
            Key::FinishReason if object => Some(Role::StopNames(StopField::FinishReason)),
            Key::FinishReason => Some(Role::StopWords(StopField::FinishReason)),
            Key::StopDetails => Some(Role::StopDetails),
            Key::IncompleteDetails => Some(Role::IncompleteDetails),
            Key::PromptFeedback => Some(Role::PromptFeedback),
            Key::SafetyRatings => Some(Role::Rating(side)),
            Key::ContentFilterResults => Some(Role::Filters(side)),
            Key::PromptFilterResults => Some(Role::PromptFilter),
            Key::ContentFilters => Some(Role::ContentFilter),
            Key::ContentFilter => Some(Role::Audited),
            Key::Error => Some(Role::Error),
            Key::InnerError => Some(Role::InnerError),
            Key::Usage => Some(Role::Usage),
            Key::Iterations => Some(Role::Iteration),
            Key::Trace => Some(Role::Trace),
            Key::Guardrail | Key::Assessments => Some(Role::Guardrail(Side::Unknown)),
            _ => Some(Role::Open),
        }
    }
}

/// Whether a key starts so, in any case.
fn starts_with(spelled: &[u8], start: &[u8]) -> bool {
    spelled.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Whether a key ends so, in any case.
fn ends_with(spelled: &[u8], end: &[u8]) -> bool {
    let at = spelled.len().checked_sub(end.len());
    at.and_then(|at| spelled.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}
