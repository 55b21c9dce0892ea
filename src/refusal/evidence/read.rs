//! One walk over an item: what is noted of it, and whether it stands for an LLM response.

use super::found::Found;
use super::head::SpanHead;
use super::{Evidence, Ids, MODELS, Origin, PROVIDERS, Status, str};
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::wire::{Field, Fields, Malformed, Value};
use crate::refusal::dialects::{self, AgentEvent, Keys, MARKS, Meaning, Meanings, Role, ScopeKind};
use std::ops::Range;

/// Reads the span that stands at `span` of `message`; `None` when it is no LLM response.
pub fn read_span<'a>(
    message: &'a [u8],
    span: Range<usize>,
    origin: &Origin<'a>,
) -> Result<Option<Evidence<'a>>, Malformed> {
    let may_be_a_call = SpanHead::read(message, span.clone())?.may_be_a_call(origin)?;
    if may_be_a_call { read_call(message, span, origin) } else { Ok(None) }
}

/// Reads the span that stands at `span` of `message` and [may be a call](SpanHead::may_be_a_call); `None` when it is no
/// LLM response after all.
pub(crate) fn read_call<'a>(
    message: &'a [u8],
    span: Range<usize>,
    origin: &Origin<'a>,
) -> Result<Option<Evidence<'a>>, Malformed> {
    let keys = Keys::get();
    let mut found = Found::nothing_in(message);
    let mut ids = Ids::default();
    let mut name: &[u8] = b"";
    let mut status = None;
    let mut has_ended = false;
    let mut has_events = false;
    let mut fields = Fields::new(message, span.clone());
    while let Some(field) = fields.next_field()? {
        match field.number {
            SPAN_ATTRIBUTES => found.look_at(field.content()?, keys, origin.kind)?,
            SPAN_TRACE_ID => ids.trace = content(message, &field)?,
            SPAN_ID => ids.span = content(message, &field)?,
            SPAN_PARENT_ID => ids.parent = content(message, &field)?,
            SPAN_NAME => name = content(message, &field)?,
            SPAN_END => has_ended |= !matches!(field.value, Value::Fixed64(0)),
            SPAN_EVENTS => has_events = true,
            SPAN_STATUS => status = Some(field.content()?),
            _ => {}
        }
    }
    let is_marked = found.seen.any_of(MARKS);
    let is_call = is_marked || origin.kind.names_calls() && dialects::is_named_like_a_call(name);
    if !is_call || !has_ended {
        return Ok(None);
    }
    let status = status.map_or(Ok(Status::default()), |range| read_status(message, range))?;
    let role = if is_marked { role_by_words(&found) } else { Role::Leaf };
    if role == Role::Other || is_unfinished(&found, origin, status.is_error) {
        return Ok(None);
    }
    Ok(Some(Evidence {
        item: span,
        is_span: true,
        origin: *origin,
        role,
        agent_event: None,
        event_name: "",
        found,
        ids,
        has_events,
        status,
        body: None,
    }))
}

/// Reads the log record that stands at `record` of `message`; `None` when it is no LLM response.
pub fn read_log_record<'a>(
    message: &'a [u8],
    record: Range<usize>,
    origin: &Origin<'a>,
) -> Result<Option<Evidence<'a>>, Malformed> {
    let keys = Keys::get();
    if !may_be_a_response(message, record.clone(), origin, keys)? {
        return Ok(None);
    }
    let mut found = Found::nothing_in(message);
    let mut ids = Ids::default();
    let mut event_name = "";
    let mut body = None;
    let mut fields = Fields::new(message, record.clone());
    while let Some(field) = fields.next_field()? {
        match field.number {
            LOG_ATTRIBUTES => found.look_at(field.content()?, keys, origin.kind)?,
            LOG_TRACE_ID => ids.trace = content(message, &field)?,
            LOG_SPAN_ID => ids.span = content(message, &field)?,
            LOG_EVENT_NAME => event_name = str(content(message, &field)?),
            LOG_BODY => body = Some(field.content()?),
            _ => {}
        }
    }
    let is_agent = origin.kind == ScopeKind::CodingAgent;
    let is_event = event_name.starts_with("gen_ai.") || is_agent && !event_name.is_empty();
    if !is_event && !found.seen.any_of(MARKS) && !found.seen.has(Meaning::EventName) {
        return Ok(None);
    }
    if event_name.is_empty() {
        event_name = found.text(Meaning::EventName).unwrap_or_default();
    }
    let agent_event = AgentEvent::of(origin.scope, event_name);
    let role = match agent_event {
        Some(event) => event.role(),
        None => role_by_event(event_name, &found, &ids, origin),
    };
    if role == Role::Other || is_unfinished(&found, origin, false) {
        return Ok(None);
    }
    Ok(Some(Evidence {
        item: record,
        is_span: false,
        origin: *origin,
        role,
        agent_event,
        event_name,
        found,
        ids,
        has_events: false,
        status: Status::default(),
        body,
    }))
}

/// A first look at a log record, as [`SpanHead::may_be_a_call`] takes one at a span.
fn may_be_a_response(
    message: &[u8],
    record: Range<usize>,
    origin: &Origin<'_>,
    keys: &Keys,
) -> Result<bool, Malformed> {
    let mut has_event_name = false;
    let mut fields = Fields::new(message, record);
    while let Some(field) = fields.next_field()? {
        // Most are attributes: asked for first, they need no jump table.
        if field.number == LOG_ATTRIBUTES {
            if keys.may_mark(KeyValue::read(message, field.content()?)?.key) {
                return Ok(true);
            }
            continue;
        }
        match field.number {
            LOG_EVENT_NAME => has_event_name = !content(message, &field)?.is_empty(),
            LOG_TRACE_ID | LOG_SPAN_ID | LOG_BODY => _ = field.content()?,
            _ => {}
        }
    }
    Ok(has_event_name || origin.kind == ScopeKind::CodingAgent)
}

#[inline(always)]
pub(super) fn content<'a>(message: &'a [u8], field: &Field) -> Result<&'a [u8], Malformed> {
    Ok(message.get(field.content()?).unwrap_or_default())
}

/// What the item says that it stands for.
fn role_by_words(found: &Found<'_>) -> Role {
    let mut told = None;
    for entry in found.entries() {
        if let Meaning::Operation | Meaning::SpanKind = entry.meaning
            && let AnyValue::Str(word) = found.value(entry)
        {
            told = told.max(Some(dialects::role(str(word).as_bytes())));
        }
    }
    match told {
        Some(role) => role,
        None if found.seen.has(Meaning::RawField) => Role::Leaf,
        None if found.seen.any_of(PROVIDERS) && found.seen.any_of(MODELS) => Role::Leaf,
        None => Role::Unsure,
    }
}

/// What a log record stands for, by the name of its event.
fn role_by_event(event_name: &str, found: &Found<'_>, ids: &Ids<'_>, origin: &Origin<'_>) -> Role {
    // Whether no id says which response this is about.
    let is_orphan = || ids.span.is_empty() && found.text(Meaning::ResponseId).is_none();
    match event_name {
        _ if origin.kind == ScopeKind::Own => Role::Other,
        // It repeats a span, and nothing says which.
        _ if origin.kind == ScopeKind::OpenLit && is_orphan() => Role::Other,
        "gen_ai.client.inference.operation.details" | "gen_ai.client.operation.exception" => Role::Leaf,
        "gen_ai.choice" => Role::Unsure,
        name if name.starts_with("gen_ai.") => Role::Other,
        // Any other log line may be about a response; it is one if it says how that ended.
        _ if found.seen.any_of(MARKS) => match role_by_words(found) {
            Role::Leaf => Role::Unsure,
            role => role,
        },
        _ => Role::Other,
    }
}

/// Whether the item says of itself that the answer is told elsewhere, or later.
fn is_unfinished(found: &Found<'_>, origin: &Origin<'_>, is_error: bool) -> bool {
    if !found.seen.has(Meaning::ItemKind) {
        return false;
    }
    let kind = found.text(Meaning::ItemKind).unwrap_or_default();
    let answered = found.seen.any_of(ANSWERS) || is_error;
    dialects::logfire_unfinished(kind.as_bytes(), origin.scope, answered)
}

pub(super) fn read_status(message: &[u8], range: Range<usize>) -> Result<Status<'_>, Malformed> {
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

/// What only a finished response has.
const ANSWERS: Meanings = Meanings::of(&[
    Meaning::VendorStop,
    Meaning::FinishReason,
    Meaning::Messages,
    Meaning::Body,
    Meaning::ResponseId,
    Meaning::OutputTokens,
]);

pub(super) const SPAN_TRACE_ID: u32 = 1;
pub(super) const SPAN_ID: u32 = 2;
pub(super) const SPAN_PARENT_ID: u32 = 4;
pub(super) const SPAN_NAME: u32 = 5;
pub(super) const SPAN_END: u32 = 8;
pub(super) const SPAN_ATTRIBUTES: u32 = 9;
pub(super) const SPAN_EVENTS: u32 = 11;
pub(super) const SPAN_STATUS: u32 = 15;

const STATUS_MESSAGE: u32 = 2;
const STATUS_CODE: u32 = 3;
const STATUS_CODE_ERROR: u64 = 2;

const LOG_BODY: u32 = 5;
const LOG_ATTRIBUTES: u32 = 6;
const LOG_TRACE_ID: u32 = 9;
const LOG_SPAN_ID: u32 = 10;
const LOG_EVENT_NAME: u32 = 12;
