//! Measures collectors as whole processes: each is sent the same load over loopback, and a backend counts every span that
//! comes out.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "a measurement that goes wrong must stop; each benchmark takes what it needs"
)]

pub mod load;
pub mod program;
pub mod sink;

use load::Case;
use program::Program;
use sink::Sink;
use std::time::{Duration, Instant};

/// What one run came to.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Figures {
    /// User and system time of the collector's process alone, in µs.
    pub cpu_us_per_span: f64,
    /// Through to the backend.
    pub spans_per_second: f64,
    /// VmHWM.
    pub peak_rss_mib: f64,
    /// Spans that were sent and did not arrive.
    pub lost: u64,
    /// Spans of LLM responses that were sent, and how many the collector says it has counted.
    pub responses: u64,
    pub counted: Option<u64>,
    /// From sender to backend at a fifth of the throughput of this run, in ms.
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Warms `program` up with a tenth of the load, measures it under the load, and stops it.
pub async fn run(case: Case, sink: &Sink, program: &mut Program) -> Figures {
    let load = case.load;
    let warm_up = (load.requests / 10).max(1);
    let before = sink.spans();
    let senders = load::Senders::connect(case, &program.address).await;
    senders.send(warm_up).await;
    let before = sink.wait_for(before + warm_up * load.spans as u64).await;

    let (cpu, started) = (program.cpu(), Instant::now());
    senders.send(load.requests).await;
    let sent = load.requests * load.spans as u64;
    let arrived = sink.wait_for(before + sent).await - before;
    let took = sink.last_arrival().saturating_duration_since(started).as_secs_f64();
    Figures {
        cpu_us_per_span: (program.cpu() - cpu) * 1e6 / sent as f64,
        spans_per_second: arrived as f64 / took,
        peak_rss_mib: program.status("VmHWM"),
        lost: sent.saturating_sub(arrived),
        responses: (load.requests + warm_up) * load.llm_spans() as u64,
        ..Figures::default()
    }
}

/// Sends at a fifth of what went through in `figures` and adds how long requests took to the backend.
pub async fn latency(case: Case, sink: &Sink, address: &str, figures: &mut Figures) {
    let rate = figures.spans_per_second / case.load.spans as f64 / 5.0;
    let mut took = load::pace(case, address, rate, Duration::from_secs(3), sink).await;
    took.sort();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1))).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    (figures.p50_ms, figures.p99_ms) = (at(0.5), at(0.99));
}

/// The middle of what several runs came to.
pub fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the command line asks for.
pub struct Options {
    /// How often each row of each load is measured.
    pub runs: usize,
    /// Where the table goes as JSON, too.
    pub json: Option<String>,
    /// Words that start with `--` and mean something to one benchmark.
    pub flags: Vec<String>,
    /// Parts of the names of loads; all if empty.
    loads: Vec<String>,
}

impl Options {
    pub fn from_args() -> Self {
        let mut options = Options { runs: 3, json: None, flags: Vec::new(), loads: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--runs" => options.runs = args.next().and_then(|n| n.parse().ok()).expect("--runs N"),
                "--json" => options.json = Some(args.next().expect("--json FILE")),
                "--bench" => {}
                flag if flag.starts_with("--") => options.flags.push(flag.to_owned()),
                load => options.loads.push(load.to_owned()),
            }
        }
        options
    }

    pub fn selects_all(&self) -> bool {
        self.loads.is_empty()
    }

    pub fn selects(&self, load: &str) -> bool {
        self.selects_all() || self.loads.iter().any(|word| load.contains(word.as_str()))
    }

    pub fn write(&self, table: &serde_json::Value) {
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(table).expect("it is JSON");
            std::fs::write(file, text + "\n").expect("a place to write to");
        }
    }
}
