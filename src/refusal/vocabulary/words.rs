//! Stop words and category words of one vendor, indexed.

use super::data::{CategoryEntry, Facts, StopEntry};
use super::form::Forms;
use super::{CategoryMeaning, Stop};
use crate::refusal::answer::StopField;
use crate::refusal::verdict::Class;
use ahash::RandomState;
use std::collections::{BTreeMap, HashMap};

/// What one word means, by the field it stands in.
type Meanings = [Option<Stop>; 7];

/// The words of a vendor. Words of one known form that differ in meaning are found only exactly: no form decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    exact: HashMap<Box<str>, Meanings, RandomState>,
    folded: HashMap<Box<str>, Meanings, RandomState>,
    categories: HashMap<Box<str>, CategoryMeaning, RandomState>,
    folded_categories: HashMap<Box<str>, CategoryMeaning, RandomState>,
}

/// Facts of several surfaces as one map; what is added later wins.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged<'d> {
    pub(super) stop: BTreeMap<(usize, &'d str), &'d StopEntry>,
    pub(super) categories: BTreeMap<&'d str, &'d CategoryEntry>,
}

impl<'d> Merged<'d> {
    pub(super) fn add(&mut self, facts: &'d Facts) {
        for (field, words) in &facts.stop {
            let words = words.iter().map(|(word, entry)| ((slot(field.0), word.as_str()), entry));
            self.stop.extend(words);
        }
        self.categories.extend(facts.categories.iter().map(|(word, entry)| (word.as_str(), entry)));
    }
}

impl Words {
    pub(super) fn new(merged: &Merged<'_>, forms: &Forms) -> Self {
        let mut words = Words::default();
        let mut ambiguous = Vec::new();
        for ((slot, word), entry) in &merged.stop {
            let stop = Stop::from_entry(entry);
            set(&mut words.exact, word, *slot, stop);
            let Some(folded) = forms.fold(word) else { continue };
            match set(&mut words.folded, &folded, *slot, stop) {
                Some(other) if other != stop => ambiguous.push((folded, *slot)),
                _ => {}
            }
        }
        for (word, slot) in ambiguous {
            if let Some(meaning) = words.folded.get_mut(word.as_str()).and_then(|m| m.get_mut(slot)) {
                *meaning = None;
            }
        }
        for (word, entry) in &merged.categories {
            let meaning = CategoryMeaning { category: entry.category, actor: entry.actor };
            words.categories.insert((*word).into(), meaning);
            if let Some(folded) = forms.fold(word) {
                words.folded_categories.insert(folded.into(), meaning);
            }
        }
        words
    }

    /// The meaning of exactly this word.
    pub(super) fn exact(&self, field: StopField, word: &str) -> Option<Stop> {
        self.exact.get(word).and_then(|meanings| meaning_in(meanings, field))
    }

    /// The meaning of a word in one of its known forms.
    pub(super) fn folded(&self, field: StopField, folded: &str) -> Option<Stop> {
        self.folded.get(folded).and_then(|meanings| meaning_in(meanings, field))
    }

    pub(super) fn category(&self, word: &str) -> Option<CategoryMeaning> {
        self.categories.get(word).copied()
    }

    pub(super) fn folded_category(&self, folded: &str) -> Option<CategoryMeaning> {
        self.folded_categories.get(folded).copied()
    }
}

/// Sets one meaning and gives back the one that stood there.
fn set(
    map: &mut HashMap<Box<str>, Meanings, RandomState>,
    word: &str,
    slot: usize,
    stop: Stop,
) -> Option<Stop> {
    let meanings = map.entry(word.into()).or_default();
    meanings.get_mut(slot)?.replace(stop)
}

/// The meaning in `field`, else in a field whose words emitters are known to put there: instrumentations call every
/// vendor's reason a finish reason, and a block reason may be any reason to refuse.
fn meaning_in(meanings: &Meanings, field: StopField) -> Option<Stop> {
    let of = |field| meanings.get(slot(field)).copied().flatten();
    let own = of(field);
    if own.is_some() {
        return own;
    }
    match field {
        StopField::StopReason | StopField::FinishReason | StopField::NativeFinishReason => {
            use StopField::{
                BlockReason, FinishReason, IncompleteReason, NativeFinishReason, Status, StopReason,
            };
            [FinishReason, StopReason, NativeFinishReason, IncompleteReason, Status, BlockReason]
                .into_iter()
                .find_map(of)
        }
        StopField::BlockReason => of(StopField::FinishReason).filter(|stop| stop.class == Class::Refusal),
        StopField::Status | StopField::IncompleteReason | StopField::GuardrailAction => None,
    }
}

fn slot(field: StopField) -> usize {
    match field {
        StopField::StopReason => 0,
        StopField::FinishReason => 1,
        StopField::NativeFinishReason => 2,
        StopField::Status => 3,
        StopField::IncompleteReason => 4,
        StopField::BlockReason => 5,
        StopField::GuardrailAction => 6,
    }
}
