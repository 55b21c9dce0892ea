//! `refusal-collector vocabulary`, as a user runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Write;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_refusal-collector")).arg("vocabulary").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn check(text: &str) -> (Output, String) {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (run(&["check", &path]), path)
}

#[test]
fn one_vendor_is_shown_by_any_of_its_names() {
    let by_name = stdout(&run(&["--vendor", "google"]));
    assert_eq!(stdout(&run(&["--vendor", "gcp.vertex_ai"])), by_name);
    let row = by_name.lines().find(|line| line.contains(" RECITATION ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..5], ["google", "finish_reason", "RECITATION", "refusal", "copyright"]);
    assert!(!by_name.contains("end_turn"));
}

#[test]
fn json_holds_every_vendor_and_every_emitter() {
    let vendors: serde_json::Value = serde_json::from_str(&stdout(&run(&["--format", "json"]))).unwrap();
    assert!(vendors["vendors"].as_array().unwrap().len() >= 24);
    let emitters = stdout(&run(&["--emitters", "--format", "json"]));
    let emitters: serde_json::Value = serde_json::from_str(&emitters).unwrap();
    assert!(emitters["emitters"].as_array().unwrap().iter().any(|emitter| emitter["name"] == "pydantic-ai"));
}

#[test]
fn emitters_say_who_is_blind() {
    let shown = stdout(&run(&["--emitters"]));
    let row = |scope: &str| shown.lines().find(|line| line.contains(scope)).unwrap().to_owned();
    assert!(row("langtrace_python_sdk").contains("blind"));
    assert!(!row("com.anthropic.sdk.python").contains("blind"));
}

#[test]
fn an_unknown_vendor_is_wrong_usage() {
    let output = run(&["--vendor", "acme"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("anthropic"));
}

#[test]
fn a_right_file_is_told_what_it_changes() {
    let (output, _) = check(
        "anthropic:
  stop: {stop_reason: {policy_hold: refusal, end_turn: pause, refusal: refusal}}
  examples:
  - {field: stop_reason, word: policy_hold, class: refusal}
",
    );
    assert_eq!(
        stdout(&output),
        "overrides anthropic stop_reason \"end_turn\": pause, was complete
adds      anthropic stop_reason \"policy_hold\": refusal
repeats   anthropic stop_reason \"refusal\": refusal
all right; facts: 3, examples that hold: 1
"
    );
}

#[test]
fn a_wrong_file_is_told_where_it_is_wrong() {
    for (text, place, told) in [
        ("anthropic:\n  stop:\n    stop_reason: {x: refusl}\n", "3:22", "did you mean \"refusal\""),
        ("anthropic:\n  categories: {x: unknown}\n", "2:19", "unknown"),
        ("openai:\n  stops: {}\n", "2:3", "stops"),
        ("openai: {}\nantropic: {categories: {x: cyber}}\n", "2:1", "did you mean `anthropic`"),
        ("openai:\n  errors: [{when: {}, class: refusal}]\n", "1:1", "errors[0]"),
        ("openai:\n  examples:\n  - {word: new_word, class: refusal}\n", "2:3", "gives class unknown"),
        ("files: [other.yaml]\n", "1:1", "files"),
    ] {
        let (output, path) = check(text);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(errors.contains(&format!("{path}:{place}")) && errors.contains(told), "{text}\n{errors}");
    }
}

#[test]
fn a_file_that_is_not_there_is_wrong_usage() {
    let output = run(&["check", "/nowhere/at/all.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all.yaml"));
}
