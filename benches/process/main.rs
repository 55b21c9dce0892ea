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

mod load;
mod sink;

use load::{LOADS, Load};
use sink::Sink;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The configurations that are compared; the first is the floor.
const ROWS: [(&str, &str); 3] = [
    ("untouched", "processors: []"),
    ("refusal", "processors: [refusal]"),
    ("refusal, gzip out", "processors: [refusal]"),
];

#[tokio::main]
async fn main() {
    let options = Options::from_args();
    let sink = Sink::start().await;
    let mut table = Vec::new();
    for load in LOADS.iter().filter(|load| options.selects(load)) {
        let mut rows: Vec<(&str, Vec<Figures>)> = ROWS.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for _ in 0..options.runs {
            for (index, (name, processors)) in ROWS.iter().enumerate() {
                let compression = if name.contains("gzip") { "gzip" } else { "none" };
                rows[index].1.push(run(*load, &sink, processors, compression).await);
            }
        }
        print(load, &rows);
        table.push(json(load, &rows));
    }
    if let Some(file) = options.json {
        std::fs::write(&file, format!("[{}]\n", table.join(",\n"))).expect("a place to write to");
    }
}

/// What one run came to.
#[derive(Clone, Copy)]
struct Figures {
    cpu_us_per_span: f64,
    spans_per_second: f64,
    peak_rss_mib: f64,
    idle_rss_mib: f64,
    lost: u64,
}

async fn run(load: Load, sink: &Sink, processors: &str, compression: &str) -> Figures {
    let mut collector = Collector::start(&sink.address, processors, compression).await;
    let idle_rss_mib = collector.status("VmRSS");
    let target = format!("http://{}", collector.address);
    let warm_up = (load.requests / 10).max(1);
    let before = sink.spans();
    load::send(load, &target, warm_up).await;
    let before = sink.wait_for(before + warm_up * load.spans as u64).await;

    let (cpu, started) = (collector.cpu(), Instant::now());
    load::send(load, &target, load.requests).await;
    let sent = load.requests * load.spans as u64;
    let arrived = sink.wait_for(before + sent).await - before;
    let figures = Figures {
        cpu_us_per_span: (collector.cpu() - cpu) * 1e6 / sent as f64,
        spans_per_second: arrived as f64 / started.elapsed().as_secs_f64(),
        peak_rss_mib: collector.status("VmHWM"),
        idle_rss_mib,
        lost: sent - arrived,
    };
    collector.stop();
    figures
}

/// The program under test, as a process of its own.
struct Collector {
    process: Child,
    address: String,
}

impl Collector {
    async fn start(backend: &str, processors: &str, compression: &str) -> Self {
        let address = free_address();
        let yaml = format!(
            "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{address}'}}}}}}}}, processors: {{refusal: }}, \
             exporters: {{otlp_grpc: {{endpoint: '{backend}', compression: {compression}, tls: {{insecure: true}}}}}}, \
             service: {{telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}, \
             pipelines: {{traces: {{receivers: [otlp], {processors}, exporters: [otlp_grpc]}}}}}}}}"
        );
        let process = Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
            .args(["--config", "env:BENCH_CONFIG"])
            .env("BENCH_CONFIG", yaml)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the collector starts");
        let collector = Collector { process, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(&collector.address).await.is_err() {
            assert!(Instant::now() < deadline, "the collector does not listen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        collector
    }

    /// User and system time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> =
            stat.rsplit(')').next().map(|s| s.split_whitespace().collect()).unwrap_or_default();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number of ticks");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// A field of `/proc/PID/status`, in MiB.
    fn status(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(field)).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("the collector runs")
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(load: &Load, rows: &[(&str, Vec<Figures>)]) {
    println!(
        "\n{:<20} {:>12} {:>7} {:>12} {:>9} {:>9} {:>6}",
        load.name, "CPU us/span", "ratio", "spans/s", "peak MiB", "idle MiB", "lost"
    );
    let floor = median(&rows[0].1, |f| f.cpu_us_per_span);
    for (name, figures) in rows {
        let cpu = median(figures, |f| f.cpu_us_per_span);
        println!(
            "{name:<20} {cpu:>12.2} {:>7.2} {:>12.0} {:>9.1} {:>9.1} {:>6}",
            cpu / floor,
            median(figures, |f| f.spans_per_second),
            median(figures, |f| f.peak_rss_mib),
            median(figures, |f| f.idle_rss_mib),
            figures.iter().map(|f| f.lost).sum::<u64>(),
        );
    }
}

fn json(load: &Load, rows: &[(&str, Vec<Figures>)]) -> String {
    let rows = rows.iter().map(|(name, figures)| {
        serde_json::json!({
            "load": load.name,
            "row": name,
            "cpu_us_per_span": median(figures, |f| f.cpu_us_per_span),
            "spans_per_second": median(figures, |f| f.spans_per_second),
            "peak_rss_mib": median(figures, |f| f.peak_rss_mib),
            "idle_rss_mib": median(figures, |f| f.idle_rss_mib),
            "lost": figures.iter().map(|f| f.lost).sum::<u64>(),
        })
        .to_string()
    });
    rows.collect::<Vec<_>>().join(",\n")
}

struct Options {
    runs: usize,
    json: Option<String>,
    loads: Vec<String>,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Options { runs: 3, json: None, loads: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--runs" => options.runs = args.next().and_then(|n| n.parse().ok()).expect("--runs N"),
                "--json" => options.json = Some(args.next().expect("--json FILE")),
                "--bench" => {}
                load => options.loads.push(load.to_owned()),
            }
        }
        options
    }

    fn selects(&self, load: &Load) -> bool {
        self.loads.is_empty() || self.loads.iter().any(|word| load.name.contains(word.as_str()))
    }
}
