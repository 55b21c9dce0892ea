//! What is wrong or doubtful in a configuration: the fact, its place, and what the user may have meant.

use super::node::Path;
use super::source::Origin;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// One error or warning.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// What is the matter.
    pub problem: Box<Problem>,
    /// Where it was written; none for what was not written at all.
    pub origin: Option<Origin>,
}

/// What can be the matter with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A source cannot be read.
    #[error("cannot read {what}: {reason}")]
    Unreadable {
        /// The file, variable or scheme.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The text is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// A key stands twice in one map.
    #[error("key {key:?} is already set on line {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of its first use.
        first: usize,
    },
    /// `${…}` that cannot be replaced.
    #[error("{0}")]
    Expansion(String),
    /// A key that nothing reads.
    #[error("unknown key {key:?}{}", within(parent))]
    UnknownKey {
        /// The key.
        key: String,
        /// The map that it stands in.
        parent: Path,
        /// The keys that could stand there.
        known: Vec<String>,
    },
    /// A component type that does not exist.
    #[error("unknown {section} type {kind:?}")]
    UnknownKind {
        /// `receiver`, `processor`, ...
        section: &'static str,
        /// The type.
        kind: String,
        /// The types that exist.
        known: Vec<String>,
    },
    /// A word that is none of the words of its key.
    #[error("{path}: {word:?} is not known here")]
    UnknownWord {
        /// The key.
        path: Path,
        /// The word.
        word: String,
        /// The words that are.
        known: Vec<String>,
    },
    /// A component that is named and nowhere defined.
    #[error("{path} names {id:?}, which is not defined under {section}")]
    Undefined {
        /// The list or key that names it.
        path: Path,
        /// The id.
        id: String,
        /// Where it should be defined.
        section: &'static str,
        /// The ids that are defined there.
        known: Vec<String>,
    },
    /// A value of another kind than its key needs.
    #[error("{path}: expected {expected}, found {found}")]
    WrongType {
        /// The key.
        path: Path,
        /// What it needs.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A value that makes no sense for its key.
    #[error("{path}: {reason}")]
    Invalid {
        /// The key.
        path: Path,
        /// Why not.
        reason: String,
    },
    /// A key that must be there and is not.
    #[error("{path}: {key} is missing")]
    Missing {
        /// The map that it should stand in.
        path: Path,
        /// The key.
        key: String,
    },
    /// Something that the OpenTelemetry Collector has and this program does not have.
    #[error("{path}: {reason}")]
    Unsupported {
        /// The key.
        path: Path,
        /// What to do instead.
        reason: String,
    },
    /// A warning: a key that is read and has no effect.
    #[error("{path} has no effect: {reason}")]
    Ignored {
        /// The key.
        path: Path,
        /// Why not.
        reason: String,
    },
    /// A warning: a component that is defined and not used.
    #[error("{path} is defined and nowhere used")]
    Unused {
        /// The component.
        path: Path,
    },
    /// A warning: a variable that is not set and has no default.
    #[error("{reference} is not set, so it is empty")]
    UnsetVariable {
        /// `${env:NAME}`.
        reference: String,
    },
}

impl Diagnostic {
    /// A problem at a place.
    pub fn at(origin: &Origin, problem: Problem) -> Self {
        Diagnostic { problem: Box::new(problem), origin: Some(origin.clone()) }
    }

    /// A problem with something that was not written.
    pub fn nowhere(problem: Problem) -> Self {
        Diagnostic { problem: Box::new(problem), origin: None }
    }

    /// Where, as it is written in messages.
    fn place(&self) -> Option<String> {
        self.origin.as_ref().map(Origin::to_string)
    }

    /// What the user may have meant.
    fn hint(&self) -> Option<String> {
        match &*self.problem {
            Problem::UnknownKey { key, known, .. } => suggestion(key, known),
            Problem::UnknownKind { kind, known, .. } => suggestion(kind, known),
            Problem::UnknownWord { word, known, .. } => suggestion(word, known),
            Problem::Undefined { id, known, .. } => suggestion(id, known),
            Problem::Unreadable { .. }
            | Problem::Syntax(_)
            | Problem::DuplicateKey { .. }
            | Problem::Expansion(_)
            | Problem::WrongType { .. }
            | Problem::Invalid { .. }
            | Problem::Missing { .. }
            | Problem::Unsupported { .. }
            | Problem::Ignored { .. }
            | Problem::Unused { .. }
            | Problem::UnsetVariable { .. } => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = self.hint();
        match (&self.origin, hint) {
            (Some(origin), hint) => {
                write!(f, "{origin}: {}\n{}", self.problem, origin.snippet(hint.as_deref()))
            }
            (None, Some(hint)) => write!(f, "{}: {hint}", self.problem),
            (None, None) => write!(f, "{}", self.problem),
        }
    }
}

/// All errors of a configuration, in the order in which they were found. Never empty.
#[derive(Clone, Debug)]
pub struct Errors(pub Vec<Diagnostic>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// What is found while a configuration is read: reading goes on after an error, so that one run tells them all.
#[derive(Default)]
pub struct Findings {
    /// Any of these means that there is no configuration.
    pub errors: Vec<Diagnostic>,
    /// To be told, and lived with.
    pub warnings: Vec<Diagnostic>,
}

impl Findings {
    /// Notes an error, once.
    pub fn error(&mut self, error: Diagnostic) {
        push_new(&mut self.errors, error);
    }

    /// Whether an error is noted at the place of `error`.
    pub fn has_error_at(&self, error: &Diagnostic) -> bool {
        self.errors.iter().any(|noted| noted.place().is_some() && noted.place() == error.place())
    }

    /// Whether the key at `path` was probably meant by a key that nothing reads.
    pub fn has_misspelling_of(&self, path: &Path) -> bool {
        self.errors.iter().any(|noted| match &*noted.problem {
            Problem::UnknownKey { key, parent, known } => {
                nearest(key, known).is_some_and(|meant| parent.key(meant) == *path)
            }
            _ => false,
        })
    }

    /// The same in the order in which they were written, source by source.
    pub fn in_order(mut self) -> Self {
        for list in [&mut self.errors, &mut self.warnings] {
            let mut sources = Vec::new();
            for origin in list.iter().filter_map(|diagnostic| diagnostic.origin.as_ref()) {
                if !sources.iter().any(|source| origin.is_in(source)) {
                    sources.push(Arc::clone(origin.source()));
                }
            }
            list.sort_by_key(|diagnostic| {
                let origin = diagnostic.origin.as_ref()?;
                Some((sources.iter().position(|source| origin.is_in(source)), origin.position()))
            });
        }
        self
    }

    /// Notes a warning, once.
    pub fn warning(&mut self, warning: Diagnostic) {
        push_new(&mut self.warnings, warning);
    }
}

fn push_new(list: &mut Vec<Diagnostic>, new: Diagnostic) {
    if !list.iter().any(|old| old.problem == new.problem && old.place() == new.place()) {
        list.push(new);
    }
}

fn within(parent: &Path) -> String {
    if parent.is_root() { String::new() } else { format!(" in {parent}") }
}

/// `did you mean "endpoint"?`, or what there is to choose from when nothing is near and the choice is short.
fn suggestion(wrong: &str, known: &[String]) -> Option<String> {
    match nearest(wrong, known) {
        Some(nearest) => Some(format!("did you mean {nearest:?}?")),
        None if known.is_empty() || known.len() > 16 => None,
        None => {
            let mut known = known.to_vec();
            known.sort();
            Some(format!("known: {}", known.join(", ")))
        }
    }
}

/// The word that is so near that it must have been meant.
fn nearest<'a>(wrong: &str, known: &'a [String]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let near = (wrong.chars().count() / 3).clamp(1, 4);
    let nearest = known.iter().min_by_key(|known| distance(&wrong, known))?;
    (distance(&wrong, nearest) <= near).then_some(nearest.as_str())
}

/// Edit distance, small also where one word is the other with something left out at its end.
fn distance(wrong: &str, known: &str) -> usize {
    let known = known.to_lowercase();
    let edits = strsim::osa_distance(wrong, &known);
    if wrong.len() >= 4 && (known.starts_with(wrong) || wrong.starts_with(known.as_str())) {
        edits.min(2)
    } else {
        edits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_short_lists_or_nothing() {
        let known: Vec<String> = ["endpoint", "tls", "timeout"].map(str::to_owned).to_vec();
        assert_eq!(suggestion("endpont", &known).unwrap(), "did you mean \"endpoint\"?");
        assert_eq!(suggestion("Timeout", &known).unwrap(), "did you mean \"timeout\"?");
        assert_eq!(suggestion("colour", &known).unwrap(), "known: endpoint, timeout, tls");
        let many: Vec<String> = (0..30).map(|n| format!("key_number_{n}")).collect();
        assert_eq!(suggestion("colour", &many), None);
    }
}
