//! What this collector costs as a whole process, beside the same server code forwarding the same bytes untouched:
//!
//!     cargo bench --profile release --bench process
//!
//! For each load it starts the collector afresh, warms it up, sends the load over loopback by gRPC and waits until the
//! backend has counted every span. CPU is user and system time of the collector's process alone; the rows of one
//! load are measured in turns, so that a slow spell of the machine hits all of them. `-- --runs N` sets the turns,
//! `-- --json FILE` also writes the table as JSON, other words select loads by name.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that goes wrong must stop, and its table is its output"
)]

#[path = "../measure/mod.rs"]
mod measure;

use measure::load::{Case, LOADS};
use measure::program::{Program, free_address};
use measure::sink::Sink;
use measure::{Figures, Options, median, run};
use std::process::Command;
use std::time::Duration;

/// The configurations that are compared; the first is the floor.
const ROWS: [(&str, &str, &str); 3] = [
    ("untouched", "[]", "none"),
    ("refusal", "[refusal]", "none"),
    ("refusal, gzip out", "[refusal]", "gzip"),
];

#[tokio::main]
async fn main() {
    let options = Options::from_args();
    let sink = Sink::start().await;
    let mut table = Vec::new();
    for load in LOADS.iter().filter(|load| options.selects(load.name)) {
        let mut rows: Vec<(&str, Vec<Figures>)> = ROWS.iter().map(|(name, ..)| (*name, Vec::new())).collect();
        for _ in 0..options.runs {
            for (index, (_, processors, compression)) in ROWS.iter().enumerate() {
                let mut collector = start(&sink.address, processors, compression).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                rows[index].1.push(run(Case::plain(*load), &sink, &mut collector).await);
            }
        }
        print(load.name, &rows);
        table.extend(
            rows.iter()
                .map(|(row, figures)| serde_json::json!({"load": load.name, "row": row, "runs": figures})),
        );
    }
    options.write(&table.into());
}

async fn start(backend: &str, processors: &str, compression: &str) -> Program {
    let address = free_address();
    let yaml = format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{address}'}}}}}}}}, processors: {{refusal: }}, \
         exporters: {{otlp_grpc: {{endpoint: '{backend}', compression: {compression}, tls: {{insecure: true}}}}}}, \
         service: {{telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}, \
         pipelines: {{traces: {{receivers: [otlp], processors: {processors}, exporters: [otlp_grpc]}}}}}}}}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_refusal-collector"));
    command.args(["--config", "env:BENCH_CONFIG"]).env("BENCH_CONFIG", yaml);
    Program::start(&mut command, address).await
}

fn print(load: &str, rows: &[(&str, Vec<Figures>)]) {
    println!(
        "\n{load:<20} {:>12} {:>7} {:>12} {:>9} {:>6}",
        "CPU us/span", "ratio", "spans/s", "peak MiB", "lost"
    );
    let floor = median(&rows[0].1, |f| f.cpu_us_per_span);
    for (name, figures) in rows {
        let cpu = median(figures, |f| f.cpu_us_per_span);
        println!(
            "{name:<20} {cpu:>12.2} {:>7.2} {:>12.0} {:>9.1} {:>6}",
            cpu / floor,
            median(figures, |f| f.spans_per_second),
            median(figures, |f| f.peak_rss_mib),
            figures.iter().map(|f| f.lost).sum::<u64>(),
        );
    }
}
