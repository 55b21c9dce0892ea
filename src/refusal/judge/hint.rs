//! Whether it is worth while to read a place whose item has an ordinary stop word: a look at its bytes, without parsing.
//!
//! Bodies are large and nearly all of them hold nothing but text. What can hide behind an ordinary word is a refusal in
//! words, a filter that fired, a guardrail that replaced the text, another word in a message, and a fallback.

use super::case::{Case, Trust};
use crate::refusal::answer::StopField;
use crate::refusal::evidence::{Place, PlaceKind};
use memchr::memmem;

/// Whether `place` may say more than the stop word that is known.
pub(super) fn is_worth_reading(place: &Place<'_>, case: &Case<'_>) -> bool {
    let bytes = place.raw;
    match place.kind {
        // Of a long stream nearly all pieces are text.
        PlaceKind::Chunk => REASONS.iter().any(|key| tells(bytes, key)),
        _ if case.is_open() => true,
        PlaceKind::Verbatim => true,
        PlaceKind::Messages => {
            names_another_reason(bytes, case) || tells(bytes, b"refusal") || is_vendors_own(bytes, case)
        }
        PlaceKind::Body => tells(bytes, b"refusal") || is_vendors_own(bytes, case),
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
        Some("openrouter" | "litellm") => &[b"native_finish_reason"],
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

/// Whether the last finish reason of messages is another word than the one that counts.
fn names_another_reason(bytes: &[u8], case: &Case<'_>) -> bool {
    let Some(ending) = &case.ending else { return true };
    let Some(at) = memmem::rfind(bytes, b"finish_reason") else { return false };
    let rest = bytes.get(at + b"finish_reason".len()..).unwrap_or_default();
    let word = rest.trim_ascii_start();
    let is_between = |byte: &u8| matches!(byte, b'"' | b'\'' | b'\\' | b':' | b' ' | b'=');
    let word = word.get(word.iter().take_while(|byte| is_between(byte)).count()..).unwrap_or_default();
    let end =
        word.iter().position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-' | b'.'));
    let word = word.get(..end.unwrap_or(word.len())).unwrap_or_default();
    if word.eq_ignore_ascii_case(ending.word.as_bytes()) || matches!(word, b"" | b"null" | b"None") {
        return false;
    }
    // Another spelling of the same end is not worth a look; a less trusted word matters only if it is policy.
    let word = std::str::from_utf8(word).unwrap_or_default();
    match case.vocabulary.stop(case.vendor(), StopField::FinishReason, word) {
        Some(stop) => stop.class != ending.class,
        None => ending.trust == Trust::Message,
    }
}

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

/// How nothing is written behind a key.
const EMPTY: &[&[u8]] = &[b"null", b"None", b"\"\"", b"''", b"\\\"\\\""];

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
