//! `processors.refusal.policy`: its vendors exist, and every rule can be reached and makes sense.

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::model::{Config, Processor, RefusalProcessor};
use super::node::{Node, Path};
use crate::refusal::policy::Rule;
use crate::refusal::verdict::Action;
use crate::refusal::vocabulary::Vocabulary;

/// Notes what is wrong with the policies in `config`, whose vocabularies are complete. `tree` says where they stand.
pub fn check(config: &Config, tree: &Node, findings: &mut Findings) {
    for (id, processor) in &config.processors {
        let Processor::Refusal(refusal) = processor else { continue };
        let path = Path::component("processors", id).key("policy");
        let vocabulary = vocabulary_of(refusal);
        // Rules that could not be read are missing from the list, and the places of the others unknown.
        if tree.find(&path).and_then(Node::as_list).is_some_and(|list| list.len() != refusal.policy.len()) {
            continue;
        }
        for (index, rule) in refusal.policy.iter().enumerate() {
            let path = path.index(index);
            let mut error =
                |path: Path, problem| findings.error(Diagnostic::at(&tree.value_place(&path), problem));
            if let Some(vocabulary) = &vocabulary {
                unknown_vendors(rule, vocabulary, &path).for_each(|(path, problem)| error(path, problem));
            }
            nonsense(rule, &path).for_each(|(path, reason)| {
                error(path.clone(), Problem::Invalid { path, reason: reason.to_owned() });
            });
        }
        if let Some(last) = refusal.policy.iter().position(Rule::matches_all)
            && last + 1 < refusal.policy.len()
        {
            let reason =
                format!("policy[{last}] asks for nothing, so it matches everything before this rule can");
            let path = path.index(last + 1);
            findings.warning(Diagnostic::at(&tree.place(&path), Problem::Ignored { path, reason }));
        }
    }
}

/// The vocabulary in which vendors are looked up, if any is named.
fn vocabulary_of(refusal: &RefusalProcessor) -> Option<Vocabulary> {
    let names_vendors = refusal.policy.iter().any(|rule| !rule.vendor.is_empty());
    names_vendors.then(|| Vocabulary::with(&refusal.vocabulary).ok()).flatten()
}

fn unknown_vendors(
    rule: &Rule,
    vocabulary: &Vocabulary,
    path: &Path,
) -> impl Iterator<Item = (Path, Problem)> {
    let known = || vocabulary.provider_and_vendor_names().map(str::to_owned).collect();
    let of_rule = rule.vendor.iter().enumerate();
    let unknown = of_rule.filter(|(_, vendor)| vocabulary.providers_called(vendor).next().is_none());
    unknown.map(move |(index, vendor)| {
        let path = path.key("vendor");
        let path = if rule.vendor.len() == 1 { path } else { path.index(index) };
        (path.clone(), Problem::UnknownWord { path, word: vendor.clone(), known: known() })
    })
}

fn nonsense(rule: &Rule, path: &Path) -> impl Iterator<Item = (Path, &'static str)> {
    let path = path.key("fallback_model");
    let reason = match rule.fallback_model.as_deref() {
        Some("") => Some("must not be empty; leave it out for the model that the vendor recommends"),
        Some(_) if rule.action != Action::Reroute => Some("needs action: reroute"),
        Some(_) | None => None,
    };
    reason.into_iter().map(move |reason| (path.clone(), reason))
}
