//! How components are joined: every name is defined, every address is taken once, and nothing goes round.

use super::{Checker, telemetry};
use crate::config::diagnostic::{Diagnostic, Problem};
use crate::config::endpoint::{self, Identity};
use crate::config::model::{ComponentId, Config, Extension, MetricReader, Processor, Receiver, Unmatched};
use crate::config::node::{Node, Path, Value};
use crate::net::Endpoint;
use crate::otlp::Signal;
use std::collections::{BTreeMap, BTreeSet};

impl Checker<'_> {
    pub(super) fn service(&mut self, config: &Config) {
        let service = Path::of(["service"]);
        self.references(&config.service.extensions, "extensions", &service.key("extensions"));
        self.telemetry(&config.service.telemetry, &service.key("telemetry"));
        if config.service.admission.budget.is_some_and(|budget| budget == 0) {
            self.invalid(&service.keys(["admission", "budget_mib"]), "must be at least 1");
        }
        if config.service.workers.is_some_and(|workers| !(1..=MOST_WORKERS).contains(&workers)) {
            self.invalid(&service.key("workers"), &format!("must be between 1 and {MOST_WORKERS}"));
        }
        let pipelines = service.key("pipelines");
        if config.service.pipelines.is_empty() {
            self.invalid(&pipelines, "there must be at least one pipeline: traces, logs or metrics");
        }
        for (id, pipeline) in &config.service.pipelines {
            let path = pipelines.key(&id.to_string());
            self.references(&pipeline.receivers, "receivers", &path.key("receivers"));
            self.references(&pipeline.processors, "processors", &path.key("processors"));
            self.references(&pipeline.exporters, "exporters", &path.key("exporters"));
            for (key, list) in [("receivers", &pipeline.receivers), ("exporters", &pipeline.exporters)] {
                if list.is_empty() {
                    self.invalid(&path.key(key), "a pipeline needs at least one");
                }
            }
        }
        self.taps(config);
        for (kind, id, path) in named_extensions(config) {
            self.extension_of(kind, id, &path);
            if self.is_defined("extensions", id) && !config.service.extensions.contains(id) {
                self.invalid(&path, &format!("{id} is not listed in service.extensions, so it does not run"));
            }
        }
    }

    /// What a tap sees needs somebody to judge it, and what it has to say a pipeline of the right signal.
    fn taps(&mut self, config: &Config) {
        for (id, receiver) in &config.receivers {
            let Receiver::ExtProc(ext_proc) = receiver else { continue };
            let fed = || config.service.pipelines.values().filter(|pipeline| pipeline.receivers.contains(id));
            if fed().next().is_none() {
                continue;
            }
            let path = Path::component("receivers", id);
            let judges = |id: &ComponentId| matches!(config.processors.get(id), Some(Processor::Refusal(_)));
            if !fed().any(|pipeline| pipeline.processors.iter().any(judges)) {
                self.invalid(
                    &path,
                    "needs a refusal processor in one of its pipelines, to judge what it sees",
                );
            }
            let (word, signal) = match ext_proc.unmatched {
                Unmatched::Log => ("log", Signal::Logs),
                Unmatched::Span => ("span", Signal::Traces),
                Unmatched::Count => continue,
            };
            if !fed().any(|pipeline| pipeline.signal == signal) {
                let reason =
                    format!("needs a pipeline of {signal} with this receiver for {word}; count needs none");
                self.invalid(&path.key("unmatched"), &reason);
            }
        }
    }

    fn references(&mut self, ids: &[ComponentId], section: &'static str, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, id) in ids.iter().enumerate() {
            let place = self.element(path, index, id);
            if !self.is_defined(section, id) {
                self.undefined(section, id, &place);
            } else if !seen.insert(id) {
                self.invalid(&place, &format!("{id} is listed twice"));
            }
        }
    }

    fn extension_of(&mut self, kind: &str, id: &ComponentId, path: &Path) {
        if !self.is_defined("extensions", id) {
            self.undefined("extensions", id, path);
        } else if id.kind != kind {
            self.invalid(path, &format!("{id} is no {kind}"));
        }
    }

    /// No two listen at one address, and no exporter sends to a listener of this program.
    pub(super) fn listeners(&mut self, config: &Config) {
        let mut taken: BTreeMap<Identity, Path> = BTreeMap::new();
        for (endpoint, path) in listeners(config) {
            let Some(address) = endpoint::identity(&endpoint) else { continue };
            match taken.get(&address) {
                Some(other) => self.invalid(&path, &format!("{endpoint} is the address of {other} already")),
                None => drop(taken.insert(address, path)),
            }
        }
        let exporters = config.exporters.iter().filter_map(|(id, exporter)| {
            exporter.endpoint().map(|endpoint| (endpoint, Path::component("exporters", id).key("endpoint")))
        });
        for (endpoint, path) in exporters.chain(telemetry::round_trips(&config.service.telemetry)) {
            let Some(target) = endpoint::identity(endpoint) else { continue };
            let everywhere = target.everywhere().and_then(|everywhere| taken.get(&everywhere));
            if let Some(receiver) = taken.get(&target).or(everywhere) {
                self.invalid(&path, &format!("{endpoint} is {receiver}: data would go round for ever"));
            }
        }
    }

    pub(super) fn unused(&mut self, config: &Config) {
        let pipelines = || config.service.pipelines.values();
        let named = named_extensions(config);
        let extensions = config.service.extensions.iter().chain(named.iter().map(|(_, id, _)| *id));
        let receivers = pipelines().flat_map(|pipeline| &pipeline.receivers);
        let processors = pipelines().flat_map(|pipeline| &pipeline.processors);
        let exporters = pipelines().flat_map(|pipeline| &pipeline.exporters);
        self.unused_of("receivers", config.receivers.keys(), &receivers.collect());
        self.unused_of("processors", config.processors.keys(), &processors.collect());
        self.unused_of("exporters", config.exporters.keys(), &exporters.collect());
        self.unused_of("extensions", config.extensions.keys(), &extensions.collect());
    }

    fn unused_of<'c>(
        &mut self,
        section: &str,
        defined: impl Iterator<Item = &'c ComponentId>,
        used: &BTreeSet<&ComponentId>,
    ) {
        for id in defined.filter(|id| !used.contains(id)) {
            let path = Path::component(section, id);
            let place = self.tree.place(&path);
            self.findings.warning(Diagnostic::at(&place, Problem::Unused { path }));
        }
    }

    fn undefined(&mut self, section: &'static str, id: &ComponentId, path: &Path) {
        let known = self.defined(section);
        self.error(path, Problem::Undefined { path: path.clone(), id: id.to_string(), section, known });
    }

    /// What a section defines, whether it could be read or not.
    fn defined(&self, section: &str) -> Vec<String> {
        let section = self.tree.find(&Path::of([section])).and_then(Node::as_map);
        section.into_iter().flat_map(|map| map.iter()).map(|(key, _)| key.name.clone()).collect()
    }

    fn is_defined(&self, section: &str, id: &ComponentId) -> bool {
        self.defined(section).contains(&id.to_string())
    }

    /// The place of an id in a list. The list may have lost elements that could not be read, so it is looked for.
    fn element(&self, list: &Path, index: usize, id: &ComponentId) -> Path {
        let id = id.to_string();
        let is_id = |node: &Node| matches!(&node.value, Value::Scalar(scalar) if scalar.text == id);
        let found = match self.tree.find(list).map(|node| &node.value) {
            Some(Value::List(nodes)) => {
                nodes.iter().enumerate().skip(index).find(|(_, node)| is_id(node)).map(|(index, _)| index)
            }
            _ => None,
        };
        list.index(found.unwrap_or(index))
    }
}

/// More threads than any machine has CPUs for.
const MOST_WORKERS: usize = 1024;

/// The extensions that components name: of which type they must be, and where they are named.
fn named_extensions(config: &Config) -> Vec<(&'static str, &ComponentId, Path)> {
    let mut named = Vec::new();
    for (id, exporter) in &config.exporters {
        let path = Path::component("exporters", id);
        let storage = exporter.queue().and_then(|queue| queue.storage.as_ref());
        named.extend(storage.map(|id| ("file_storage", id, path.keys(["sending_queue", "storage"]))));
        let auth = exporter.auth().map(|auth| &auth.authenticator);
        named.extend(auth.map(|id| ("bearertokenauth", id, path.keys(["auth", "authenticator"]))));
    }
    for (id, receiver) in &config.receivers {
        let path = Path::component("receivers", id);
        let ports = match receiver {
            Receiver::Otlp(otlp) => vec![
                (path.keys(["protocols", "grpc"]), otlp.grpc.as_ref().and_then(|grpc| grpc.auth.as_ref())),
                (path.keys(["protocols", "http"]), otlp.http.as_ref().and_then(|http| http.auth.as_ref())),
            ],
            Receiver::ExtProc(ext_proc) => vec![(path, ext_proc.auth.as_ref())],
        };
        named.extend(ports.into_iter().filter_map(|(path, auth)| {
            auth.map(|auth| ("bearertokenauth", &auth.authenticator, path.keys(["auth", "authenticator"])))
        }));
    }
    named
}

/// The addresses of everything that will run.
fn listeners(config: &Config) -> Vec<(String, Path)> {
    let mut listeners = Vec::new();
    let is_fed = |id: &ComponentId| config.service.pipelines.values().any(|p| p.receivers.contains(id));
    for (id, receiver) in config.receivers.iter().filter(|(id, _)| is_fed(id)) {
        let path = Path::component("receivers", id);
        let ports = match receiver {
            Receiver::Otlp(otlp) => {
                let grpc =
                    otlp.grpc.as_ref().map(|grpc| (grpc.listens_at(), path.keys(["protocols", "grpc"])));
                let http =
                    otlp.http.as_ref().map(|http| (http.listens_at(), path.keys(["protocols", "http"])));
                grpc.into_iter().chain(http).collect()
            }
            Receiver::ExtProc(ext_proc) => vec![(ext_proc.listens_at(), path)],
        };
        listeners.extend(ports.into_iter().map(|(endpoint, path)| {
            let endpoint = match endpoint {
                Endpoint::Tcp(endpoint) => endpoint.to_owned(),
                Endpoint::Unix(path) => format!("unix:{}", path.display()),
            };
            (endpoint, path.key("endpoint"))
        }));
    }
    let runs = |id: &ComponentId| config.service.extensions.contains(id);
    for (id, extension) in config.extensions.iter().filter(|(id, _)| runs(id)) {
        let path = Path::component("extensions", id).key("endpoint");
        match extension {
            Extension::HealthCheck(health) => listeners.push((health.endpoint.clone(), path)),
            Extension::RefusalApi(api) => listeners.push((api.endpoint.clone(), path)),
            Extension::FileStorage(_) | Extension::BearerTokenAuth(_) => {}
        }
    }
    let metrics = &config.service.telemetry.metrics;
    for (index, reader) in metrics.readers.iter().enumerate().filter(|_| metrics.enabled) {
        let MetricReader::Pull(reader) = reader else { continue };
        let path = Path::of(["service", "telemetry", "metrics", "readers"]).index(index);
        let host = if reader.host.contains(':') { format!("[{}]", reader.host) } else { reader.host.clone() };
        listeners
            .push((format!("{host}:{}", reader.port), path.keys(["pull", "exporter", "prometheus", "port"])));
    }
    listeners
}
