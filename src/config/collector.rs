//! What the OpenTelemetry Collector has and this program has not.
//!
//! Someone who brings a Collector's configuration along is told of every key that has no meaning here. Nothing that
//! would change what happens to data is passed over in silence. The keys are listed in `collector-keys.txt`.

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::node::{Node, Path, Step, Value};

const KEYS: &str = include_str!("collector-keys.txt");

/// The component types of a section that go by two names: the Collector's older one and today's.
const ALIASES: [(&str, &str); 2] = [("otlp", "otlp_grpc"), ("otlphttp", "otlp_http")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Known,
    Ignored,
    Refused,
    Absent,
}

struct Rule {
    fate: Fate,
    /// The steps of the key.
    key: Vec<&'static str>,
    why: &'static str,
}

/// Takes the Collector's keys that nothing reads out of `tree`, and says so.
pub fn sweep(tree: &mut Node, findings: &mut Findings) {
    let rules: Vec<Rule> = rules().collect();
    let mut found = Vec::new();
    visit(tree, &Path::default(), &rules, &mut found);
    for (path, rule) in found {
        let place = tree.place(&path);
        let Some(node) = tree.remove(&path) else { continue };
        let (path, reason) = (path, rule.why.to_owned());
        match rule.fate {
            Fate::Ignored => {
                forget_extension(tree, &path);
                findings.warning(Diagnostic::at(&place, Problem::Ignored { path, reason }));
            }
            Fate::Refused if !node.is_off() => {
                findings.error(Diagnostic::at(&place, Problem::Unsupported { path, reason }));
            }
            Fate::Refused | Fate::Known | Fate::Absent => {}
        }
    }
}

/// What to do without a component of the Collector that is not part of this program.
pub fn advice(section: &str, kind: &str) -> Option<&'static str> {
    rules().find(|rule| rule.fate == Fate::Absent && fits(&rule.key, &[section, kind])).map(|rule| rule.why)
}

/// The keys that are read and left out with a warning, as their steps, each with the reason.
pub fn ignored() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    rules().filter(|rule| rule.fate == Fate::Ignored).map(|rule| (rule.key, rule.why))
}

/// The name that a type of `section` goes by today.
pub fn canonical_kind<'a>(section: &str, kind: &'a str) -> &'a str {
    match ALIASES.iter().find(|(old, _)| section == "exporters" && *old == kind) {
        Some((_, new)) => new,
        None => kind,
    }
}

/// The older names of a type of `section`.
pub fn aliases(section: &str, kind: &str) -> impl Iterator<Item = &'static str> {
    let matching = ALIASES.into_iter().filter(move |(_, new)| section == "exporters" && *new == kind);
    matching.map(|(old, _)| old).collect::<Vec<_>>().into_iter()
}

fn rules() -> impl Iterator<Item = Rule> {
    KEYS.lines().filter_map(|line| {
        let (fate, rest) = line.split_once(' ')?;
        let (key, why) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
        let fate = match fate {
            "known" => Fate::Known,
            "ignored" => Fate::Ignored,
            "refused" => Fate::Refused,
            "absent" => Fate::Absent,
            _ => return None,
        };
        Some(Rule { fate, key: key.split('.').collect(), why: why.trim_start() })
    })
}

fn visit<'r>(node: &Node, path: &Path, rules: &'r [Rule], found: &mut Vec<(Path, &'r Rule)>) {
    let children: Vec<(Path, &Node)> = match &node.value {
        Value::Null | Value::Scalar(_) => Vec::new(),
        Value::Map(map) => map.iter().map(|(key, node)| (path.key(&key.name), node)).collect(),
        Value::List(list) => list.iter().enumerate().map(|(index, node)| (path.index(index), node)).collect(),
    };
    for (path, node) in children {
        let names = names(&path);
        match rules.iter().find(|rule| fits(&rule.key, &names)) {
            Some(rule) if matches!(rule.fate, Fate::Ignored | Fate::Refused) => found.push((path, rule)),
            Some(_) | None => visit(node, &path, rules, found),
        }
    }
}

/// The steps of a path as rules call them.
fn names(path: &Path) -> Vec<&str> {
    let section = match path.steps() {
        [Step::Key(section), ..] => section.as_str(),
        _ => "",
    };
    let is_section = matches!(section, "receivers" | "processors" | "exporters" | "extensions");
    let names = path.steps().iter().enumerate().map(|(position, step)| match step {
        Step::Key(id) if position == 1 && is_section => {
            canonical_kind(section, id.split('/').next().unwrap_or_default())
        }
        Step::Key(name) => name,
        Step::Index(_) => "*",
    });
    names.collect()
}

fn fits(pattern: &[&str], names: &[&str]) -> bool {
    match (pattern, names) {
        ([], []) => true,
        (["**", rest @ ..], _) => {
            (0..=names.len()).any(|skipped| fits(rest, names.get(skipped..).unwrap_or_default()))
        }
        ([wanted, rest @ ..], [name, names @ ..]) => (*wanted == "*" || wanted == name) && fits(rest, names),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

/// Takes an extension that was left out also from the list of those to start.
fn forget_extension(tree: &mut Node, path: &Path) {
    let [Step::Key(section), Step::Key(id)] = path.steps() else { return };
    if section != "extensions" {
        return;
    }
    let list = Path::of(["service", "extensions"]);
    let Some(Node { value: Value::List(extensions), .. }) = tree.find(&list) else { return };
    let is_forgotten = |node: &Node| matches!(&node.value, Value::Scalar(scalar) if scalar.text == *id);
    if let Some(index) = extensions.iter().position(is_forgotten) {
        tree.remove(&list.index(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use crate::config::yaml;

    #[test]
    fn every_line_of_the_list_is_a_rule() {
        let written = KEYS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(rules().count(), written);
        for rule in rules() {
            assert!(rule.fate == Fate::Known || !rule.why.is_empty(), "{:?} says no reason", rule.key);
        }
    }

    #[test]
    fn no_rule_hides_behind_an_earlier_one() {
        let rules: Vec<Rule> = rules().collect();
        for (position, rule) in rules.iter().enumerate() {
            let earlier = rules.iter().take(position).find(|earlier| earlier.key == rule.key);
            assert!(earlier.is_none(), "{:?} is listed twice", rule.key);
        }
    }

    #[test]
    fn ignored_extensions_are_not_started() {
        let text = "extensions: {pprof: , health_check: }\nservice: {extensions: [pprof, health_check]}\n";
        let mut tree = yaml::parse(&Source::new("f", text.to_owned())).unwrap();
        let mut findings = Findings::default();
        sweep(&mut tree, &mut findings);
        assert_eq!(findings.warnings.len(), 1);
        let list = tree.find(&Path::of(["service", "extensions"])).unwrap();
        assert!(matches!(&list.value, Value::List(list) if list.len() == 1));
    }

    #[test]
    fn aliases_and_names_do_not_hide_a_key() {
        let text = "exporters: {otlp/backup: {balancer_name: pick_first, tls: {ca_pem: x, key_pem: null}}}\n";
        let mut tree = yaml::parse(&Source::new("f", text.to_owned())).unwrap();
        let mut findings = Findings::default();
        sweep(&mut tree, &mut findings);
        assert_eq!(findings.warnings.len(), 1);
        assert_eq!(findings.errors.len(), 1);
        let left = tree.find(&Path::of(["exporters", "otlp/backup", "tls"])).unwrap();
        assert!(left.as_map().unwrap().is_empty());
    }
}
