//! Label values: printable, short, and of a bounded number.
//!
//! What comes from telemetry is made printable (control, formatting and unassigned characters stand escaped, as in
//! `\u{200b}`) and cut to [`MAX_BYTES`]; an empty value becomes its label's placeholder. A [`Cap`] keeps the
//! number of different values of one label bounded: whatever comes beyond it is [`OTHER`].

use parking_lot::RwLock;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The bound on a label value, in bytes.
pub const MAX_BYTES: usize = 64;

/// Stands for all values beyond a cap, or that a series budget has folded.
pub const OTHER: &str = "_other";

/// A label value that a [`Cap`] has let in. Within one cap two labels are equal when they are the same value.
#[derive(Clone)]
pub struct Label(Arc<str>);

impl Label {
    fn new(text: &str) -> Self {
        Label(Arc::from(text))
    }

    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Label {}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).cast::<u8>().hash(state);
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The known values of one label.
#[derive(Debug)]
pub struct Cap {
    limit: usize,
    placeholder: Label,
    other: Label,
    known: RwLock<Known>,
}

type Known = HashMap<Box<str>, Label, ahash::RandomState>;

impl Cap {
    /// Lets in `limit` different values; `placeholder` stands for the empty one and needs no room.
    pub fn new(limit: usize, placeholder: &str) -> Self {
        Cap {
            limit,
            placeholder: Label::new(placeholder),
            other: Label::new(OTHER),
            known: RwLock::default(),
        }
    }

    /// The label of a raw value: [`Cap::other`] if it is new and there is no room for it.
    pub fn label(&self, raw: &str) -> Label {
        let text = printable(raw);
        if text.is_empty() || text == self.placeholder.as_str() {
            return self.placeholder.clone();
        }
        if let Some(label) = self.settled(&self.known.read(), &text) {
            return label;
        }
        let mut known = self.known.write();
        // Another thread may have been quicker.
        if let Some(label) = self.settled(&known, &text) {
            return label;
        }
        let label = Label::new(&text);
        known.insert(Box::from(text.as_ref()), label.clone());
        label
    }

    /// The label of `text`, unless it is new and there is room for it.
    fn settled(&self, known: &Known, text: &str) -> Option<Label> {
        if let Some(label) = known.get(text) {
            return Some(label.clone());
        }
        let is_other = known.len() >= self.limit || text == OTHER;
        is_other.then(|| self.other.clone())
    }

    /// The label of everything beyond the cap.
    pub fn other(&self) -> &Label {
        &self.other
    }
}

/// `raw` as a label value: printable, and at most [`MAX_BYTES`] long.
pub fn printable(raw: &str) -> Cow<'_, str> {
    if raw.len() <= MAX_BYTES && raw.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(MAX_BYTES);
    for character in raw.chars() {
        let before = text.len();
        match character {
            '"' | '\'' | '\\' => text.push(character),
            _ => text.extend(character.escape_debug()),
        }
        if text.len() > MAX_BYTES {
            text.truncate(before);
            break;
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_values_stay_as_they_are() {
        for value in ["end_turn", "claude-opus-4-5", "a \"b\" \\ 'c'", "größer", "日本語", ""] {
            assert_eq!(printable(value), value);
        }
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(printable("a\nb\tc\0"), "a\\nb\\tc\\0");
        assert_eq!(printable("in\u{200b}visible"), "in\\u{200b}visible");
        assert_eq!(printable("turned\u{202e}round"), "turned\\u{202e}round");
        assert_eq!(printable("\u{7f}\u{85}"), "\\u{7f}\\u{85}");
    }

    #[test]
    fn long_values_are_cut_between_characters_and_escapes() {
        assert_eq!(printable(&"x".repeat(65)), "x".repeat(64));
        assert_eq!(printable(&"ä".repeat(40)), "ä".repeat(32));
        assert_eq!(printable(&format!("{}\u{200b}tail", "x".repeat(60))), "x".repeat(60));
        assert_eq!(printable(&"x".repeat(10_000_000)).len(), 64);
    }

    #[test]
    fn values_beyond_the_cap_are_other_and_known_ones_stay() {
        let cap = Cap::new(2, "_unknown");
        let (a, b) = (cap.label("a"), cap.label("b"));
        assert_eq!(cap.label("c"), *cap.other());
        assert_eq!(cap.label("c").as_str(), "_other");
        assert_eq!((cap.label("a"), cap.label("b")), (a, b));
        assert_eq!(cap.label("").as_str(), "_unknown");
    }

    #[test]
    fn a_value_that_is_called_like_a_marker_is_that_marker() {
        let cap = Cap::new(2, "_unknown");
        assert_eq!(cap.label("_other"), *cap.other());
        assert_eq!(cap.label("_unknown"), cap.label(""));
        cap.label("a");
        cap.label("b");
        assert_eq!(cap.known.read().len(), 2);
    }

    #[test]
    fn a_cap_of_zero_folds_all() {
        let cap = Cap::new(0, "_unknown");
        assert_eq!(cap.label("a"), *cap.other());
    }

    #[test]
    fn many_threads_let_in_exactly_the_cap() {
        let cap = Cap::new(10, "_unknown");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cap = &cap;
                scope.spawn(move || {
                    (0..100).for_each(|n| drop(cap.label(&format!("v{}", (n + thread) % 50))))
                });
            }
        });
        assert_eq!(cap.known.read().len(), 10);
        let named = (0..50).filter(|n| cap.label(&format!("v{n}")) != *cap.other()).count();
        assert_eq!(named, 10);
    }
}
