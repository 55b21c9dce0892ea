//! What can be wrong with data files and extensions.

use super::data::{Condition, Facts};
use super::form;
use crate::refusal::verdict::{Category, Class};
use std::fmt;

/// Why data files or an extension do not make a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// The text is no YAML, or not of the shape of a data file.
    #[error("{file}{}: {reason}", Position(.position))]
    Syntax {
        /// Where the text comes from.
        file: String,
        /// Line and column, where they are known; both from 1.
        position: Option<(u64, u64)>,
        /// What is wrong.
        reason: String,
    },
    /// A stop word is given a class that only a lookup may have.
    #[error(
        "{vendor}: stop.{field} `{word}` cannot be `{class}`: that is what words outside the vocabulary are"
    )]
    Class {
        /// The vendor.
        vendor: String,
        /// The field.
        field: &'static str,
        /// The word.
        word: String,
        /// The class.
        class: Class,
    },
    /// A category word is given a category that only a lookup may have.
    #[error(
        "{vendor}: {place} `{word}` cannot be `{category}`: that is what words outside the vocabulary are"
    )]
    Category {
        /// The vendor.
        vendor: String,
        /// The part of the file.
        place: &'static str,
        /// The word.
        word: String,
        /// The category.
        category: Category,
    },
    /// An error is given a class that errors do not have.
    #[error("{vendor}: errors[{index}] cannot be `{class}`: an error is `refusal`, `length` or `error`")]
    ErrorClass {
        /// The vendor.
        vendor: String,
        /// Which of its errors.
        index: usize,
        /// The class.
        class: Class,
    },
    /// A condition asks for nothing.
    #[error(
        "{vendor}: {place}[{index}] would hold of every error: give a word, code, kind, status or message"
    )]
    EmptyCondition {
        /// The vendor.
        vendor: String,
        /// The part of the file.
        place: &'static str,
        /// Which of its entries.
        index: usize,
    },
    /// A word is longer than any that is looked up.
    #[error("{vendor}: {place} `{}…` is longer than {limit} bytes", .word.chars().take(32).collect::<String>())]
    TooLong {
        /// The vendor.
        vendor: String,
        /// The part of the file.
        place: &'static str,
        /// The word.
        word: String,
        /// The longest allowed.
        limit: usize,
    },
    /// Two vendors claim one provider key.
    #[error("{vendor}: the provider key `{key}` belongs to `{owner}`")]
    ProviderTaken {
        /// The vendor.
        vendor: String,
        /// The key.
        key: String,
        /// Whose it is.
        owner: String,
    },
    /// An extension speaks of a vendor that is not known, and does not say how telemetry names it.
    #[error(
        "no vendor `{vendor}`{}; a new one needs `identity.providers`",
        .nearest.as_ref().map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
    )]
    UnknownVendor {
        /// The name that was given.
        vendor: String,
        /// The known name that is most like it.
        nearest: Option<String>,
    },
    /// The data lacks a vendor that lookups need.
    #[error("no file for the vendor `{0}`")]
    NoVendor(&'static str),
}

impl VocabularyError {
    /// The vendor that it is about, as it is called where the mistake stands.
    pub fn vendor(&self) -> Option<&str> {
        match self {
            VocabularyError::Class { vendor, .. }
            | VocabularyError::Category { vendor, .. }
            | VocabularyError::ErrorClass { vendor, .. }
            | VocabularyError::EmptyCondition { vendor, .. }
            | VocabularyError::TooLong { vendor, .. }
            | VocabularyError::ProviderTaken { vendor, .. }
            | VocabularyError::UnknownVendor { vendor, .. } => Some(vendor),
            VocabularyError::Syntax { .. } | VocabularyError::NoVendor(_) => None,
        }
    }
}

struct Position<'e>(&'e Option<(u64, u64)>);

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |(line, column)| write!(f, ":{line}:{column}"))
    }
}

/// Refuses facts that would make a vocabulary quiet or slow.
pub(super) fn check(vendor: &str, facts: &Facts) -> Result<(), VocabularyError> {
    let short = |place: &'static str, word: &str| {
        if word.len() <= form::MAX_WORD_BYTES {
            return Ok(());
        }
        let limit = form::MAX_WORD_BYTES;
        Err(VocabularyError::TooLong { vendor: vendor.to_owned(), place, word: word.to_owned(), limit })
    };
    let speakable = |place: &'static str, word: &str, category: Option<Category>| match category {
        Some(category @ (Category::Unknown | Category::Missing)) => Err(VocabularyError::Category {
            vendor: vendor.to_owned(),
            place,
            word: word.to_owned(),
            category,
        }),
        _ => Ok(()),
    };
    for (field, words) in &facts.stop {
        for (word, entry) in words {
            short("stop word", word)?;
            speakable("stop word", word, entry.category)?;
            if matches!(entry.class, Class::Unknown | Class::Missing) {
                return Err(VocabularyError::Class {
                    vendor: vendor.to_owned(),
                    field: field.as_str(),
                    word: word.clone(),
                    class: entry.class,
                });
            }
        }
    }
    for (word, entry) in &facts.categories {
        short("category word", word)?;
        speakable("category word", word, Some(entry.category))?;
    }
    let vendor = || vendor.to_owned();
    for (index, entry) in facts.errors.iter().enumerate() {
        speakable("error", &index.to_string(), entry.category)?;
        if !matches!(entry.class, Class::Refusal | Class::Length | Class::Error) {
            return Err(VocabularyError::ErrorClass { vendor: vendor(), index, class: entry.class });
        }
        if entry.when.is_empty() || entry.when.has_empty_part() {
            return Err(VocabularyError::EmptyCondition { vendor: vendor(), place: "errors", index });
        }
    }
    let holds_always = |condition: &Condition| condition.is_empty() || condition.has_empty_part();
    match facts.not_refusals.iter().position(holds_always) {
        Some(index) => {
            Err(VocabularyError::EmptyCondition { vendor: vendor(), place: "not_refusals", index })
        }
        None => Ok(()),
    }
}
