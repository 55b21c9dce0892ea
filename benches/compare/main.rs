//! What this collector costs beside those that one would take instead; benches/compare/README.md says how it is measured.
//!
//!     cargo bench --profile release --bench compare
//!
//! `-- --runs N` sets how often each row is measured, `-- --json FILE` also writes the table as JSON, `-- --scaling` measures
//! this collector alone as the load grows by factors of ten, `-- --quick` sends a twentieth of everything, to see that it
//! works; other words select loads by name.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that goes wrong must stop, and its table is its output"
)]

#[path = "../measure/mod.rs"]
mod measure;
mod peers;

use measure::load::{Case, Coding, LOADS, Load, Transport};
use measure::program::counted;
use measure::sink::Sink;
use measure::{Figures, Options, latency, median, run};
use peers::{Peers, Row};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::main]
async fn main() {
    let options = Options::from_args();
    let (peers, sink) = (Peers::get(), Sink::start().await);
    let table = if options.flags.iter().any(|flag| flag == "--scaling") {
        scaling(&options, &peers, &sink).await
    } else {
        let mut table = if options.selects_all() { at_rest(&peers, &sink).await } else { Vec::new() };
        let is_quick = options.flags.iter().any(|flag| flag == "--quick");
        for mut case in cases().into_iter().filter(|case| options.selects(&case.name())) {
            case.load.requests /= if is_quick { 20 } else { 1 };
            table.extend(compare(&options, case, &peers, &sink).await);
        }
        table
    };
    options.write(&table.into());
}

/// The four loads uncompressed by gRPC, and some of them in other ways.
fn cases() -> Vec<Case> {
    let [large, mixed, ..] = LOADS.map(Case::plain);
    // A compressor makes a span many times as dear.
    let fewer = |case: Case, coding| {
        let load = Load { requests: case.load.requests / 4, ..case.load };
        Case { load, coding, ..case }
    };
    let others = [
        fewer(large, Coding::Gzip),
        fewer(mixed, Coding::Gzip),
        fewer(large, Coding::Zstd),
        Case { transport: Transport::Http, ..large },
    ];
    LOADS.map(Case::plain).into_iter().chain(others).collect()
}

/// Size, start and memory of each that is here, before any load.
async fn at_rest(peers: &Peers, sink: &Sink) -> Vec<Value> {
    println!("{:<32} {:>11} {:>15} {:>9}", "", "binary MB", "accepting ms", "idle MiB");
    let mut table = Vec::new();
    for row in Row::ALL {
        let Some(program) = peers.program(row) else { continue };
        let binary_mb = std::fs::metadata(program).map_or(f64::NAN, |file| file.len() as f64 / 1e6);
        let (mut starts, mut idle_mib) = (Vec::new(), f64::NAN);
        for round in 0..5 {
            let Some(running) = peers.start(row, Case::plain(LOADS[0]), &sink.address).await else {
                continue;
            };
            starts.push(running.program.start.as_secs_f64() * 1e3);
            if round == 4 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                idle_mib = running.program.status("VmRSS");
            }
        }
        starts.sort_by(f64::total_cmp);
        let start_ms = starts[starts.len() / 2];
        println!("{:<32} {binary_mb:>11.1} {start_ms:>15.1} {idle_mib:>9.1}", row.name());
        table.push(
            json!({"row": row.name(), "binary_mb": binary_mb, "start_ms": start_ms, "idle_mib": idle_mib}),
        );
    }
    table
}

async fn compare(options: &Options, case: Case, peers: &Peers, sink: &Sink) -> Vec<Value> {
    let mut rows: Vec<(Row, Vec<Figures>)> = Row::ALL.map(|row| (row, Vec::new())).into();
    rows.retain(|(row, _)| row.can(case) && peers.program(*row).is_some());
    let mut direct = Figures::default();
    for _ in 0..options.runs {
        for (row, figures) in &mut rows {
            if let Some(one) = measured(*row, case, peers, sink).await {
                figures.push(one);
            }
        }
    }
    // Without a collector, at the rate of the first row: what the others add to.
    direct.spans_per_second =
        rows.first().map_or(0.0, |(_, figures)| median(figures, |f| f.spans_per_second));
    latency(case, sink, &sink.address, &mut direct).await;
    print(&case.name(), &rows, &direct);
    rows.iter()
        .map(|(row, figures)| json!({"load": case.name(), "row": row.name(), "runs": figures, "direct": direct}))
        .collect()
}

async fn measured(row: Row, case: Case, peers: &Peers, sink: &Sink) -> Option<Figures> {
    let mut running = peers.start(row, case, &sink.address).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut figures = run(case, sink, &mut running.program).await;
    if let Some((address, metric)) = &running.counter {
        figures.counted = Some(counted(address, metric, figures.responses).await);
    }
    latency(case, sink, &running.program.address, &mut figures).await;
    Some(figures)
}

fn print(load: &str, rows: &[(Row, Vec<Figures>)], direct: &Figures) {
    println!(
        "\n{load:<32} {:>11} {:>6} {:>10} {:>9} {:>8} {:>8} {:>7} {:>17}",
        "CPU us/span", "ratio", "spans/s", "peak MiB", "p50 ms", "p99 ms", "lost", "counted"
    );
    let floor = rows.first().map_or(f64::NAN, |(_, figures)| median(figures, |f| f.cpu_us_per_span));
    for (row, figures) in rows {
        let cpu = median(figures, |f| f.cpu_us_per_span);
        let counted = match figures.iter().find(|f| f.counted.is_some_and(|counted| counted != f.responses)) {
            Some(wrong) => format!("{} of {}", wrong.counted.unwrap_or_default(), wrong.responses),
            None if figures.iter().all(|f| f.counted.is_some()) => "all".to_owned(),
            None => "-".to_owned(),
        };
        println!(
            "{:<32} {cpu:>11.2} {:>6.2} {:>10.0} {:>9.1} {:>8.2} {:>8.2} {:>7} {counted:>17}",
            row.name(),
            cpu / floor,
            median(figures, |f| f.spans_per_second),
            median(figures, |f| f.peak_rss_mib),
            median(figures, |f| f.p50_ms),
            median(figures, |f| f.p99_ms),
            figures.iter().map(|f| f.lost).sum::<u64>(),
        );
    }
    println!("{:<32} {:>47.2} {:>8.2}", "no collector", direct.p50_ms, direct.p99_ms);
}

/// This collector alone, as the load grows by factors of ten.
async fn scaling(options: &Options, peers: &Peers, sink: &Sink) -> Vec<Value> {
    let base = Load { name: "", spans: 80, llm_percent: 100, content: 512, requests: 5000, services: 1 };
    let mut cases = Vec::new();
    for spans in [8, 80, 800, 8000] {
        let requests = 800_000 / spans as u64;
        cases.push((format!("{spans} spans in a request"), Case::plain(Load { spans, requests, ..base })));
    }
    for services in [1, 10, 100, 1000] {
        cases.push((format!("{services} workloads"), Case::plain(Load { services, ..base })));
    }
    for connections in [1, 10, 100, 1000] {
        cases.push((format!("{connections} connections"), Case { connections, ..Case::plain(base) }));
    }
    println!("{:<32} {:>11} {:>10} {:>9} {:>17}", "", "CPU us/span", "spans/s", "peak MiB", "counted");
    let mut table = Vec::new();
    for (name, case) in cases.iter().filter(|(name, _)| options.selects(name)) {
        let mut figures = Vec::new();
        for _ in 0..options.runs {
            let mut running = peers.start(Row::Memory, *case, &sink.address).await.expect("it is here");
            let mut one = run(*case, sink, &mut running.program).await;
            if let Some((address, metric)) = &running.counter {
                one.counted = Some(counted(address, metric, one.responses).await);
            }
            figures.push(one);
        }
        let exact = figures.iter().all(|f| f.counted == Some(f.responses) && f.lost == 0);
        println!(
            "{name:<32} {:>11.2} {:>10.0} {:>9.1} {:>17}",
            median(&figures, |f| f.cpu_us_per_span),
            median(&figures, |f| f.spans_per_second),
            median(&figures, |f| f.peak_rss_mib),
            if exact { "all" } else { "not all" }
        );
        table.push(json!({"scaling": name, "runs": figures}));
    }
    table
}
