//! The vocabulary as tables, for people.

use super::Vocabulary;
use super::data::{
    BillingEntry, Condition, ErrorEntry, Evidence, Facts, FindingsName, UnknownWords, VendorFile, Words,
};
use crate::refusal::verdict::{Actor, Side};
use std::fmt::Write;

/// Rows of text under a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: &'static str,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Vocabulary {
    /// Stop words and what they mean; of one vendor, or of all.
    pub fn stop_table(&self, vendor: Option<&str>) -> Table {
        let mut rows = Vec::new();
        for (file, facts) in self.surfaces(vendor) {
            for (field, words) in &facts.stop {
                for (word, entry) in words {
                    rows.push(vec![
                        file.vendor.clone(),
                        field.as_str().to_owned(),
                        shown(word),
                        entry.class.to_string(),
                        entry.category.map_or_else(String::new, |category| category.to_string()),
                        entry.actor.map_or_else(String::new, |actor| actor.to_string()),
                        entry.side.map_or_else(String::new, |side| side.to_string()),
                        evidence(entry.about.evidence.or(facts.evidence)),
                    ]);
                }
            }
        }
        rows.sort_by(|a, b| a.first().cmp(&b.first()));
        let header = vec!["vendor", "field", "word", "class", "category", "actor", "side", "evidence"];
        Table { title: "Stop words", header, rows }
    }

    /// The words that emitters have of their own.
    pub fn emitted_word_table(&self) -> Table {
        let emitters = self.emitter_data();
        let words = emitters.words.iter().map(|(word, entry)| {
            let lossy = if entry.lossy { "unknown words become this" } else { "" };
            vec![shown(word), entry.class.to_string(), lossy.to_owned()]
        });
        let absent = emitters
            .absent
            .iter()
            .map(|word| vec![shown(word), "missing".to_owned(), "no value came".to_owned()]);
        let rows = words.chain(absent).collect();
        Table { title: "Words of emitters", header: vec!["word", "class", ""], rows }
    }

    /// Category words and what they mean; of one vendor, or of all.
    pub fn category_table(&self, vendor: Option<&str>) -> Table {
        let mut rows = Vec::new();
        for (file, facts) in self.surfaces(vendor) {
            for (word, entry) in &facts.categories {
                let actor = entry.actor.map_or_else(String::new, |actor| actor.to_string());
                let evidence = evidence(entry.about.evidence.or(facts.evidence));
                rows.push(vec![
                    file.vendor.clone(),
                    shown(word),
                    entry.category.to_string(),
                    actor,
                    evidence,
                ]);
            }
        }
        let header = vec!["vendor", "word", "category", "actor", "evidence"];
        Table { title: "Categories", header, rows }
    }

    /// Errors and what they mean; of one vendor, or of all and of emitters.
    pub fn error_table(&self, vendor: Option<&str>) -> Table {
        let mut rows = Vec::new();
        for (file, facts) in self.surfaces(vendor) {
            rows.extend(facts.errors.iter().map(|entry| error_row(&file.vendor, entry)));
            rows.extend(facts.not_refusals.iter().map(|when| no_refusal_row(&file.vendor, when)));
        }
        if vendor.is_none() {
            let emitters = self.emitter_data();
            rows.extend(emitters.errors.iter().map(|entry| error_row("any", entry)));
            rows.extend(emitters.not_refusals.iter().map(|when| no_refusal_row("any", when)));
        }
        let header = vec!["vendor", "told by", "class", "category", "actor", "side"];
        Table { title: "Errors", header, rows }
    }

    /// How telemetry names each vendor.
    pub fn provider_table(&self, vendor: Option<&str>) -> Table {
        let files = self.vendors().iter().filter(|file| vendor.is_none_or(|vendor| file.vendor == vendor));
        let rows = files.flat_map(|file| {
            file.identity.providers.iter().map(|provider| {
                let list =
                    |items: &[String]| items.iter().map(|item| shown(item)).collect::<Vec<_>>().join(" ");
                vec![
                    file.vendor.clone(),
                    shown(&provider.name),
                    list(&provider.aliases),
                    list(&provider.hosts),
                    list(&provider.models),
                ]
            })
        });
        let header = vec!["vendor", "provider", "also called", "hosts", "models"];
        Table { title: "Providers", header, rows: rows.collect() }
    }

    /// What refusals cost.
    pub fn billing_table(&self, vendor: Option<&str>) -> Table {
        let mut rows = Vec::new();
        for (file, facts) in self.surfaces(vendor) {
            rows.extend(facts.billing.iter().map(|entry| billing_row(&file.vendor, entry)));
        }
        let header =
            vec!["vendor", "actor", "before output", "mid-stream", "after output", "as error", "remark"];
        Table { title: "Billing", header, rows }
    }

    /// Emitters and what they lose.
    pub fn emitter_table(&self) -> Table {
        let rows = self.emitters().iter().map(|emitter| {
            vec![
                emitter.name.clone(),
                emitter.scopes.iter().map(|scope| shown(scope)).collect::<Vec<_>>().join(" "),
                unknown_words(emitter.unknown_stop_reasons).to_owned(),
                if emitter.blind { "blind" } else { "" }.to_owned(),
                emitter.survives.clone(),
                emitter.lost.clone(),
                emitter.remedy.clone().unwrap_or_default(),
                format!("{} ({})", emitter.source, evidence(Some(emitter.evidence))),
            ]
        });
        let header = vec![
            "emitter",
            "scope",
            "an unknown stop reason",
            "",
            "what survives",
            "what is lost",
            "what to do",
            "looked at",
        ];
        Table { title: "Emitters", header, rows: rows.collect() }
    }

    fn surfaces(&self, vendor: Option<&str>) -> impl Iterator<Item = (&VendorFile, &Facts)> {
        let files =
            self.vendors().iter().filter(move |file| vendor.is_none_or(|vendor| file.vendor == vendor));
        files.flat_map(|file| file.surfaces.iter().map(move |facts| (file, facts)))
    }
}

impl Table {
    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// In columns, for a terminal.
    pub fn to_text(&self) -> String {
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| without_ticks(cell)).collect()).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let header = self.header.get(column).map_or(0, |name| name.len());
            cells.chain(std::iter::once(header)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells
                .zip(&widths)
                .fold(String::new(), |line, (cell, width)| line + &format!("{cell:width$}  "));
            format!("{}\n", padded.trim_end())
        };
        let header = self.header.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>();
        let mut text = line(&mut header.iter().map(String::as_str));
        for row in &rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
        text
    }

    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        line(&mut self.header.iter().map(|name| (*name).to_owned()));
        line(&mut self.header.iter().map(|_| "---".to_owned()));
        for row in &self.rows {
            line(&mut row.iter().cloned());
        }
        text
    }
}

fn error_row(vendor: &str, entry: &ErrorEntry) -> Vec<String> {
    let category = match (&entry.category, &entry.category_word, &entry.stop_word) {
        (Some(category), ..) => category.to_string(),
        (None, Some(word), _) => format!("by `{word}…`"),
        (None, None, Some(_)) => "by its stop word".to_owned(),
        (None, None, None) => String::new(),
    };
    vec![
        vendor.to_owned(),
        told_by(&entry.when),
        entry.class.to_string(),
        category,
        entry.actor.map_or("", Actor::as_str).to_owned(),
        entry.side.map_or("", Side::as_str).to_owned(),
    ]
}

fn no_refusal_row(vendor: &str, when: &Condition) -> Vec<String> {
    let nothing = String::new;
    vec![vendor.to_owned(), told_by(when), "no refusal".to_owned(), nothing(), nothing(), nothing()]
}

fn told_by(when: &Condition) -> String {
    let list = |name: &str, words: &Words| {
        let words = words.0.iter().map(|word| shown(word)).collect::<Vec<_>>();
        (!words.is_empty()).then(|| format!("{name} {}", words.join(" or ")))
    };
    let findings = when.findings.map(|findings| match findings {
        FindingsName::Reasons => "with metadata.reasons".to_owned(),
        FindingsName::Patterns => "with metadata.patterns".to_owned(),
    });
    let parts = [
        when.status.map(|status| format!("status {status}")),
        list("word", &when.word),
        list("code", &when.code),
        list("type", &when.kind),
        findings,
        list("sentence with", &when.message),
        list("without", &when.without),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn billing_row(vendor: &str, entry: &BillingEntry) -> Vec<String> {
    vec![
        vendor.to_owned(),
        entry.actor.map_or("", Actor::as_str).to_owned(),
        entry.before_output.to_string(),
        entry.mid_stream.to_string(),
        entry.after_output.to_string(),
        entry.error.to_string(),
        entry.note.clone().unwrap_or_default(),
    ]
}

fn unknown_words(unknown: UnknownWords) -> &'static str {
    match unknown {
        UnknownWords::Raw => "arrives",
        UnknownWords::Partly => "arrives on some paths",
        UnknownWords::Rewritten => "becomes an ordinary one",
        UnknownWords::Dropped => "is left out",
        UnknownWords::Never => "no reason is sent",
    }
}

fn evidence(evidence: Option<Evidence>) -> String {
    let name = match evidence {
        Some(Evidence::Sdk) => "code",
        Some(Evidence::Doc) => "documentation",
        Some(Evidence::Capture) => "recording",
        Some(Evidence::ThirdParty) => "third party",
        Some(Evidence::Inferred) => "inferred",
        Some(Evidence::Configuration) => "configuration",
        None => "",
    };
    name.to_owned()
}

/// A word alone needs no quotes; one among others does.
fn without_ticks(cell: &str) -> String {
    match cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        Some(word) if !word.contains('`') => word.to_owned(),
        _ => cell.replace('`', "\""),
    }
}

fn shown(word: &str) -> String {
    if word.is_empty() { "(empty)".to_owned() } else { format!("`{word}`") }
}
