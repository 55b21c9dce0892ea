//! What the model has and this build does not do yet: an error each, so that nothing is switched on in vain.
//!
//! Whoever builds one of these takes its line away.

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::model::{ComponentId, Config, Exporter, Extension, Receiver, SendingQueue};
use super::node::{Node, Path};

/// Notes everything in `config` that cannot be done. `tree` says where it stands.
pub fn check(config: &Config, tree: &Node, findings: &mut Findings) {
    for (path, what) in found_in(config) {
        let reason = format!("{what} is not built yet");
        findings.error(Diagnostic::at(&tree.place(&path), Problem::Unsupported { path, reason }));
    }
}

fn found_in(config: &Config) -> Vec<(Path, &'static str)> {
    let mut found = Vec::new();
    for (id, receiver) in &config.receivers {
        let Receiver::Otlp(otlp) = receiver;
        let path = component("receivers", id).key("protocols");
        let protocols = [
            ("grpc", otlp.grpc.as_ref().map(|grpc| (grpc.tls.is_some(), grpc.auth.is_some()))),
            ("http", otlp.http.as_ref().map(|http| (http.tls.is_some(), http.auth.is_some()))),
        ];
        for (protocol, security) in protocols {
            let (tls, auth) = security.unwrap_or_default();
            found.extend(tls.then(|| (path.keys([protocol, "tls"]), "TLS on a listener")));
            found.extend(auth.then(|| (path.keys([protocol, "auth"]), "authentication on a listener")));
        }
    }
    for (id, exporter) in &config.exporters {
        let path = component("exporters", id);
        let (queue, auth) = match exporter {
            Exporter::OtlpGrpc(exporter) => (&exporter.queue, &exporter.auth),
            Exporter::OtlpHttp(exporter) => (&exporter.queue, &exporter.auth),
            Exporter::Debug(_) => continue,
        };
        let auth =
            auth.as_ref().map(|_| (path.key("auth"), "authentication by an extension (headers can do it)"));
        found.extend(auth);
        found.extend(in_queue(queue, &path.key("sending_queue")));
    }
    for (id, extension) in &config.extensions {
        let what = match extension {
            Extension::HealthCheck(_) => continue,
            Extension::FileStorage(_) => "the queue on disk",
            Extension::BearerTokenAuth(_) => "authentication by an extension (headers can do it)",
            Extension::RefusalApi(_) => "the JSON API",
        };
        found.push((component("extensions", id), what));
    }
    found
}

fn in_queue(queue: &SendingQueue, path: &Path) -> Vec<(Path, &'static str)> {
    let switches = [
        ("storage", queue.storage.is_some(), "the queue on disk"),
        ("batch", queue.batch.is_some(), "merging in the queue"),
        ("wait_for_result", queue.wait_for_result, "waiting for the backend's answer"),
    ];
    let on = switches.into_iter().filter(|(_, is_on, _)| *is_on);
    on.map(|(key, _, what)| (path.key(key), what)).collect()
}

fn component(section: &str, id: &ComponentId) -> Path {
    Path::of([section]).key(&id.to_string())
}
