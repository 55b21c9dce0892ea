//! What one span or log record tells about the end of an LLM response, borrowed from the request it stands in.
//!
//! [`read_span`] and [`read_log_record`] walk once over an item and note where the telling attributes stand; values are
//! decoded when the judge asks for them, and whole answers inside of attributes are read only when the short keys
//! leave something open. An item that does not speak of an LLM call costs the walk and nothing else.

use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::visit::Envelope;
use crate::otlp::wire::{Field, Fields, Malformed, Value};
use crate::refusal::dialects::{self, AgentEvent, Keys, MARKS, Meaning, Meanings, Role, ScopeKind};
use crate::refusal::verdict::Category;
use smallvec::SmallVec;
use std::ops::Range;

mod facts;
mod places;
mod text;

pub use facts::{Fact, Shown};

pub(crate) use places::{Place, PlaceKind};
pub(crate) use text::{Words, start, unquoted};

/// Where items come from: what their resource and scope tell, read once for all items under them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'m> {
    /// The scope that the resource names, for emitters that leave the scope itself empty (eBPF instrumentation).
    resource_scope: &'m str,
    scope: &'m str,
    kind: ScopeKind,
}

impl<'m> Origin<'m> {
    /// What a resource tells. Its scopes are told by [`Origin::enter_scope`].
    pub fn of_resource(resource: &Envelope<'m>) -> Result<Self, Malformed> {
        let mut origin = Origin::default();
        let mut fields = resource.fields();
        while let Some(field) = fields.next_field()? {
            if field.number != RESOURCE_ATTRIBUTES {
                continue;
            }
            let attribute = KeyValue::read(resource.message(), field.content()?)?;
            match attribute.key {
                b"otel.scope.name" => origin.resource_scope = attribute.value()?.as_str().unwrap_or_default(),
                b"telemetry.distro.name" if origin.resource_scope.is_empty() => {
                    origin.resource_scope = attribute.value()?.as_str().unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(origin)
    }

    /// Goes to a scope of the same resource.
    pub fn enter_scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.scope = "";
        let mut fields = scope.fields();
        while let Some(field) = fields.next_field()? {
            if field.number == SCOPE_NAME {
                self.scope = str(scope.message().get(field.content()?).unwrap_or_default());
            }
        }
        self.kind = ScopeKind::of(self.scope);
        Ok(())
    }

    /// `llm.instrumentation`: the scope's name, or what the resource says in its place.
    pub fn instrumentation(&self) -> &'m str {
        match self.scope {
            "" => self.resource_scope,
            scope => scope,
        }
    }
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

/// What one item tells.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    message: &'a [u8],
    item: Range<usize>,
    is_span: bool,
    origin: Origin<'a>,
    role: Role,
    agent_event: Option<AgentEvent>,
    event_name: &'a str,
    seen: Meanings,
    found: SmallVec<[Found; 20]>,
    ids: Ids<'a>,
    has_events: bool,
    status: Status<'a>,
    body: Option<Range<usize>>,
}

/// An attribute that tells something.
#[derive(Clone, Copy, Debug)]
struct Found {
    meaning: Meaning,
    /// Where its `KeyValue` stands.
    from: u32,
    to: u32,
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

/// Reads the span that stands at `span` of `message`; `None` when it is no LLM response.
pub fn read_span<'a>(
    message: &'a [u8],
    span: Range<usize>,
    origin: &Origin<'a>,
) -> Result<Option<Evidence<'a>>, Malformed> {
    let mut scan = Scan::new(message, origin);
    let mut ids = Ids::default();
    let mut name: &[u8] = b"";
    let mut status = None;
    let mut has_ended = false;
    let mut has_events = false;
    let mut fields = Fields::new(message, span.clone());
    while let Some(field) = fields.next_field()? {
        match field.number {
            SPAN_ATTRIBUTES => scan.attribute(field.content()?)?,
            SPAN_TRACE_ID => ids.trace = scan.content(&field)?,
            SPAN_ID => ids.span = scan.content(&field)?,
            SPAN_PARENT_ID => ids.parent = scan.content(&field)?,
            SPAN_NAME => name = scan.content(&field)?,
            SPAN_END => has_ended |= !matches!(field.value, Value::Fixed64(0)),
            SPAN_EVENTS => has_events = true,
            SPAN_STATUS => status = Some(field.content()?),
            _ => {}
        }
    }
    let is_marked = scan.seen.any_of(MARKS) || origin.kind.names_calls() && is_named_like_a_call(name);
    if !is_marked || !has_ended {
        return Ok(None);
    }
    let status = status.map_or(Ok(Status::default()), |range| read_status(message, range))?;
    let mut evidence = scan.finish(span, true, ids);
    evidence.has_events = has_events;
    evidence.status = status;
    evidence.role = match evidence.seen.any_of(MARKS) {
        true => evidence.role_by_words(),
        false => Role::Leaf,
    };
    Ok(evidence.is_response().then_some(evidence))
}

/// Reads the log record that stands at `record` of `message`; `None` when it is no LLM response.
pub fn read_log_record<'a>(
    message: &'a [u8],
    record: Range<usize>,
    origin: &Origin<'a>,
) -> Result<Option<Evidence<'a>>, Malformed> {
    let mut scan = Scan::new(message, origin);
    let mut ids = Ids::default();
    let mut event_name = "";
    let mut body = None;
    let mut fields = Fields::new(message, record.clone());
    while let Some(field) = fields.next_field()? {
        match field.number {
            LOG_ATTRIBUTES => scan.attribute(field.content()?)?,
            LOG_TRACE_ID => ids.trace = scan.content(&field)?,
            LOG_SPAN_ID => ids.span = scan.content(&field)?,
            LOG_EVENT_NAME => event_name = str(scan.content(&field)?),
            LOG_BODY => body = Some(field.content()?),
            _ => {}
        }
    }
    let is_agent = origin.kind == ScopeKind::CodingAgent;
    let is_event = event_name.starts_with("gen_ai.") || is_agent && !event_name.is_empty();
    if !is_event && !scan.seen.any_of(MARKS) && !scan.seen.has(Meaning::EventName) {
        return Ok(None);
    }
    let mut evidence = scan.finish(record, false, ids);
    evidence.body = body;
    evidence.event_name = match event_name {
        "" => evidence.text(Meaning::EventName).unwrap_or_default(),
        name => name,
    };
    evidence.agent_event = AgentEvent::of(origin.scope, evidence.event_name);
    evidence.role = match evidence.agent_event {
        Some(event) => event.role(),
        None => evidence.role_by_event(),
    };
    Ok(evidence.is_response().then_some(evidence))
}

/// One walk over the attributes of an item.
struct Scan<'a> {
    message: &'a [u8],
    origin: Origin<'a>,
    keys: &'static Keys,
    seen: Meanings,
    found: SmallVec<[Found; 20]>,
}

impl<'a> Scan<'a> {
    #[inline]
    fn new(message: &'a [u8], origin: &Origin<'a>) -> Self {
        let keys = Keys::get();
        Scan { message, origin: *origin, keys, seen: Meanings::default(), found: SmallVec::new() }
    }

    #[inline(always)]
    fn attribute(&mut self, range: Range<usize>) -> Result<(), Malformed> {
        let key = KeyValue::read(self.message, range.clone())?.key;
        match dialects::meaning(self.keys, key) {
            Some(meaning) => self.note(meaning, range),
            None if self.origin.kind == ScopeKind::CodingAgent => self.bare(key, range),
            None => {}
        }
        Ok(())
    }

    #[cold]
    fn bare(&mut self, key: &[u8], range: Range<usize>) {
        if let Some(meaning) = dialects::bare_key(key) {
            self.note(meaning, range);
        }
    }

    #[inline]
    fn note(&mut self, meaning: Meaning, range: Range<usize>) {
        // A message is smaller than 4 GiB: receivers refuse larger ones long before.
        if let (Ok(from), Ok(to)) = (u32::try_from(range.start), u32::try_from(range.end)) {
            self.seen.insert(meaning);
            self.found.push(Found { meaning, from, to });
        }
    }

    #[inline(always)]
    fn content(&self, field: &Field) -> Result<&'a [u8], Malformed> {
        Ok(self.message.get(field.content()?).unwrap_or_default())
    }

    fn finish(self, item: Range<usize>, is_span: bool, ids: Ids<'a>) -> Evidence<'a> {
        Evidence {
            message: self.message,
            item,
            is_span,
            origin: self.origin,
            role: Role::Unsure,
            agent_event: None,
            event_name: "",
            seen: self.seen,
            found: self.found,
            ids,
            has_events: false,
            status: Status::default(),
            body: None,
        }
    }
}

impl<'a> Evidence<'a> {
    /// Whether a collector has judged this item before.
    pub fn is_judged(&self) -> bool {
        self.seen.has(Meaning::Class)
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
            response_id: self.text(Meaning::ResponseId).unwrap_or_default(),
            request_id: self.text(Meaning::RequestId).unwrap_or_default(),
            trace_id: self.ids.trace,
            span_id: self.ids.span,
            parent_span_id: self.ids.parent,
            is_span: self.is_span,
            leaf: self.role == Role::Leaf || self.role == Role::Unsure && self.seen.any_of(CALL_MARKS),
        }
    }

    /// The provider keys, strongest first.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &'a str> {
        [Meaning::Provider, Meaning::System, Meaning::OtherProvider, Meaning::OtherSystem]
            .into_iter()
            .filter_map(|meaning| self.text(meaning))
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
        self.seen
    }

    /// Whether the answer was streamed, where that is told.
    pub(crate) fn is_streamed(&self) -> Option<bool> {
        if self.seen.has(Meaning::StreamTiming) {
            return Some(true);
        }
        self.truth(Meaning::Streaming).or_else(|| {
            let parameters = self.text(Meaning::InvocationParameters)?;
            let stream = parameters.split_once("\"stream\"")?.1.trim_start_matches([' ', ':']);
            Some(stream.starts_with("true"))
        })
    }

    /// Whether the item says that the call failed: by its status, an error type, or an HTTP status.
    pub(crate) fn has_failed(&self) -> bool {
        self.status.is_error
            || self.text(Meaning::ErrorType).is_some()
            || self.http_status().is_some_and(|status| status >= 400)
            || self.text(Meaning::Level).is_some_and(|level| level == "ERROR")
            || self.agent_event == Some(AgentEvent::Error)
            || self.agent_event.is_some() && self.seen.has(Meaning::ErrorMessage)
    }

    pub(crate) fn http_status(&self) -> Option<u16> {
        self.number(Meaning::HttpStatus).and_then(|status| u16::try_from(status).ok())
    }

    /// The stop words under keys of their own, with the key.
    pub(crate) fn for_each_stop(&self, mut tell: impl FnMut(Meaning, &'a str, &'a str)) {
        for found in &self.found {
            if let Meaning::VendorStop | Meaning::FinishReason | Meaning::ForeignStop = found.meaning {
                let key = self.key(found);
                Words::of(self.value(found)).for_each(|word| tell(found.meaning, key, word));
            }
        }
    }

    /// The first text under this meaning that is not empty, without the quotes of libraries that write all as JSON.
    pub(crate) fn text(&self, meaning: Meaning) -> Option<&'a str> {
        self.values(meaning).find_map(|value| match value {
            AnyValue::Str(bytes) => Some(unquoted(str(bytes))).filter(|text| !text.is_empty()),
            _ => None,
        })
    }

    /// The first value under this meaning that is a number, or text of one.
    pub(crate) fn number(&self, meaning: Meaning) -> Option<u64> {
        self.values(meaning).find_map(|value| match value {
            AnyValue::Int(number) => u64::try_from(number).ok(),
            AnyValue::Double(number) if (0.0..=u32::MAX.into()).contains(&number) => Some(number as u64),
            AnyValue::Str(bytes) => unquoted(str(bytes)).parse().ok(),
            _ => None,
        })
    }

    /// The first value under this meaning that is a truth, or text of one.
    pub(crate) fn truth(&self, meaning: Meaning) -> Option<bool> {
        self.values(meaning).find_map(|value| match value {
            AnyValue::Bool(truth) => Some(truth),
            AnyValue::Str(b"true" | b"True") => Some(true),
            AnyValue::Str(b"false" | b"False") => Some(false),
            _ => None,
        })
    }

    /// The value under this meaning that `from_name` knows.
    pub(crate) fn named<T>(&self, meaning: Meaning, from_name: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.text(meaning).and_then(from_name)
    }

    /// `llm.refusal.categories` as they stand on the item; names that are not known are left out.
    pub(crate) fn categories(&self) -> Vec<Category> {
        let mut categories = Vec::new();
        for value in self.values(Meaning::Categories) {
            Words::of(value).for_each(|word| categories.extend(Category::from_name(word)));
        }
        categories
    }

    fn values(&self, meaning: Meaning) -> impl Iterator<Item = AnyValue<'a>> {
        let found = match self.seen.has(meaning) {
            true => self.found.as_slice(),
            false => &[],
        };
        found.iter().filter(move |found| found.meaning == meaning).map(|found| self.value(found))
    }

    /// A value whose form is broken reads as none: what stands around it tells what it tells.
    #[inline]
    fn value(&self, found: &Found) -> AnyValue<'a> {
        let attribute = KeyValue::read(self.message, found.range());
        attribute.and_then(|attribute| attribute.value()).unwrap_or(AnyValue::Empty)
    }

    fn key(&self, found: &Found) -> &'a str {
        KeyValue::read(self.message, found.range()).map_or("", |attribute| str(attribute.key))
    }

    fn role_by_words(&self) -> Role {
        let told = [Meaning::Operation, Meaning::SpanKind]
            .into_iter()
            .flat_map(|meaning| self.values(meaning))
            .filter_map(|value| value.as_str())
            .map(dialects::role)
            .max();
        match told {
            Some(role) => role,
            None if self.seen.has(Meaning::RawField) => Role::Leaf,
            None if self.seen.any_of(PROVIDERS) && self.seen.any_of(MODELS) => Role::Leaf,
            None => Role::Unsure,
        }
    }

    fn role_by_event(&self) -> Role {
        match self.event_name {
            _ if self.origin.kind == ScopeKind::Own => Role::Other,
            // It repeats a span, and nothing says which.
            _ if self.origin.kind == ScopeKind::OpenLit && self.is_orphan() => Role::Other,
            "gen_ai.client.inference.operation.details" | "gen_ai.client.operation.exception" => Role::Leaf,
            "gen_ai.choice" => Role::Unsure,
            name if name.starts_with("gen_ai.") => Role::Other,
            // Any other log line may be about a response; it is one if it says how that ended.
            _ if self.seen.any_of(MARKS) => match self.role_by_words() {
                Role::Leaf => Role::Unsure,
                role => role,
            },
            _ => Role::Other,
        }
    }

    /// Whether no id says which response this is about.
    fn is_orphan(&self) -> bool {
        self.ids.span.is_empty() && self.text(Meaning::ResponseId).is_none()
    }

    fn is_response(&self) -> bool {
        if self.role == Role::Other {
            return false;
        }
        match self.text(Meaning::ItemKind) {
            Some(kind) => {
                let answered = self.seen.any_of(ANSWERS) || self.status.is_error;
                !dialects::logfire_unfinished(kind.as_bytes(), self.origin.scope, answered)
            }
            None => true,
        }
    }
}

impl Found {
    fn range(&self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

fn read_status(message: &[u8], range: Range<usize>) -> Result<Status<'_>, Malformed> {
    let mut status = Status::default();
    let mut fields = Fields::new(message, range);
    while let Some(field) = fields.next_field()? {
        match (field.number, field.value) {
            (STATUS_MESSAGE, _) => status.message = message.get(field.content()?).unwrap_or_default(),
            (STATUS_CODE, Value::Varint(code)) => status.is_error = code == STATUS_CODE_ERROR,
            _ => {}
        }
    }
    Ok(status)
}

/// Whether a span's name starts with a call's operation, as `chat gpt-4.1` does by convention.
fn is_named_like_a_call(name: &[u8]) -> bool {
    let operation = str(name).split(' ').next().unwrap_or_default();
    dialects::role(operation) == Role::Leaf
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
/// What only a finished response has.
const ANSWERS: Meanings = Meanings::of(&[
    Meaning::VendorStop,
    Meaning::FinishReason,
    Meaning::Messages,
    Meaning::Body,
    Meaning::ResponseId,
    Meaning::OutputTokens,
]);
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

const RESOURCE_ATTRIBUTES: u32 = 1;
const SCOPE_NAME: u32 = 1;

const SPAN_TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const SPAN_PARENT_ID: u32 = 4;
const SPAN_NAME: u32 = 5;
const SPAN_END: u32 = 8;
const SPAN_ATTRIBUTES: u32 = 9;
const SPAN_EVENTS: u32 = 11;
const SPAN_STATUS: u32 = 15;

const STATUS_MESSAGE: u32 = 2;
const STATUS_CODE: u32 = 3;
const STATUS_CODE_ERROR: u64 = 2;

const LOG_BODY: u32 = 5;
const LOG_ATTRIBUTES: u32 = 6;
const LOG_TRACE_ID: u32 = 9;
const LOG_SPAN_ID: u32 = 10;
const LOG_EVENT_NAME: u32 = 12;
