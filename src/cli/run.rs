//! `run`: what the program is for.

use super::{ConfigArguments, Exit};
use crate::config;
use crate::pipeline::{self, Ended};
use crate::report::voice::Voice;
use clap::Args;

/// Receive, judge, count and send on, until told to stop. This is also what happens without a subcommand.
///
/// SIGTERM or Ctrl-C stops taking requests, sends what is queued for at most service.shutdown_timeout, and ends. A second
/// signal ends at once. SIGHUP reads the configuration again and takes over the vocabulary and policy
/// of processors.refusal.
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
}

pub fn execute(run: &Run) -> Exit {
    let loaded = match run.config.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let runtime = match pipeline::runtime(&loaded.config) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Failure;
        }
    };
    let voice = match Voice::install(&loaded.config.service.telemetry, runtime.handle()) {
        Ok(voice) => voice,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    loaded.warnings.iter().for_each(|warning| tracing::warn!("configuration: {warning}"));
    let sources = run.config.sources();
    let ended = pipeline::run(&runtime, loaded.config, || Ok(config::load(&sources)?.config));
    voice.shutdown();
    // Nothing that is still running may hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(Ended { lost: 0 }) => Exit::Clean,
        Ok(Ended { lost }) => {
            let items = if lost == 1 { "item" } else { "items" };
            eprintln!("stopped with data lost: {lost} accepted {items} could not be delivered");
            Exit::DataLost
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failure
        }
    }
}
