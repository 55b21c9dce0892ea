//! What the demo shows: the counters of `/metrics`, one row per workload.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The rows, by workload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    responses: u64,
    refusals: BTreeMap<String, u64>,
    unknown: BTreeMap<String, u64>,
    missing: u64,
    errors: u64,
}

impl Table {
    /// Reads the counters from a scrape in Prometheus' text form.
    pub fn from_metrics(text: &str) -> Self {
        let mut table = Table::default();
        for sample in text.lines().filter_map(Sample::parse) {
            let label = |name: &str| sample.labels.get(name).cloned().unwrap_or_default();
            let count = sample.value;
            if !sample.name.starts_with("llm_") || count == 0 {
                continue;
            }
            let row = table.rows.entry(label("llm_workload")).or_default();
            match sample.name {
                "llm_responses_total" => {
                    row.responses += count;
                    if label("llm_stop_reason_class") == "error" {
                        row.errors += count;
                    }
                }
                "llm_refusals_total" => {
                    *row.refusals.entry(label("llm_refusal_category")).or_default() += count
                }
                "llm_stop_reason_unknown_total" => {
                    *row.unknown.entry(label("llm_stop_reason_value")).or_default() += count;
                }
                "llm_stop_reason_missing_total" => row.missing += count,
                _ => {}
            }
        }
        table.rows.retain(|_, row| row.responses > 0);
        table
    }

    /// How many responses have been counted.
    pub fn responses(&self) -> u64 {
        self.rows.values().map(|row| row.responses).sum()
    }

    /// The table as text, a line a row.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{:<20} {:>9} {:>8} {:>7} {:>7}  refusals by category, unknown stop reasons",
            "workload", "responses", "refusals", "missing", "errors"
        );
        for (workload, row) in &self.rows {
            let refusals: u64 = row.refusals.values().sum();
            let mut details: Vec<String> = row.refusals.iter().map(|(c, n)| format!("{c} {n}")).collect();
            details.extend(row.unknown.iter().map(|(value, n)| format!("UNKNOWN {value:?} {n}")));
            let _ = writeln!(
                out,
                "{workload:<20} {:>9} {refusals:>8} {:>7} {:>7}  {}",
                row.responses,
                row.missing,
                row.errors,
                details.join(", ")
            );
        }
        out
    }
}

struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, String>,
    value: u64,
}

impl<'a> Sample<'a> {
    /// Parses `name{label="value",...} number`; `None` for comments and samples without labels.
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let value = value.split(' ').next()?.parse::<f64>().ok()? as u64;
        let mut parsed = BTreeMap::new();
        let mut rest = labels;
        while let Some((label, after)) = rest.split_once("=\"") {
            let end = closing_quote(after)?;
            let text = after.get(..end)?.replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
            parsed.insert(label, text);
            rest = after.get(end..)?.trim_start_matches('"').trim_start_matches(',');
        }
        Some(Sample { name, labels: parsed, value })
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return Some(at),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_what_the_counters_say() {
        let table = Table::from_metrics(concat!(
            "# TYPE llm_responses_total counter\n",
            "llm_responses_total{llm_workload=\"a\",llm_stop_reason_class=\"complete\"} 7\n",
            "llm_responses_total{llm_workload=\"a\",llm_stop_reason_class=\"refusal\"} 2\n",
            "llm_responses_total{llm_workload=\"a\",llm_stop_reason_class=\"error\"} 0\n",
            "llm_refusals_total{llm_workload=\"a\",llm_refusal_category=\"cyber\"} 2\n",
            "llm_stop_reason_unknown_total{llm_workload=\"a\",llm_stop_reason_value=\"q\\\"x,y\"} 1\n",
            "other{llm_workload=\"b\"} 3\n",
        ));
        assert_eq!(table.responses(), 9);
        let text = table.render();
        assert!(text.contains("cyber 2, UNKNOWN \"q\\\"x,y\" 1"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
