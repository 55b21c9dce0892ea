//! The capture contract of `docs/capture.md`: what people put on spans themselves is read.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Command;

#[test]
fn what_the_examples_write_is_what_is_understood() {
    let output = Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
        .args(["explain", "tests/data/capture.json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let spans: Vec<&str> = text.split("\n\n").filter(|span| span.contains("verdict")).collect();
    let tells = |span: &str, key: &str, value: &str| {
        let line = span.lines().map(str::trim).find(|line| line.starts_with(key));
        assert_eq!(line.and_then(|line| line.split_whitespace().nth(1)), Some(value), "{key} in\n{span}");
    };
    let [anthropic, openai, application] = spans[..] else { panic!("{text}") };
    for refused in [anthropic, openai, application] {
        tells(refused, "llm.stop_reason.class", "refusal");
    }
    tells(anthropic, "llm.refusal.category", "cyber");
    tells(openai, "llm.refusal.actor", "model");
    tells(openai, "llm.refusal.category", "unspecified");
    // The application's own attribute stands in the evidence, and is the verdict.
    assert!(application.contains("custom_policy"));
    assert!(!text.contains("I would rather not"), "the words of a refusal are not shown");
}
