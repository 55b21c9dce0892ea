//! A tree to a [`Config`]: each component is read as what its type says.

use super::collector::{advice, canonical_kind};
use super::de;
use super::diagnostic::{Diagnostic, Findings, Problem};
use super::model::{ComponentId, Config, Exporter, Extension, Processor, Receiver};
use super::node::{Key, Node, Path};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const SECTIONS: [&str; 5] = ["receivers", "processors", "exporters", "extensions", "service"];

/// Reads all of `tree`. What cannot be read is noted, taken out of the tree, and missing from the result.
pub fn assemble(tree: &mut Node, findings: &mut Findings) -> Config {
    for (key, _) in tree.as_map().into_iter().flat_map(|map| map.iter()) {
        if !SECTIONS.contains(&key.name.as_str()) {
            let known = SECTIONS.map(str::to_owned).to_vec();
            let problem = Problem::UnknownKey { key: key.name.clone(), parent: Path::default(), known };
            findings.error(Diagnostic::at(&key.origin, problem));
        }
    }
    Config {
        receivers: components(tree, "receivers", findings, receiver),
        processors: components(tree, "processors", findings, processor),
        exporters: components(tree, "exporters", findings, exporter),
        extensions: components(tree, "extensions", findings, extension),
        service: de::read(tree, &Path::of(["service"]), findings).unwrap_or_default(),
    }
}

fn receiver(mut component: Component<'_>) -> Option<Receiver> {
    match component.kind {
        "otlp" => component.read().map(Receiver::Otlp),
        _ => component.unknown("receiver", &["otlp"]),
    }
}

fn processor(mut component: Component<'_>) -> Option<Processor> {
    match component.kind {
        "refusal" => component.read().map(Processor::Refusal),
        "memory_limiter" => component.read().map(Processor::MemoryLimiter),
        "batch" => component.read().map(Processor::Batch),
        _ => component.unknown("processor", &["refusal", "memory_limiter", "batch"]),
    }
}

fn exporter(mut component: Component<'_>) -> Option<Exporter> {
    match component.kind {
        "otlp_grpc" => component.read().map(Exporter::OtlpGrpc),
        "otlp_http" => component.read().map(Exporter::OtlpHttp),
        "debug" => component.read().map(Exporter::Debug),
        _ => component.unknown("exporter", &["otlp_grpc", "otlp", "otlp_http", "otlphttp", "debug"]),
    }
}

fn extension(mut component: Component<'_>) -> Option<Extension> {
    match component.kind {
        "health_check" => component.read().map(Extension::HealthCheck),
        "file_storage" => component.read().map(Extension::FileStorage),
        "bearertokenauth" => component.read().map(Extension::BearerTokenAuth),
        "refusal_api" => component.read().map(Extension::RefusalApi),
        _ => component
            .unknown("extension", &["health_check", "file_storage", "bearertokenauth", "refusal_api"]),
    }
}

/// One component that waits to be read.
struct Component<'a> {
    section: &'static str,
    /// Without an alias.
    kind: &'a str,
    key: &'a Key,
    tree: &'a mut Node,
    findings: &'a mut Findings,
}

impl Component<'_> {
    fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        de::read(self.tree, &Path::of([self.section, &self.key.name]), self.findings)
    }

    fn unknown<T>(&mut self, what: &'static str, known: &[&str]) -> Option<T> {
        let problem = match advice(self.section, self.kind) {
            Some(advice) => Problem::Unsupported {
                path: Path::of([self.section, &self.key.name]),
                reason: format!("there is no {what} {:?} here: {advice}", self.kind),
            },
            None => Problem::UnknownKind {
                section: what,
                kind: self.kind.to_owned(),
                known: known.iter().map(|&kind| kind.to_owned()).collect(),
            },
        };
        self.findings.error(Diagnostic::at(&self.key.origin, problem));
        None
    }
}

fn components<T>(
    tree: &mut Node,
    section: &'static str,
    findings: &mut Findings,
    read: fn(Component<'_>) -> Option<T>,
) -> BTreeMap<ComponentId, T> {
    let mut components = BTreeMap::new();
    for key in keys(tree, section, findings) {
        match key.name.parse::<ComponentId>() {
            Err(error) => {
                let problem = Problem::Invalid { path: Path::of([section]), reason: error.to_string() };
                findings.error(Diagnostic::at(&key.origin, problem));
            }
            Ok(id) => {
                let kind = canonical_kind(section, &id.kind);
                let component = read(Component { section, kind, key: &key, tree, findings });
                components.extend(component.map(|component| (id, component)));
            }
        }
    }
    components
}

fn keys(tree: &Node, section: &str, findings: &mut Findings) -> Vec<Key> {
    let path = Path::of([section]);
    match tree.find(&path) {
        None => Vec::new(),
        Some(node) if node.is_off() => Vec::new(),
        Some(node) => match node.as_map() {
            Some(map) => map.iter().map(|(key, _)| key.clone()).collect(),
            None => {
                let expected = "a map of components".to_owned();
                let found = "something else".to_owned();
                findings.error(Diagnostic::at(&node.origin, Problem::WrongType { path, expected, found }));
                Vec::new()
            }
        },
    }
}
