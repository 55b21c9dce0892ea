//! Which errors are refusals: by machine words where telemetry kept them, else by the vendor's sentence.

use super::data::{Condition, ErrorEntry, FindingsName, Words};
use crate::refusal::answer::ErrorFacts;
use memchr::memmem::Finder;

/// An error of the data, prepared for comparing.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) when: Matcher,
    pub(super) entry: ErrorEntry,
}

/// A condition of the data, prepared for comparing.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    words: Vec<MachineWord>,
    code: Words,
    kind: Words,
    status: Option<u16>,
    findings: Option<FindingsName>,
    message: Vec<Finder<'static>>,
    without: Vec<Finder<'static>>,
}

/// A word that machines write. Its finder is in lower case.
#[derive(Clone, Debug)]
struct MachineWord {
    word: String,
    finder: Finder<'static>,
}

/// The facts of an error, prepared for comparing with many conditions.
pub(super) struct Told<'f> {
    facts: &'f ErrorFacts,
    status: Option<u16>,
    /// The sentence in lower case; ASCII letters only, so that places in it are places in the sentence.
    sentence: String,
}

/// How much of a sentence is looked at, in bytes. The answer reader keeps less.
const MAX_SENTENCE: usize = 2048;

impl Signature {
    pub(super) fn new(entry: &ErrorEntry) -> Self {
        Signature { when: Matcher::new(&entry.when), entry: entry.clone() }
    }
}

impl<'f> Told<'f> {
    pub(super) fn new(facts: &'f ErrorFacts) -> Self {
        let sentence = start(facts.message.as_deref().unwrap_or(""), MAX_SENTENCE).to_ascii_lowercase();
        Told { facts, status: facts.status.or_else(|| status_in(&sentence)), sentence }
    }

    /// Nothing at all is told.
    pub(super) fn is_empty(&self) -> bool {
        *self.facts == ErrorFacts::default()
    }

    /// Whether `word` stands in a place where machine words stand.
    fn says(&self, word: &MachineWord) -> bool {
        let is = |fact: &Option<Box<str>>| {
            fact.as_deref().is_some_and(|fact| word.word.eq_ignore_ascii_case(fact))
        };
        is(&self.facts.code)
            || is(&self.facts.inner_code)
            || self.facts.kind.as_deref().is_some_and(|kind| word.word.eq_ignore_ascii_case(last_part(kind)))
            || self.cites(word)
    }

    /// Whether the sentence cites a machine word: in quotes or brackets, behind `Code: `, or as the class before its
    /// text. The bare word does not count, because people may write it.
    fn cites(&self, word: &MachineWord) -> bool {
        word.finder.find_iter(self.sentence.as_bytes()).any(|start| {
            let before = self.sentence.get(..start).unwrap_or("");
            let after = self.sentence.get(start + word.word.len()..).unwrap_or("");
            let opened =
                before.ends_with(['"', '\'', '`', '(']) && after.starts_with(['"', '\'', '`', ')', '\\']);
            let named = ["code: ", "code=", "type: "].iter().any(|name| before.ends_with(name))
                && !after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            let is_class =
                word.word.starts_with(|c: char| c.is_ascii_uppercase()) && before.ends_with(['.', ' ']);
            let class = (before.is_empty() || is_class) && after.starts_with([':', '(']);
            opened || named || class
        })
    }
}

impl Matcher {
    pub(super) fn new(condition: &Condition) -> Self {
        let finders = |parts: &Words| parts.0.iter().map(|part| finder(part)).collect();
        let word = |word: &String| MachineWord { word: word.clone(), finder: finder(word) };
        Matcher {
            words: condition.word.0.iter().map(word).collect(),
            code: condition.code.clone(),
            kind: condition.kind.clone(),
            status: condition.status,
            findings: condition.findings,
            message: finders(&condition.message),
            without: finders(&condition.without),
        }
    }

    /// Whether the error is told by this.
    pub(super) fn holds(&self, told: &Told<'_>) -> bool {
        let facts = told.facts;
        let code = || facts.code.as_deref().or(facts.inner_code.as_deref());
        let found = |finder: &Finder<'_>| finder.find(told.sentence.as_bytes()).is_some();
        self.status.is_none_or(|status| told.status == Some(status))
            && self.findings.is_none_or(|findings| facts.findings == Some(findings.findings()))
            && (self.code.is_empty() || code().is_some_and(|code| self.code.has(code)))
            && (self.kind.is_empty()
                || facts.kind.as_deref().is_some_and(|kind| self.kind.has(last_part(kind))))
            && (self.words.is_empty() || self.words.iter().any(|word| told.says(word)))
            && (self.message.is_empty() || self.message.iter().any(found))
            && !self.without.iter().any(found)
    }
}

impl Condition {
    /// Whether nothing is asked for, so that it would hold of every error.
    pub(super) fn is_empty(&self) -> bool {
        let Condition { word, code, kind, status, findings, message, without: _ } = self;
        let lists = [word, code, kind, message];
        lists.into_iter().all(Words::is_empty) && status.is_none() && findings.is_none()
    }

    /// Whether it asks for a word or part of a sentence that is empty, and so holds of every error.
    pub(super) fn has_empty_part(&self) -> bool {
        [&self.word, &self.code, &self.kind, &self.message, &self.without].iter().any(|parts| parts.has(""))
    }
}

impl Words {
    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(word))
    }
}

/// The class name in `litellm.exceptions.ContentPolicyViolationError` and `<class 'a.b.C'>`.
fn last_part(kind: &str) -> &str {
    let kind = kind.strip_prefix("<class '").and_then(|rest| rest.strip_suffix("'>")).unwrap_or(kind);
    kind.rsplit(['.', '#', ':']).next().unwrap_or(kind)
}

/// The HTTP status as SDKs print it. The sentence is in lower case.
fn status_in(sentence: &str) -> Option<u16> {
    ["error code: ", "status_code: ", "status code: ", "status code ", "http "].iter().find_map(|lead| {
        let at = sentence.find(lead)?;
        let digits = sentence.get(at + lead.len()..)?.get(..3)?;
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

fn finder(part: &str) -> Finder<'static> {
    Finder::new(part.to_ascii_lowercase().as_bytes()).into_owned()
}

/// At most `limit` bytes of a text, whole characters.
fn start(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    (0..=limit).rev().find_map(|end| text.get(..end)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> ErrorFacts {
        ErrorFacts { message: Some(message.into()), ..ErrorFacts::default() }
    }

    fn cites(message: &str, word: &str) -> bool {
        Told::new(&said(message)).cites(&MachineWord { word: word.to_owned(), finder: finder(word) })
    }

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
            assert!(cites(cited, "cyber_policy"), "{cited}");
        }
        for said in
            ["order refused: cyber_policy: table is missing", "'cyber_policy_draft'", "cyber_policy", ""]
        {
            assert!(!cites(said, "cyber_policy"), "{said}");
        }
    }

    #[test]
    fn the_status_is_read_from_the_sentence_when_it_stands_nowhere_else() {
        let told = |message: &str| Told::new(&said(message)).status;
        assert_eq!(told("Error code: 403 - no"), Some(403));
        assert_eq!(told("ModelHTTPError: status_code: 400, model_name: x"), Some(400));
        assert_eq!(told("Error code: 9"), None);
        assert_eq!(told("Error code: 40é"), None);
        let both = ErrorFacts { status: Some(429), ..said("Error code: 400") };
        assert_eq!(Told::new(&both).status, Some(429));
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
