//! Replaces `${env:NAME}`, `${env:NAME:-default}`, `${NAME}`, `${file:PATH}`, `${yaml:TEXT}` and `$$` in values.
//!
//! A value that is one expansion and nothing else becomes what its text means as YAML: a number, a list, a map. In a
//! longer text an expansion is text. What an expansion brings may hold further expansions.

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::node::{Expansion, Node, Scalar, Value};
use super::source::{Origin, Source};
use super::{Environment, scalar, yaml};
use std::fs;

/// How deep expansions may bring further expansions.
const MAX_DEPTH: usize = 32;
/// How many expansions one configuration may need.
const MAX_EXPANSIONS: usize = 10_000;

/// Expands every value of `tree`; what cannot be expanded is an error and stays as it is.
pub fn expand(tree: &mut Node, environment: &Environment, findings: &mut Findings) {
    Expander { environment, findings, count: 0 }.node(tree, 0);
}

struct Expander<'a> {
    environment: &'a Environment,
    findings: &'a mut Findings,
    count: usize,
}

/// What a reference brings.
struct Brought {
    /// For messages; what is shown in place of the value.
    source_name: String,
    text: String,
    /// Whether the text was part of the reference, and so has been expanded with it.
    expanded: bool,
}

impl Expander<'_> {
    fn node(&mut self, node: &mut Node, depth: usize) {
        match &mut node.value {
            Value::Null => {}
            Value::List(list) => list.iter_mut().for_each(|node| self.node(node, depth)),
            Value::Map(map) => map.values_mut().for_each(|node| self.node(node, depth)),
            Value::Scalar(scalar) if scalar.text.contains('$') => {
                let text = scalar.text.clone();
                match self.value(&text, &node.origin, depth) {
                    Ok(Some(expanded)) => *node = expanded,
                    Ok(None) => {}
                    Err(error) => self.findings.error(error),
                }
            }
            Value::Scalar(_) => {}
        }
        if let Some(Expansion { verbatim: Some(verbatim), .. }) = &mut node.expansion
            && verbatim.contains('$')
            && let Ok(text) = self.text(&verbatim.clone(), &node.origin, depth)
        {
            *verbatim = text;
        }
    }

    /// What a text becomes; `None` if it has nothing to replace.
    fn value(&mut self, text: &str, origin: &Origin, depth: usize) -> Result<Option<Node>, Diagnostic> {
        if let Some(reference) = whole_reference(text) {
            return self.whole(reference, origin, depth).map(Some);
        }
        let expanded = self.text(text, origin, depth)?;
        if expanded == text {
            return Ok(None);
        }
        let mut node = Node::new(Value::Scalar(Scalar { text: expanded, plain: false }), origin.clone());
        if let Some(reference) = first_reference(text) {
            node.expansion = Some(Expansion { reference: reference.to_owned(), verbatim: None });
        }
        Ok(Some(node))
    }

    /// A value that is one reference: its text is read as YAML.
    fn whole(&mut self, reference: &str, origin: &Origin, depth: usize) -> Result<Node, Diagnostic> {
        let place = origin.narrowed_to(reference);
        let brought = self.resolve(inside(reference), &place, depth)?;
        let source = Source::new(brought.source_name, brought.text.clone());
        let mut node = match yaml::parse_as(&source, true) {
            Ok(node) => node,
            // As in the Collector, what is not YAML is a text.
            Err(_) => Node::new(text_of(&brought.text), origin.clone()),
        };
        let verbatim = match &node.value {
            Value::Scalar(scalar) if is_text(scalar) => {
                node.value = text_of(&brought.text);
                None
            }
            Value::Null if brought.text.is_empty() => None,
            Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => Some(brought.text),
        };
        if matches!(node.value, Value::Null | Value::Scalar(_)) {
            node.origin = place;
        }
        if !brought.expanded {
            self.node(&mut node, depth + 1);
        }
        node.expansion = Some(Expansion { reference: reference.to_owned(), verbatim });
        Ok(node)
    }

    /// A text with its references replaced by text, and `$$` by `$`.
    fn text(&mut self, text: &str, origin: &Origin, depth: usize) -> Result<String, Diagnostic> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let (before, at) = rest.split_at(dollar);
            expanded += before;
            if let Some(after) = at.strip_prefix("$$") {
                expanded.push('$');
                rest = after;
            } else if at.starts_with("${") {
                let place = origin.narrowed_to(at);
                let Some(reference) = reference_at(at) else {
                    let message = "${ is not closed by }; write $${ for the two characters".to_owned();
                    return Err(Diagnostic::at(&place, Problem::Expansion(message)));
                };
                let brought = self.resolve(inside(reference), &origin.narrowed_to(reference), depth)?;
                match brought.expanded {
                    true => expanded += &brought.text,
                    false => expanded += &self.text(&brought.text, origin, depth + 1)?,
                }
                rest = at.get(reference.len()..).unwrap_or_default();
            } else {
                expanded.push('$');
                rest = at.get(1..).unwrap_or_default();
            }
        }
        Ok(expanded + rest)
    }

    /// What stands between `${` and `}`, which may hold references itself.
    fn resolve(&mut self, inside: &str, place: &Origin, depth: usize) -> Result<Brought, Diagnostic> {
        let failed = |message: String| Diagnostic::at(place, Problem::Expansion(message));
        self.count += 1;
        if depth >= MAX_DEPTH || self.count > MAX_EXPANSIONS {
            return Err(failed("too many expansions: does a value refer to itself?".to_owned()));
        }
        let inside = self.text(inside, place, depth + 1)?;
        let (scheme, rest) = match inside.split_once(':') {
            Some((name, rest)) if rest.starts_with('-') => ("env", format!("{name}:{rest}")),
            Some((scheme, rest)) => (scheme, rest.to_owned()),
            None => ("env", inside.clone()),
        };
        match scheme {
            "env" => self.variable(&rest, place),
            "file" => match fs::read_to_string(&rest) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').map(str::to_owned).unwrap_or(text);
                    Ok(Brought { source_name: rest, text, expanded: false })
                }
                Err(error) => Err(failed(format!("cannot read file {rest:?}: {error}"))),
            },
            "yaml" => Ok(Brought { source_name: "${yaml:…}".to_owned(), text: rest, expanded: true }),
            scheme => Err(failed(format!("${{{scheme}:…}} is not supported: write env, file or yaml"))),
        }
    }

    fn variable(&mut self, reference: &str, place: &Origin) -> Result<Brought, Diagnostic> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let valid = !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            let message = format!("{name:?} is no name of an environment variable");
            return Err(Diagnostic::at(place, Problem::Expansion(message)));
        }
        let source_name = format!("${{env:{name}}}");
        Ok(match (self.environment.get(name), default) {
            (Some(text), _) => Brought { source_name, text, expanded: false },
            (None, Some(default)) => Brought { source_name, text: default.to_owned(), expanded: true },
            (None, None) => {
                let problem = Problem::UnsetVariable { reference: source_name.clone() };
                self.findings.warning(Diagnostic::at(place, problem));
                Brought { source_name, text: String::new(), expanded: true }
            }
        })
    }
}

/// The text, if it is one reference from its first to its last character.
fn whole_reference(text: &str) -> Option<&str> {
    reference_at(text).filter(|reference| reference.len() == text.len())
}

/// The first `${…}` that is not escaped.
fn first_reference(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let at = rest.get(rest.find('$')?..)?;
        if let Some(after) = at.strip_prefix("$$") {
            rest = after;
        } else if let Some(reference) = reference_at(at) {
            return Some(reference);
        } else {
            rest = at.get(1..)?;
        }
    }
}

/// The `${…}` that `text` starts with; references inside it are skipped over.
fn reference_at(text: &str) -> Option<&str> {
    let mut open = 0usize;
    let mut characters = text.char_indices().peekable();
    while let Some((position, character)) = characters.next() {
        match character {
            '$' if characters.next_if(|(_, next)| *next == '{').is_some() => open += 1,
            '}' if open == 1 => return text.get(..=position),
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open == 0 {
            return None;
        }
    }
    None
}

fn inside(reference: &str) -> &str {
    reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or(reference)
}

/// Whether YAML reads a scalar as text, not as a number or a boolean.
fn is_text(Scalar { text, plain }: &Scalar) -> bool {
    !plain || !scalar::is_typed(text)
}

fn text_of(text: &str) -> Value {
    Value::Scalar(Scalar { text: text.to_owned(), plain: false })
}
