//! `docs/configuration.md` is true: its keys are read, its defaults are the program's, and no key is left out.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::config::print::{self, Secrets};
use refusal_collector::config::{self, Environment, Errors, Loaded, Problem, Sources};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../docs/configuration.md");

/// A configuration in which every documented component stands, with nothing set that need not be.
const BASE: &str = "
receivers: {otlp: {protocols: {grpc: , http: }}, ext_proc: {unmatched: span}}
processors: {refusal: , batch: , memory_limiter: {limit_mib: 512}}
exporters:
  otlp_grpc: {endpoint: 'backend:4317'}
  otlp_http: {endpoint: 'http://backend:4318'}
  debug:
extensions: {health_check: , file_storage: , bearertokenauth: {token: secret}, refusal_api: }
service:
  extensions: [health_check, file_storage, bearertokenauth, refusal_api]
  pipelines:
    traces:
      receivers: [otlp, ext_proc]
      processors: [memory_limiter, refusal, batch]
      exporters: [otlp_grpc, otlp_http, debug]
";

const SET_BY_BASE: [&str; 5] = [
    "processors.memory_limiter.limit_mib",
    "extensions.bearertokenauth.token",
    "service.extensions",
    "receivers.ext_proc.unmatched",
    "service.pipelines.traces.processors",
];

/// One row of a table of keys.
struct Row {
    /// Where the key stands, from the root.
    path: String,
    kind: String,
    default: String,
    is_built: bool,
}

#[test]
fn documented_defaults_are_the_programs_defaults() {
    let printed = printed(&load(BASE, &[]).unwrap_or_else(|errors| panic!("{errors}")));
    for row in rows().iter().filter(|row| row.default != "*required*" && row.is_built) {
        let path = row.path.replace("pipelines.ID", "pipelines.traces");
        if SET_BY_BASE.contains(&path.as_str()) {
            continue;
        }
        let found = path.split('.').try_fold(&printed, |value, key| value.get(key));
        match row.default.as_str() {
            "*none*" => assert_eq!(found, None, "{path}"),
            default => {
                let default: Value = serde_saphyr::from_str(default.trim_matches('`')).unwrap();
                assert_eq!(found, Some(&default), "{path}");
            }
        }
    }
}

#[test]
fn documented_keys_are_read_or_said_to_be_not_built_yet() {
    for row in rows() {
        let path = row.path.replace("pipelines.ID", "pipelines.traces");
        let set = format!("{}={}", path.replace('.', "::"), example(&row));
        let errors =
            load(BASE, std::slice::from_ref(&set)).err().map(|Errors(errors)| errors).unwrap_or_default();
        let unknown = errors.iter().any(|error| {
            matches!(
                *error.problem,
                Problem::UnknownKey { .. } | Problem::WrongType { .. } | Problem::UnknownWord { .. }
            )
        });
        assert!(!unknown, "{set}: {}", Errors(errors));
        let is_unbuilt = errors.iter().any(|error| error.to_string().contains("is not built yet"));
        assert_eq!(row.is_built, !is_unbuilt, "{set}: {}", Errors(errors));
        if row.is_built {
            let other = errors.iter().find(|error| !belongs_to_another_key(&error.problem));
            assert!(other.is_none(), "{set}: {}", Errors(errors));
        }
    }
}

#[test]
fn every_key_is_documented() {
    let documented: BTreeSet<String> = rows().into_iter().map(|row| row.path).collect();
    let printed = printed(&load(BASE, &[]).unwrap_or_else(|errors| panic!("{errors}")));
    let mut missing = Vec::new();
    walk(&printed, &mut Vec::new(), &mut |path| {
        let path = path.join(".").replace("pipelines.traces", "pipelines.ID");
        if !documented.contains(&path) {
            missing.push(path);
        }
    });
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
}

/// Keys that stand in lists, which have tables of their own.
#[test]
fn documented_defaults_of_readers_and_processors_are_the_programs_defaults() {
    let base = BASE.to_owned()
        + "  telemetry:
    metrics: {readers: [{periodic: {exporter: {otlp: {endpoint: 'https://backend'}}}}]}
    traces: {processors: [{batch: {exporter: {otlp: {endpoint: 'https://backend'}}}}]}
";
    let printed = printed(&load(&base, &[]).unwrap_or_else(|errors| panic!("{errors}")));
    let telemetry = &printed["service"]["telemetry"];
    let reader = &telemetry["metrics"]["readers"][0]["periodic"];
    let batch = &telemetry["traces"]["processors"][0]["batch"];
    for (table, found) in [("periodic", reader), ("otlp", &reader["exporter"]["otlp"]), ("batch", batch)] {
        let heading = format!("| key of `{table}` |");
        let lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(&heading)).skip(2);
        let rows: Vec<Vec<&str>> = lines
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        let mut documented = BTreeSet::new();
        for row in &rows {
            for key in row[0].split(", ").map(|key| key.trim_matches('`')) {
                let key = key.split('.').next().unwrap();
                documented.insert(key.to_owned());
                match row[2] {
                    "*none*" => assert_eq!(found.get(key), None, "{table}.{key}"),
                    "*required*" => assert!(found.get(key).is_some(), "{table}.{key}"),
                    default => {
                        let default: Value = serde_saphyr::from_str(default.trim_matches('`')).unwrap();
                        assert_eq!(found.get(key), Some(&default), "{table}.{key}");
                    }
                }
            }
        }
        let printed: BTreeSet<String> = found.as_object().unwrap().keys().cloned().collect();
        assert!(printed.is_subset(&documented), "{table}: {printed:?} are not all in {documented:?}");
    }
}

#[test]
fn the_example_at_the_top_is_valid() {
    let example = DOCUMENT.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example.replace("${file:/run/secrets/token}", "${env:TOKEN}");
    let environment = BTreeMap::from([("TOKEN".to_owned(), "t0ken".to_owned())]);
    let sources = Sources {
        config: vec![format!("yaml:{example}")],
        set: Vec::new(),
        environment: Environment::Fixed(environment),
    };
    let loaded = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty());
}

/// All rows of all tables that stand under a heading with a path, `exporters.*` once for each exporter that has it.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut heading = String::new();
    for line in DOCUMENT.lines() {
        if let Some(path) = line.strip_prefix("### `") {
            heading = path.trim_end_matches('`').to_owned();
        } else if line.starts_with("## ") || line.starts_with("### ") {
            heading.clear();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, kind, default, rest @ ..] = cells.as_slice() else { continue };
        if heading.is_empty() || !key.starts_with('`') {
            continue;
        }
        let parents = match heading.strip_prefix("exporters.*.") {
            Some(rest) => ["otlp_grpc", "otlp_http"].map(|kind| format!("exporters.{kind}.{rest}")).to_vec(),
            None => vec![heading.clone()],
        };
        rows.extend(parents.iter().map(|parent| Row {
            path: format!("{parent}.{}", key.trim_matches('`')),
            kind: (*kind).to_owned(),
            default: (*default).to_owned(),
            is_built: !rest.iter().any(|text| text.contains("*not yet*")),
        }));
    }
    assert!(rows.len() > 120, "only {} rows were found", rows.len());
    rows
}

/// A value that fits a row: its default, else the first word of its type, else something of its type.
fn example(row: &Row) -> String {
    let words = row.kind.trim_matches('`').split("`, `").next().unwrap();
    match row.default.as_str() {
        "`false`" => "true".to_owned(),
        "*none*" | "*required*" => match row.kind.as_str() {
            "number" if row.path.contains("percentage") => "50".to_owned(),
            "number" if row.path.ends_with("level") => "3".to_owned(),
            "number" if row.path.ends_with("batch.max_size") => "10000".to_owned(),
            "number" => "100".to_owned(),
            "duration" => "10s".to_owned(),
            "boolean" => "true".to_owned(),
            "file" => "/etc/file.pem".to_owned(),
            "URL" | "host:port or URL" => "https://other:4317".to_owned(),
            "extension" if row.path.ends_with("authenticator") => "bearertokenauth".to_owned(),
            "extension" if row.path.ends_with("storage") => "file_storage".to_owned(),
            "extension" => "health_check".to_owned(),
            "list of files" => "[]".to_owned(),
            "list of receivers" => "[otlp]".to_owned(),
            "list of exporters" => "[debug]".to_owned(),
            "text" => "word".to_owned(),
            "map of attributes" => "{}".to_owned(),
            kind if kind.starts_with('`') => words.to_owned(),
            kind => panic!("{}: no example of {kind}", row.path),
        },
        default => default.trim_matches('`').to_owned(),
    }
}

/// What a key by itself may lack, or not stand beside.
fn belongs_to_another_key(problem: &Problem) -> bool {
    let concerns_two =
        |reason: &str| reason.starts_with("needs ") || reason.starts_with("cannot be combined ");
    match problem {
        Problem::Missing { .. } => true,
        Problem::Invalid { reason, .. } => concerns_two(reason),
        _ => false,
    }
}

fn load(base: &str, set: &[String]) -> Result<Loaded, Errors> {
    config::load(&Sources {
        config: vec![format!("yaml:{base}")],
        set: set.to_vec(),
        environment: Environment::Fixed(BTreeMap::new()),
    })
}

fn printed(loaded: &Loaded) -> Value {
    serde_json::from_str(&print::to_json(loaded, Secrets::Redacted).unwrap()).unwrap()
}

/// Calls `leaf` with the path of everything that is no map.
fn walk<'v>(value: &'v Value, path: &mut Vec<&'v str>, leaf: &mut impl FnMut(&[&str])) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key);
                walk(value, path, leaf);
                path.pop();
            }
        }
        _ => leaf(path),
    }
}
