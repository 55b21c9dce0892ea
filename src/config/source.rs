//! Where each piece of a configuration was written, and how that place is shown without showing secrets.

use super::model::Secret;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The most of a line that is shown, in characters.
const SHOWN: usize = 100;

/// One text that configuration was read from: a file, an environment variable, an argument.
pub struct Source {
    name: String,
    text: String,
    secrets: OnceLock<Vec<Range<usize>>>,
}

/// A place in a [`Source`].
#[derive(Clone)]
pub struct Origin {
    source: Arc<Source>,
    /// Bytes of the source's text.
    span: Range<usize>,
    line: usize,
    column: usize,
}

impl Source {
    /// A text under the name that messages show.
    pub fn new(name: impl Into<String>, text: String) -> Arc<Self> {
        Arc::new(Source { name: name.into(), text, secrets: OnceLock::new() })
    }

    /// What was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names the byte ranges that must never be shown. Until this is called a line is shown only up to its value.
    pub fn hide(&self, secrets: Vec<Range<usize>>) {
        // The tree of a source is built once; a second call could only repeat the same ranges.
        let _ = self.secrets.set(secrets);
    }

    /// `span` of the text with what must not be shown replaced.
    fn shown(&self, span: Range<usize>) -> String {
        let mut shown = String::new();
        let mut position = span.start;
        for secret in self.secrets.get().into_iter().flatten() {
            if secret.end <= position || secret.start >= span.end {
                continue;
            }
            shown += self.text.get(position..secret.start.max(position)).unwrap_or_default();
            shown += Secret::REDACTED;
            position = secret.end.min(span.end);
        }
        shown + self.text.get(position..span.end).unwrap_or_default()
    }
}

impl Origin {
    /// The place of `span`, whose start is at `line` and `column`, both counted from 1 and in characters.
    pub fn new(source: Arc<Source>, span: Range<usize>, line: usize, column: usize) -> Self {
        Origin { source, span, line, column }
    }

    /// The start of a source.
    pub fn start_of(source: Arc<Source>) -> Self {
        Origin { source, span: 0..0, line: 1, column: 1 }
    }

    /// The text that this place is in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Whether this place is in that very text.
    pub fn is_in(&self, source: &Arc<Source>) -> bool {
        Arc::ptr_eq(&self.source, source)
    }

    /// Line and column, for sorting.
    pub fn position(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    /// The place of `part` inside this one; this one itself where it cannot be told.
    pub fn narrowed_to(&self, part: &str) -> Origin {
        let text = self.source.text.get(self.span.clone()).unwrap_or_default();
        let Some(offset) = text.find(part) else { return self.clone() };
        let before = text.get(..offset).unwrap_or_default();
        let (line, column) = match before.rsplit_once('\n') {
            None => (self.line, self.column + before.chars().count()),
            Some((lines, last)) => (self.line + lines.matches('\n').count() + 1, last.chars().count() + 1),
        };
        let start = self.span.start + offset;
        Origin { source: Arc::clone(&self.source), span: start..start + part.len(), line, column }
    }

    /// The offending line with carets under this place, and `hint` beside them.
    pub fn snippet(&self, hint: Option<&str>) -> String {
        let text = &self.source.text;
        let before = text.get(..self.span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let after = text.get(self.span.start..).unwrap_or_default();
        let line_end = self.span.start + after.find(['\n', '\r']).unwrap_or(after.len());
        let marked_end = self.span.end.clamp(self.span.start, line_end);

        let mut prefix = self.source.shown(line_start..self.span.start);
        let marked = self.source.shown(self.span.start..marked_end);
        let mut suffix = self.source.shown(marked_end..line_end);
        if self.source.secrets.get().is_none() {
            // The text could not be read as YAML, so nobody knows which parts of it are secret.
            let end = suffix.find(": ").map_or(suffix.len(), |colon| colon + 1);
            suffix.truncate(end);
            if let Some(colon) = prefix.find(": ") {
                prefix.truncate(colon + 2);
                prefix += "…";
            }
        }
        let length: usize = [&prefix, &marked, &suffix].iter().map(|part| part.chars().count()).sum();
        let most = if length <= SHOWN { SHOWN } else { SHOWN / 2 };
        let prefix = last_characters(&prefix, most);
        let marked = first_characters(&marked, most);
        let suffix = first_characters(&suffix, most);

        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent: String = prefix.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(marked.chars().count().max(1));
        let hint = hint.map(|hint| format!(" {hint}")).unwrap_or_default();
        format!("{gutter} |\n{number} | {prefix}{marked}{suffix}\n{gutter} | {indent}{carets}{hint}")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name, self.line, self.column)
    }
}

/// Leaves the text out, which may hold secrets.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn first_characters(text: &str, count: usize) -> String {
    match text.char_indices().nth(count) {
        None => text.to_owned(),
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
    }
}

fn last_characters(text: &str, count: usize) -> String {
    match text.chars().count().checked_sub(count) {
        None | Some(0) => text.to_owned(),
        Some(skipped) => "…".to_owned() + &text.chars().skip(skipped).collect::<String>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_inside_a_place_has_its_own_line_and_column() {
        let source = Source::new("f", "a: |\n  one\n  two ${env:X}\n".to_owned());
        let scalar = Origin::new(Arc::clone(&source), 3..source.text().len(), 1, 4);
        assert_eq!(scalar.narrowed_to("${env:X}").to_string(), "f:3:7");
        assert_eq!(scalar.narrowed_to("absent").to_string(), "f:1:4");
    }

    #[test]
    fn secrets_on_the_line_are_not_shown() {
        let text = "headers: {key: s3cr3t, other: pa55}\n";
        let source = Source::new("f", text.to_owned());
        source.hide(vec![15..21, 30..34]);
        let origin = Origin::new(Arc::clone(&source), 23..28, 1, 24);
        let expected = "  |\n1 | headers: {key: [REDACTED], other: [REDACTED]}\n  |                            ^^^^^ here";
        assert_eq!(origin.snippet(Some("here")), expected);
    }

    #[test]
    fn a_line_of_a_text_that_is_not_yaml_is_shown_without_its_value() {
        let source = Source::new("f", "authorization: Bearer s3cr3t ]".to_owned());
        let origin = Origin::new(Arc::clone(&source), 29..30, 1, 30);
        assert!(!origin.snippet(None).contains("s3cr3t"), "{}", origin.snippet(None));
        let origin = Origin::new(source, 0..1, 1, 1);
        assert!(!origin.snippet(None).contains("s3cr3t"), "{}", origin.snippet(None));
    }

    #[test]
    fn long_lines_are_cropped_around_the_place() {
        let text = format!("{{{}bad: 1{}}}", "a".repeat(200), "b".repeat(200));
        let source = Source::new("f", text);
        source.hide(Vec::new());
        let snippet = Origin::new(source, 201..204, 1, 202).snippet(None);
        assert!(snippet.contains("aaabad: 1bbb"), "{snippet}");
        assert!(snippet.lines().all(|line| line.chars().count() < 130), "{snippet}");
    }
}
