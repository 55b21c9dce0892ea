//! Patterns in which `*` stands for anything, taken apart so that most texts are refused by their ends.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    first: Box<str>,
    /// What stands between the stars, and what behind the last one; `None` without a star.
    rest: Option<(Vec<Box<str>>, Box<str>)>,
}

impl Pattern {
    /// Takes a pattern apart.
    pub fn new(pattern: &str) -> Self {
        let mut parts = pattern.split('*').map(Box::from);
        let first = parts.next().unwrap_or_default();
        let last = parts.next_back();
        Pattern { first, rest: last.map(|last| (parts.collect(), last)) }
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let Some(text) = text.strip_prefix(&*self.first) else { return false };
        let Some((middle, last)) = &self.rest else { return text.is_empty() };
        let Some(mut text) = text.strip_suffix(&**last) else { return false };
        for part in middle {
            match text.find(&**part) {
                Some(at) => text = text.get(at + part.len()..).unwrap_or(""),
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, matches) in [
            ("gpt-*", "gpt-4.1", true),
            ("gpt-*", "my-gpt-4", false),
            ("o1", "o1", true),
            ("o1", "o1-mini", false),
            ("bedrock*.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com", true),
            ("arn:aws*:bedrock:*", "arn:aws-cn:bedrock:x", true),
            ("*-acme", "big-acme", true),
            ("a*a", "a", false),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "acbx", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }
}
