//! `refusal-collector rules`, and the configuration that the runbooks of its alerts advise.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const FILE: &str = include_str!("../helm/refusal-collector/files/alerts.yaml");

const BASE: &str = "\
receivers: {otlp: {protocols: {grpc: {}}}}
processors: {refusal: {}}
exporters: {otlp_grpc: {endpoint: 'localhost:4319', tls: {insecure: true}}}
service: {pipelines: {traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}}}
";

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_refusal-collector")).args(arguments).output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn parsed(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn the_rules_of_the_chart_are_printed_to_the_byte() {
    assert_eq!(stdout(&["rules"]), FILE);
}

#[test]
fn the_object_for_the_operator_holds_the_same_groups() {
    let object = parsed(&stdout(&["rules", "--format", "prometheus-rule-crd"]));
    assert_eq!(object.pointer("/apiVersion").unwrap(), "monitoring.coreos.com/v1");
    assert_eq!(object.pointer("/kind").unwrap(), "PrometheusRule");
    assert_eq!(object.pointer("/spec").unwrap(), &parsed(FILE));
    assert!(object.pointer("/spec/groups/0/rules/0").is_some());
}

#[test]
fn the_configuration_that_runbooks_advise_is_valid() {
    let mut tried = 0;
    let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    for runbook in fs::read_dir(runbooks).unwrap() {
        let path = runbook.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let advice = block.split("```").next().unwrap();
            let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
            std::io::Write::write_all(&mut file, advice.as_bytes()).unwrap();
            let output = run(&[
                "validate",
                "--config",
                &format!("yaml:{BASE}"),
                "--config",
                file.path().to_str().unwrap(),
            ]);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{}:\n{advice}\n{told}", path.display());
            tried += 1;
        }
    }
    assert!(tried >= 5, "{tried} blocks of configuration");
}
