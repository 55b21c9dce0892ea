//! Spans that tell the same as one that was read, but for their ids and how many tokens they took.
//!
//! The calls of one program look alike: the same attributes in the same order, nearly all with the same values. What was
//! decided of one of them holds for the others, which takes a comparison of bytes instead of reading, looking up and
//! judging. A [`Template`] says for which spans that is so; it never says so of a span that might be judged otherwise.

use super::head::{ATTRIBUTE_TAG, SpanHead};
use super::look::{Fit, Likeness, Look, MOST_WORDS, Told};
use super::read::{
    SPAN_ATTRIBUTES, SPAN_END, SPAN_EVENTS, SPAN_ID, SPAN_PARENT_ID, SPAN_STATUS, SPAN_TRACE_ID, content,
    read_status,
};
use super::{Evidence, PLACES, STOPS};
use crate::otlp::any_value::KeyValue;
use crate::otlp::wire::{Fields, Malformed, Value};
use crate::refusal::dialects::{MARKS, Meaning, Meanings, Role, ScopeKind};
use smallvec::SmallVec;
use std::ops::Range;

/// How the calls of one program look.
#[derive(Clone, Debug)]
pub(crate) struct Template<'m> {
    message: &'m [u8],
    attributes: Vec<Attribute<'m>>,
}

/// An attribute of a template.
#[derive(Clone, Debug)]
pub(super) struct Attribute<'m> {
    pub(super) part: Part,
    pub(super) key: &'m [u8],
    /// What stands before the length of the value, where the attribute has the usual form.
    pub(super) head: Option<&'m [u8]>,
    pub(super) content: &'m [u8],
    /// Where its field stands.
    field: Range<usize>,
    /// The fields that stand side by side from here on and are equal on all spans.
    run: &'m [u8],
    /// How many they are.
    run_len: usize,
}

/// What an attribute is to the spans of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
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
        let mut likeness = Likeness::default();
        let span = SpanHead::read(evidence.message(), evidence.item()).ok()?;
        template.fits(&span, &mut likeness).then_some((template, likeness))
    }

    /// Whether a span fits, and if so, in `likeness`, what it tells beyond the template. A span whose form is broken does not
    /// fit.
    ///
    /// That is written where it stays: a structure that is handed on is read before it has reached memory.
    pub(crate) fn fits(&mut self, span: &SpanHead<'m>, likeness: &mut Likeness<'m>) -> bool {
        if !span.is_usual {
            return false;
        }
        let mut look = Look { fields: span.rest(), next: 0, told: Told::default() };
        self.compare_usual(&mut look);
        if look.fields.next_byte().is_some() {
            return self.fits_in_any_form(look, span, likeness);
        }
        let fits = span.has_ended && look.next == self.attributes.len();
        if fits {
            *likeness = look.told.beside(span.ids);
        }
        fits
    }

    /// Goes on as long as all is as it usually is.
    #[inline(always)]
    fn compare_usual(&self, look: &mut Look<'m>) {
        while let Some(expected) = self.attributes.get(look.next) {
            if expected.run_len > 0 {
                if !look.fields.pass(expected.run) {
                    return;
                }
                look.next += expected.run_len;
                continue;
            }
            let mut fields = look.fields.clone();
            let content = fields.next_content(ATTRIBUTE_TAG);
            if content.and_then(|content| look.told.take_usual(expected, content)).is_none() {
                return;
            }
            look.fields = fields;
            look.next += 1;
        }
    }

    /// Goes on to the end. The look comes by value: a reference to it would keep it in memory on the usual way too.
    #[inline(never)]
    fn fits_in_any_form(&mut self, look: Look<'m>, span: &SpanHead<'m>, likeness: &mut Likeness<'m>) -> bool {
        let mut varying = SmallVec::new();
        let Ok(Some(like)) = self.compare_any(look, span, &mut varying) else { return false };
        if !varying.is_empty() {
            self.note_varying(&varying);
        }
        *likeness = like;
        true
    }

    /// `varying` are the places of attributes that turned out to be no constants.
    fn compare_any(
        &self,
        look: Look<'m>,
        span: &SpanHead<'m>,
        varying: &mut SmallVec<[usize; 4]>,
    ) -> Result<Option<Likeness<'m>>, Malformed> {
        let Look { mut fields, mut next, mut told } = look;
        let SpanHead { message, mut ids, mut has_ended, .. } = *span;
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
            head: message.get(range.clone()).and_then(KeyValue::head),
            content: message.get(range).unwrap_or_default(),
            field: field.at..fields.position(),
            run: &[],
            run_len: 0,
        });
    }
    Ok(attributes)
}

/// What has to be read, or looked at, on each span that has it.
const READ_ANYWAY: Meanings = PLACES.without(Meaning::OutputText).without(Meaning::OutputPartType);
