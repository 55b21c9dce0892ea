//! `vocabulary`: what the words of vendors mean here, and whether a user's own words are right.

use super::{Exit, print, tell};
use crate::config::{self, Errors};
use crate::refusal::vocabulary::{Change, Extension, Table, Vocabulary, VocabularyError};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Print what stop reasons, categories and errors of each vendor mean, or what emitters of telemetry lose.
///
/// What stands in processors.refusal.vocabulary is not included; see `vocabulary check` for that.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct VocabularyArguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this vendor, by the name of its data (anthropic, google) or any name that telemetry has for it.
    #[arg(long)]
    vendor: Option<String>,
    /// Instrumentation libraries, gateways and agents, and what of a refusal each of them loses.
    #[arg(long, conflicts_with = "vendor")]
    emitters: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
    Markdown,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check files for processors.refusal.vocabulary: their shape, their words, their examples. Prints what they add and
    /// override; ends with 2 and all errors if one of them is wrong.
    Check {
        /// A YAML file with facts by vendor. Several are laid over each other in this order.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

pub fn execute(arguments: &VocabularyArguments) -> Exit {
    let vocabulary = match Vocabulary::embedded() {
        Ok(vocabulary) => vocabulary,
        Err(error) => return failed(&error),
    };
    match &arguments.command {
        Some(Command::Check { files }) => check(&vocabulary, files),
        None => show(&vocabulary, arguments),
    }
}

fn show(vocabulary: &Vocabulary, arguments: &VocabularyArguments) -> Exit {
    if arguments.emitters {
        match arguments.format {
            Format::Table => print(&vocabulary.emitter_table().to_text()),
            Format::Markdown => print(&vocabulary.emitter_table().to_markdown()),
            Format::Json => return print_json(&json!({ "emitters": &vocabulary.emitter_data().emitters })),
        }
        return Exit::Clean;
    }
    let vendor = match &arguments.vendor {
        None => None,
        Some(name) => match vocabulary.vendor_called(name) {
            Some(vendor) => Some(vocabulary.vendor_name(vendor)),
            None => return unknown_vendor(vocabulary, name),
        },
    };
    let write: fn(&Table) -> String = match arguments.format {
        Format::Table => |table| format!("{}\n\n{}", table.title, table.to_text()),
        Format::Markdown => |table| format!("## {}\n\n{}", table.title, table.to_markdown()),
        Format::Json => {
            let wanted = |name: &str| vendor.is_none_or(|vendor| vendor == name);
            let vendors: Vec<_> = vocabulary.vendors().iter().filter(|file| wanted(&file.vendor)).collect();
            return print_json(&json!({ "vendors": vendors }));
        }
    };
    let mut tables = vec![
        vocabulary.provider_table(vendor),
        vocabulary.stop_table(vendor),
        vocabulary.category_table(vendor),
        vocabulary.error_table(vendor),
        vocabulary.billing_table(vendor),
    ];
    if vendor.is_none() {
        tables.insert(2, vocabulary.emitted_word_table());
    }
    let tables: Vec<String> = tables.iter().filter(|table| !table.is_empty()).map(write).collect();
    print(&tables.join("\n"));
    Exit::Clean
}

fn check(embedded: &Vocabulary, files: &[PathBuf]) -> Exit {
    match read(embedded, files) {
        Ok((extension, examples)) => {
            print(&changes(embedded, &extension, examples));
            Exit::Clean
        }
        Err(errors) => {
            tell(&errors);
            Exit::Usage
        }
    }
}

/// What all files say, and how many examples held. Each file is tried over those before it.
fn read(embedded: &Vocabulary, files: &[PathBuf]) -> Result<(Extension, usize), Errors> {
    let mut extension = Extension::default();
    let mut errors = Vec::new();
    let mut examples = 0;
    for file in files {
        let placed = match config::read_placed_file::<Extension>(file) {
            Ok(placed) => placed,
            Err(Errors(wrong)) => {
                errors.extend(wrong);
                continue;
            }
        };
        let said = &placed.value;
        if !said.files.is_empty() {
            let reason = "files are named in the configuration, not in one of them".to_owned();
            errors.push(placed.invalid(&["files"], reason));
        }
        extension.add(said.vendors.clone());
        let vocabulary = match embedded.extended(&extension) {
            Ok(vocabulary) => vocabulary,
            Err(error) => {
                let path: Vec<&str> = error.vendor().into_iter().collect();
                errors.push(placed.invalid(&path, error.to_string()));
                break;
            }
        };
        for (name, vendor, example) in said.examples(&vocabulary) {
            examples += 1;
            if let Err(got) = vocabulary.try_example(vendor, example) {
                let reason = format!("the example {example} gives {got}");
                errors.push(placed.invalid(&[name, "examples"], reason));
            }
        }
    }
    if errors.is_empty() { Ok((extension, examples)) } else { Err(Errors(errors)) }
}

fn changes(embedded: &Vocabulary, extension: &Extension, examples: usize) -> String {
    let mut told = String::new();
    let changes = extension.changes(embedded);
    for Change { vendor, place, word, before, now } in &changes {
        let (verb, was) = match before {
            None => ("adds", String::new()),
            Some(before) if before == now => ("repeats", String::new()),
            Some(before) => ("overrides", format!(", was {before}")),
        };
        let _ = writeln!(told, "{verb:<9} {vendor} {place} {word:?}: {now}{was}");
    }
    let _ = writeln!(told, "all right; facts: {}, examples that hold: {examples}", changes.len());
    told
}

fn unknown_vendor(vocabulary: &Vocabulary, name: &str) -> Exit {
    let vendors: Vec<&str> = vocabulary.vendors().iter().map(|file| file.vendor.as_str()).collect();
    eprintln!("error: no vendor {name:?}; there are {}", vendors.join(", "));
    Exit::Usage
}

fn print_json(value: &serde_json::Value) -> Exit {
    print(&format!("{value:#}\n"));
    Exit::Clean
}

fn failed(error: &VocabularyError) -> Exit {
    eprintln!("error: {error}");
    Exit::Failure
}
