//! The JSON schema of a configuration (draft 7), for editors and for Helm's values.
//!
//! It is made of the types that the configuration is read into and of the list of component kinds, so it cannot know
//! fewer keys than the program, or more. It takes every configuration that the program takes, except one that switches
//! off a key of the OpenTelemetry Collector which is not supported here. What types cannot say, only `validate` finds.
//!
//! Everywhere a null stands for the default, and a text with `${…}` for what it brings. Both are said without `anyOf`,
//! because validators tell the failure of a `type` or a `pattern` in one sentence. They show the pattern, so it says in
//! an alternative that never decides what else was expected: `(a number, or |)\$\{`.

use super::assemble::{self, EXPORTERS, EXTENSIONS, Kind, PROCESSORS, RECEIVERS};
use super::collector;
use super::model::Service;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// A text that holds an expression.
const EXPRESSION: &str = r"\$\{";

/// The schema of a configuration.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let mut sections = json!({
        "type": "object",
        "properties": {
            "receivers": section(&mut generator, "receivers", RECEIVERS),
            "processors": section(&mut generator, "processors", PROCESSORS),
            "exporters": section(&mut generator, "exporters", EXPORTERS),
            "extensions": section(&mut generator, "extensions", EXTENSIONS),
            "service": generator.subschema_for::<Service>(),
        },
    });
    relax(&mut sections);
    for (key, why) in collector::ignored() {
        permit(&mut sections, &key, why);
    }
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of refusal-collector",
    });
    if let (Some(schema), Value::Object(sections)) = (schema.as_object_mut(), sections) {
        schema.extend(sections);
    }
    schema
}

/// A map of components by `type` or `type/name`.
fn section<T>(generator: &mut SchemaGenerator, section: &str, kinds: &[Kind<T>]) -> Value {
    let mut by_id = Map::new();
    for kind in kinds {
        let component = Value::from((kind.describe)(generator));
        for name in assemble::names(section, std::slice::from_ref(kind)) {
            by_id.insert(id_pattern(name), component.clone());
        }
    }
    json!({"type": "object", "patternProperties": by_id, "additionalProperties": false})
}

fn id_pattern(kind: &str) -> String {
    format!("^{kind}(/.+)?$")
}

/// Rewrites a schema of types, and all in it, to one of what may be written: keys are closed, nulls and expressions
/// are allowed, and a text may look like a number.
fn relax(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for key in ["format", "title"] {
        map.remove(key);
    }
    take_null_out(map);
    if map.get("default").is_some_and(|default| {
        default.is_null()
            || default.is_array()
            || default.is_object()
            || default == ""
            || default == "[REDACTED]"
    }) {
        map.remove("default");
    }
    if let Some(words) = words(map) {
        let pattern = format!("^({})$|{EXPRESSION}", words.join("|"));
        let looks_typed = words.iter().any(|word| word.parse::<f64>().is_ok());
        let types = if looks_typed { json!(["string", "number", "null"]) } else { json!(["string", "null"]) };
        map.retain(|key, _| matches!(key.as_str(), "description" | "default"));
        map.insert("type".to_owned(), types);
        map.insert("pattern".to_owned(), pattern.into());
        return;
    }
    if let Some(Value::Array(options)) = map.get_mut("anyOf") {
        options.iter_mut().for_each(relax);
        return;
    }
    let Some(kind) = map.get("type").and_then(Value::as_str).map(str::to_owned) else { return };
    match kind.as_str() {
        "string" => match map.remove("pattern") {
            Some(Value::String(pattern)) => {
                map.insert("type".to_owned(), json!(["string", "null"]));
                map.insert("pattern".to_owned(), format!("{pattern}|{EXPRESSION}").into());
            }
            _ => {
                map.insert("type".to_owned(), json!(["string", "number", "boolean", "null"]));
            }
        },
        kind => {
            let expected = match kind {
                "object" => "a map",
                "array" => "a list",
                "boolean" => "true or false",
                _ => "a number",
            };
            map.insert("type".to_owned(), json!([kind, "string", "null"]));
            map.insert("pattern".to_owned(), format!("({expected}, or |){EXPRESSION}").into());
        }
    }
    if kind == "object" {
        map.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = map.get_mut(key) {
            relax(below);
        }
    }
    for key in ["properties", "patternProperties"] {
        if let Some(Value::Object(below)) = map.get_mut(key) {
            below.values_mut().for_each(relax);
        }
    }
}

/// Takes the null away that schemars puts beside what an `Option` holds: it may stand everywhere here.
fn take_null_out(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = types.as_slice() {
            let kind = kind.clone();
            map.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(words)) = map.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(options)) = map.get_mut("anyOf") else { return };
    options.retain(|option| option != &json!({"type": "null"}));
    if let [Value::Object(only)] = options.as_mut_slice() {
        let only = std::mem::take(only);
        map.remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
        take_null_out(map);
    }
}

/// The words of a closed enum, which schemars writes as `enum`, as `const`, or as `oneOf` these.
fn words(map: &Map<String, Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(Value::Array(words)) = map.get("enum") {
        return words.iter().map(text).collect();
    }
    if let Some(word) = map.get("const") {
        return text(word).map(|word| vec![word]);
    }
    let Some(Value::Array(options)) = map.get("oneOf") else { return None };
    let words: Option<Vec<Vec<String>>> =
        options.iter().map(|option| option.as_object().and_then(self::words)).collect();
    words.map(|words| words.concat())
}

/// Allows a key that the program reads and leaves out. Its steps are those of `collector-keys.txt`.
fn permit(schema: &mut Value, key: &[&str], why: &str) {
    let Value::Object(map) = schema else { return };
    let permission = json!({"description": format!("Ignored: {why}.")});
    match key {
        [] => {}
        ["*"] => {
            map.insert("additionalProperties".to_owned(), permission);
        }
        [name] if map.contains_key("patternProperties") => {
            if let Some(Value::Object(by_id)) = map.get_mut("patternProperties") {
                by_id.entry(id_pattern(name)).or_insert(permission);
            }
        }
        [name] => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.entry(*name).or_insert(permission);
            }
        }
        ["**", rest @ ..] => {
            permit(schema, rest, why);
            children(schema).for_each(|(_, below)| permit(below, key, why));
        }
        [name, rest @ ..] => {
            children(schema)
                .filter(|(step, _)| *name == "*" || step == name || *step == id_pattern(name))
                .for_each(|(_, below)| permit(below, rest, why));
        }
    }
}

/// What stands below a schema, each with the step that leads there.
fn children(schema: &mut Value) -> impl Iterator<Item = (String, &mut Value)> {
    let map = schema.as_object_mut().into_iter().flatten();
    map.flat_map(|(key, value)| match (key.as_str(), value) {
        ("properties" | "patternProperties", Value::Object(below)) => {
            below.iter_mut().map(|(step, below)| (step.clone(), below)).collect()
        }
        ("items", below) => vec![("*".to_owned(), below)],
        _ => Vec::new(),
    })
}
