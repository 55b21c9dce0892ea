//! Who writes telemetry, and what of a refusal it loses.

use super::data::{EmitterEntry, EmittersFile, Evidence, Facts, FieldName, UnknownWords};
use crate::refusal::answer::StopField;
use crate::refusal::pattern::Pattern;
use ahash::RandomState;
use std::collections::HashMap;

/// An emitter of telemetry whose losses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitter {
    /// What people call it.
    pub name: String,
    /// Its scope names; patterns with `*`.
    pub scopes: Vec<String>,
    /// What becomes of a stop reason that it does not know.
    pub unknown_stop_reasons: UnknownWords,
    /// No unknown stop reason can ever show: it rewrites them, drops them, or sends none at all.
    pub blind: bool,
    /// What of a refusal survives.
    pub survives: String,
    /// What is lost.
    pub lost: String,
    /// What to switch on or use instead.
    pub remedy: Option<String>,
    /// The version that was looked at, and where it was read.
    pub source: String,
    /// How well it is known.
    pub evidence: Evidence,
}

impl Emitter {
    fn from_entry(entry: &EmitterEntry) -> Self {
        Emitter {
            name: entry.name.clone(),
            scopes: entry.scopes.clone(),
            unknown_stop_reasons: entry.unknown_stop_reasons,
            blind: match entry.unknown_stop_reasons {
                UnknownWords::Raw | UnknownWords::Partly => false,
                UnknownWords::Rewritten | UnknownWords::Dropped | UnknownWords::Never => true,
            },
            survives: entry.survives.clone(),
            lost: entry.lost.clone(),
            remedy: entry.remedy.clone(),
            source: entry.source.clone(),
            evidence: entry.evidence,
        }
    }
}

/// Emitters by scope name.
#[derive(Clone, Debug, Default)]
pub(super) struct Emitters {
    all: Vec<Emitter>,
    exact: HashMap<Box<str>, usize, RandomState>,
    patterns: Vec<(Pattern, usize)>,
}

impl Emitters {
    pub(super) fn new(entries: &[EmitterEntry]) -> Self {
        let mut emitters =
            Emitters { all: entries.iter().map(Emitter::from_entry).collect(), ..Emitters::default() };
        for (index, entry) in entries.iter().enumerate() {
            for scope in &entry.scopes {
                if scope.contains('*') {
                    emitters.patterns.push((Pattern::new(scope), index));
                } else {
                    emitters.exact.insert(scope.as_str().into(), index);
                }
            }
        }
        emitters
    }

    pub(super) fn all(&self) -> &[Emitter] {
        &self.all
    }

    pub(super) fn of_scope(&self, scope_name: &str) -> Option<&Emitter> {
        let by_pattern =
            || self.patterns.iter().find(|(pattern, _)| pattern.matches(scope_name)).map(|(_, i)| i);
        let index = self.exact.get(scope_name).or_else(by_pattern)?;
        self.all.get(*index)
    }
}

impl EmittersFile {
    /// The emitters' own words as if they were a vendor's finish reasons.
    pub(super) fn as_facts(&self) -> Facts {
        Facts {
            stop: [(FieldName(StopField::FinishReason), self.words.clone())].into(),
            errors: self.errors.clone(),
            not_refusals: self.not_refusals.clone(),
            ..Facts::default()
        }
    }
}
