//! Errors: which of them are refusals.
//!
//! What is left of a vendor's error in telemetry is often its sentence alone, in an exception's message or in the
//! status, perhaps with the body printed behind it.

use super::case::{Case, Trust};
use crate::refusal::answer::{Answer, ErrorFacts};
use crate::refusal::dialects::Meaning;
use crate::refusal::evidence::{Evidence, start};
use crate::refusal::verdict::Class;
use std::borrow::Cow;

/// Looks for a known error in what an item that failed says.
pub(super) fn weigh<'a>(case: &mut Case<'a>, evidence: &Evidence<'a>) {
    let mut sentences = Sentences { texts: Vec::new(), kind: None };
    if let Some(text) = evidence.text(Meaning::ErrorMessage) {
        sentences.texts.push((ERROR_MESSAGE, text));
    }
    evidence.for_each_exception(|key, text| match key {
        b"exception.message" => sentences.texts.push((EXCEPTION_MESSAGE, text)),
        _ => sentences.kind = Some(text),
    });
    match evidence.status_message() {
        "" => {}
        text => sentences.texts.push((STATUS_MESSAGE, text)),
    }
    let kind = evidence.text(Meaning::ErrorType).filter(|kind| *kind != "_OTHER").or(sentences.kind);
    let facts = ErrorFacts {
        code: evidence.text(Meaning::ErrorCode).map(Into::into),
        kind: kind.map(Into::into),
        status: evidence.http_status(),
        ..ErrorFacts::default()
    };
    if let Some(told) = case.error.clone() {
        consider(case, merged(told, &facts), "error");
    }
    for (key, text) in sentences.texts {
        if case.failure.as_ref().is_some_and(|(meaning, _)| meaning.class == Class::Refusal) {
            break;
        }
        let mut answer = Answer::read_error(text);
        if let Some(told) = answer.error.take() {
            // A printed body has a sentence of its own; the prose before it may have another.
            let prose =
                Some(start(text, MAX_MESSAGE).into()).filter(|prose| told.message.as_ref() != Some(prose));
            consider(case, merged(told, &facts), key);
            if prose.is_some() {
                consider(case, ErrorFacts { message: prose, ..facts.clone() }, key);
            }
        }
        case.take_answer(answer, key, Trust::Answer);
    }
    consider(case, facts, "error.type");
}

/// The same for an answer that was seen on the wire.
pub(super) fn weigh_answer(case: &mut Case<'_>, http_status: Option<u16>) {
    let facts = ErrorFacts { status: http_status, ..ErrorFacts::default() };
    let told = case.error.clone().unwrap_or_default();
    consider(case, merged(told, &facts), "error");
}

/// What the error itself says, with what stands around it where it says nothing.
fn merged(told: ErrorFacts, around: &ErrorFacts) -> ErrorFacts {
    ErrorFacts {
        code: told.code.or_else(|| around.code.clone()),
        kind: told.kind.or_else(|| around.kind.clone()),
        status: told.status.or(around.status),
        ..told
    }
}

/// Takes the error for the one that counts, unless one that says more is known.
fn consider<'a>(case: &mut Case<'a>, facts: ErrorFacts, key: &'a str) {
    let is_settled = case.failure.as_ref().is_some_and(|(known, _)| known.class == Class::Refusal);
    if is_settled {
        return;
    }
    let Some(meaning) = case.vocabulary.error(case.vendor(), &facts) else { return };
    if case.failure.is_none() || meaning.class == Class::Refusal {
        case.failure_word = case.vocabulary.error_category_word(case.vendor(), &facts).map(Into::into);
        case.failure = Some((meaning, Cow::Borrowed(key)));
    }
}

/// Whether this is where the text of an error stands.
pub(super) fn is_sentence(key: &[u8]) -> bool {
    [ERROR_MESSAGE, EXCEPTION_MESSAGE, STATUS_MESSAGE].iter().any(|sentence| sentence.as_bytes() == key)
}

const ERROR_MESSAGE: &str = "error.message";
const EXCEPTION_MESSAGE: &str = "exception.message";
const STATUS_MESSAGE: &str = "status.message";

struct Sentences<'a> {
    texts: Vec<(&'static str, &'a str)>,
    kind: Option<&'a str>,
}

/// What is looked at of a sentence, in bytes.
const MAX_MESSAGE: usize = 512;
