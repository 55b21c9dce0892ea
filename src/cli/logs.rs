//! The program's own logs, on standard error, as `service.telemetry.logs` says.

use crate::config::model::{LogEncoding, Logs};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// From now on events are written. Only the first call in a process has an effect.
pub(super) fn start(logs: &Logs) {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(&logs.level)).with_writer(io::stderr);
    let started = match logs.encoding {
        LogEncoding::Console => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogEncoding::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // Somebody has set up logging already, and keeps it.
    let _ = started;
}

/// A level is one of this program: of the libraries it uses, what is below `info` tells little and much of it.
fn filter(level: &str) -> EnvFilter {
    match level.to_lowercase().as_str() {
        level @ ("debug" | "trace") => EnvFilter::new(format!("info,{}={level}", env!("CARGO_CRATE_NAME"))),
        level @ ("info" | "warn" | "error" | "off") => EnvFilter::new(level),
        _ => EnvFilter::new(level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detailed_level_is_for_this_program_alone() {
        assert_eq!(filter("DEBUG").to_string(), "refusal_collector=debug,info");
        assert_eq!(filter("Warn").to_string(), "warn");
        assert_eq!(filter("info,h2=trace").to_string(), "h2=trace,info");
    }
}
