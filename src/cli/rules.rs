//! `rules`: the alerting rules, for those who have the program but not its repository.

use super::{Exit, print};
use clap::{Args, ValueEnum};

/// What the Helm chart installs, too.
const RULES: &str = include_str!("../../helm/refusal-collector/files/alerts.yaml");

/// Print alerting rules for Prometheus. The base of each runbook_url is yours to replace.
#[derive(Args, Debug)]
pub struct Rules {
    /// For whom they are written.
    #[arg(long, value_enum, default_value_t = Format::Prometheus)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A file for Prometheus' `rule_files`.
    Prometheus,
    /// An object of kind PrometheusRule, for the Prometheus Operator.
    PrometheusRuleCrd,
}

pub fn execute(rules: &Rules) -> Exit {
    match rules.format {
        Format::Prometheus => print(RULES),
        Format::PrometheusRuleCrd => print(&as_crd(RULES)),
    }
    Exit::Clean
}

fn as_crd(rules: &str) -> String {
    let mut crd = "\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: refusal-collector
  labels:
    app.kubernetes.io/name: refusal-collector
spec:
"
    .to_owned();
    for line in rules.lines() {
        if !line.is_empty() {
            crd.push_str("  ");
            crd.push_str(line);
        }
        crd.push('\n');
    }
    crd
}
