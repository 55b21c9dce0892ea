//! `docs/configuration.schema.json` is what `refusal-collector schema` prints, and knows exactly what the program reads.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::config::{self, Environment, Problem, Sources, schema};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../docs/configuration.schema.json");

/// The schemas of the charts' values, which have it as `config`.
const VALUES: [&str; 2] = [
    include_str!("../helm/refusal-collector/values.schema.json"),
    include_str!("../helm/refusal-sidecar/values.schema.json"),
];

#[test]
fn the_committed_schema_is_the_programs() {
    let committed: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut schema = schema::schema();
    let update = "run: cargo run -- schema > docs/configuration.schema.json && scripts/values-schema";
    assert!(committed == schema, "docs/configuration.schema.json is old; {update}");
    schema.as_object_mut().unwrap().remove("$schema");
    for values in VALUES {
        let mut values: Value = serde_json::from_str(values).unwrap();
        let config = values["properties"]["config"].take();
        assert!(config == schema, "values.schema.json of a chart is old; {update}");
    }
}

/// At each map of the schema the program is given a key that nobody has; it answers with those that it has.
#[test]
fn the_schema_has_the_programs_keys_and_no_others() {
    let schema = schema::schema();
    let mut compared = 0;
    walk(&schema, &mut Vec::new(), &mut |path, map| {
        let Some(Value::Object(properties)) = map.get("properties") else { return };
        if path.last() == Some(&Step::Key("vocabulary")) {
            return; // Its keys are vendors.
        }
        let known = problems(path, &json!({"nobodys": 1})).into_iter().find_map(|problem| match problem {
            Problem::UnknownKey { key, known, .. } if key == "nobodys" => Some(known),
            Problem::UnknownWord { word, known, .. } if word == "nobodys" => Some(known),
            _ => None,
        });
        let known: BTreeSet<String> = match known {
            Some(known) => known.into_iter().collect(),
            // Where every unknown key is left out with a warning, the program does not tell which it has.
            None if map.get("additionalProperties") != Some(&Value::Bool(false)) => return,
            None => panic!("{path:?} takes any key"),
        };
        let described: BTreeSet<String> =
            properties.iter().filter(|(_, key)| !is_ignored(key)).map(|(key, _)| key.clone()).collect();
        assert_eq!(described, known, "{path:?}");
        compared += 1;
    });
    assert!(compared > 40, "only {compared} maps were compared");
}

/// The same for closed lists of words.
#[test]
fn the_schema_has_the_programs_words_and_no_others() {
    let schema = schema::schema();
    let mut compared = 0;
    walk(&schema, &mut Vec::new(), &mut |path, map| {
        let Some(words) = map.get("pattern").and_then(Value::as_str).and_then(words) else { return };
        let known = problems(path, &json!("nobodys")).into_iter().find_map(|problem| match problem {
            Problem::UnknownWord { word, known, .. } if word == "nobodys" => Some(known),
            _ => None,
        });
        let Some(known) = known else { return };
        assert_eq!(words, known.into_iter().collect(), "{path:?}");
        compared += 1;
    });
    assert!(compared > 15, "only {compared} lists of words were compared");
}

#[test]
fn the_schema_has_the_programs_components_and_no_others() {
    let schema = schema::schema();
    for section in ["receivers", "processors", "exporters", "extensions"] {
        let problems = problems(&[Step::Key(section)], &json!({"nobodys": null}));
        let known = problems.into_iter().find_map(|problem| match problem {
            Problem::UnknownKind { known, .. } => Some(known),
            _ => None,
        });
        let described = schema["properties"][section]["patternProperties"].as_object().unwrap();
        let described: BTreeSet<&str> = described
            .iter()
            .filter(|(_, component)| !is_ignored(component))
            .map(|(pattern, _)| pattern.strip_prefix('^').unwrap().strip_suffix("(/.+)?$").unwrap())
            .collect();
        let known = known.unwrap();
        assert_eq!(described, known.iter().map(String::as_str).collect(), "{section}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step<'s> {
    Key(&'s str),
    Element,
}

/// Calls `visit` with every schema, and the way to it in a configuration.
fn walk<'s>(
    schema: &'s Value,
    path: &mut Vec<Step<'s>>,
    visit: &mut impl FnMut(&[Step<'s>], &'s Map<String, Value>),
) {
    let Value::Object(map) = schema else { return };
    visit(path, map);
    for (key, below) in map {
        let below: Vec<(Step, &Value)> = match (key.as_str(), below) {
            ("properties", Value::Object(below)) => below.iter().map(|(k, v)| (Step::Key(k), v)).collect(),
            ("patternProperties", Value::Object(below)) => {
                below.iter().map(|(k, v)| (Step::Key(example(k)), v)).collect()
            }
            ("additionalProperties", below) => vec![(Step::Key("anthropic"), below)],
            ("items", below) => vec![(Step::Element, below)],
            ("anyOf", Value::Array(options)) => {
                options.iter().for_each(|option| walk(option, path, visit));
                continue;
            }
            _ => continue,
        };
        for (step, below) in below {
            path.push(step);
            walk(below, path, visit);
            path.pop();
        }
    }
}

/// A key that fits `^kind(/.+)?$` or `^(one|another)(/.+)?$`.
fn example(pattern: &str) -> &str {
    pattern.trim_start_matches(['^', '(']).split(['(', '|', ')']).next().unwrap()
}

/// The words of `^(one|another)$|\$\{`.
fn words(pattern: &str) -> Option<BTreeSet<String>> {
    let words = pattern.strip_prefix("^(")?.strip_suffix(r")$|\$\{")?;
    let is_list = words.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'|' | b'.'));
    is_list.then(|| words.split('|').map(str::to_owned).collect())
}

fn is_ignored(schema: &Value) -> bool {
    schema["description"].as_str().is_some_and(|text| text.starts_with("Ignored: "))
}

/// What the program says of a configuration in which `value` stands at `path`.
fn problems(path: &[Step<'_>], value: &Value) -> Vec<Problem> {
    let config = path.iter().rev().fold(value.clone(), |below, step| match step {
        Step::Key(key) => json!({*key: below}),
        Step::Element => json!([below]),
    });
    let sources = Sources {
        config: vec![format!("yaml:{config}")],
        set: Vec::new(),
        environment: Environment::Fixed(BTreeMap::new()),
    };
    let errors = config::load(&sources).err().map(|errors| errors.0).unwrap_or_default();
    errors.into_iter().map(|error| *error.problem).collect()
}
