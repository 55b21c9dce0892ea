//! Spans that tell the same as one that was read, but for their ids and how many tokens they took.
//!
//! The calls of one program look alike: the same attributes in the same order, nearly all with the same values. What was
//! decided of one of them holds for the others, which takes a comparison of bytes instead of reading, looking up and
//! judging. A [`Template`] says for which spans that is so; it never says so of a span that might be judged otherwise.

use super::found::{number_of, text_of};
use super::head::SpanHead;
use super::read::{
    SPAN_ATTRIBUTES, SPAN_END, SPAN_EVENTS, SPAN_ID, SPAN_PARENT_ID, SPAN_STATUS, SPAN_TRACE_ID, content,
    read_status,
};
use super::{Evidence, Identity, Ids, PLACES, STOPS, id_of};
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::wire::{Fields, Malformed, Value};
use crate::refusal::answer::Content;
use crate::refusal::dialects::{self, Keys, MARKS, Meaning, Meanings, Role, ScopeKind};
use smallvec::SmallVec;
use std::ops::Range;

/// How the calls of one program look.
#[derive(Clone, Debug)]
pub(crate) struct Template<'m> {
    message: &'m [u8],
    attributes: Vec<Attribute<'m>>,
}

/// What a span that fits a template tells beyond it.
#[derive(Clone, Debug)]
pub(crate) struct Likeness<'m> {
    /// By what the response is known again.
    pub(crate) identity: Identity<'m>,
    /// Input and output tokens.
    pub(crate) tokens: (Option<u64>, Option<u64>),
    /// How it ended.
    pub(crate) ending: Ending<'m>,
}

/// All that still decides between spans of one template: what is decided of one with the same ending holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending<'m> {
    /// The attributes that tell stop words, as they stand on the span.
    words: [&'m [u8]; MOST_WORDS],
    output: Output,
    /// Whether the answer's text is told, and is empty.
    text: Content,
    has_input_tokens: bool,
}

/// As much of the number of output tokens as a verdict can depend on: whether there was output at all, and whether it
/// was more than a vendor bills for a refusal that said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    NotTold,
    Nothing,
    One,
    More,
}

/// An attribute of a template.
#[derive(Clone, Debug)]
struct Attribute<'m> {
    part: Part,
    key: &'m [u8],
    content: &'m [u8],
    /// Where its field stands.
    field: Range<usize>,
    /// The fields that stand side by side from here on and are equal on all spans.
    run: &'m [u8],
    /// How many they are.
    run_len: usize,
}

/// What an attribute is to the spans of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Equal on all of them.
    Shared,
    /// A stop word.
    Word,
    /// Where the response's id stands.
    ResponseId,
    /// Where the request's id stands.
    RequestId,
    InputTokens,
    OutputTokens,
    /// Text of the answer.
    Text,
    /// Its key decides, whatever the value is.
    Key,
    /// It says nothing of how the response ended, and has had one value so far.
    Constant,
    /// It says nothing of how the response ended.
    Silent,
}

/// More stop words of one span are not compared.
const MOST_WORDS: usize = 2;

/// Longer values that say nothing are hardly ever equal.
const LONGEST_CONSTANT: usize = 128;

impl Part {
    fn of(meaning: Option<Meaning>, len: usize) -> Self {
        match meaning {
            None | Some(Meaning::Nothing) if len <= LONGEST_CONSTANT => Part::Constant,
            None | Some(Meaning::Nothing) => Part::Silent,
            Some(Meaning::ResponseId) => Part::ResponseId,
            Some(Meaning::RequestId) => Part::RequestId,
            Some(Meaning::InputTokens) => Part::InputTokens,
            Some(Meaning::OutputTokens) => Part::OutputTokens,
            Some(Meaning::OutputText) => Part::Text,
            Some(Meaning::StreamTiming) => Part::Key,
            Some(meaning) if STOPS.has(meaning) => Part::Word,
            Some(_) => Part::Shared,
        }
    }
}

impl<'m> Template<'m> {
    /// The template that `evidence` was read from a span of, and what that tells beyond it; `None` where more than short
    /// attributes decides.
    pub(crate) fn of(evidence: &Evidence<'m>) -> Option<(Self, Likeness<'m>)> {
        let is_plain = evidence.is_span
            && evidence.role == Role::Leaf
            && evidence.origin.kind != ScopeKind::CodingAgent
            && evidence.found.seen.any_of(MARKS)
            && !evidence.found.seen.any_of(READ_ANYWAY)
            && !evidence.has_failed()
            && !evidence.has_more()
            && !evidence.is_judged();
        if !is_plain {
            return None;
        }
        let mut template = Template { message: evidence.message(), attributes: attributes(evidence).ok()? };
        let words = template.attributes.iter().filter(|attribute| attribute.part == Part::Word).count();
        if words > MOST_WORDS {
            return None;
        }
        template.join_runs();
        let likeness = template.likeness(&SpanHead::read(evidence.message(), evidence.item()).ok()?)?;
        Some((template, likeness))
    }

    /// What a span tells beyond the template, if it fits. A span whose form is broken does not.
    pub(crate) fn likeness(&mut self, span: &SpanHead<'m>) -> Option<Likeness<'m>> {
        let mut varying = SmallVec::new();
        let likeness = self.compare(span, &mut varying).ok().flatten()?;
        if !varying.is_empty() {
            self.note_varying(&varying);
        }
        Some(likeness)
    }

    /// `varying` are the places of attributes that turned out to be no constants.
    fn compare(
        &self,
        span: &SpanHead<'m>,
        varying: &mut SmallVec<[usize; 4]>,
    ) -> Result<Option<Likeness<'m>>, Malformed> {
        if !span.is_usual {
            return Ok(None);
        }
        let message = span.message;
        let (mut ids, mut has_ended) = (span.ids, span.has_ended);
        let mut told = Told::default();
        let mut next = 0;
        let mut fields = span.rest.clone();
        loop {
            if let Some(Attribute { run, run_len, .. }) = self.attributes.get(next)
                && *run_len > 0
                && fields.pass(run)
            {
                next += run_len;
                continue;
            }
            let Some(field) = fields.next_field()? else { break };
            if field.number == SPAN_ATTRIBUTES {
                let Some(expected) = self.attributes.get(next) else { return Ok(None) };
                match told.take(expected, message, field.content()?)? {
                    Fit::None => return Ok(None),
                    Fit::Varies => varying.push(next),
                    Fit::Same => {}
                }
                next += 1;
                continue;
            }
            match field.number {
                SPAN_TRACE_ID => ids.trace = content(message, &field)?,
                SPAN_ID => ids.span = content(message, &field)?,
                SPAN_PARENT_ID => ids.parent = content(message, &field)?,
                SPAN_END => has_ended |= !matches!(field.value, Value::Fixed64(0)),
                SPAN_EVENTS => return Ok(None),
                SPAN_STATUS if read_status(message, field.content()?)?.is_error => return Ok(None),
                _ => {}
            }
        }
        let fits = has_ended && next == self.attributes.len();
        Ok(fits.then(|| told.beside(ids)))
    }

    fn note_varying(&mut self, varying: &[usize]) {
        for at in varying {
            if let Some(attribute) = self.attributes.get_mut(*at) {
                attribute.part = Part::Silent;
            }
        }
        self.join_runs();
    }

    /// Finds what can be compared in one piece.
    fn join_runs(&mut self) {
        let (mut run, mut len) = (0..0, 0);
        for attribute in self.attributes.iter_mut().rev() {
            let is_equal = matches!(attribute.part, Part::Shared | Part::Constant);
            (run, len) = match is_equal {
                false => (0..0, 0),
                true if len > 0 && attribute.field.end == run.start => {
                    (attribute.field.start..run.end, len + 1)
                }
                true => (attribute.field.clone(), 1),
            };
            attribute.run = self.message.get(run.clone()).unwrap_or_default();
            attribute.run_len = len;
        }
    }
}

/// Whether an attribute is what is expected in its place.
enum Fit {
    None,
    /// It is, but for a value that says nothing and was thought to be the same on all spans.
    Varies,
    Same,
}

/// What has been met on a span so far.
#[derive(Default)]
struct Told<'m> {
    words: [&'m [u8]; MOST_WORDS],
    word_count: usize,
    response_id: &'m str,
    request_id: &'m str,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    text: Content,
}

impl<'m> Told<'m> {
    /// Takes the attribute that stands at `range` of `message`.
    #[inline(always)]
    fn take(
        &mut self,
        expected: &Attribute<'m>,
        message: &'m [u8],
        range: Range<usize>,
    ) -> Result<Fit, Malformed> {
        let content = || message.get(range.clone()).unwrap_or_default();
        match expected.part {
            Part::Shared | Part::Constant if content() == expected.content => return Ok(Fit::Same),
            Part::Shared => return Ok(Fit::None),
            _ => {}
        }
        let attribute = KeyValue::read(message, range.clone())?;
        if attribute.key != expected.key {
            // Other attributes that say nothing may stand there.
            return Ok(match expected.part {
                Part::Constant if is_silent(attribute.key) => Fit::Varies,
                Part::Silent if is_silent(attribute.key) => Fit::Same,
                _ => Fit::None,
            });
        }
        match expected.part {
            Part::Constant => return Ok(Fit::Varies),
            Part::Shared | Part::Key | Part::Silent => {}
            Part::Text => {
                if let Ok(AnyValue::Str(text)) = attribute.value() {
                    self.text = self.text.or_more(Content::of_text(text));
                }
            }
            Part::Word => {
                if let Some(word) = self.words.get_mut(self.word_count) {
                    *word = content();
                }
                self.word_count += 1;
            }
            Part::ResponseId if self.response_id.is_empty() => {
                self.response_id = attribute.value().ok().and_then(text_of).unwrap_or_default();
            }
            Part::RequestId if self.request_id.is_empty() => {
                self.request_id = attribute.value().ok().and_then(text_of).unwrap_or_default();
            }
            Part::ResponseId | Part::RequestId => {}
            Part::InputTokens => self.input_tokens = self.input_tokens.or_else(|| number_in(&attribute)),
            Part::OutputTokens => self.output_tokens = self.output_tokens.or_else(|| number_in(&attribute)),
        }
        Ok(Fit::Same)
    }

    fn beside(self, ids: Ids<'m>) -> Likeness<'m> {
        let output = match self.output_tokens {
            None => Output::NotTold,
            Some(0) => Output::Nothing,
            Some(1) => Output::One,
            Some(_) => Output::More,
        };
        Likeness {
            identity: Identity {
                response_id: id_of(self.response_id),
                request_id: id_of(self.request_id),
                trace_id: ids.trace,
                span_id: ids.span,
                parent_span_id: ids.parent,
                is_span: true,
                leaf: true,
            },
            tokens: (self.input_tokens, self.output_tokens),
            ending: Ending {
                words: self.words,
                output,
                text: self.text,
                has_input_tokens: self.input_tokens.is_some(),
            },
        }
    }
}

/// All attributes of the span, each with what it tells.
fn attributes<'m>(evidence: &Evidence<'m>) -> Result<Vec<Attribute<'m>>, Malformed> {
    let message = evidence.found.message;
    let mut telling = evidence.found.entries().iter().peekable();
    let mut attributes = Vec::new();
    let mut fields = Fields::new(message, evidence.item.clone());
    while let Some(field) = fields.next_field()? {
        if field.number != SPAN_ATTRIBUTES {
            continue;
        }
        let range = field.content()?;
        let key = KeyValue::read(message, range.clone())?.key;
        let meaning = telling.next_if(|entry| entry.range() == range).map(|entry| entry.meaning);
        attributes.push(Attribute {
            part: Part::of(meaning, range.len()),
            key,
            content: message.get(range).unwrap_or_default(),
            field: field.at..fields.position(),
            run: &[],
            run_len: 0,
        });
    }
    Ok(attributes)
}

#[inline(always)]
fn number_in(attribute: &KeyValue<'_>) -> Option<u64> {
    attribute.small_int().or_else(|| number_of(attribute.value().ok()?))
}

fn is_silent(key: &[u8]) -> bool {
    matches!(dialects::meaning(Keys::get(), key), None | Some(Meaning::Nothing))
}

/// What has to be read, or looked at, on each span that has it.
const READ_ANYWAY: Meanings = PLACES.without(Meaning::OutputText).without(Meaning::OutputPartType);
