//! What a look at a span that may fit a template meets.

use super::found::{number_of, text_of};
use super::template::{Attribute, Part};
use super::{Identity, Ids, id_of};
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::wire::{Fields, Malformed};
use crate::refusal::answer::Content;
use crate::refusal::dialects::{self, Keys, Meaning};
use std::ops::Range;

/// What a span that fits a template tells beyond it.
#[derive(Debug, Default)]
pub(crate) struct Likeness<'m> {
    /// By what the response is known again.
    pub(crate) identity: Identity<'m>,
    /// Input and output tokens.
    pub(crate) tokens: (Option<u64>, Option<u64>),
    /// How it ended.
    pub(crate) ending: Ending<'m>,
}

/// All that still decides between spans of one template: what is decided of one with the same ending holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending<'m> {
    /// The attributes that tell stop words, as they stand on the span. None is no empty slice, because that is compared by
    /// a masked load at what it has instead of an address, which takes a processor with AVX-512 longer than all the rest.
    words: [Option<&'m [u8]>; MOST_WORDS],
    output: Output,
    /// Whether the answer's text is told, and is empty.
    text: Content,
    has_input_tokens: bool,
}

/// As much of the number of output tokens as a verdict can depend on: whether there was output at all, and whether it
/// was more than a vendor bills for a refusal that said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    #[default]
    NotTold,
    Nothing,
    One,
    More,
}

/// A look at a span, up to some field of it.
pub(super) struct Look<'m> {
    pub(super) fields: Fields<'m>,
    /// Which attribute of the template is expected.
    pub(super) next: usize,
    pub(super) told: Told<'m>,
}

/// Whether an attribute is what is expected in its place.
pub(super) enum Fit {
    None,
    /// It is, but for a value that says nothing and was thought to be the same on all spans.
    Varies,
    Same,
}

/// What has been met on a span so far.
#[derive(Default)]
pub(super) struct Told<'m> {
    words: [Option<&'m [u8]>; MOST_WORDS],
    word_count: usize,
    response_id: &'m str,
    request_id: &'m str,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    text: Content,
}

impl<'m> Told<'m> {
    /// Takes an attribute if it is what is expected, in its usual form; else nothing is changed.
    #[inline(always)]
    pub(super) fn take_usual(&mut self, expected: &Attribute<'m>, content: &'m [u8]) -> Option<()> {
        let value = KeyValue::value_behind(expected.head?, content)?;
        match expected.part {
            Part::Shared | Part::Constant => None,
            part => self.note(part, content, || AnyValue::at_a_glance(value)),
        }
    }

    /// Takes the attribute that stands at `range` of `message`.
    pub(super) fn take(
        &mut self,
        expected: &Attribute<'m>,
        message: &'m [u8],
        range: Range<usize>,
    ) -> Result<Fit, Malformed> {
        let content = message.get(range.clone()).unwrap_or_default();
        match expected.part {
            Part::Shared | Part::Constant if content == expected.content => return Ok(Fit::Same),
            Part::Shared => return Ok(Fit::None),
            _ => {}
        }
        let attribute = KeyValue::read(message, range)?;
        if attribute.key != expected.key {
            // Other attributes that say nothing may stand there.
            return Ok(match expected.part {
                Part::Constant if is_silent(attribute.key) => Fit::Varies,
                Part::Silent if is_silent(attribute.key) => Fit::Same,
                _ => Fit::None,
            });
        }
        if expected.part == Part::Constant {
            return Ok(Fit::Varies);
        }
        let value = || Some(attribute.value().unwrap_or(AnyValue::Empty));
        let noted = self.note(expected.part, content, value);
        Ok(noted.map_or(Fit::None, |()| Fit::Same))
    }

    /// Notes what an attribute tells. Its value is read if that is asked for; `None`, and nothing noted, if it cannot be, or
    /// if there are more words than are compared.
    #[inline(always)]
    fn note(
        &mut self,
        part: Part,
        content: &'m [u8],
        value: impl FnOnce() -> Option<AnyValue<'m>>,
    ) -> Option<()> {
        match part {
            Part::Word => {
                *self.words.get_mut(self.word_count)? = Some(content);
                self.word_count += 1;
            }
            Part::ResponseId if self.response_id.is_empty() => {
                self.response_id = text_of(value()?).unwrap_or_default();
            }
            Part::RequestId if self.request_id.is_empty() => {
                self.request_id = text_of(value()?).unwrap_or_default();
            }
            Part::InputTokens if self.input_tokens.is_none() => self.input_tokens = number_of(value()?),
            Part::OutputTokens if self.output_tokens.is_none() => self.output_tokens = number_of(value()?),
            Part::Text => {
                if let AnyValue::Str(text) = value()? {
                    self.text = self.text.or_more(Content::of_text(text));
                }
            }
            Part::ResponseId | Part::RequestId | Part::InputTokens | Part::OutputTokens => {}
            Part::Silent | Part::Key | Part::Shared | Part::Constant => {}
        }
        Some(())
    }

    #[inline(always)]
    pub(super) fn beside(self, ids: Ids<'m>) -> Likeness<'m> {
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

/// More stop words of one span are not compared.
pub(super) const MOST_WORDS: usize = 2;

fn is_silent(key: &[u8]) -> bool {
    matches!(dialects::meaning(Keys::get(), key), None | Some(Meaning::Nothing))
}
