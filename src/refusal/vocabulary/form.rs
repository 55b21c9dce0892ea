//! Known forms of one word: how an emitter may have respelled it without changing it.
//!
//! `FinishReason.CONTENT_FILTER`, `content-filter`, `ContentFilter`, `"content_filter"` and `CONTENT FILTER` are one
//! word. A form never drops, adds or guesses a part of the word itself: `stopped` is not `stop`, `content_filters` is
//! not `content_filter`.

/// The longest word that is looked at, in bytes. No vendor's word is half as long.
pub(super) const MAX_WORD_BYTES: usize = 128;

/// The names of enums that emitters put before a word.
#[derive(Clone, Debug, Default)]
pub(super) struct Forms {
    /// Folded, each as `finish_reason_`.
    prefixes: Vec<String>,
}

impl Forms {
    /// Words may stand behind these names, which are given in snake case.
    pub(super) fn new(enum_names: &[String]) -> Self {
        let mut prefixes: Vec<String> = enum_names.iter().map(|name| format!("{name}_")).collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        Forms { prefixes }
    }

    /// The one spelling that all forms of `word` share: snake case, without quotes and enum name. `None` when this can
    /// be no vendor's word: too long, or not ASCII.
    pub(super) fn fold(&self, word: &str) -> Option<String> {
        if word.len() > MAX_WORD_BYTES || !word.is_ascii() {
            return None;
        }
        let word = self.without_type(without_repr(without_quotes(word)));
        let mut folded = snake_case(without_quotes(word));
        if let Some(rest) = self.prefixes.iter().find_map(|prefix| folded.strip_prefix(prefix.as_str()))
            && !rest.is_empty()
        {
            folded = rest.to_owned();
        }
        Some(folded)
    }

    /// `FinishReason.STOP` and `types.FinishReason.STOP` without the type; only types with known names.
    fn without_type<'w>(&self, word: &'w str) -> &'w str {
        let Some((path, last)) = word.rsplit_once(['.', ':']) else { return word };
        let path = path.trim_end_matches(':');
        let type_name = snake_case(path.rsplit(['.', ':']).next().unwrap_or(path));
        let known = self.prefixes.iter().any(|prefix| prefix.strip_suffix('_') == Some(type_name.as_str()));
        if known && !last.is_empty() { last } else { word }
    }
}

/// The word inside white space and any number of quotes.
fn without_quotes(word: &str) -> &str {
    word.trim_matches([' ', '\t', '\r', '\n', '"', '\'', '`', '\\'])
}

/// `<FinishReason.STOP: 'STOP'>` as `FinishReason.STOP`.
fn without_repr(word: &str) -> &str {
    let Some(inner) = word.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else { return word };
    inner.split_once(": ").map_or(inner, |(name, _)| name)
}

/// Lower case, with `_` for dashes and spaces and between the humps of camel case.
fn snake_case(word: &str) -> String {
    let mut snake = String::with_capacity(word.len() + 4);
    let mut before = None;
    for c in word.chars() {
        let hump = c.is_ascii_uppercase()
            && before.is_some_and(|b: char| b.is_ascii_lowercase() || b.is_ascii_digit());
        if hump {
            snake.push('_');
        }
        snake.push(if matches!(c, '-' | ' ') { '_' } else { c.to_ascii_lowercase() });
        before = Some(c);
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms() -> Forms {
        Forms::new(&["finish_reason".into(), "reason".into(), "stop_reason".into(), "harm_category".into()])
    }

    #[test]
    fn every_form_of_a_word_folds_to_the_same_spelling() {
        for form in [
            "content_filter",
            "content-filter",
            "CONTENT_FILTER",
            "ContentFilter",
            "contentFilter",
            "Content Filter",
            "\"content_filter\"",
            "\\\"content_filter\\\"",
            "'content_filter'",
            " content_filter\n",
            "FinishReason.CONTENT_FILTER",
            "FinishReason.ContentFilter",
            "google.genai.types.FinishReason.CONTENT_FILTER",
            "FinishReason::ContentFilter",
            "<FinishReason.CONTENT_FILTER: 'content_filter'>",
            "FINISH_REASON_CONTENT_FILTER",
            "REASON_CONTENT_FILTER",
            "FinishReasonContentFilter",
        ] {
            assert_eq!(forms().fold(form).as_deref(), Some("content_filter"), "{form}");
        }
    }

    #[test]
    fn a_near_miss_keeps_what_makes_it_different() {
        for near in [
            "stopped",
            "stops",
            "stop.",
            "not.stop",
            "policy.STOP",
            "stop_v2",
            "st-op",
            "nonstop",
            "stop!",
            "__stop",
        ] {
            assert_ne!(forms().fold(near).as_deref(), Some("stop"), "{near}");
        }
        assert_eq!(forms().fold("finish_reason").as_deref(), Some("finish_reason"));
        assert_eq!(forms().fold("finish_reason_").as_deref(), Some("finish_reason_"));
    }

    #[test]
    fn what_can_be_no_word_is_not_folded() {
        assert_eq!(forms().fold(&"a".repeat(MAX_WORD_BYTES + 1)), None);
        assert_eq!(forms().fold("stöp"), None);
        assert_eq!(forms().fold("\"\"").as_deref(), Some(""));
    }
}
