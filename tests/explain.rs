//! `refusal-collector explain` on recorded requests, as a user calls it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn explain(arguments: &[&str], files: &[PathBuf]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
        .arg("explain")
        .args(arguments)
        .args(files)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn recording(name: &str) -> PathBuf {
    Path::new("tests/corpus").join(name)
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn it_says_what_was_found_which_rule_fired_and_what_the_verdict_is() {
    let output = explain(&[], &[recording("openinference-anthropic/anthropic-refusal_before_output.pb")]);
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "llm.finish_reason            refusal\n",
        "  rule\n    the vendor's own stop word\n",
        "llm.refusal.category         cyber\n",
        "llm.stop_reason.class        refusal\n",
        "1 items, 1 of them tell how a response ended\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn protobuf_json_and_json_lines_come_to_the_same() {
    let directory = "anthropic-sdk-native/anthropic-refusal_before_output";
    let json = std::fs::read_to_string(recording(&format!("{directory}.json"))).unwrap();
    let one: serde_json::Value = serde_json::from_str(&json).unwrap();
    let many = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    std::fs::write(many.path(), format!("{one}\n\n{one}\n")).unwrap();
    let files = [
        recording(&format!("{directory}.pb")),
        recording(&format!("{directory}.json")),
        many.path().to_owned(),
    ];
    let explained = lines(&explain(&["--json"], &files));
    let verdicts: Vec<_> = explained.iter().map(|line| &line["verdict"]).collect();
    assert_eq!(verdicts.len(), 4);
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
    assert_eq!(verdicts[0]["llm.stop_reason.class"], "refusal");
    assert_eq!(
        explained[0]["evidence"].as_array().unwrap().len(),
        explained[3]["evidence"].as_array().unwrap().len()
    );
}

#[test]
fn logs_are_told_from_traces_by_what_is_in_them() {
    let logs = recording("synthetic-claude-code/claude-code-api_refusal-category.logs.pb");
    let explained = lines(&explain(&["--json"], &[logs]));
    assert_eq!(explained[0]["signal"], "logs");
    assert_eq!(explained[0]["verdict"]["llm.refusal.category"], "cyber");
}

#[test]
fn a_saved_answer_of_a_vendor_is_explained_too() {
    let file = [PathBuf::from("tests/bodies/anthropic/refusal_mid_stream.sse")];
    let explained = lines(&explain(&["--json", "--body", "--stream", "--provider", "anthropic"], &file));
    assert_eq!(explained[0]["verdict"]["llm.refusal.phase"], "mid_stream");
    assert_eq!(explained[0]["verdict"]["llm.refusal.discard_output"], true);
}

#[test]
fn a_saved_answer_may_still_be_coded() {
    let body = std::fs::read("tests/bodies/anthropic/refusal_before_output.sse").unwrap();
    let coded = tempfile::NamedTempFile::new().unwrap();
    let mut encoder = brotli::CompressorWriter::new(coded.as_file(), 4096, 5, 22);
    std::io::Write::write_all(&mut encoder, &body).unwrap();
    drop(encoder);
    let arguments = ["--json", "--body", "--stream", "--provider", "anthropic", "--encoding", "br"];
    let explained = lines(&explain(&arguments, &[coded.path().to_owned()]));
    assert_eq!(explained[0]["verdict"]["llm.refusal.category"], "cyber");
}

#[test]
fn nothing_that_a_model_or_a_vendor_said_is_printed() {
    let mut files = Vec::new();
    for directory in std::fs::read_dir("tests/corpus").unwrap().map(|entry| entry.unwrap().path()) {
        if directory.is_dir() {
            let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "pb")));
        }
    }
    assert!(files.len() > 600);
    let output = explain(&[], &files);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.len() > 500_000);
    // Marks in the refusals, explanations and answers that were recorded.
    for said in ["[RFT-7Q]", "[EXPL-9Z]", "Paris is the capital", "first step is", "capital of France"] {
        assert!(!text.contains(said), "{said:?} was printed");
    }
}

#[test]
fn what_is_no_telemetry_is_refused_with_a_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
        .args(["explain", "Cargo.toml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: Cargo.toml: no OTLP protobuf: "), "{error}");
}
