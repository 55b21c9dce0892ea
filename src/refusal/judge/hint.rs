//! Whether it is worth while to read a place whose item has an ordinary stop word: a look at its bytes, without parsing.
//!
//! Bodies are large and nearly all of them hold nothing but text. What can hide behind an ordinary word is a refusal in
//! words, a filter that fired, a guardrail that replaced the text, another word in a message, and a fallback.

use super::case::{Case, Trust};
use crate::otlp::any_value::AnyValue;
use crate::refusal::answer::StopField;
use crate::refusal::evidence::{Place, PlaceKind};
use crate::refusal::verdict::Class;
use memchr::memmem;

/// Whether `place` may say more than the stop word that is known.
pub(super) fn is_worth_reading(place: &Place<'_>, case: &Case<'_>) -> bool {
    let bytes = place.raw;
    match place.kind {
        // Of a long stream nearly all pieces are text.
        PlaceKind::Chunk => REASONS.iter().any(|key| tells(bytes, key)),
        _ if case.is_open() => true,
        PlaceKind::Verbatim => true,
        // Its stop word counts more than the one that is known.
        PlaceKind::Body if case.ending.as_ref().is_some_and(|ending| ending.trust > Trust::Answer) => true,
        PlaceKind::Field(path) if path.ends_with("status") || path.starts_with("incomplete_details") => true,
        // A structured value is read as quickly as looked at.
        PlaceKind::Messages | PlaceKind::Body if !matches!(place.value, AnyValue::Str(_)) => true,
        PlaceKind::Messages | PlaceKind::Body => {
            names_policy(bytes, case) || tells(bytes, b"refusal") || is_vendors_own(bytes, case)
        }
        // Any words there are a refusal, and they are short.
        PlaceKind::Field(path) if path.ends_with("refusal") => true,
        PlaceKind::Details | PlaceKind::Field(_) => {
            DETAILS.iter().any(|word| memmem::find(bytes, word).is_some())
        }
        PlaceKind::Guardrail(_) | PlaceKind::Reason | PlaceKind::Text | PlaceKind::PartType => false,
    }
}

/// What only the answers of one vendor can hold.
fn is_vendors_own(bytes: &[u8], case: &Case<'_>) -> bool {
    let words: &[&[u8]] = match case.provider.map(|provider| provider.name) {
        Some("anthropic") => &[b"fallback"],
        Some("aws.bedrock") => &[b"INTERVENED", b"intervened"],
        Some("azure.ai.openai" | "azure.ai.inference") => &[b"\"filtered\":true", b"\"filtered\": true"],
        _ => &[],
    };
    words.iter().any(|word| memmem::find(bytes, word).is_some())
}

/// Whether something stands behind `key` that is not null or empty, or `key` is not a key at all.
fn tells(bytes: &[u8], key: &[u8]) -> bool {
    memmem::find_iter(bytes, key).any(|at| {
        let rest = bytes.get(at + key.len()..).unwrap_or_default();
        let quotes = rest.iter().take_while(|byte| matches!(byte, b'"' | b'\'' | b'\\')).count();
        let value = rest.get(quotes..).unwrap_or_default().trim_ascii_start();
        let Some(value) = value.strip_prefix(b":").or_else(|| value.strip_prefix(b"=")) else { return true };
        let value = value.trim_ascii_start();
        !EMPTY.iter().any(|empty| value.starts_with(empty))
    })
}

/// Whether some stop or finish reason in a text of JSON is a policy word. Another ordinary word there would not count
/// against the one that is known.
fn names_policy(bytes: &[u8], case: &Case<'_>) -> bool {
    // `stop_reason`, `finishReason`, `block_reason`, ..., but also the word itself in any sentence.
    let mut looked_up = 0;
    memmem::find_iter(bytes, b"eason").any(|at| {
        let rest = bytes.get(at + b"eason".len()..).unwrap_or_default();
        if !matches!(rest, [b'"' | b'\'' | b'\\', ..]) {
            return false;
        }
        let is_between = |byte: &u8| matches!(byte, b'"' | b'\'' | b'\\' | b':' | b' ' | b'\n' | b'\t');
        let word = rest.get(rest.iter().take_while(|byte| is_between(byte)).count()..).unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let word = word.get(..word.iter().take_while(|byte| is_part(byte)).count()).unwrap_or_default();
        if case.ending.as_ref().is_some_and(|ending| ending.word.as_bytes() == word) {
            return false;
        }
        // Behind a gateway this is the backend's own word, which the one that is known was made of.
        let is_native = bytes.get(..at).unwrap_or_default().ends_with(b"native_finish_r");
        looked_up += 1;
        if is_native && !word.is_empty() && word != b"null" || looked_up > MAX_LOOKUPS {
            return true;
        }
        let word = std::str::from_utf8(word).unwrap_or_default();
        let fields = [StopField::FinishReason, StopField::BlockReason];
        fields.into_iter().any(|field| {
            let stop = case.vocabulary.stop(case.vendor(), field, word);
            stop.is_some_and(|stop| stop.class == Class::Refusal)
        })
    })
}

/// How many words of one place are looked up before it is read anyway.
const MAX_LOOKUPS: u32 = 64;

/// How nothing is written behind a key.
const EMPTY: &[&[u8]] = &[b"null", b"None", b"\"\"", b"''", b"\\\"\\\""];

/// What says how an answer ended.
const REASONS: &[&[u8]] = &[
    b"finish_reason",
    b"refusal",
    b"stop_reason",
    b"finishReason",
    b"stopReason",
    b"incomplete_details",
    b"lockReason",
    b"lock_reason",
    b"stop_details",
];

/// What the pieces of an answer say when something happened.
const DETAILS: &[&[u8]] = &[
    b"true",
    b"True",
    b"ategory",
    b"lockReason",
    b"lock_reason",
    b"BLOCKED",
    b"INTERVENED",
    b"fallback",
    b"reason",
];
