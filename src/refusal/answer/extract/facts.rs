//! Facts as they go into the answer: bounded, once each, and only from where they count.

use super::super::json::Text;
use super::super::{
    Answer, CategorySource, CategoryWord, Content, ErrorFacts, Fallback, Findings, Shape, StopField, StopWord,
};
use super::{Extractor, MAX_MESSAGE, MAX_WORD, Waiting, flag};
use crate::refusal::verdict::Side;
use memchr::memmem;

/// How many stop words are kept.
const MAX_STOPS: usize = 8;

/// How many categories are kept.
const MAX_CATEGORIES: usize = 16;

/// Lists of a guardrail's policy that name the finding themselves: their entries hold the matched text, or what only
/// the customer knows.
const NAMED_LISTS: [&str; 3] = ["customWords", "piiEntities", "regexes"];

impl Extractor {
    pub(super) fn flag(&mut self, flag: u16) {
        if let Some(frame) = self.frames.last_mut() {
            frame.flags |= flag;
        }
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.frames.last().is_some_and(|frame| frame.flags & flag != 0)
    }

    /// Runs `found` on a word that is there as a whole.
    pub(super) fn found_word(&mut self, text: Text<'_>, found: impl FnOnce(&mut Self, &str)) {
        if let Some(word) = text.word() {
            found(self, &word);
        }
    }

    pub(super) fn found_shape(&mut self, shape: Shape) {
        self.answer.shape.get_or_insert(shape);
    }

    pub(super) fn found_id(&mut self, word: &str) {
        if !word.is_empty() {
            self.answer.id.get_or_insert_with(|| bounded(word.as_bytes()));
        }
    }

    pub(super) fn found_tool_call(&mut self) {
        if !self.has(flag::FOREIGN) {
            self.answer.tool_call = true;
            self.found_content();
        }
    }

    pub(super) fn found_stop(&mut self, field: StopField, word: &str) {
        if self.has(flag::FOREIGN) {
            return;
        }
        let stop = StopWord { field, word: bounded(word.as_bytes()) };
        if is_placeholder(field, word) {
            self.placeholder = Some(stop);
            return;
        }
        self.value.stopped = true;
        if field == StopField::BlockReason {
            // A blocked prompt gets no answer.
            self.found_place();
        }
        let stops = &mut self.answer.stops;
        if stops.len() < MAX_STOPS && !stops.contains(&stop) {
            stops.push(stop);
        }
    }

    pub(super) fn found_intervention(&mut self, word: &str) {
        self.answer.guardrail_intervened = true;
        self.found_stop(StopField::GuardrailAction, word);
    }

    pub(super) fn found_category(&mut self, source: CategorySource, word: &str, side: Side) {
        if word.is_empty() {
            return;
        }
        let category = CategoryWord { source, word: bounded(word.as_bytes()), side };
        let categories = &mut self.answer.categories;
        if categories.len() < MAX_CATEGORIES && !categories.contains(&category) {
            categories.push(category);
        }
    }

    /// A safety rating, once both its category and that it blocked are known.
    pub(super) fn found_rating(&mut self, side: Side) {
        if self.entry.fired == Some(true)
            && let Some(word) = self.entry.word.take()
        {
            self.found_category(CategorySource::SafetyRating, &word, side);
        }
    }

    /// A guardrail's finding, once it is known that it blocked and what it is.
    pub(super) fn found_finding(&mut self, side: Side, ended: bool) {
        if self.entry.fired != Some(true) {
            return;
        }
        let policy = camel_case(&self.entry.policy);
        let list = camel_case(&self.entry.list);
        let word = if NAMED_LISTS.contains(&list.as_str()) {
            format!("{policy}:{list}")
        } else if let Some(word) = &self.entry.word {
            if policy == "contentPolicy" { word.to_string() } else { format!("{policy}:{word}") }
        } else if ended {
            policy
        } else {
            return;
        };
        self.entry.fired = None;
        self.found_category(CategorySource::GuardrailTrace, &word, side);
    }

    /// The end of an element of `content_filters`: what its filters found counts if it blocked, on its side.
    pub(super) fn found_content_filter(&mut self, closed: bool) {
        let blocked = self.entry.fired.unwrap_or(closed);
        let side = self.entry.side;
        if !blocked {
            self.answer.categories.truncate(self.entry.mark);
        }
        for category in self.answer.categories.iter_mut().skip(self.entry.mark) {
            category.side = side.unwrap_or(category.side);
        }
    }

    /// Foundry names the category only within a sentence: `... by label 'MultiSeverity_ViolenceScore'.`
    pub(super) fn found_filter_label(&mut self, text: Text<'_>, side: Side) {
        let message = text.start_str();
        let label = message.split_once("label '").and_then(|(_, rest)| rest.split_once('\''));
        if let Some((label, _)) = label {
            self.found_category(CategorySource::ContentFilter, label, side);
        }
    }

    pub(super) fn error(&mut self) -> &mut ErrorFacts {
        self.answer.error.get_or_insert_default()
    }

    pub(super) fn found_error_code(&mut self, word: &str) {
        if !word.is_empty() {
            self.error().code.get_or_insert_with(|| bounded(word.as_bytes()));
        }
    }

    pub(super) fn found_error_kind(&mut self, word: &str) {
        if !word.is_empty() {
            self.error().kind.get_or_insert_with(|| bounded(word.as_bytes()));
        }
    }

    pub(super) fn found_error_message(&mut self, text: Text<'_>) {
        let message = text.start_str();
        if message.is_empty() || message == "None" {
            return;
        }
        if let Some(check) = named_check(&message, text.closed && !text.more) {
            self.found_category(CategorySource::ErrorDetail, check, Side::Unknown);
        }
        let kept: Box<str> = cut(&message, MAX_MESSAGE).into();
        self.error().message.get_or_insert(kept);
        if message.trim_start().starts_with('{') {
            // A gateway's error with the vendor's error for a message.
            super::super::reader::read_nested(message.as_bytes(), self);
        }
    }

    pub(super) fn found_findings(&mut self, findings: Findings) {
        self.error().findings.get_or_insert(findings);
    }

    /// The fallback part that is being read.
    pub(super) fn fallback_part(&mut self) -> &mut Fallback {
        self.fallback.get_or_insert_default()
    }

    /// The end of a fallback part. Of several hops, the first tells who declined and why, the last who served.
    pub(super) fn found_fallback_part(&mut self) {
        let part = self.fallback.take().map_or_else(Fallback::default, |part| *part);
        let known = self.answer.fallback.get_or_insert_default();
        known.from = known.from.take().or(part.from);
        known.category = known.category.take().or(part.category);
        known.to = part.to.or(known.to.take());
    }

    /// The end of an iteration. A later turn that sticks to the fallback has no part, only this.
    pub(super) fn found_iteration(&mut self, fallback: bool, message: bool) {
        let model = self.entry.word.take();
        if message {
            self.iteration_from = model;
        } else if fallback {
            let from = self.iteration_from.take();
            let known = self.answer.fallback.get_or_insert_default();
            known.from = known.from.take().or(from);
            known.to = known.to.take().or(model);
        }
    }

    /// Keeps a word until more is known of the container that it stands in.
    pub(super) fn wait(&mut self, keep: impl FnOnce(&mut Waiting)) {
        let Some(frame) = self.frames.last_mut() else { return };
        if frame.waiting.is_none() {
            if self.waiting >= super::MAX_WAITING {
                return;
            }
            self.waiting += 1;
        }
        keep(frame.waiting.get_or_insert_default());
    }

    /// The end of a container whose words waited.
    pub(super) fn settle(&mut self, waiting: Waiting, flags: u16) {
        let has = |flag: u16| flags & flag != 0;
        if has(flag::FOREIGN) {
            return;
        }
        if has(flag::ANSWER) {
            if let Some(id) = waiting.id {
                self.answer.id.get_or_insert(id);
            }
            if let Some(model) = waiting.model {
                self.answer.model.get_or_insert(model);
            }
        }
        if let Some(status) = waiting.status {
            if has(flag::RESPONSE) {
                self.found_stop(StopField::Status, &status);
            } else if has(flag::MESSAGE) {
                self.item_status = Some(status);
            }
        }
        // DashScope and others have `code` and `message` side by side, without `error` around them.
        let named_code =
            waiting.code.as_ref().is_some_and(|code| code.contains(|c: char| c.is_ascii_alphabetic()));
        let plain = has(flag::ROOT)
            && !has(flag::ANSWER)
            && (self.error_expected || self.error_event || (named_code && waiting.message.is_some()));
        if has(flag::ERROR) || plain {
            self.settle_error(waiting.code, waiting.kind, waiting.message);
        } else if has(flag::ROOT) && self.answer.error.is_some() {
            // Beside an `error` that is a plain string (xAI).
            self.settle_error(waiting.code, None, None);
        }
    }

    fn settle_error(&mut self, code: Option<Box<str>>, kind: Option<Box<str>>, message: Option<Box<str>>) {
        if let Some(code) = code {
            self.found_error_code(&code);
        }
        if let Some(kind) = kind {
            self.found_error_kind(&kind);
        }
        if let Some(message) = message {
            self.found_error_message(Text { start: message.as_bytes(), more: false, closed: true });
        }
    }

    /// Makes the answer, once all that there was has been seen.
    pub(super) fn conclude(mut self, cut: bool) -> Answer {
        self.end_value();
        if let Some(status) = self.http_status.filter(|status| *status >= 400) {
            self.error().status.get_or_insert(status);
        }
        let mut answer = self.answer;
        let stopped = !answer.stops.is_empty();
        let streamed = self.stream || self.candidate_values > 1;
        let unfinished = streamed && !self.ended && !stopped && answer.error.is_none();
        answer.incomplete = cut || unfinished;
        if !stopped && answer.error.is_none() {
            let item_status = self.item_status.filter(|_| !answer.incomplete);
            let of_item = item_status.map(|word| StopWord { field: StopField::Status, word });
            answer.stops.extend(self.placeholder.or(of_item));
        }
        let named = answer.categories.iter().any(|category| category.source == CategorySource::StopDetails);
        let null = answer.category_null || (!stopped && !answer.incomplete && self.null_elsewhere);
        answer.category_null = null && !named;
        // What is empty so far may be followed by more; what was masked may have been empty or not.
        if answer.content == Content::Empty && (self.masked || (answer.incomplete && !stopped)) {
            answer.content = Content::Unknown;
        }
        answer
    }
}

/// A word as text, cut to [`MAX_WORD`] bytes.
pub(super) fn bounded(word: &[u8]) -> Box<str> {
    match std::str::from_utf8(word) {
        Ok(word) => cut(word, MAX_WORD).into(),
        Err(_) => cut(&String::from_utf8_lossy(word), MAX_WORD).into(),
    }
}

/// The start of a text, at most so many bytes, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// A name as AWS spells it, of one that an SDK may have spelled in its language's way.
fn camel_case(name: &[u8]) -> String {
    let mut spelled = String::new();
    let mut upper = false;
    for (at, byte) in name.iter().enumerate() {
        match byte {
            b'_' => upper = true,
            _ if std::mem::take(&mut upper) => spelled.push(char::from(byte.to_ascii_uppercase())),
            _ if at == 0 => spelled.push(char::from(byte.to_ascii_lowercase())),
            _ => spelled.push(char::from(*byte)),
        }
    }
    spelled
}

/// Whether a stop word only says that there is none yet.
fn is_placeholder(field: StopField, word: &str) -> bool {
    let word = word.trim();
    word.is_empty()
        || word.eq_ignore_ascii_case("null")
        || word.eq_ignore_ascii_case("none")
        // xAI's and Google's enums in chunks that are not the last.
        || word == "REASON_INVALID"
        || word.ends_with("FINISH_REASON_UNSPECIFIED")
        || (field == StopField::Status && matches!(word, "in_progress" | "queued"))
}

/// xAI names the check that failed only within a sentence: `... Failed check: SAFETY_CHECK_TYPE_CYBER`.
fn named_check(message: &str, whole: bool) -> Option<&str> {
    let start = memmem::find(message.as_bytes(), b"SAFETY_CHECK_TYPE_")?;
    let rest = message.get(start..)?;
    match rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        Some(end) => rest.get(..end),
        None => whole.then_some(rest),
    }
}
