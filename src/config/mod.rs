//! Configuration as the OpenTelemetry Collector writes it: plain data that every other module may read.
//!
//! The way from text to data: [`mod@source`] and `yaml` make a tree of nodes that know their place, several trees are
//! merged, `expand` replaces `${…}`, `collector` takes out what only the OpenTelemetry Collector knows, `assemble` types
//! the rest by serde, `check` says what types cannot. Every step goes on after an error, so that one
//! run tells all of them, each with file, line, column and what may have been meant.
//!
//! Another module's type becomes part of the configuration by deriving `Deserialize` and `Serialize` and standing in
//! [`model`]; a file that a configuration names is read by [`read_file`] with the same care.

pub mod diagnostic;
pub mod model;
pub mod print;
pub mod schema;
pub mod source;
pub mod units;

mod assemble;
mod check;
mod collector;
mod de;
pub mod endpoint;
mod expand;
mod node;
mod policy;
mod scalar;
mod vocabulary;
mod yaml;

pub use diagnostic::{Diagnostic, Errors, Problem};
pub use model::{ComponentId, Config};

use diagnostic::Findings;
use node::{Key, Map, Node, Path, Value};
use serde::de::DeserializeOwned;
use source::{Origin, Source};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::sync::Arc;

/// The configuration of a program that is started without any.
pub const DEFAULT: &str = include_str!("default.yaml");

/// Where a configuration comes from, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`: a file, `file:PATH`, `env:NAME` or `yaml:TEXT`. Later ones are laid over earlier ones; without any,
    /// [`DEFAULT`] counts.
    pub config: Vec<String>,
    /// `--set`: `a.b=value` or `a::b=value`, laid over all the rest.
    pub set: Vec<String>,
    /// What `env:` and `${env:…}` mean.
    pub environment: Environment,
}

/// Environment variables.
#[derive(Clone, Debug, Default)]
pub enum Environment {
    /// Those of the process.
    #[default]
    Process,
    /// These.
    Fixed(BTreeMap<String, String>),
}

/// A configuration that can be run.
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What should be told, but stops nothing.
    pub warnings: Vec<Diagnostic>,
    /// What was written, merged and expanded.
    tree: Node,
}

/// Reads, merges, expands, types and checks a configuration. It may be called again at any time; it reads files.
pub fn load(sources: &Sources) -> Result<Loaded, Errors> {
    let mut findings = Findings::default();
    let Some(mut tree) = merged(sources, &mut findings) else {
        return Err(Errors(findings.errors));
    };
    expand::expand(&mut tree, &sources.environment, &mut findings);
    collector::sweep(&mut tree, &mut findings);
    let written = tree.clone();
    let mut config = assemble::assemble(&mut tree, &mut findings);
    vocabulary::complete(&mut config, &written, &mut findings);
    policy::check(&config, &written, &mut findings);
    check::check(&config, &written, &mut findings);
    let Findings { errors, warnings } = findings.in_order();
    if errors.is_empty() { Ok(Loaded { config, warnings, tree: written }) } else { Err(Errors(errors)) }
}

/// Reads a YAML file that is no configuration itself, but named in one, as any type: unknown keys are errors, and every
/// error has its place. Nothing is expanded.
pub fn read_file<T: DeserializeOwned>(path: &std::path::Path) -> Result<T, Errors> {
    read_placed_file(path).map(|placed| placed.value)
}

/// As [`read_file`], keeping the places of what was read.
pub fn read_placed_file<T: DeserializeOwned>(path: &std::path::Path) -> Result<Placed<T>, Errors> {
    let name = path.display().to_string();
    match text_of_file(&name) {
        Ok(text) => read_placed_text(&name, text),
        Err(error) => Err(Errors(vec![error])),
    }
}

/// As [`read_file`], of a text that messages call `name`.
pub fn read_text<T: DeserializeOwned>(name: &str, text: String) -> Result<T, Errors> {
    read_placed_text(name, text).map(|placed| placed.value)
}

fn read_placed_text<T: DeserializeOwned>(name: &str, text: String) -> Result<Placed<T>, Errors> {
    let mut tree = yaml::parse(&Source::new(name, text)).map_err(|error| Errors(vec![error]))?;
    let written = tree.clone();
    let mut findings = Findings::default();
    let value = de::read(&mut tree, &Path::default(), &mut findings);
    let errors = findings.in_order().errors;
    match value {
        Some(value) if errors.is_empty() => Ok(Placed { value, tree: written }),
        Some(_) | None => Err(Errors(errors)),
    }
}

/// What a file says, and where it says it.
pub struct Placed<T> {
    /// What it says.
    pub value: T,
    tree: Node,
}

impl<T> Placed<T> {
    /// An error about what stands behind these keys, found by whoever understands the value.
    pub fn invalid(&self, keys: &[&str], reason: String) -> Diagnostic {
        let path = keys.iter().fold(Path::default(), |path, key| path.key(key));
        Diagnostic::at(&self.tree.place(&path), Problem::Invalid { path, reason })
    }
}

impl Environment {
    fn get(&self, name: &str) -> Option<String> {
        match self {
            Environment::Process => env::var(name).ok(),
            Environment::Fixed(variables) => variables.get(name).cloned(),
        }
    }
}

/// All sources as one tree; `None`, with the reasons in `findings`, if one of them cannot be read.
fn merged(sources: &Sources, findings: &mut Findings) -> Option<Node> {
    let config = sources.config.iter().map(|argument| from_argument(argument, &sources.environment));
    let default = sources
        .config
        .is_empty()
        .then(|| parse_map(Source::new("default configuration", DEFAULT.to_owned())));
    let set = sources.set.iter().map(|argument| from_set(argument));
    let mut merged: Option<Node> = None;
    for tree in default.into_iter().chain(config).chain(set) {
        match tree {
            Err(error) => findings.error(error),
            Ok(tree) => match &mut merged {
                None => merged = Some(tree),
                Some(merged) => merged.merge(tree),
            },
        }
    }
    merged.filter(|_| findings.errors.is_empty())
}

fn from_argument(argument: &str, environment: &Environment) -> Result<Node, Diagnostic> {
    let source = match argument.split_once(':') {
        Some(("env", name)) => match environment.get(name) {
            Some(text) => Source::new(format!("env:{name}"), text),
            None => {
                return Err(unreadable(format!("--config=env:{name}"), "the variable is not set".to_owned()));
            }
        },
        Some(("yaml", text)) => Source::new("--config=yaml", text.to_owned()),
        Some(("file", path)) => Source::new(path, text_of_file(path)?),
        Some((scheme, _)) if is_scheme(scheme) => {
            let reason = format!("{scheme}: is not supported, write a path, file:, env: or yaml:");
            return Err(unreadable(format!("--config={argument}"), reason));
        }
        Some(_) | None => Source::new(argument, text_of_file(argument)?),
    };
    parse_map(source)
}

/// `a.b=value`: the value is YAML, and a path with `::` in it may have dots in its steps.
fn from_set(argument: &str) -> Result<Node, Diagnostic> {
    let (path, value) = argument.split_once('=').unwrap_or((argument, ""));
    let name = format!("--set {path}");
    let separator = if path.contains("::") { "::" } else { "." };
    let steps: Vec<&str> = path.split(separator).map(str::trim).collect();
    if !argument.contains('=') || steps.contains(&"") {
        return Err(unreadable(name, "write path.to.key=value".to_owned()));
    }
    let key_source = Source::new(&name, path.to_owned());
    key_source.hide(Vec::new());
    let value_source = Source::new(&name, value.trim().to_owned());
    let value = yaml::parse_as(&value_source, node::holds_secrets(path))?;
    let path_origin = Origin::new(key_source, 0..path.len(), 1, 1);
    Ok(nested(&steps, &path_origin, value))
}

fn parse_map(source: Arc<Source>) -> Result<Node, Diagnostic> {
    let mut root = yaml::parse(&source)?;
    let origin = root.origin.clone();
    match &mut root.value {
        Value::Null => Ok(Node::new(Value::Map(Map::default()), origin)),
        Value::Map(map) => {
            let mut unfolded = Node::new(Value::Map(Map::default()), origin);
            for (key, node) in map.take() {
                let steps: Vec<&str> = key.name.split("::").collect();
                unfolded.merge(nested(&steps, &key.origin, node));
            }
            Ok(unfolded)
        }
        Value::Scalar(_) | Value::List(_) => {
            let message =
                "expected a map of receivers, processors, exporters, extensions and service".to_owned();
            Err(Diagnostic::at(&root.origin, Problem::Syntax(message)))
        }
    }
}

/// `{a: {b: value}}` of the steps `a`, `b`, which are written at `origin`.
fn nested(steps: &[&str], origin: &Origin, value: Node) -> Node {
    steps.iter().rev().fold(value, |below, step| {
        let mut map = Map::default();
        let place = origin.narrowed_to(step);
        map.push(Key { name: (*step).to_owned(), origin: place.clone() }, below);
        Node::new(Value::Map(map), place)
    })
}

fn text_of_file(path: &str) -> Result<String, Diagnostic> {
    fs::read_to_string(path).map_err(|error| unreadable(path.to_owned(), error.to_string()))
}

fn unreadable(what: String, reason: String) -> Diagnostic {
    Diagnostic::nowhere(Problem::Unreadable { what, reason })
}

/// A word that the OpenTelemetry Collector would take for the scheme of a URI.
fn is_scheme(word: &str) -> bool {
    word.len() > 1
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Loads a text in all ways; what matters is that it comes back.
    fn load_anything(text: &str) {
        let variables = BTreeMap::from([("X".to_owned(), text.to_owned())]);
        for config in [format!("yaml:{text}"), "env:X".to_owned(), "yaml:exporters: '${env:X}'".to_owned()] {
            let environment = Environment::Fixed(variables.clone());
            let sources = Sources { config: vec![config], set: vec![format!("a={text}")], environment };
            match load(&sources) {
                Ok(loaded) => drop(print::to_yaml(&loaded, print::Secrets::Revealed)),
                Err(errors) => assert!(!errors.to_string().is_empty()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_loading_panic(text in "[\\PC\n\t]{0,80}") {
            load_anything(&text);
        }

        #[test]
        fn no_damage_to_a_configuration_makes_loading_panic(
            start in 0..DEFAULT.len(),
            length in 0usize..40,
            inserted in "([\\[\\]{}:,&*!|>'\"%@`#$~ \n\tä0-9a-z-]|\\$\\{|\\}|::|<<: |\\*a|&a ){0,12}",
        ) {
            let before: String = DEFAULT.chars().take(start).collect();
            let after: String = DEFAULT.chars().skip(start + length).collect();
            load_anything(&format!("{before}{inserted}{after}"));
        }
    }
}
