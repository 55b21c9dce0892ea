//! The forms in which libraries write words.

use crate::otlp::any_value::{AnyValue, Array};

/// The words of one attribute: an array of strings, JSON text of an array or of one word, a Python list, words joined
/// by commas, the text of an enum, or just a word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Words<'a> {
    None,
    Array(Array<'a>),
    Text(&'a str),
}

impl<'a> Words<'a> {
    #[inline]
    pub(crate) fn of(value: AnyValue<'a>) -> Self {
        match value {
            AnyValue::Str(bytes) => Words::Text(super::str(bytes)),
            AnyValue::Array(array) => Words::Array(array),
            AnyValue::Empty
            | AnyValue::Bool(_)
            | AnyValue::Int(_)
            | AnyValue::Double(_)
            | AnyValue::KeyValues(_)
            | AnyValue::Bytes(_) => Words::None,
        }
    }

    /// Tells each word that is one.
    #[inline]
    pub(crate) fn for_each(self, mut tell: impl FnMut(&'a str)) {
        match self {
            Words::None => {}
            Words::Text(text) => in_text(text, &mut tell),
            Words::Array(array) => {
                for element in array.iter().filter_map(Result::ok) {
                    if let AnyValue::Str(bytes) = element {
                        in_text(super::str(bytes), &mut tell);
                    }
                }
            }
        }
    }
}

#[inline]
fn in_text<'a>(text: &'a str, tell: &mut impl FnMut(&'a str)) {
    // Nearly all are a plain word.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return word_of(text, tell);
    }
    let text = text.trim();
    match text.as_bytes() {
        [b'[', inner @ .., b']'] => in_list(super::str(inner), tell),
        // Cut off in the middle, as attributes are.
        [b'[', inner @ ..] => in_list(super::str(inner), tell),
        [b'"' | b'\'' | b'<', ..] => in_list(text, tell),
        plain if plain.contains(&b',') => text.split(',').for_each(|word| word_of(word.trim(), tell)),
        _ => word_of(text, tell),
    }
}

/// The elements of a list in JSON or Python: quoted words, bare words, and enums as `<FinishReason.STOP: 'STOP'>`.
fn in_list<'a>(list: &'a str, tell: &mut impl FnMut(&'a str)) {
    let mut rest = list.trim_start_matches([' ', ',']);
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            quote @ ('"' | '\'') => {
                let quoted = rest.get(1..).unwrap_or_default();
                quoted.split_once(quote).unwrap_or((quoted, ""))
            }
            '<' => {
                let (enumeration, behind) = rest.split_once('>').unwrap_or((rest, ""));
                let name = enumeration.trim_start_matches('<');
                (name.split_once(':').map_or(name, |(name, _)| name), behind)
            }
            _ => rest.split_once(',').unwrap_or((rest, "")),
        };
        word_of(word.trim(), tell);
        rest = behind.trim_start_matches([' ', ',']);
    }
}

#[inline]
fn word_of<'a>(word: &'a str, tell: &mut impl FnMut(&'a str)) {
    if !is_no_word(word) {
        tell(word);
    }
}

/// Whether this is how a library writes that there is nothing.
#[inline]
pub(crate) fn is_no_word(word: &str) -> bool {
    matches!(word, "" | "None" | "none" | "undefined" | "nil")
}

/// The start of a text, at most `max` bytes, cut between characters.
pub(crate) fn start(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text without the quotes that make it JSON.
#[inline]
pub(crate) fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_every_form_that_libraries_write() {
        for (text, expected) in [
            ("refusal", &["refusal"][..]),
            ("[\"stop\", \"quantum_flux_halt\"]", &["stop", "quantum_flux_halt"]),
            ("['end_turn']", &["end_turn"]),
            ("\"content_filter\"", &["content_filter"]),
            ("FinishReason.STOP,FinishReason.LENGTH", &["FinishReason.STOP", "FinishReason.LENGTH"]),
            ("[<FinishReason.SAFETY: 'SAFETY'>]", &["FinishReason.SAFETY"]),
            ("<FinishReason.SAFETY: 'SAFETY'>", &["FinishReason.SAFETY"]),
            ("[null, None]", &["null"]),
            ("[\"cut o", &["cut o"]),
            ("[]", &[]),
            ("", &[]),
            ("None", &[]),
        ] {
            let mut words = Vec::new();
            Words::Text(text).for_each(|word| words.push(word));
            assert_eq!(words, expected, "{text}");
        }
    }
}
