//! `validate`: says whether a configuration can be run, without running it.

use super::{ConfigArguments, Exit};
use clap::Args;

/// Check a configuration and end: with 0 and nothing on standard output if it can be run, else with 2 and all errors.
///
/// Each error shows file, line, column and the line itself. No address is resolved, and no certificate or token is
/// read, so that this works where the collector will not run. Warnings are shown and do not count.
#[derive(Args, Debug)]
pub struct Validate {
    #[command(flatten)]
    config: ConfigArguments,
}

pub fn execute(validate: &Validate) -> Exit {
    match validate.config.load_and_warn() {
        Ok(_) => Exit::Clean,
        Err(exit) => exit,
    }
}
