//! The collector as a process of its own.

#![allow(dead_code)] // Each test takes what it needs.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything that is waited for should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running collector. Dropped, it is killed.
pub struct Collector {
    child: Child,
    log: Arc<Mutex<String>>,
    pub grpc: String,
    pub http: String,
    pub metrics: String,
    pub health: String,
    pub api: String,
}

/// What differs between collectors under test; YAML in flow style.
pub struct Setup<'a> {
    /// OTLP/gRPC, OTLP/HTTP, metrics, health, refusal API.
    pub addresses: [String; 5],
    pub refusal_api: &'a str,
    pub telemetry: &'a str,
    pub processors: &'a str,
    pub extension: &'a str,
    pub exporters: &'a str,
    pub pipelines: &'a str,
    pub service: &'a str,
    /// What the shell does that becomes the collector.
    pub prelude: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            addresses: free_addresses(),
            refusal_api: "",
            telemetry: "",
            processors: "{refusal: }",
            extension: "",
            exporters: "",
            pipelines: "",
            service: "",
            prelude: "",
        }
    }
}

impl Collector {
    /// Starts it on free ports and waits until it is ready. The rest of the configuration is YAML in flow style.
    pub fn start(exporters: &str, pipelines: &str, service: &str) -> Self {
        Self::start_with("{refusal: }", exporters, pipelines, service)
    }

    pub fn start_with(processors: &str, exporters: &str, pipelines: &str, service: &str) -> Self {
        Self::launch(Setup { processors, exporters, pipelines, service, ..Setup::default() })
    }

    /// With these keys of `service.telemetry`, beside its metrics.
    pub fn start_telling(telemetry: &str, exporters: &str, pipelines: &str) -> Self {
        Self::launch(Setup { telemetry, exporters, pipelines, ..Setup::default() })
    }

    /// The same, with OTLP/HTTP at a port of this machine.
    pub fn start_telling_at(http: u16, telemetry: &str, exporters: &str, pipelines: &str) -> Self {
        let [grpc, _, metrics, health, api] = free_addresses();
        let addresses = [grpc, format!("127.0.0.1:{http}"), metrics, health, api];
        Self::launch(Setup { addresses, telemetry, exporters, pipelines, ..Setup::default() })
    }

    /// With queues on disk at `file_storage`, which is that extension's configuration.
    pub fn start_stored(file_storage: &str, exporters: &str, pipelines: &str, service: &str) -> Self {
        let extension = format!("file_storage: {file_storage}");
        Self::launch(Setup { extension: &extension, exporters, pipelines, service, ..Setup::default() })
    }

    pub fn launch(setup: Setup<'_>) -> Self {
        let Setup { addresses, refusal_api, telemetry, processors, extension, exporters, .. } = setup;
        let Setup { pipelines, service, prelude, .. } = setup;
        let [grpc, http, metrics, health, api] = addresses;
        let (metrics_host, metrics_port) = metrics.split_once(':').unwrap();
        let running = if extension.is_empty() { "" } else { ", file_storage" };
        let config = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{grpc}'}}, http: {{endpoint: '{http}'}}}}}}}}
processors: {processors}
extensions: {{health_check: {{endpoint: '{health}'}}, refusal_api: {{endpoint: '{api}', {refusal_api}}}, {extension}}}
exporters: {exporters}
service:
  extensions: [health_check, refusal_api{running}]
  telemetry:
    {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: '{metrics_host}', port: {metrics_port}}}}}}}}}]}}, {telemetry}}}
  pipelines: {pipelines}
  {service}
"
        );
        Self::spawn(&config, &[("PRELUDE", prelude)], [grpc, http, metrics, health, api])
    }

    /// Starts it with a whole configuration, as the container of a sidecar has it, but on free ports.
    pub fn start_sidecar(config: &str, variables: &[(&str, &str)]) -> Self {
        let addresses: [String; 5] = free_addresses();
        let [grpc, http, metrics, health, _] = &addresses;
        let (_, metrics_port) = metrics.split_once(':').unwrap();
        let config = config
            .replace("127.0.0.1:4317", grpc)
            .replace("127.0.0.1:4318", http)
            .replace("${env:MY_POD_IP}:13133", health)
            .replace("port: 8888", &format!("port: {metrics_port}"));
        Self::spawn(&config, &[variables, &[("MY_POD_IP", "127.0.0.1")]].concat(), addresses)
    }

    /// The addresses are those of gRPC, HTTP, metrics, health and the refusal API in the configuration.
    fn spawn(config: &str, variables: &[(&str, &str)], addresses: [String; 5]) -> Self {
        let [grpc, http, metrics, health, api] = addresses;
        let mut child = Command::new("sh")
            .args(["-c", "eval \"$PRELUDE\"; exec \"$0\" --config env:TEST_CONFIG"])
            .arg(env!("CARGO_BIN_EXE_refusal-collector"))
            .env("PRELUDE", "")
            .env("TEST_CONFIG", config)
            .env_remove("OTEL_RESOURCE_ATTRIBUTES")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, stderr) = (log.clone(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let mut collector = Collector { child, log, grpc, http, metrics, health, api };
        collector.wait_until("it is ready", |collector| get(&collector.health, "/ready").0 == 200);
        collector
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `/metrics` in Prometheus' text form.
    pub fn scrape(&self) -> String {
        let (status, body) = get(&self.metrics, "/metrics");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The sum of all series of `name` whose labels hold all of `labels`, each as in `key="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        sum(&self.scrape(), name, labels)
    }

    /// The exporters' account, from one scrape.
    pub fn account(&self) -> Account {
        Account::of(&self.scrape(), &[])
    }

    /// Waits until `is_so`, which `what` describes.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn(&Collector) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the collector ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`, `KILL`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// How it has ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the process has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has become of the items of the exporters whose labels were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub accepted: u64,
    pub restored: u64,
    pub exported: u64,
    pub rejected: u64,
    pub dropped: u64,
    /// That part of `dropped` that could not be read from disk.
    pub quarantined: u64,
    pub queued: u64,
    pub in_flight: u64,
}

impl Account {
    pub fn of(scrape: &str, labels: &[&str]) -> Self {
        let count = |name: &str| sum(scrape, &format!("refusal_collector_exporter_{name}"), labels);
        let quarantined = [labels, &["reason=\"quarantined\""]].concat();
        Account {
            accepted: count("accepted_items_total"),
            restored: count("restored_items_total"),
            exported: count("exported_items_total"),
            rejected: count("rejected_items_total"),
            dropped: count("dropped_items_total"),
            quarantined: sum(scrape, "refusal_collector_exporter_dropped_items_total", &quarantined),
            queued: count("queued_items"),
            in_flight: count("in_flight_items"),
        }
    }

    pub fn balances(&self) -> bool {
        let left = self.queued + self.in_flight;
        self.accepted + self.restored == self.exported + self.rejected + self.dropped + left
    }

    /// Whether everything has left.
    pub fn is_settled(&self) -> bool {
        (self.queued, self.in_flight) == (0, 0)
    }
}

/// The sum of all series of `name` in Prometheus' text form whose labels hold all of `labels`.
pub fn sum(scrape: &str, name: &str, labels: &[&str]) -> u64 {
    let of_metric = scrape.lines().filter_map(|line| line.strip_prefix(name));
    let matching = of_metric
        .filter(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)));
    matching.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// Status and body of a GET request; status 0 when nobody answers.
pub fn get(address: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return (0, String::new()) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).is_err() || stream.read_to_string(&mut answer).is_err() {
        return (0, String::new());
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (status, body)
}

fn unchunked(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some((chunk, next)) = after.split_at_checked(size).filter(|_| size > 0) else { break };
        whole.push_str(chunk);
        rest = next.trim_start_matches("\r\n");
    }
    whole
}

pub fn free_addresses<const N: usize>() -> [String; N] {
    // All are held until all are known, so that they differ.
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().to_string())
}
