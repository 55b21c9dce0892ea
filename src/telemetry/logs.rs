//! The collector's own log, on standard error.

use crate::config::model::{LogEncoding, Logs};
use parking_lot::Mutex;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// `service.telemetry.logs.level` is neither a level nor a filter.
    #[error("service.telemetry.logs.level {level:?}: {source}")]
    Level {
        /// As configured.
        level: String,
        /// Why.
        source: ParseError,
    },
    /// Somebody else in the process has set up a log.
    #[error(transparent)]
    Taken(#[from] TryInitError),
}

/// From here on `tracing` events go to standard error.
pub fn init(logs: &Logs) -> Result<(), LogsError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter(&logs.level)?).with_writer(std::io::stderr);
    match logs.encoding {
        LogEncoding::Console => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogEncoding::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// What the level means. At `debug` the libraries below stay at `info`: what they say there is of each byte, and is
/// wanted only by those who name them in a filter.
fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    let directives = match level.to_ascii_lowercase().as_str() {
        "debug" | "trace" => format!("info,refusal_collector={level}"),
        "dpanic" | "panic" | "fatal" => "error".to_owned(),
        _ => level.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|source| LogsError::Level { level: level.to_owned(), source })
}

/// Keeps an event that repeats from flooding the log: lets one through per period and adds up the others.
#[derive(Debug)]
pub struct Gate {
    period: Duration,
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    last: Option<Instant>,
    held_back: usize,
}

impl Gate {
    /// Lets one event through in each `period`.
    pub fn new(period: Duration) -> Self {
        Gate { period, state: Mutex::default() }
    }

    /// How many of whatever is counted have come since the last event that passed, `n` of them now, if this one
    /// passes.
    pub fn pass(&self, n: usize) -> Option<usize> {
        self.pass_at(n, Instant::now())
    }

    fn pass_at(&self, n: usize, now: Instant) -> Option<usize> {
        let mut state = self.state.lock();
        state.held_back = state.held_back.saturating_add(n);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.period) {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_one_event_through_per_period_and_adds_up_the_others() {
        let gate = Gate::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(gate.pass_at(3, at(0)), Some(3));
        assert_eq!(gate.pass_at(4, at(1)), None);
        assert_eq!(gate.pass_at(5, at(9)), None);
        assert_eq!(gate.pass_at(6, at(10)), Some(15));
        assert_eq!(gate.pass_at(1, at(19)), None);
        assert_eq!(gate.pass_at(1, at(40)), Some(2));
    }

    #[test]
    fn many_threads_pass_a_gate_once() {
        let gate = Gate::new(Duration::from_secs(3600));
        let passed = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| (0..1000).filter_map(|_| gate.pass(1)).count()));
            threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
        });
        assert_eq!(passed, 1);
        assert_eq!(gate.state.lock().held_back, 3999);
    }

    #[test]
    fn levels_are_the_collectors_and_filters_are_tracings() {
        for level in [
            "debug",
            "info",
            "warn",
            "error",
            "INFO",
            "Debug",
            "fatal",
            "warn,refusal_collector::exporter=debug",
        ] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert_eq!(filter("debug").unwrap().to_string(), "refusal_collector=debug,info");
        let error = filter("refusal_collector=loud").unwrap_err();
        assert!(error.to_string().starts_with("service.telemetry.logs.level \"refusal_collector=loud\": "));
    }
}
