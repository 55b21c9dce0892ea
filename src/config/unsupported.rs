//! What the model has and this build does not do yet: an error each, so that nothing is switched on in vain.
//!
//! Whoever builds one of these takes its line away.

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::model::{Config, Extension};
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
    for (id, extension) in &config.extensions {
        let what = match extension {
            Extension::HealthCheck(_) | Extension::BearerTokenAuth(_) | Extension::FileStorage(_) => continue,
            Extension::RefusalApi(_) => "the JSON API",
        };
        found.push((Path::component("extensions", id), what));
    }
    found
}
