//! What goes wrong while a value is read, and where it stands.

use crate::config::diagnostic::{Diagnostic, Problem};
use crate::config::model::Secret;
use crate::config::node::{Expansion, Node, Path, Scalar, Value};
use crate::config::scalar;
use crate::config::source::Origin;
use serde::de::{self, Unexpected};
use std::fmt;

/// Why a value cannot be read, and, once it is known, where it stands.
#[derive(Debug)]
pub(super) struct Error {
    fault: Fault,
    place: Option<Box<Place>>,
}

#[derive(Debug)]
pub(super) enum Fault {
    /// No value: its default will do.
    Null,
    WrongType {
        expected: String,
        found: String,
    },
    UnknownKey {
        key: String,
        known: Vec<String>,
    },
    UnknownWord {
        word: String,
        known: Vec<String>,
    },
    Missing {
        key: String,
    },
    Other(String),
}

#[derive(Debug)]
struct Place {
    origin: Origin,
    path: Path,
    /// Text that is not shown, and what stands for it in messages.
    hidden: Option<(String, String)>,
}

impl Error {
    pub(super) fn new(fault: Fault) -> Self {
        Error { fault, place: None }
    }

    /// The path to what is wrong, once that is known.
    pub(super) fn path(&self) -> Option<&Path> {
        self.place.as_ref().map(|place| &place.path)
    }

    /// Whether it says no more than that the key at `path` is missing.
    pub(super) fn is_lack_of(&self, path: Option<&Path>) -> bool {
        match (&self.fault, self.path(), path) {
            (Fault::Missing { key }, Some(map), Some(path)) => map.key(key) == *path,
            _ => false,
        }
    }

    /// Says that the error is about `node`, unless a nearer place is known.
    pub(super) fn at(self, node: &Node, path: &Path) -> Self {
        if self.place.is_some() {
            return self;
        }
        let hidden = match (&node.value, &node.expansion) {
            (Value::Scalar(scalar), _) if path.holds_secrets() => {
                Some((scalar.text.clone(), Secret::REDACTED.to_owned()))
            }
            (Value::Scalar(scalar), Some(expansion)) if may_be_secret(&scalar.text) => {
                Some((scalar.text.clone(), expansion.reference.clone()))
            }
            _ => None,
        };
        let place = Place { origin: node.origin.clone(), path: path.clone(), hidden };
        Error { place: Some(Box::new(place)), ..self }
    }

    pub(super) fn at_place(self, origin: &Origin, path: &Path) -> Self {
        let place = || Box::new(Place { origin: origin.clone(), path: path.clone(), hidden: None });
        Error { place: Some(self.place.unwrap_or_else(place)), ..self }
    }

    /// What the user is told; nothing if a default takes the place.
    pub(super) fn diagnostic(&self) -> Option<Diagnostic> {
        let place = self.place.as_ref()?;
        let path = place.path.clone();
        let hide = |text: &str| match &place.hidden {
            Some((hidden, shown)) => text.replace(hidden, shown),
            None => text.to_owned(),
        };
        let problem = match &self.fault {
            Fault::Null => return None,
            Fault::WrongType { expected, found } => {
                Problem::WrongType { path, expected: expected.clone(), found: hide(found) }
            }
            Fault::UnknownKey { key, known } => {
                // A map tells its own place, a key that is read by itself its own.
                let parent = path.above(key).unwrap_or(path);
                Problem::UnknownKey { key: key.clone(), parent, known: known.clone() }
            }
            Fault::UnknownWord { word, known } => {
                Problem::UnknownWord { path, word: hide(word), known: known.clone() }
            }
            Fault::Missing { key } => Problem::Missing { path, key: key.clone() },
            Fault::Other(message) => Problem::Invalid { path, reason: hide(message) },
        };
        Some(Diagnostic::at(&place.origin, problem))
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Error::new(Fault::WrongType { expected: expected.to_string(), found: found.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        de::Error::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Error::new(Fault::UnknownWord { word: word.to_owned(), known: owned(known) })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Error::new(Fault::UnknownKey { key: key.to_owned(), known: owned(known) })
    }

    fn missing_field(key: &'static str) -> Self {
        Error::new(Fault::Missing { key: key.to_owned() })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}

impl std::error::Error for Error {}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

pub(super) fn describe(node: &Node, path: &Path) -> String {
    match (&node.value, &node.expansion) {
        (Value::Null, _) => "nothing".to_owned(),
        (Value::List(_), _) => "a list".to_owned(),
        (Value::Map(_), _) => "a map".to_owned(),
        (Value::Scalar(_), _) if path.holds_secrets() => "a text".to_owned(),
        (Value::Scalar(Scalar { text, .. }), Some(Expansion { reference, .. })) if may_be_secret(text) => {
            format!("what {reference} brings")
        }
        (Value::Scalar(Scalar { text, .. }), Some(Expansion { reference, .. })) => {
            format!("{text:?}, which {reference} brings")
        }
        (Value::Scalar(Scalar { text, plain: true }), None) => text.clone(),
        (Value::Scalar(Scalar { text, plain: false }), None) if scalar::is_typed(text) => {
            format!("the text {text:?} (leave out the quotes)")
        }
        (Value::Scalar(Scalar { text, plain: false }), None) => format!("the text {text:?}"),
    }
}

/// Whether a text from outside the configuration is kept out of messages. Shorter ones are no secrets, and could stand
/// in a message by chance.
fn may_be_secret(text: &str) -> bool {
    text.len() >= 8
}
