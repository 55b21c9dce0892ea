//! The collector's own log: where it is written, and how.

mod initial_fields;
mod sampled;

use crate::config::model::{LogEncoding, Logs};
use initial_fields::WithFields;
use parking_lot::Mutex;
use sampled::Sampled;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing_subscriber::filter::{FilterExt, ParseError, Targets, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::{Layer, Registry};

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
    /// A file cannot be written.
    #[error("service.telemetry.logs.output_paths {path:?}: {source}")]
    Output {
        /// As configured.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// One layer for each of `output_paths`, which writes `tracing` events there.
pub fn layers(logs: &Logs) -> Result<Vec<Box<dyn Layer<Registry> + Send + Sync>>, LogsError> {
    logs.output_paths.iter().map(|path| layer(logs, path)).collect()
}

fn layer(logs: &Logs, path: &str) -> Result<Box<dyn Layer<Registry> + Send + Sync>, LogsError> {
    let output = Output::open(path).map_err(|source| LogsError::Output { path: path.to_owned(), source })?;
    let is_terminal = output.is_terminal();
    let layer = fmt::layer().with_writer(output.writer());
    let fields = WithFields::new(logs.encoding, &logs.initial_fields);
    // Spans are for those who receive them; here they would only make lines longer.
    let filter = filter(&logs.level)?.and(filter_fn(|metadata| !metadata.is_span()));
    let filter = filter.and(Sampled::new(logs.sampling));
    Ok(match logs.encoding {
        LogEncoding::Console => {
            let layer = layer.with_ansi(is_terminal && logs.initial_fields.is_empty());
            layer.map_event_format(|format| fields.around(format)).with_filter(filter).boxed()
        }
        LogEncoding::Json => {
            let layer = layer.fmt_fields(format::JsonFields::new());
            let json = format().json().flatten_event(true);
            layer.event_format(fields.around(json)).with_filter(filter).boxed()
        }
    })
}

/// Where lines go.
enum Output {
    Stderr,
    Stdout,
    File(Arc<File>),
}

impl Output {
    fn open(path: &str) -> io::Result<Self> {
        match path.trim() {
            "stderr" => Ok(Output::Stderr),
            "stdout" => Ok(Output::Stdout),
            path => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                Ok(Output::File(Arc::new(file)))
            }
        }
    }

    fn is_terminal(&self) -> bool {
        match self {
            Output::Stderr => io::stderr().is_terminal(),
            Output::Stdout => io::stdout().is_terminal(),
            Output::File(_) => false,
        }
    }

    fn writer(self) -> BoxMakeWriter {
        match self {
            Output::Stderr => BoxMakeWriter::new(io::stderr),
            Output::Stdout => BoxMakeWriter::new(io::stdout),
            Output::File(file) => BoxMakeWriter::new(file),
        }
    }
}

/// What the level means. At `debug` the libraries below stay at `info`: what they say there is of each byte, and is
/// wanted only by those who name them in a filter.
pub fn filter(level: &str) -> Result<Targets, LogsError> {
    let directives = match level.to_ascii_lowercase().as_str() {
        "debug" | "trace" => format!("info,refusal_collector={level}"),
        "dpanic" | "panic" | "fatal" => "error".to_owned(),
        _ => level.to_owned(),
    };
    directives.parse().map_err(|source| LogsError::Level { level: level.to_owned(), source })
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
    fn the_log_makes_nobody_build_spans() {
        use tracing_subscriber::layer::SubscriberExt;
        let logs = Logs { level: "trace".to_owned(), ..Logs::default() };
        let subscriber = tracing_subscriber::registry().with(layers(&logs).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            assert!(crate::telemetry::spans::process("refusal").is_disabled());
            assert!(tracing::enabled!(tracing::Level::INFO));
        });
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
