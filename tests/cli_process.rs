//! The program as its user calls it: real processes, their exit codes and what they print.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::process::{Command, Output};

const VALID: &str = "
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
";

#[test]
fn a_valid_configuration_is_validated_without_a_word() {
    let output = call(&["validate", "--config=env:OTEL_CONFIG"], &[("OTEL_CONFIG", VALID)]);
    assert_eq!((code(&output), stdout(&output), stderr(&output)), (0, String::new(), String::new()));
    assert_eq!(code(&call(&["validate"], &[])), 0, "the default is valid");
}

#[test]
fn all_errors_go_to_standard_error_with_exit_code_2() {
    let text = VALID.replace("debug: }", "debug: {verbosity: loud}, otlp: {endpont: x}}");
    for arguments in [
        &["validate", "--config", "env:OTEL_CONFIG"][..],
        &["run", "--config", "env:OTEL_CONFIG"],
        &["--config", "env:OTEL_CONFIG"],
        &["print-config", "--config", "env:OTEL_CONFIG"],
    ] {
        let output = call(arguments, &[("OTEL_CONFIG", &text)]);
        assert_eq!((code(&output), stdout(&output)), (2, String::new()), "{arguments:?}");
        let told = stderr(&output);
        assert!(told.contains("error: env:OTEL_CONFIG:3:32: exporters.debug.verbosity: \"loud\""), "{told}");
        assert!(told.contains("error: env:OTEL_CONFIG:3:46: unknown key \"endpont\""), "{told}");
        assert!(told.contains("2 errors in the configuration"), "{told}");
    }
}

#[test]
fn warnings_do_not_change_the_exit_code() {
    let text = format!("{VALID}processors: {{batch: }}\n");
    let output = call(&["validate", "--config=env:OTEL_CONFIG"], &[("OTEL_CONFIG", &text)]);
    assert_eq!(code(&output), 0);
    assert!(
        stderr(&output)
            .starts_with("warning: env:OTEL_CONFIG:5:14: processors.batch is defined and nowhere used")
    );
}

#[test]
fn a_printed_configuration_is_valid_and_prints_the_same() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["yaml", "json"] {
        let file = directory.path().join(format!("printed.{format}")).display().to_string();
        let variables = [("OTEL_CONFIG", VALID)];
        let print = ["print-config", "--format", format, "--config", "env:OTEL_CONFIG"];
        let first = call(&print, &variables);
        assert_eq!((code(&first), stderr(&first)), (0, String::new()));
        fs::write(&file, stdout(&first)).unwrap();
        assert_eq!(code(&call(&["validate", "--config", &file], &[])), 0);
        let again = call(&["print-initial-config", "--format", format, "--config", &file], &[]);
        assert_eq!(stdout(&again), stdout(&first));
    }
}

#[test]
fn secrets_are_printed_only_unredacted() {
    let set = "exporters.otlp={endpoint: 'backend:4317', headers: {authorization: Bearer s3cr3t}}";
    let variables = [("OTEL_CONFIG", VALID)];
    let redacted = call(&["print-config", "--config=env:OTEL_CONFIG", "--set", set], &variables);
    assert!(stdout(&redacted).contains("[REDACTED]"), "{}", stdout(&redacted));
    assert!(!format!("{}{}", stdout(&redacted), stderr(&redacted)).contains("s3cr3t"));
    let mode = ["print-config", "--mode=unredacted", "--config=env:OTEL_CONFIG", "--set", set];
    assert!(stdout(&call(&mode, &variables)).contains("authorization: Bearer s3cr3t"));
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    for arguments in [&["--colour"][..], &["frobnicate"], &["validate", "--mode=x"], &["--config"]] {
        let output = call(arguments, &[]);
        assert_eq!((code(&output), stdout(&output)), (2, String::new()), "{arguments:?}");
        assert!(stderr(&output).contains("--help"), "{}", stderr(&output));
    }
    for arguments in [&["--help"][..], &["run", "--help"], &["help", "validate"], &["--version"]] {
        assert_eq!(code(&call(arguments, &[])), 0, "{arguments:?}");
    }
    assert_eq!(
        stdout(&call(&["--version"], &[])),
        format!("refusal-collector {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn components_are_listed_as_yaml() {
    let output = call(&["components"], &[]);
    let components: serde_json::Value = serde_saphyr::from_str(&stdout(&output)).unwrap();
    let names = |section: &str| -> Vec<String> {
        let list = components[section].as_array().unwrap();
        list.iter().map(|component| component["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("receivers"), ["otlp"]);
    assert_eq!(names("exporters"), ["otlp_grpc", "otlp_http", "debug"]);
    assert_eq!(components["buildinfo"]["version"], env!("CARGO_PKG_VERSION"));
}

fn call(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
