//! The tree of a configuration before it is typed: every node knows where it was written.

use super::model::ComponentId;
use super::source::Origin;
use std::fmt;
use std::mem;

/// A value and its place.
#[derive(Clone)]
pub struct Node {
    /// What was written, or what an expansion put there.
    pub value: Value,
    /// Where.
    pub origin: Origin,
    /// Set where the value came from `${…}`.
    pub expansion: Option<Expansion>,
}

/// The kinds of values.
#[derive(Clone)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// Anything else that is no list and no map; what it means depends on who reads it.
    Scalar(Scalar),
    /// `[…]`
    List(Vec<Node>),
    /// `{…}`
    Map(Map),
}

/// A text that may be read as a number or a boolean if it is `plain`.
#[derive(Clone)]
pub struct Scalar {
    /// The text, without quotes.
    pub text: String,
    /// Written without quotes, and not put together from pieces.
    pub plain: bool,
}

/// Where a value came from that was not written into the configuration itself.
#[derive(Clone)]
pub struct Expansion {
    /// `${env:NAME}`, for messages: the value itself is never shown.
    pub reference: String,
    /// The text before it was read as YAML: what a key gets that wants text. None where the value is text anyway.
    pub verbatim: Option<String>,
}

/// A map that keeps the order in which it was written.
#[derive(Clone, Default)]
pub struct Map(Vec<(Key, Node)>);

/// A key and its place.
#[derive(Clone)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Node {
    /// A value that was written at `origin`.
    pub fn new(value: Value, origin: Origin) -> Self {
        Node { value, origin, expansion: None }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Null | Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            Value::Null | Value::Scalar(_) | Value::Map(_) => None,
        }
    }

    /// Whether there is nothing, or `false`, or an empty text, list or map: what switches nothing on.
    pub fn is_off(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar(scalar) => scalar.text.is_empty() || (scalar.plain && scalar.text == "false"),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
        }
    }

    /// The node at `path` below this one.
    pub fn find(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Map(map), Step::Key(name)) => map.get(name),
            (Value::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        })
    }

    /// The place of the key at `path`, or of the nearest thing above it that was written.
    pub fn place(&self, path: &Path) -> Origin {
        let mut node = self;
        let mut place = &self.origin;
        for step in &path.0 {
            let below = match (&node.value, step) {
                (Value::Map(map), Step::Key(name)) => map.entry(name).map(|(key, node)| (&key.origin, node)),
                (Value::List(list), Step::Index(index)) => list.get(*index).map(|node| (&node.origin, node)),
                _ => None,
            };
            match below {
                Some(below) => (place, node) = below,
                None => break,
            }
        }
        place.clone()
    }

    /// The place of the value at `path` if it is one word or list, else of its key.
    pub fn value_place(&self, path: &Path) -> Origin {
        match self.find(path) {
            Some(Node { value: Value::Scalar(_) | Value::List(_), origin, .. }) => origin.clone(),
            Some(Node { value: Value::Null, origin, expansion: Some(_) }) => origin.clone(),
            _ => self.place(path),
        }
    }

    /// Takes the node at `path` out of the tree; `None` if there is none, or it is this one.
    pub fn remove(&mut self, path: &Path) -> Option<Node> {
        let (last, above) = path.0.split_last()?;
        let parent = above.iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Map(map), Step::Key(name)) => map.get_mut(name),
            (Value::List(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        })?;
        match (&mut parent.value, last) {
            (Value::Map(map), Step::Key(name)) => map.remove(name),
            (Value::List(list), Step::Index(index)) if *index < list.len() => Some(list.remove(*index)),
            _ => None,
        }
    }

    /// Lays `over` on this node as the OpenTelemetry Collector does: maps are joined, all else is replaced.
    pub fn merge(&mut self, over: Node) {
        match (&mut self.value, over) {
            (Value::Map(map), Node { value: Value::Map(over), .. }) => {
                for (key, node) in over.0 {
                    match map.get_mut(&key.name) {
                        Some(below) => below.merge(node),
                        None => map.push(key, node),
                    }
                }
            }
            (_, over) => *self = over,
        }
    }
}

impl Map {
    /// The entry of a key.
    pub fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        self.0.iter().find(|(key, _)| key.name == name).map(|(key, node)| (key, node))
    }

    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Adds an entry; the caller knows that the key is new.
    pub fn push(&mut self, key: Key, node: Node) {
        self.0.push((key, node));
    }

    /// Takes out an entry.
    pub fn remove(&mut self, name: &str) -> Option<Node> {
        let index = self.0.iter().position(|(key, _)| key.name == name)?;
        Some(self.0.remove(index).1)
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.0.iter().map(|(key, node)| (key, node))
    }

    /// The values in order, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut().map(|(_, node)| node)
    }

    /// All entries, leaving none.
    pub fn take(&mut self) -> Vec<(Key, Node)> {
        mem::take(&mut self.0)
    }
}

/// The way from the root of a tree to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<Step>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list, from 0.
    Index(usize),
}

impl Path {
    /// A path of keys.
    pub fn of<const N: usize>(keys: [&str; N]) -> Self {
        Path(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// The path of a component.
    pub fn component(section: &str, id: &ComponentId) -> Path {
        Path::of([section, &id.to_string()])
    }

    /// One key further.
    pub fn key(&self, name: &str) -> Path {
        self.then(Step::Key(name.to_owned()))
    }

    /// Several keys further.
    pub fn keys<const N: usize>(&self, names: [&str; N]) -> Path {
        names.into_iter().fold(self.clone(), |path, name| path.key(name))
    }

    /// One element further.
    pub fn index(&self, index: usize) -> Path {
        self.then(Step::Index(index))
    }

    /// The path to the map that `key` stands in, if this is the path to such a key.
    pub fn above(&self, key: &str) -> Option<Path> {
        match self.0.split_last() {
            Some((Step::Key(last), above)) if last == key => Some(Path(above.to_vec())),
            _ => None,
        }
    }

    /// Whether it leads nowhere.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what stands there is never shown.
    pub fn holds_secrets(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Key(name) if holds_secrets(name)))
    }

    /// The steps from the root.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    fn then(&self, step: Step) -> Path {
        Path(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) if position == 0 => f.write_str(name)?,
                Step::Key(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether the values under a key are never shown. Wider than the keys of the model, as a wrong key may hold a secret
/// too.
pub fn holds_secrets(key: &str) -> bool {
    const WORDS: [&str; 9] = [
        "headers",
        "token",
        "password",
        "secret",
        "authorization",
        "credential",
        "api_key",
        "api-key",
        "_pem",
    ];
    let key = key.to_lowercase();
    WORDS.iter().any(|word| key.contains(word))
}
