//! `processors.refusal.vocabulary`: reads the files that it names, and tries whether it fits the embedded vocabulary.

use super::diagnostic::{Diagnostic, Errors, Findings, Problem};
use super::model::{Config, Processor};
use super::node::{Node, Path};
use crate::refusal::vocabulary::data::Facts;
use crate::refusal::vocabulary::{Extension, Vocabulary};
use std::collections::BTreeMap;

/// Completes every vocabulary in `config`. `tree` says where each stands.
pub fn complete(config: &mut Config, tree: &Node, findings: &mut Findings) {
    for (id, processor) in &mut config.processors {
        let Processor::Refusal(refusal) = processor else { continue };
        if refusal.vocabulary.files.is_empty() && refusal.vocabulary.vendors.is_empty() {
            continue;
        }
        let path = Path::component("processors", id).key("vocabulary");
        read_files(&mut refusal.vocabulary, tree, &path, findings);
        if let Err(error) = Vocabulary::with(&refusal.vocabulary) {
            let place = tree.place(&error.vendor().map_or(path.clone(), |vendor| path.key(vendor)));
            findings.error(Diagnostic::at(&place, Problem::Invalid { path, reason: error.to_string() }));
        }
    }
}

fn read_files(vocabulary: &mut Extension, tree: &Node, path: &Path, findings: &mut Findings) {
    for (index, file) in vocabulary.files.clone().iter().enumerate() {
        match super::read_file::<BTreeMap<String, Facts>>(file) {
            Ok(vendors) => vocabulary.add(vendors),
            Err(Errors(errors)) => {
                let place = tree.value_place(&path.key("files").index(index));
                let located = errors.into_iter().map(|error| match error.origin {
                    Some(_) => error,
                    None => Diagnostic { origin: Some(place.clone()), ..error },
                });
                located.for_each(|error| findings.error(error));
            }
        }
    }
}
