//! What one span or log record tells about the end of an LLM response, borrowed from the request it stands in.
//!
//! [`read_span`] and [`read_log_record`] walk once over an item and note where the telling attributes stand; values are
//! decoded when the judge asks for them, and whole answers inside of attributes are read only when the short keys
//! leave something open. An item that does not speak of an LLM call costs the walk and nothing else.

use crate::refusal::dialects::{AgentEvent, Meaning, Meanings, Role, ScopeKind};
use crate::refusal::verdict::Category;
use found::Found;
use std::ops::{ControlFlow, Range};

mod facts;
mod found;
mod head;
mod look;
mod origin;
mod places;
mod read;
mod template;
mod text;

pub use facts::{Fact, Shown};
pub use origin::Origin;
pub use read::{read_log_record, read_span};

pub(crate) use head::SpanHead;
pub(crate) use look::{Ending, Likeness};
pub(crate) use places::{PLACES, Place, PlaceKind};
pub(crate) use read::read_call;
pub(crate) use template::Template;
pub(crate) use text::{Words, start, unquoted};

/// What one item tells.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    item: Range<usize>,
    is_span: bool,
    origin: Origin<'a>,
    role: Role,
    agent_event: Option<AgentEvent>,
    event_name: &'a str,
    found: Found<'a>,
    ids: Ids<'a>,
    has_events: bool,
    status: Status<'a>,
    body: Option<Range<usize>>,
}

/// By what a response is known again: by the vendor's response id, then the vendor's request id, then the span and its
/// parent. Empty means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// `gen_ai.response.id`.
    pub response_id: &'a str,
    /// `anthropic.request.id`, `request_id`, ...
    pub request_id: &'a str,
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
    /// 8 bytes, or empty.
    pub parent_span_id: &'a [u8],
    /// Whether this is a span (else a log record, whose `span_id` is the span it was written in).
    pub is_span: bool,
    /// Whether the item is one call to a model, not an agent's or framework's span around such calls.
    pub leaf: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ids<'a> {
    trace: &'a [u8],
    span: &'a [u8],
    parent: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default)]
struct Status<'a> {
    is_error: bool,
    message: &'a [u8],
}

impl<'a> Evidence<'a> {
    /// Whether a collector has judged this item before.
    pub fn is_judged(&self) -> bool {
        self.found.seen.has(Meaning::Class)
    }

    /// The request that the item stands in.
    pub(crate) fn message(&self) -> &'a [u8] {
        self.found.message
    }

    /// Where the item stands in its request.
    pub(crate) fn item(&self) -> Range<usize> {
        self.item.clone()
    }

    /// Whether this is a span, else a log record.
    pub fn is_span(&self) -> bool {
        self.is_span
    }

    /// `llm.instrumentation`: the scope's name, or what the resource says in its place; may be empty.
    pub fn instrumentation(&self) -> &'a str {
        self.origin.instrumentation()
    }

    /// The model that was asked for, else the one that answered; empty when neither is told.
    pub fn model(&self) -> &'a str {
        [Meaning::RequestModel, Meaning::ModelName, Meaning::ResponseModel]
            .into_iter()
            .find_map(|meaning| self.text(meaning))
            .unwrap_or_default()
    }

    /// Input and output tokens, where they are told.
    pub fn tokens(&self) -> (Option<u64>, Option<u64>) {
        (self.number(Meaning::InputTokens), self.number(Meaning::OutputTokens))
    }

    /// By what the response is known again. A response id that stands only inside of an answer is the judgment's.
    pub fn identity(&self) -> Identity<'a> {
        Identity {
            response_id: self.id(Meaning::ResponseId),
            request_id: self.id(Meaning::RequestId),
            trace_id: self.ids.trace,
            span_id: self.ids.span,
            parent_span_id: self.ids.parent,
            is_span: self.is_span,
            leaf: self.role == Role::Leaf || self.role == Role::Unsure && self.found.seen.any_of(CALL_MARKS),
        }
    }

    fn id(&self, meaning: Meaning) -> &'a str {
        id_of(self.text(meaning).unwrap_or_default())
    }

    /// The provider keys, strongest first.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &'a str> {
        [Meaning::Provider, Meaning::System, Meaning::OtherProvider, Meaning::OtherSystem]
            .into_iter()
            .filter_map(|meaning| self.text(meaning))
    }

    /// Tells the bytes of all that tells the provider, until `tell` says that it has had enough: they are equal on two
    /// items only if that is the same on both.
    #[inline]
    pub(crate) fn for_each_sign_of_provider(
        &self,
        mut tell: impl FnMut(&'a [u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut signs = PROVIDERS.and(MODELS).and(HOSTS);
        // What is asked only for lack of better differs from call to call.
        if self.found.seen.has(Meaning::ServerAddress) {
            signs = signs.without(Meaning::Url);
        }
        if self.found.seen.has(Meaning::RequestModel) {
            signs = signs.without(Meaning::ResponseModel);
        }
        tell(self.origin.instrumentation().as_bytes())?;
        for entry in self.found.entries() {
            if signs.has(entry.meaning) {
                tell(self.found.bytes(entry.range()))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The host that was called.
    pub(crate) fn host(&self) -> Option<&'a str> {
        self.text(Meaning::ServerAddress).or_else(|| self.text(Meaning::Url)).map(host_of)
    }

    pub(crate) fn scope_kind(&self) -> ScopeKind {
        self.origin.kind
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn agent_event(&self) -> Option<AgentEvent> {
        self.agent_event
    }

    pub(crate) fn seen(&self) -> Meanings {
        self.found.seen
    }

    /// Whether the answer was streamed, where that is told.
    pub(crate) fn is_streamed(&self) -> Option<bool> {
        if self.found.seen.has(Meaning::StreamTiming) {
            return Some(true);
        }
        self.truth(Meaning::Streaming).or_else(|| {
            let parameters = self.text(Meaning::InvocationParameters)?;
            let stream = parameters.split_once("\"stream\"")?.1.trim_start_matches([' ', ':']);
            Some(stream.starts_with("true"))
        })
    }

    /// Whether the item says that the call failed: by its status, an error type, or an HTTP status.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        let may_have = self.status.is_error || self.agent_event.is_some() || self.found.seen.any_of(FAILURES);
        may_have && self.says_that_it_failed()
    }

    fn says_that_it_failed(&self) -> bool {
        self.status.is_error
            || self.text(Meaning::ErrorType).is_some()
            || self.http_status().is_some_and(|status| status >= 400)
            || self.text(Meaning::Level).is_some_and(|level| level == "ERROR")
            || self.agent_event == Some(AgentEvent::Error)
            || self.agent_event.is_some() && self.found.seen.has(Meaning::ErrorMessage)
    }

    pub(crate) fn http_status(&self) -> Option<u16> {
        self.number(Meaning::HttpStatus).and_then(|status| u16::try_from(status).ok())
    }

    /// The stop words under keys of their own, with the key.
    #[inline]
    pub(crate) fn for_each_stop(&self, tell: impl FnMut(Meaning, &'a [u8], &'a str)) {
        self.found.for_each_word(STOPS, tell);
    }

    /// The first text under this meaning that is not empty, without the quotes of libraries that write all as JSON.
    #[inline]
    pub(crate) fn text(&self, meaning: Meaning) -> Option<&'a str> {
        self.found.text(meaning)
    }

    /// The first value under this meaning that is a number, or text of one.
    pub(crate) fn number(&self, meaning: Meaning) -> Option<u64> {
        self.found.number(meaning)
    }

    /// The first value under this meaning that is a truth, or text of one.
    #[inline]
    pub(crate) fn truth(&self, meaning: Meaning) -> Option<bool> {
        self.found.truth(meaning)
    }

    /// The value under this meaning that `from_name` knows.
    pub(crate) fn named<T>(&self, meaning: Meaning, from_name: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.text(meaning).and_then(from_name)
    }

    /// `llm.refusal.categories` as they stand on the item; names that are not known are left out.
    pub(crate) fn categories(&self) -> Vec<Category> {
        self.found.categories()
    }
}

/// An id as it counts: one of nothing but zeros stands for none.
fn id_of(id: &str) -> &str {
    if id.bytes().all(|byte| matches!(byte, b'0' | b'-')) { "" } else { id }
}

/// The host of a URL, or of an address with a port.
fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

const PROVIDERS: Meanings =
    Meanings::of(&[Meaning::Provider, Meaning::System, Meaning::OtherProvider, Meaning::OtherSystem]);
const MODELS: Meanings = Meanings::of(&[Meaning::RequestModel, Meaning::ModelName, Meaning::ResponseModel]);
const HOSTS: Meanings = Meanings::of(&[Meaning::ServerAddress, Meaning::Url]);
/// What may say that a call failed.
const FAILURES: Meanings = Meanings::of(&[Meaning::ErrorType, Meaning::HttpStatus, Meaning::Level]);
/// What an item has that stands for a call by itself, and not only because an application wrote its verdict there.
const CALL_MARKS: Meanings = Meanings::of(&[
    Meaning::Provider,
    Meaning::System,
    Meaning::OtherProvider,
    Meaning::OtherSystem,
    Meaning::RequestModel,
    Meaning::ResponseModel,
    Meaning::ModelName,
    Meaning::Operation,
    Meaning::SpanKind,
    Meaning::VendorStop,
    Meaning::FinishReason,
    Meaning::RawField,
    Meaning::ContractField,
    Meaning::Messages,
    Meaning::VerbatimBody,
    Meaning::EventName,
]);

/// Where stop words stand under keys of their own.
const STOPS: Meanings = Meanings::of(&[Meaning::VendorStop, Meaning::FinishReason, Meaning::ForeignStop]);
