//! Which errors are refusals: by machine words where telemetry kept them, else by the vendor's sentence.

use super::data::{Condition, Words};
use crate::refusal::answer::ErrorFacts;

impl Condition {
    /// Whether the error is told by this.
    pub(super) fn holds(&self, facts: &ErrorFacts) -> bool {
        let message = facts.message.as_deref().unwrap_or("");
        let code = || facts.code.as_deref().or(facts.inner_code.as_deref());
        (self.word.is_empty() || self.word.0.iter().any(|word| says(facts, word)))
            && (self.code.is_empty() || code().is_some_and(|code| self.code.has(code)))
            && (self.kind.is_empty()
                || facts.kind.as_deref().is_some_and(|kind| self.kind.has(last_part(kind))))
            && self.status.is_none_or(|status| status_of(facts) == Some(status))
            && (self.message.is_empty() || self.message.0.iter().any(|part| contains(message, part)))
            && !self.without.0.iter().any(|part| contains(message, part))
    }

    /// Whether nothing is asked for, so that it would hold of every error.
    pub(super) fn is_empty(&self) -> bool {
        self.word.is_empty()
            && self.code.is_empty()
            && self.kind.is_empty()
            && self.status.is_none()
            && self.message.is_empty()
    }
}

impl Words {
    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(word))
    }
}

/// Whether `facts` say `word` in a place where machine words stand.
fn says(facts: &ErrorFacts, word: &str) -> bool {
    let is = |fact: &Option<Box<str>>| fact.as_deref().is_some_and(|fact| fact.eq_ignore_ascii_case(word));
    is(&facts.code)
        || is(&facts.inner_code)
        || facts.kind.as_deref().is_some_and(|kind| last_part(kind).eq_ignore_ascii_case(word))
        || facts.message.as_deref().is_some_and(|message| quotes(message, word))
}

/// The class name in `litellm.exceptions.ContentPolicyViolationError` and `<class 'a.b.C'>`.
fn last_part(kind: &str) -> &str {
    let kind = kind.strip_prefix("<class '").and_then(|rest| rest.strip_suffix("'>")).unwrap_or(kind);
    kind.rsplit(['.', '#', ':']).next().unwrap_or(kind)
}

/// Whether a sentence cites a machine word: in quotes or brackets, behind `Code: `, or as the class before its text.
/// The bare word does not count, because people may write it.
fn quotes(message: &str, word: &str) -> bool {
    let mut from = 0;
    while let Some(at) = message.get(from..).and_then(|rest| find_ignore_case(rest, word)) {
        let start = from + at;
        let end = start + word.len();
        let before = message.get(..start).unwrap_or("");
        let after = message.get(end..).unwrap_or("");
        let opened =
            before.ends_with(['"', '\'', '`', '(']) && after.starts_with(['"', '\'', '`', ')', '\\']);
        let named = ["code: ", "Code: ", "code=", "type: "].iter().any(|name| before.ends_with(name))
            && !after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let is_class = word.starts_with(|c: char| c.is_ascii_uppercase()) && before.ends_with(['.', ' ']);
        let class = (before.is_empty() || is_class) && after.starts_with([':', '(']);
        if opened || named || class {
            return true;
        }
        from = end;
    }
    false
}

/// The HTTP status, as a number of its own or as SDKs print it.
pub(super) fn status_of(facts: &ErrorFacts) -> Option<u16> {
    if facts.status.is_some() {
        return facts.status;
    }
    let message = facts.message.as_deref()?;
    ["Error code: ", "status_code: ", "status code ", "status code: ", "HTTP "].iter().find_map(|lead| {
        let at = find_ignore_case(message, lead)?;
        let digits = message.get(at + lead.len()..)?.get(..3)?;
        digits.parse().ok().filter(|status| (100..600).contains(status))
    })
}

/// The word of a sentence that starts with `beginning`: `SAFETY_CHECK_TYPE_CYBER`.
pub(super) fn word_starting_with<'m>(message: &'m str, beginning: &str) -> Option<&'m str> {
    let at = message.find(beginning)?;
    let word = message.get(at..)?;
    let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
    word.get(..end)
}

/// The word of a sentence that stands right behind `lead`.
pub(super) fn word_after<'m>(message: &'m str, lead: &str) -> Option<&'m str> {
    let at = message.find(lead)?;
    let word = message.get(at + lead.len()..)?;
    let end = word.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ',' | ')' | ']' | '}'));
    word.get(..end.unwrap_or(word.len())).filter(|word| !word.is_empty())
}

fn contains(text: &str, part: &str) -> bool {
    find_ignore_case(text, part).is_some()
}

/// Where `part` starts in `text`, whatever the case of ASCII letters.
fn find_ignore_case(text: &str, part: &str) -> Option<usize> {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    text.windows(part.len().max(1)).position(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_word_counts_only_where_machines_write_it() {
        for cited in [
            "Error code: 400 - {'error': {'code': 'cyber_policy'}}",
            "{\"code\":\"cyber_policy\"}",
            "{\\\"code\\\": \\\"cyber_policy\\\"}",
            "(cyber_policy) The request was declined",
            "declined\nCode: cyber_policy\nMessage: no",
            "cyber_policy: declined",
        ] {
            assert!(quotes(cited, "cyber_policy"), "{cited}");
        }
        for said in
            ["order refused: cyber_policy: table is missing", "'cyber_policy_draft'", "cyber_policy", ""]
        {
            assert!(!quotes(said, "cyber_policy"), "{said}");
        }
    }

    #[test]
    fn the_status_is_read_from_the_sentence_when_it_stands_nowhere_else() {
        let told =
            |message: &str| status_of(&ErrorFacts { message: Some(message.into()), ..ErrorFacts::default() });
        assert_eq!(told("Error code: 403 - no"), Some(403));
        assert_eq!(told("ModelHTTPError: status_code: 400, model_name: x"), Some(400));
        assert_eq!(told("Error code: 9"), None);
        assert_eq!(told("Error code: 40é"), None);
        let both = ErrorFacts {
            status: Some(429),
            message: Some("Error code: 400".into()),
            ..ErrorFacts::default()
        };
        assert_eq!(status_of(&both), Some(429));
    }

    #[test]
    fn words_are_cut_out_of_sentences() {
        let sentence = "Failed check: SAFETY_CHECK_TYPE_CYBER. Block reason: 'JAILBREAK', body:";
        assert_eq!(word_starting_with(sentence, "SAFETY_CHECK_TYPE_"), Some("SAFETY_CHECK_TYPE_CYBER"));
        assert_eq!(word_after(sentence, "Block reason: '"), Some("JAILBREAK"));
        assert_eq!(word_after(sentence, "Finish reason: '"), None);
        assert_eq!(word_after("reason: ''", "reason: '"), None);
    }
}
