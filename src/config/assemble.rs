//! A tree to a [`Config`]: each component is read as what its type says.

use super::collector::{advice, aliases, canonical_kind};
use super::de;
use super::diagnostic::{Diagnostic, Findings, Problem};
use super::model::{
    Batch, BearerTokenAuth, ComponentId, Config, DebugExporter, Exporter, ExtProcReceiver, Extension,
    FileStorage, HealthCheck, MemoryLimiter, OtlpGrpcExporter, OtlpHttpExporter, OtlpReceiver, Processor,
    Receiver, RefusalApi, RefusalProcessor,
};
use super::node::{Key, Node, Path};
use schemars::{Schema, SchemaGenerator};
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
        receivers: components(tree, "receivers", findings, RECEIVERS),
        processors: components(tree, "processors", findings, PROCESSORS),
        exporters: components(tree, "exporters", findings, EXPORTERS),
        extensions: components(tree, "extensions", findings, EXTENSIONS),
        service: de::read(tree, &Path::of(["service"]), findings).unwrap_or_default(),
    }
}

/// A type of component: how it is called, read and described.
pub(super) struct Kind<T> {
    pub(super) name: &'static str,
    read: fn(&mut Component<'_>) -> Option<T>,
    pub(super) describe: fn(&mut SchemaGenerator) -> Schema,
}

macro_rules! kind {
    ($name:literal, $section:ident::$variant:ident($model:ty)) => {
        Kind {
            name: $name,
            read: |component| component.read::<$model>().map($section::$variant),
            describe: |generator| generator.subschema_for::<$model>(),
        }
    };
}

pub(super) const RECEIVERS: &[Kind<Receiver>] =
    &[kind!("otlp", Receiver::Otlp(OtlpReceiver)), kind!("ext_proc", Receiver::ExtProc(ExtProcReceiver))];

pub(super) const PROCESSORS: &[Kind<Processor>] = &[
    kind!("refusal", Processor::Refusal(RefusalProcessor)),
    kind!("memory_limiter", Processor::MemoryLimiter(MemoryLimiter)),
    kind!("batch", Processor::Batch(Batch)),
];

pub(super) const EXPORTERS: &[Kind<Exporter>] = &[
    kind!("otlp_grpc", Exporter::OtlpGrpc(OtlpGrpcExporter)),
    kind!("otlp_http", Exporter::OtlpHttp(OtlpHttpExporter)),
    kind!("debug", Exporter::Debug(DebugExporter)),
];

pub(super) const EXTENSIONS: &[Kind<Extension>] = &[
    kind!("health_check", Extension::HealthCheck(HealthCheck)),
    kind!("file_storage", Extension::FileStorage(FileStorage)),
    kind!("bearertokenauth", Extension::BearerTokenAuth(BearerTokenAuth)),
    kind!("refusal_api", Extension::RefusalApi(RefusalApi)),
];

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

    fn unknown(&mut self, known: Vec<&str>) {
        let what = self.section.trim_end_matches('s');
        let problem = match advice(self.section, self.kind) {
            Some(advice) => Problem::Unsupported {
                path: Path::of([self.section, &self.key.name]),
                reason: format!("there is no {what} {:?} here: {advice}", self.kind),
            },
            None => Problem::UnknownKind {
                section: what,
                kind: self.kind.to_owned(),
                known: known.into_iter().map(str::to_owned).collect(),
            },
        };
        self.findings.error(Diagnostic::at(&self.key.origin, problem));
    }
}

fn components<T>(
    tree: &mut Node,
    section: &'static str,
    findings: &mut Findings,
    kinds: &[Kind<T>],
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
                let mut component = Component { section, kind, key: &key, tree, findings };
                match kinds.iter().find(|known| known.name == kind) {
                    Some(known) => {
                        components.extend((known.read)(&mut component).map(|component| (id, component)));
                    }
                    None => component.unknown(names(section, kinds)),
                }
            }
        }
    }
    components
}

/// What components of these kinds may be called.
pub(super) fn names<T>(section: &str, kinds: &[Kind<T>]) -> Vec<&'static str> {
    kinds.iter().flat_map(|kind| std::iter::once(kind.name).chain(aliases(section, kind.name))).collect()
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
