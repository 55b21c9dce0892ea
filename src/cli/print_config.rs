//! `print-config`: the configuration as it will be used.

use super::{ConfigArguments, Exit};
use crate::config::print::{self, Secrets};
use clap::{Args, ValueEnum};

/// Print the configuration as it will be used: merged, expanded, with all defaults. What is printed loads again.
#[derive(Args, Debug)]
pub struct PrintConfig {
    #[command(flatten)]
    config: ConfigArguments,
    /// Whether tokens and headers are shown.
    #[arg(long, value_enum, default_value_t = Mode::Redacted)]
    mode: Mode,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Redacted,
    Unredacted,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

pub fn execute(arguments: &PrintConfig) -> Exit {
    let loaded = match arguments.config.load_and_warn() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let secrets = match arguments.mode {
        Mode::Redacted => Secrets::Redacted,
        Mode::Unredacted => Secrets::Revealed,
    };
    let printed = match arguments.format {
        Format::Yaml => print::to_yaml(&loaded, secrets),
        Format::Json => print::to_json(&loaded, secrets),
    };
    match printed {
        Ok(text) => {
            super::print(&text);
            Exit::Clean
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failure
        }
    }
}
