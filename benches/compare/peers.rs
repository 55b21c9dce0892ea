//! The collectors that are compared, and how each is started for the same job.

use crate::measure::load::{Case, Coding, Transport};
use crate::measure::program::{Program, free_address};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A collector in one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// This one without a processor: the floor.
    Untouched,
    Memory,
    Disk,
    OtelcolForward,
    OtelcolMemory,
    OtelcolFile,
    /// It only forwards, and always compresses.
    Rotel,
}

impl Row {
    pub const ALL: [Row; 7] = [
        Row::Untouched,
        Row::Memory,
        Row::Disk,
        Row::OtelcolForward,
        Row::OtelcolMemory,
        Row::OtelcolFile,
        Row::Rotel,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Row::Untouched => "refusal-collector, untouched",
            Row::Memory => "refusal-collector, memory queue",
            Row::Disk => "refusal-collector, disk queue",
            Row::OtelcolForward => "otelcol, forwarding only",
            Row::OtelcolMemory => "otelcol, memory queue",
            Row::OtelcolFile => "otelcol, file queue",
            Row::Rotel => "Rotel, forwarding only",
        }
    }

    /// Rotel compresses with gzip whatever it is told, so that it has a place only where all do.
    pub fn can(self, case: Case) -> bool {
        self != Row::Rotel || case.coding == Coding::Gzip && case.transport == Transport::Grpc
    }

    /// What it calls the counter of responses.
    fn counter(self) -> Option<&'static str> {
        match self {
            Row::Memory | Row::Disk => Some("llm_responses_total"),
            Row::OtelcolMemory | Row::OtelcolFile => Some("llm_refusal_responses_total"),
            Row::Untouched | Row::OtelcolForward | Row::Rotel => None,
        }
    }
}

/// The programs that are here.
pub struct Peers {
    otelcol: Option<PathBuf>,
    rotel: Option<PathBuf>,
}

/// A collector that runs, and where and by what name it counts.
pub struct Running {
    pub program: Program,
    pub counter: Option<(String, &'static str)>,
    /// Queues on disk.
    _directory: tempfile::TempDir,
}

impl Peers {
    /// Builds or installs them where they are not there yet.
    pub fn get() -> Self {
        Peers { otelcol: peer("otelcol"), rotel: peer("rotel") }
    }

    pub fn program(&self, row: Row) -> Option<&Path> {
        match row {
            Row::Untouched | Row::Memory | Row::Disk => {
                Some(Path::new(env!("CARGO_BIN_EXE_refusal-collector")))
            }
            Row::OtelcolForward | Row::OtelcolMemory | Row::OtelcolFile => self.otelcol.as_deref(),
            Row::Rotel => self.rotel.as_deref(),
        }
    }

    /// `None` where the program is not here.
    pub async fn start(&self, row: Row, case: Case, backend: &str) -> Option<Running> {
        let directory = tempfile::tempdir().expect("a directory for queues");
        let (address, other, metrics) = (free_address(), free_address(), free_address());
        let (grpc, http) = match case.transport {
            Transport::Grpc => (&address, &other),
            Transport::Http => (&other, &address),
        };
        let receivers = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{grpc}'}}, http: {{endpoint: '{http}'}}}}}}}}"
        );
        let exporter = match case.transport {
            Transport::Grpc => "otlp_grpc/backend",
            Transport::Http => "otlp_http/backend",
        };
        let mut command = Command::new(self.program(row)?);
        match row {
            Row::Untouched | Row::Memory | Row::Disk => {
                let config = ours(row, case, backend, &receivers, exporter, &metrics, directory.path());
                command.args(["--config", "env:BENCH_CONFIG"]).env("BENCH_CONFIG", config);
            }
            Row::OtelcolForward | Row::OtelcolMemory | Row::OtelcolFile => {
                let file =
                    if row == Row::OtelcolForward { "otelcol-forward.yaml" } else { "otelcol-refusal.yaml" };
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare").join(file);
                let laid_over = otelcol(row, case, backend, &receivers, exporter, &metrics, directory.path());
                command.arg("--config").arg(file).arg(format!("--config=yaml:{laid_over}"));
                command.env("BACKEND_ENDPOINT", backend);
            }
            Row::Rotel => {
                command.args(["start", "--exporter", "otlp", "--otlp-exporter-endpoint"]);
                command.arg(format!("http://{backend}"));
                command.args(["--otlp-grpc-endpoint", grpc, "--otlp-http-endpoint", http]);
                command.args(["--otlp-grpc-max-recv-msg-size-mib", "64", "--pid-file"]);
                command.arg(directory.path().join("pid"));
            }
        }
        let program = Program::start(&mut command, address).await;
        let counter = row.counter().map(|name| (metrics, name));
        Some(Running { program, counter, _directory: directory })
    }
}

fn ours(
    row: Row,
    case: Case,
    backend: &str,
    receivers: &str,
    exporter: &str,
    metrics: &str,
    directory: &Path,
) -> String {
    let (host, port) = metrics.split_once(':').expect("host and port");
    let processors = if row == Row::Untouched { "[]" } else { "[refusal]" };
    let (queue, extensions) = match row {
        Row::Disk => (", sending_queue: {storage: file_storage}", "[file_storage]"),
        _ => ("", "[]"),
    };
    format!(
        "{receivers}
processors: {{refusal: }}
extensions: {{file_storage: {{directory: '{}', create_directory: true, fsync: true}}}}
exporters: {{{exporter}: {{endpoint: 'http://{backend}', compression: {}, tls: {{insecure: true}}{queue}}}}}
service:
  extensions: {extensions}
  telemetry:
    logs: {{level: error}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: '{host}', port: {port}}}}}}}}}]}}
  pipelines: {{traces: {{receivers: [otlp], processors: {processors}, exporters: [{exporter}]}}}}
",
        directory.display(),
        case.coding.name(),
    )
}

fn otelcol(
    row: Row,
    case: Case,
    backend: &str,
    receivers: &str,
    exporter: &str,
    metrics: &str,
    directory: &Path,
) -> String {
    let forwards = row == Row::OtelcolForward;
    let storage = if row == Row::OtelcolFile { "file_storage/queue" } else { "null" };
    let queue = match row {
        Row::OtelcolForward => String::new(),
        _ => format!(
            ", retry_on_failure: {{max_elapsed_time: 0s}}, sending_queue: {{storage: {storage}, queue_size: 10000,
               num_consumers: 4, block_on_overflow: true}}"
        ),
    };
    let prometheus =
        if forwards { String::new() } else { format!(", prometheus: {{endpoint: '{metrics}'}}") };
    let count = if forwards { "" } else { ", count/llm" };
    let extensions = match row {
        Row::OtelcolForward => "",
        _ => &format!(
            "extensions: {{health_check: {{endpoint: '{}'}}, file_storage/queue: {{directory: '{}'}}}}",
            free_address(),
            directory.display()
        ),
    };
    let endpoint = match case.transport {
        Transport::Grpc => backend.to_owned(),
        Transport::Http => format!("http://{backend}"),
    };
    format!(
        "{receivers}
{extensions}
exporters: {{{exporter}: {{endpoint: '{endpoint}', compression: {}, tls: {{insecure: true}}{queue}}}{prometheus}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines: {{traces: {{exporters: [{exporter}{count}]}}}}
",
        case.coding.name(),
    )
}

/// What `scripts/peers` says is the program; it says itself why there is none.
fn peer(name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/peers").join(name);
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("the script runs");
    match output.status.code() {
        Some(0) => Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())),
        Some(77) => None,
        _ => panic!("scripts/peers/{name} failed"),
    }
}
