//! Typical mistakes: each is told with its place, the offending line, and what may have been meant.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::config::{self, Environment, Sources};
use std::collections::BTreeMap;
use std::fs;

const CASES: &str = include_str!("config_mistakes/cases.txt");

/// Valid by itself; each case is laid over it.
const BASE: &str = "
receivers:
  otlp: {protocols: {grpc: }}
exporters:
  debug:
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [debug]}
";

#[test]
fn mistakes_are_told_word_for_word() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("collector.yaml");
    let prefix = format!("{}/", directory.path().display());
    let cases: Vec<&str> = CASES.split("\n== ").skip(1).collect();
    assert!(cases.len() > 40, "only {} cases were found", cases.len());

    let mut wrong = Vec::new();
    for case in cases {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("\n--\n").unwrap();
        fs::write(&file, format!("{text}\n")).unwrap();
        let told = match config::load(&sources(&[format!("yaml:{BASE}"), file.display().to_string()], &[])) {
            Ok(_) => "nothing".to_owned(),
            Err(errors) => errors.to_string().replace(&prefix, ""),
        };
        if told.trim_end() != expected.trim_end() {
            wrong.push(format!("== {name}\n{text}\n-- expected\n{expected}\n-- told\n{told}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_in_arguments_name_the_argument() {
    let cases = [
        (
            "exporters.debug.verbosty=basic",
            "--set exporters.debug.verbosty:1:17: unknown key \"verbosty\" in exporters.debug\n  |\n\
             1 | exporters.debug.verbosty\n  |                 ^^^^^^^^ did you mean \"verbosity\"?",
        ),
        (
            "exporters::debug::verbosity=loud",
            "--set exporters::debug::verbosity:1:1: exporters.debug.verbosity: \"loud\" is not known here\n  |\n\
             1 | loud\n  | ^^^^ known: basic, detailed, normal",
        ),
        ("exporters.debug", "cannot read --set exporters.debug: write path.to.key=value"),
        ("exporters..debug=1", "cannot read --set exporters..debug: write path.to.key=value"),
    ];
    for (set, expected) in cases {
        let errors = config::load(&sources(&[format!("yaml:{BASE}")], &[set.to_owned()])).err().unwrap();
        assert_eq!(errors.to_string(), expected);
    }
}

#[test]
fn sources_that_cannot_be_read_are_told() {
    let cases = [
        ("no/such/file.yaml", "cannot read no/such/file.yaml: No such file or directory (os error 2)"),
        ("file:no/such.yaml", "cannot read no/such.yaml: No such file or directory (os error 2)"),
        ("env:NO_SUCH", "cannot read --config=env:NO_SUCH: the variable is not set"),
        (
            "https://example.com/c.yaml",
            "cannot read --config=https://example.com/c.yaml: https: is not supported, write a path, file:, env: or yaml:",
        ),
    ];
    for (argument, expected) in cases {
        let errors = config::load(&sources(&[argument.to_owned()], &[])).err().unwrap();
        assert_eq!(errors.to_string(), expected);
    }
}

#[test]
fn an_empty_configuration_lacks_a_pipeline() {
    let errors = config::load(&sources(&["yaml:".to_owned()], &[])).err().unwrap();
    let expected = "service.pipelines: there must be at least one pipeline: traces, logs or metrics";
    assert!(errors.to_string().contains(expected), "{errors}");
}

fn sources(config: &[String], set: &[String]) -> Sources {
    Sources { config: config.to_vec(), set: set.to_vec(), environment: Environment::Fixed(BTreeMap::new()) }
}
