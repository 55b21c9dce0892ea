//! What types alone cannot say: references are defined, addresses are addresses, numbers make sense.

mod component;
mod service;
mod telemetry;

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::model::{Config, Exporter, Processor, Receiver};
use super::node::{Expansion, Node, Path};
use std::time::Duration;

/// Notes what is wrong in `config`. `tree` is what it was read from, and says where.
pub fn check(config: &Config, tree: &Node, findings: &mut Findings) {
    let mut checker = Checker { tree, findings };
    for (id, receiver) in &config.receivers {
        let path = Path::component("receivers", id);
        match receiver {
            Receiver::Otlp(receiver) => checker.otlp_receiver(receiver, &path),
            Receiver::ExtProc(receiver) => checker.ext_proc(receiver, &path),
        }
    }
    for (id, processor) in &config.processors {
        let path = Path::component("processors", id);
        match processor {
            Processor::Refusal(processor) => checker.refusal(processor, &path),
            Processor::MemoryLimiter(limiter) => checker.memory_limiter(limiter, &path),
            Processor::Batch(batch) => checker.batch(batch, &path),
        }
    }
    for (id, exporter) in &config.exporters {
        let path = Path::component("exporters", id);
        match exporter {
            Exporter::OtlpGrpc(exporter) => checker.otlp_grpc(exporter, &path),
            Exporter::OtlpHttp(exporter) => checker.otlp_http(exporter, &path),
            Exporter::Debug(_) => {}
        }
    }
    for (id, extension) in &config.extensions {
        let path = Path::component("extensions", id);
        checker.extension(extension, &path);
    }
    checker.events(config);
    checker.service(config);
    checker.listeners(config);
    checker.unused(config);
}

struct Checker<'a> {
    tree: &'a Node,
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn target(&mut self, endpoint: &str, check: fn(&str) -> Result<(), String>, path: &Path) {
        match endpoint {
            "" if self.findings.has_misspelling_of(path) => {}
            "" => match self.tree.find(path).and_then(|node| node.expansion.as_ref()) {
                Some(Expansion { reference, .. }) => {
                    self.invalid(path, &format!("must not be empty, and {reference} is"));
                }
                None => self.invalid(path, "must not be empty: where should data go?"),
            },
            endpoint => self.address(path, check(endpoint)),
        }
    }

    fn address(&mut self, path: &Path, checked: Result<(), String>) {
        if let Err(reason) = checked {
            self.invalid(path, &reason);
        }
    }

    fn url_path(&mut self, url_path: &str, path: &Path) {
        if !url_path.starts_with('/')
            || url_path.contains(|c: char| c.is_whitespace() || c == '?' || c == '#')
        {
            self.invalid(path, &format!("{url_path:?} is no path: it starts with / and has no query"));
        }
    }

    fn at_least(&mut self, least: usize, number: usize, path: &Path) {
        if number < least {
            self.invalid(path, &format!("must be at least {least}"));
        }
    }

    fn not_zero(&mut self, duration: Duration, path: &Path) {
        if duration.is_zero() {
            self.invalid(path, "must be longer than zero; write a long time, such as 24h, for no limit");
        }
    }

    fn invalid(&mut self, path: &Path, reason: &str) {
        self.error(path, Problem::Invalid { path: path.clone(), reason: reason.to_owned() });
    }

    /// Notes an error, unless the value is known to be wrong already.
    fn error(&mut self, path: &Path, problem: Problem) {
        let error = Diagnostic::at(&self.tree.value_place(path), problem);
        if self.tree.find(path).is_none() || !self.findings.has_error_at(&error) {
            self.findings.error(error);
        }
    }
}
