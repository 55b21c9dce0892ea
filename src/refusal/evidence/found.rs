//! The attributes of one item that tell something: where they stand, decoded when they are asked for.

use super::{Words, str, unquoted};
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::wire::Malformed;
use crate::refusal::dialects::{self, Keys, Meaning, Meanings, ScopeKind};
use crate::refusal::verdict::Category;
use smallvec::SmallVec;
use std::ops::Range;

/// The telling attributes of one item, in the order in which they stand there.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    pub(super) message: &'a [u8],
    pub(super) seen: Meanings,
    entries: SmallVec<[Entry; 20]>,
}

/// An attribute that tells something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) meaning: Meaning,
    /// Where its `KeyValue` stands.
    from: u32,
    to: u32,
}

impl Entry {
    pub(super) fn range(&self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

impl<'a> Found<'a> {
    #[inline]
    pub(super) fn nothing_in(message: &'a [u8]) -> Self {
        Found { message, seen: Meanings::default(), entries: SmallVec::new() }
    }

    /// Notes the attribute that stands at `range` if it tells something.
    #[inline(always)]
    pub(super) fn look_at(
        &mut self,
        range: Range<usize>,
        keys: &Keys,
        scope: ScopeKind,
    ) -> Result<(), Malformed> {
        let key = KeyValue::read(self.message, range.clone())?.key;
        match dialects::meaning(keys, key) {
            Some(Meaning::Nothing) => {}
            Some(meaning) => self.note(meaning, range),
            None if scope == ScopeKind::CodingAgent => self.look_at_bare(key, range),
            None => {}
        }
        Ok(())
    }

    #[cold]
    fn look_at_bare(&mut self, key: &[u8], range: Range<usize>) {
        if let Some(meaning) = dialects::bare_key(key) {
            self.note(meaning, range);
        }
    }

    #[inline]
    fn note(&mut self, meaning: Meaning, range: Range<usize>) {
        // A message is smaller than 4 GiB: receivers refuse larger ones long before.
        if let (Ok(from), Ok(to)) = (u32::try_from(range.start), u32::try_from(range.end)) {
            self.seen.insert(meaning);
            self.entries.push(Entry { meaning, from, to });
        }
    }

    /// All of them.
    #[inline]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those under this meaning.
    #[inline]
    pub(super) fn values(&self, meaning: Meaning) -> impl Iterator<Item = AnyValue<'a>> {
        let entries = match self.seen.has(meaning) {
            true => self.entries.as_slice(),
            false => &[],
        };
        entries.iter().filter(move |entry| entry.meaning == meaning).map(|entry| self.value(entry))
    }

    /// A value whose form is broken reads as none: what stands around it tells what it tells.
    #[inline]
    pub(super) fn value(&self, entry: &Entry) -> AnyValue<'a> {
        let attribute = KeyValue::read(self.message, entry.range());
        attribute.and_then(|attribute| attribute.value()).unwrap_or(AnyValue::Empty)
    }

    pub(super) fn key(&self, entry: &Entry) -> &'a str {
        KeyValue::read(self.message, entry.range()).map_or("", |attribute| str(attribute.key))
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        self.message.get(range).unwrap_or_default()
    }

    /// The first text under this meaning that is not empty, without the quotes of libraries that write all as JSON.
    #[inline]
    pub(super) fn text(&self, meaning: Meaning) -> Option<&'a str> {
        if self.seen.has(meaning) { self.first_text(meaning) } else { None }
    }

    fn first_text(&self, meaning: Meaning) -> Option<&'a str> {
        self.values(meaning).find_map(text_of)
    }

    /// The first value under this meaning that is a number, or text of one.
    pub(super) fn number(&self, meaning: Meaning) -> Option<u64> {
        self.values(meaning).find_map(number_of)
    }

    /// The first value under this meaning that is a truth, or text of one.
    #[inline]
    pub(super) fn truth(&self, meaning: Meaning) -> Option<bool> {
        if !self.seen.has(meaning) {
            return None;
        }
        self.values(meaning).find_map(|value| match value {
            AnyValue::Bool(truth) => Some(truth),
            AnyValue::Str(b"true" | b"True") => Some(true),
            AnyValue::Str(b"false" | b"False") => Some(false),
            _ => None,
        })
    }

    /// The words under these meanings, each with its key.
    #[inline]
    pub(super) fn for_each_word(&self, meanings: Meanings, mut tell: impl FnMut(Meaning, &'a [u8], &'a str)) {
        for entry in &self.entries {
            if !meanings.has(entry.meaning) {
                continue;
            }
            let mut tell = |key, words: Words<'a>| words.for_each(|word| tell(entry.meaning, key, word));
            if let Some((key, word)) = single_word(self.bytes(entry.range())) {
                tell(key, Words::Text(str(word)));
            } else if let Ok(attribute) = KeyValue::read(self.message, entry.range()) {
                tell(attribute.key, Words::of(attribute.value().unwrap_or(AnyValue::Empty)));
            }
        }
    }

    /// `llm.refusal.categories` as they stand on the item; names that are not known are left out.
    pub(super) fn categories(&self) -> Vec<Category> {
        let mut categories = Vec::new();
        for value in self.values(Meaning::Categories) {
            Words::of(value).for_each(|word| categories.extend(Category::from_name(word)));
        }
        categories
    }
}

/// The text of a value, if it is one and not empty, without the quotes of libraries that write all as JSON.
#[inline]
pub(super) fn text_of(value: AnyValue<'_>) -> Option<&str> {
    match value {
        AnyValue::Str(bytes) => Some(unquoted(str(bytes))).filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// The number of a value, if it is one, or text of one.
#[inline]
pub(super) fn number_of(value: AnyValue<'_>) -> Option<u64> {
    match value {
        AnyValue::Int(number) => u64::try_from(number).ok(),
        AnyValue::Double(number) if (0.0..=u32::MAX.into()).contains(&number) => Some(number as u64),
        AnyValue::Str(bytes) => unquoted(str(bytes)).parse().ok(),
        _ => None,
    }
}

/// Key and word of an attribute in its usual form: a short key, and a short string by itself or as the only element of an
/// array.
#[inline]
fn single_word(attribute: &[u8]) -> Option<(&[u8], &[u8])> {
    let [KEY, key_len @ ..0x80, rest @ ..] = attribute else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    let (word, lengths, overhead): (&[u8], _, _) = match rest {
        [VALUE, a @ ..0x80, STRING_VALUE, b, word @ ..] => (word, [*a, *b, *b, *b], [2, 0, 0, 0]),
        [VALUE, a @ ..0x80, ARRAY_VALUE, b, ELEMENT, c, STRING_VALUE, d, word @ ..] => {
            (word, [*a, *b, *c, *d], [6, 4, 2, 0])
        }
        _ => return None,
    };
    let is_whole =
        lengths.iter().zip(overhead).all(|(length, more)| usize::from(*length) == word.len() + more);
    is_whole.then_some((key, word))
}

/// Tags of the fields of `KeyValue`, `AnyValue` and `ArrayValue` that make up the usual attribute.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING_VALUE: u8 = 1 << 3 | 2;
const ARRAY_VALUE: u8 = 5 << 3 | 2;
const ELEMENT: u8 = 1 << 3 | 2;
