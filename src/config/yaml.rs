//! YAML text to a tree of nodes that know their place.

use super::diagnostic::{Diagnostic, Problem};
use super::node::{Key, Map, Node, Scalar, Value, holds_secrets};
use super::scalar;
use super::source::{Origin, Source};
use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// How deep lists and maps may be nested, so that walking over them needs a bounded stack.
const MAX_NESTING: usize = 64;
/// The most nodes that aliases may copy, all together: a bound on "billion laughs".
const MAX_COPIED_NODES: usize = 100_000;

/// Reads a text of one document; an empty one is null.
pub fn parse(source: &Arc<Source>) -> Result<Node, Diagnostic> {
    parse_as(source, false)
}

/// Reads a text that is never shown, or only its keys.
pub fn parse_as(source: &Arc<Source>, secret: bool) -> Result<Node, Diagnostic> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_NESTING,
        block_nesting_limit: MAX_NESTING,
    };
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(source.text(), options),
        source,
        anchors: HashMap::new(),
        copied: 0,
        secrets: Vec::new(),
    };
    let root = composer.document(secret)?;
    source.hide(composer.secrets);
    Ok(root)
}

struct Composer<'s> {
    parser: Parser<'s, StrInput<'s>>,
    source: &'s Arc<Source>,
    anchors: HashMap<usize, Node>,
    copied: usize,
    secrets: Vec<Range<usize>>,
}

impl<'s> Composer<'s> {
    fn document(&mut self, secret: bool) -> Result<Node, Diagnostic> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    let nothing = || Node::new(Value::Null, Origin::start_of(Arc::clone(self.source)));
                    return Ok(root.unwrap_or_else(nothing));
                }
                _ if root.is_some() => {
                    let problem = Problem::Syntax("only one YAML document is read".to_owned());
                    return Err(Diagnostic::at(&self.origin(&span), problem));
                }
                event => root = Some(self.node(event, &span, secret)?),
            }
        }
    }

    /// The node that `event` starts. `secret`: it stands under a key whose values are not shown.
    fn node(&mut self, event: Event<'s>, span: &Span, secret: bool) -> Result<Node, Diagnostic> {
        let origin = self.origin(span);
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if secret {
                    self.secrets.extend(span.byte_range().filter(|range| !range.is_empty()));
                }
                (anchor, Node::new(self.scalar(text, style, tag.as_deref(), &origin)?, origin))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, Node::new(self.list(secret)?, origin)),
            Event::MappingStart(_, anchor, _) => (anchor, Node::new(self.map(secret)?, origin)),
            Event::Alias(anchor) => return self.alias(anchor, &origin),
            _ => return Err(Diagnostic::at(&origin, Problem::Syntax("expected a value".to_owned()))),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn scalar(
        &self,
        text: Cow<'s, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        origin: &Origin,
    ) -> Result<Value, Diagnostic> {
        let plain = match tag {
            None => matches!(style, ScalarStyle::Plain),
            Some(tag) if tag.is_yaml_core_schema_tag("str") => false,
            Some(tag) if tag.is_yaml_core_schema() => true,
            Some(tag) => {
                let problem = Problem::Syntax(format!("the YAML tag {} is not known", tag.original()));
                return Err(Diagnostic::at(origin, problem));
            }
        };
        if plain && scalar::is_null(&text) {
            return Ok(Value::Null);
        }
        Ok(Value::Scalar(Scalar { text: text.into_owned(), plain }))
    }

    fn list(&mut self, secret: bool) -> Result<Value, Diagnostic> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(list)),
                (event, span) => list.push(self.node(event, &span, secret)?),
            }
        }
    }

    fn map(&mut self, secret: bool) -> Result<Value, Diagnostic> {
        let mut map = Map::default();
        let mut lines = HashMap::new();
        let mut inherited = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let origin = self.origin(&span);
            let name = match event {
                Event::MappingEnd => break,
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(Diagnostic::at(&origin, Problem::Syntax("a key must be a text".to_owned()))),
            };
            let (event, value_span) = self.next()?;
            let node = self.node(event, &value_span, secret || holds_secrets(&name))?;
            if name == "<<" {
                inherited.push(node);
                continue;
            }
            if let Some(first) = lines.insert(name.clone(), span.start.line()) {
                return Err(Diagnostic::at(&origin, Problem::DuplicateKey { key: name, first }));
            }
            map.push(Key { name, origin }, node);
        }
        for node in inherited {
            inherit(&mut map, node)?;
        }
        Ok(Value::Map(map))
    }

    fn alias(&mut self, anchor: usize, origin: &Origin) -> Result<Node, Diagnostic> {
        let syntax = |message: &str| Diagnostic::at(origin, Problem::Syntax(message.to_owned()));
        let node = self.anchors.get(&anchor).ok_or_else(|| syntax("an alias cannot contain itself"))?;
        self.copied = self.copied.saturating_add(size(node));
        if self.copied > MAX_COPIED_NODES {
            return Err(syntax("aliases copy too much"));
        }
        Ok(node.clone())
    }

    fn next(&mut self) -> Result<(Event<'s>, Span), Diagnostic> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => {
                let origin = Origin::start_of(Arc::clone(self.source));
                Err(Diagnostic::at(&origin, Problem::Syntax("the text ends too early".to_owned())))
            }
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Diagnostic {
        let at = self.byte_offset(error.marker());
        let origin = self.origin_of(at..at, error.marker());
        Diagnostic::at(&origin, Problem::Syntax(format!("this is not YAML: {}", error.kind())))
    }

    fn origin(&self, span: &Span) -> Origin {
        let range = span.byte_range().unwrap_or_default();
        self.origin_of(range, &span.start)
    }

    fn origin_of(&self, range: Range<usize>, start: &Marker) -> Origin {
        Origin::new(Arc::clone(self.source), range, start.line().max(1), start.col() + 1)
    }

    fn byte_offset(&self, marker: &Marker) -> usize {
        let text = self.source.text();
        let counted = || text.char_indices().nth(marker.index()).map_or(text.len(), |(offset, _)| offset);
        marker.byte_offset().unwrap_or_else(counted).min(text.len())
    }
}

/// Adds what `<<` names, where `map` has no value of its own.
fn inherit(map: &mut Map, from: Node) -> Result<(), Diagnostic> {
    match from.value {
        Value::Map(mut from) => {
            for (key, node) in from.take() {
                if map.get(&key.name).is_none() {
                    map.push(key, node);
                }
            }
            Ok(())
        }
        Value::List(list) => list.into_iter().try_for_each(|node| inherit(map, node)),
        Value::Null | Value::Scalar(_) => {
            let problem = Problem::Syntax("<< takes a map or a list of maps".to_owned());
            Err(Diagnostic::at(&from.origin, problem))
        }
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar(_) => 1,
        Value::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|(_, node)| size(node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, String> {
        super::parse(&Source::new("f", text.to_owned())).map_err(|error| error.to_string())
    }

    fn error(text: &str) -> String {
        parse(text).err().expect("an error")
    }

    #[test]
    fn every_node_knows_its_place() {
        let root = parse("a:\n  b: [one, \"two\"]\n  c: |\n    text\n").unwrap();
        let place = |path: &super::super::node::Path| root.value_place(path).to_string();
        let a = super::super::node::Path::of(["a"]);
        assert_eq!(place(&a.key("b")), "f:2:6");
        assert_eq!(root.place(&a).to_string(), "f:1:1");
        assert_eq!(place(&a.key("b").index(1)), "f:2:12");
        assert_eq!(place(&a.key("c")), "f:4:5");
        assert_eq!(place(&a.key("absent")), "f:1:1");
    }

    #[test]
    fn only_plain_words_mean_null() {
        let root = parse("a: ~\nb:\nc: ''\nd: null\ne: 'null'\nf: !!str null").unwrap();
        let null = |key: &str| matches!(root.as_map().unwrap().get(key).unwrap().value, Value::Null);
        let nulls: Vec<bool> = ["a", "b", "c", "d", "e", "f"].map(null).to_vec();
        assert_eq!(nulls, [true, true, false, true, false, false]);
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let root = parse("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nsame: *b").unwrap();
        let text = |path: [&str; 2]| match &root.find(&super::super::node::Path::of(path)).unwrap().value {
            Value::Scalar(scalar) => scalar.text.clone(),
            _ => panic!("no scalar"),
        };
        assert_eq!([text(["use", "x"]), text(["use", "y"]), text(["same", "y"])], ["1", "3", "2"]);
    }

    #[test]
    fn what_is_not_one_map_of_texts_is_refused_with_its_place() {
        assert!(error("a: 1\na: 2\n").starts_with("f:2:1: key \"a\" is already set on line 1\n"));
        assert!(error("a: 1\n---\nb: 2\n").starts_with("f:3:1: only one YAML document is read\n"));
        assert!(error("? [a]\n: 1\n").starts_with("f:1:3: a key must be a text\n"));
        assert!(
            error("a: [1, 2\nb: 3\n").starts_with("f:2:2: this is not YAML: "),
            "{}",
            error("a: [1, 2\nb: 3\n")
        );
        assert!(error("a: !thing x").contains("the YAML tag !thing is not known"));
        assert!(error("a: *b").contains("this is not YAML"));
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
        }
        assert!(error(&text).contains("aliases copy too much"));
    }
}
