//! Examples in data files: a lookup and what it must give.

use super::data::{ErrorExample, Example, FieldName};
use super::{Lookup, Vendor, Vocabulary};
use crate::refusal::answer::{ErrorFacts, StopField};
use crate::refusal::verdict::{Actor, Category, Class, Side};
use std::fmt;

/// What a lookup gave, in the terms of an [`Example`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The class; `unknown` or `missing` when the lookup gave none.
    pub class: Option<Class>,
    /// The category; `unknown` when the lookup gave none.
    pub category: Option<Category>,
    /// The side.
    pub side: Option<Side>,
    /// The actor.
    pub actor: Option<Actor>,
}

impl Vocabulary {
    /// Runs an example of a vendor's file; `Err` says what the lookup gave instead.
    pub fn try_example(&self, vendor: Option<Vendor>, example: &Example) -> Result<(), Outcome> {
        let outcome = self.outcome(vendor, example);
        let asked = [&example.word, &example.category_word].into_iter().flatten().count()
            + usize::from(example.error.is_some());
        let wanted = example.class.is_some() || example.category.is_some();
        let holds = asked == 1
            && wanted
            && example.class.is_none_or(|class| outcome.class == Some(class))
            && example.category.is_none_or(|category| outcome.category == Some(category))
            && example.side.is_none_or(|side| outcome.side == Some(side))
            && example.actor.is_none_or(|actor| outcome.actor == Some(actor));
        if holds { Ok(()) } else { Err(outcome) }
    }

    fn outcome(&self, vendor: Option<Vendor>, example: &Example) -> Outcome {
        if let Some(word) = &example.word {
            let field = example.field.map_or(StopField::FinishReason, |field| field.0);
            return match self.lookup(vendor, field, word) {
                Lookup::Known(stop) => Outcome {
                    class: Some(stop.class),
                    category: stop.category,
                    side: stop.side,
                    actor: stop.actor,
                },
                Lookup::Absent => Outcome { class: Some(Class::Missing), ..Outcome::default() },
                Lookup::Unknown => Outcome { class: Some(Class::Unknown), ..Outcome::default() },
            };
        }
        if let Some(word) = &example.category_word {
            let meaning = self.category_meaning(vendor, word);
            return Outcome {
                category: Some(meaning.map_or(Category::Unknown, |meaning| meaning.category)),
                actor: meaning.and_then(|meaning| meaning.actor),
                ..Outcome::default()
            };
        }
        let Some(error) = &example.error else { return Outcome::default() };
        match self.error(vendor, &error.facts()) {
            Some(meaning) => Outcome {
                class: Some(meaning.class),
                category: meaning.category,
                side: Some(meaning.side),
                actor: Some(meaning.actor),
            },
            None => Outcome { class: Some(Class::Error), ..Outcome::default() },
        }
    }
}

impl ErrorExample {
    /// The facts that the answer reader or a dialect would give.
    pub fn facts(&self) -> ErrorFacts {
        let boxed = |fact: &Option<String>| fact.as_deref().map(Box::from);
        ErrorFacts {
            code: boxed(&self.code),
            inner_code: boxed(&self.inner_code),
            kind: boxed(&self.kind),
            status: self.status,
            findings: self.findings.map(|findings| findings.findings()),
            message: boxed(&self.message),
        }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(word) = &self.word {
            return write!(f, "{} `{word}`", self.field.map_or("finish_reason", FieldName::as_str));
        }
        if let Some(word) = &self.category_word {
            return write!(f, "category `{word}`");
        }
        let Some(error) = &self.error else { return f.write_str("nothing") };
        let told = [
            ("code", &error.code),
            ("inner_code", &error.inner_code),
            ("kind", &error.kind),
            ("message", &error.message),
        ];
        f.write_str("error")?;
        if let Some(status) = error.status {
            write!(f, " status {status}")?;
        }
        told.into_iter()
            .filter_map(|(name, fact)| Some((name, fact.as_ref()?)))
            .try_for_each(|(name, fact)| write!(f, " {name} `{fact}`"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("class", self.class.map(Class::as_str)),
            ("category", self.category.map(Category::as_str)),
            ("side", self.side.map(Side::as_str)),
            ("actor", self.actor.map(Actor::as_str)),
        ];
        let mut parts = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let Some((name, value)) = parts.next() else { return f.write_str("nothing") };
        write!(f, "{name} {value}")?;
        parts.try_for_each(|(name, value)| write!(f, ", {name} {value}"))
    }
}
