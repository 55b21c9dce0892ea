//! The command line: one file per subcommand. What a subcommand has to say goes to standard output, what is wrong to
//! standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line talks to its user by printing"
)]

mod components;
mod demo;
mod explain;
mod print_config;
mod rules;
mod run;
mod schema;
mod selftest;
mod tail;
mod validate;
mod vocabulary;

use crate::config::{self, Errors, Loaded, Sources};
use clap::{Args, Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: all is well, and all that was accepted was delivered.
    Clean,
    /// 1: something failed while running.
    Failure,
    /// 2: the command line or the configuration is wrong. Also what a wrong argument ends with.
    Usage,
    /// 3: stopped before all that was accepted could be delivered; how much is said on standard error.
    DataLost,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Clean => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::DataLost => 3,
        })
    }
}

/// Reads the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(run) => run::execute(&run),
        Command::Validate(validate) => validate::execute(&validate),
        Command::PrintConfig(print) => print_config::execute(&print),
        Command::Components => components::execute(),
        Command::Schema => schema::execute(),
        Command::Vocabulary(vocabulary) => vocabulary::execute(&vocabulary),
        Command::Demo(demo) => demo::execute(&demo),
        Command::Explain(explain) => explain::execute(&explain),
        Command::Rules(rules) => rules::execute(&rules),
        Command::Tail(tail) => tail::execute(&tail),
        Command::Selftest(selftest) => selftest::execute(&selftest),
    };
    exit.into()
}

/// An OpenTelemetry collector that makes model refusals a first-class, alertable outcome.
///
/// OTLP comes in, every LLM response in it is judged (how did it end?), the verdict is added to its span or log record as
/// llm.stop_reason.* and llm.refusal.*, counted at /metrics, and everything goes on by OTLP. It is configured as the
/// OpenTelemetry Collector is. Without a subcommand it runs; without --config it receives on localhost:4317 and 4318 and
/// prints what comes.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Run,
}

const EXAMPLES: &str = "\
Examples:
  refusal-collector demo
  refusal-collector
  refusal-collector --config collector.yaml
  refusal-collector --config env:OTEL_CONFIG --set service.telemetry.logs.level=debug
  refusal-collector validate --config collector.yaml
  refusal-collector print-config --config base.yaml --config production.yaml
  refusal-collector vocabulary --vendor anthropic
  refusal-collector explain traces.jsonl
  refusal-collector tail --json class=refusal
  refusal-collector rules --format prometheus-rule-crd | kubectl apply -f -
  refusal-collector selftest --otlp http://collector:4317 --metrics http://collector:8888/metrics

Exit codes: 0 clean, 1 failure, 2 wrong usage or configuration, 3 stopped with data lost.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Validate(validate::Validate),
    #[command(alias = "print-initial-config")]
    PrintConfig(print_config::PrintConfig),
    /// Print which receivers, processors, exporters and extensions there are.
    Components,
    /// Print the JSON schema of a configuration, for editors and for checks of Helm values.
    Schema,
    Vocabulary(vocabulary::VocabularyArguments),
    Demo(demo::Demo),
    Explain(explain::Explain),
    Rules(rules::Rules),
    Tail(tail::Tail),
    Selftest(selftest::Selftest),
}

/// Where the configuration comes from; shared by all subcommands that read one.
#[derive(Args, Clone, Debug, Default)]
struct ConfigArguments {
    /// A file, file:PATH, env:NAME, or yaml:TEXT such as yaml:exporters::debug::verbosity: detailed. May be given several
    /// times: later ones are laid over earlier ones, maps joined, lists replaced.
    #[arg(long, value_name = "SOURCE")]
    config: Vec<String>,
    /// One value, laid over all sources: exporters.otlp_grpc.timeout=10s, or with :: where an id has dots,
    /// exporters::otlp_grpc/eu.1::timeout=10s. The value is YAML. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Accepted for the OpenTelemetry Collector's sake; there are no gates.
    #[arg(long, hide = true, value_name = "GATES")]
    feature_gates: Vec<String>,
}

impl ConfigArguments {
    fn sources(&self) -> Sources {
        Sources { config: self.config.clone(), set: self.set.clone(), ..Sources::default() }
    }

    /// Loads the configuration, or tells its errors.
    fn load(&self) -> Result<Loaded, Exit> {
        config::load(&self.sources()).map_err(|errors| {
            tell(&errors);
            Exit::Usage
        })
    }

    /// Loads the configuration and tells its warnings, or tells its errors.
    fn load_and_warn(&self) -> Result<Loaded, Exit> {
        let loaded = self.load()?;
        loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}\n"));
        Ok(loaded)
    }
}

/// Writes to standard output; a reader that has gone away is no failure of ours.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn tell(Errors(errors): &Errors) {
    errors.iter().for_each(|error| eprintln!("error: {error}\n"));
    let count = errors.len();
    eprintln!("{count} {} in the configuration", if count == 1 { "error" } else { "errors" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_collectors_own_way_to_call_it_runs() {
        let cli =
            Cli::try_parse_from(["x", "--config=env:OTEL_CONFIG", "--feature-gates=-a.b", "--set=a.b=c"])
                .unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.config.config, ["env:OTEL_CONFIG"]);
        assert_eq!(cli.run.config.set, ["a.b=c"]);
    }
}
