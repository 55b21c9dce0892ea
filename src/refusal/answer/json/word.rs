//! Numbers, literals and other bare words, and the reprs of enums.

use super::{Container, Expect, State, Text, Tokenizer, Visitor, Want};
use memchr::memchr;

/// What is kept of a number, a bare word or an enum's repr, in bytes. Longer ones are given as null.
const MAX_WORD: usize = 96;

impl Tokenizer {
    pub(super) fn begin_word(&mut self, state: State) {
        self.kept.clear();
        self.more = false;
        self.state = state;
    }

    fn keep_word(&mut self, bytes: &[u8]) {
        let room = MAX_WORD.saturating_sub(self.kept.len());
        self.more |= bytes.len() > room;
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Reads a bare word; what follows it decides what it is.
    pub(super) fn word<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) -> usize {
        let length = bytes.iter().position(|&byte| !is_word(byte)).unwrap_or(bytes.len());
        self.keep_word(bytes.get(..length).unwrap_or_default());
        let Some(&next) = bytes.get(length) else { return length };
        let quoted = matches!(next, b'"' | b'\'');
        if quoted && self.kept.len() <= 2 && self.kept.iter().all(|byte| b"bBuUrRfF".contains(byte)) {
            // b'...' and the like.
            self.state = State::Structure;
            return length;
        }
        if next == b'(' && self.kept.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_') {
            // Name(key=value, ...): an object.
            self.state = State::Structure;
            self.begin(Container::Object, visitor);
            return length + 1;
        }
        if self.expect == Expect::Key {
            visitor.key(if self.more { b"" } else { &self.kept });
            self.state = State::Structure;
            self.expect = Expect::Colon;
            return length;
        }
        if self.depth == 0 && !is_literal(&self.kept) {
            self.broken(visitor);
            return length;
        }
        self.bare_value(visitor);
        length
    }

    /// Gives the bare word as a value.
    fn bare_value<V: Visitor>(&mut self, visitor: &mut V) {
        match (self.kept.as_slice(), self.more) {
            (b"true" | b"True", _) => visitor.boolean(true),
            (b"false" | b"False", _) => visitor.boolean(false),
            (word, false) if is_number(word) => match std::str::from_utf8(word) {
                Ok(number) => visitor.number(number),
                Err(_) => visitor.null(),
            },
            (word, false) if !is_literal(word) => give_word(word, visitor),
            _ => visitor.null(),
        }
        self.after_value();
    }

    /// Reads `<Enum.NAME: 'value'>`.
    pub(super) fn angle<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) -> usize {
        let end = memchr(b'>', bytes);
        self.keep_word(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
        let Some(end) = end else { return bytes.len() };
        match enum_value(&self.kept) {
            Some(word) if !self.more => give_word(word, visitor),
            _ => visitor.null(),
        }
        self.after_value();
        end + 1
    }
}

/// Gives a word that stood without quotes as a string.
fn give_word<V: Visitor>(word: &[u8], visitor: &mut V) {
    match visitor.begin_string() {
        Want::Skip => {}
        Want::Start(limit) => {
            let start = word.get(..limit).unwrap_or(word);
            visitor.string(Text { start, more: word.len() > start.len(), closed: true });
        }
        Want::Pieces => {
            visitor.piece(word);
            visitor.end_pieces(true);
        }
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+' | b'$')
}

fn is_number(word: &[u8]) -> bool {
    let digits = match word {
        [b'-' | b'+', rest @ ..] => rest,
        _ => word,
    };
    digits.first().is_some_and(u8::is_ascii_digit)
}

/// Whether a bare word is JSON's or Python's own, not a name.
fn is_literal(word: &[u8]) -> bool {
    const LITERALS: [&[u8]; 14] = [
        b"null",
        b"None",
        b"nil",
        b"undefined",
        b"true",
        b"True",
        b"false",
        b"False",
        b"NaN",
        b"nan",
        b"Infinity",
        b"-Infinity",
        b"inf",
        b"-inf",
    ];
    LITERALS.contains(&word) || is_number(word)
}

/// The value in `FinishReason.SAFETY: 'SAFETY'`, the name in `FinishReason.SAFETY: 3`.
fn enum_value(repr: &[u8]) -> Option<&[u8]> {
    let colon = repr.iter().position(|&byte| byte == b':')?;
    let (name, value) = repr.split_at_checked(colon)?;
    match value.get(1..)?.trim_ascii() {
        [b'\'', value @ .., b'\''] | [b'"', value @ .., b'"'] => Some(value),
        _ => Some(name),
    }
}
