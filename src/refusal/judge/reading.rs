//! Reads answers, and pieces of answers, in whatever form a library has put them.

use crate::refusal::answer::Answer;
use crate::refusal::evidence::Place;

/// Reads what stands at a place; `None` when it is no structure.
pub(super) fn answer(_place: &Place<'_>) -> Option<Answer> {
    None
}

/// Reads the body that is printed behind a sentence.
pub(super) fn in_sentence(_text: &str) -> Option<Answer> {
    None
}

/// The fields of an answer that stand in attributes of their own.
#[derive(Default)]
pub(super) struct RawFields<'a> {
    name: Option<&'a str>,
}

impl<'a> RawFields<'a> {
    pub(super) fn add(&mut self, _field: &'a str, place: Place<'a>) {
        self.name.get_or_insert(place.name);
    }

    pub(super) fn finish(self) -> Option<(Answer, &'a str)> {
        self.name.map(|name| (Answer::default(), name))
    }
}
