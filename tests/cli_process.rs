//! The program as its user calls it: real processes, their exit codes and what they print.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take for what it does in a moment.
const DEADLINE: Duration = Duration::from_secs(30);

const VALID: &str = "
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
";

#[test]
fn a_valid_configuration_is_validated_without_a_word() {
    let output = call(&["validate", "--config=env:OTEL_CONFIG"], &[("OTEL_CONFIG", VALID)]);
    assert_eq!((code(&output), stdout(&output), stderr(&output)), (0, String::new(), String::new()));
    assert_eq!(code(&call(&["validate"], &[])), 0, "the default is valid");
}

#[test]
fn all_errors_go_to_standard_error_with_exit_code_2() {
    let text = VALID.replace("debug: }", "debug: {verbosity: loud}, otlp: {endpont: x}}");
    for arguments in [
        &["validate", "--config", "env:OTEL_CONFIG"][..],
        &["run", "--config", "env:OTEL_CONFIG"],
        &["--config", "env:OTEL_CONFIG"],
        &["print-config", "--config", "env:OTEL_CONFIG"],
    ] {
        let output = call(arguments, &[("OTEL_CONFIG", &text)]);
        assert_eq!((code(&output), stdout(&output)), (2, String::new()), "{arguments:?}");
        let told = stderr(&output);
        assert!(told.contains("error: env:OTEL_CONFIG:3:32: exporters.debug.verbosity: \"loud\""), "{told}");
        assert!(told.contains("error: env:OTEL_CONFIG:3:46: unknown key \"endpont\""), "{told}");
        assert!(told.contains("2 errors in the configuration"), "{told}");
    }
}

#[test]
fn warnings_do_not_change_the_exit_code() {
    let text = format!("{VALID}processors: {{batch: }}\n");
    let output = call(&["validate", "--config=env:OTEL_CONFIG"], &[("OTEL_CONFIG", &text)]);
    assert_eq!(code(&output), 0);
    assert!(
        stderr(&output)
            .starts_with("warning: env:OTEL_CONFIG:5:14: processors.batch is defined and nowhere used")
    );
}

#[test]
fn a_printed_configuration_is_valid_and_prints_the_same() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["yaml", "json"] {
        let file = directory.path().join(format!("printed.{format}")).display().to_string();
        let variables = [("OTEL_CONFIG", VALID)];
        let print = ["print-config", "--format", format, "--config", "env:OTEL_CONFIG"];
        let first = call(&print, &variables);
        assert_eq!((code(&first), stderr(&first)), (0, String::new()));
        fs::write(&file, stdout(&first)).unwrap();
        assert_eq!(code(&call(&["validate", "--config", &file], &[])), 0);
        let again = call(&["print-initial-config", "--format", format, "--config", &file], &[]);
        assert_eq!(stdout(&again), stdout(&first));
    }
}

#[test]
fn secrets_are_printed_only_unredacted() {
    let set = "exporters.otlp={endpoint: 'backend:4317', headers: {authorization: Bearer s3cr3t}}";
    let variables = [("OTEL_CONFIG", VALID)];
    let redacted = call(&["print-config", "--config=env:OTEL_CONFIG", "--set", set], &variables);
    assert!(stdout(&redacted).contains("[REDACTED]"), "{}", stdout(&redacted));
    assert!(!format!("{}{}", stdout(&redacted), stderr(&redacted)).contains("s3cr3t"));
    let mode = ["print-config", "--mode=unredacted", "--config=env:OTEL_CONFIG", "--set", set];
    assert!(stdout(&call(&mode, &variables)).contains("authorization: Bearer s3cr3t"));
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    for arguments in [&["--colour"][..], &["frobnicate"], &["validate", "--mode=x"], &["--config"]] {
        let output = call(arguments, &[]);
        assert_eq!((code(&output), stdout(&output)), (2, String::new()), "{arguments:?}");
        assert!(stderr(&output).contains("--help"), "{}", stderr(&output));
    }
    for arguments in [&["--help"][..], &["run", "--help"], &["help", "validate"], &["--version"]] {
        assert_eq!(code(&call(arguments, &[])), 0, "{arguments:?}");
    }
    assert_eq!(
        stdout(&call(&["--version"], &[])),
        format!("refusal-collector {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn components_are_listed_as_yaml() {
    let output = call(&["components"], &[]);
    let components: serde_json::Value = serde_saphyr::from_str(&stdout(&output)).unwrap();
    let names = |section: &str| -> Vec<String> {
        let list = components[section].as_array().unwrap();
        list.iter().map(|component| component["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("receivers"), ["otlp", "ext_proc"]);
    assert_eq!(names("exporters"), ["otlp_grpc", "otlp_http", "debug"]);
    assert_eq!(components["buildinfo"]["version"], env!("CARGO_PKG_VERSION"));
    for section in ["receivers", "processors", "exporters", "extensions"] {
        for name in names(section) {
            let output = call(&["validate", "--set", &format!("{section}.{name}=")], &[]);
            let told = stderr(&output);
            assert!(!told.contains("unknown") && !told.contains("not built yet"), "{name}: {told}");
        }
    }
}

#[test]
fn a_running_collector_ends_with_0_when_it_is_told_to() {
    let mut running = Running::start(&[("OTEL_CONFIG", &runnable("debug: "))]);
    running.wait_for("requests are taken");
    running.terminate();
    assert_eq!(running.exit_code(), 0);
}

#[test]
fn an_address_that_is_taken_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let set = format!("receivers.otlp.protocols.http.endpoint={}", taken.local_addr().unwrap());
    let variables = [("OTEL_CONFIG", &*runnable("debug: "))];
    let output = call(&["--config=env:OTEL_CONFIG", "--set", &set], &variables);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("error: receiver otlp"), "{}", stderr(&output));
}

#[test]
fn data_that_is_lost_at_the_end_is_said_and_ends_with_3() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exporter = format!("otlp: {{endpoint: '{nobody}', tls: {{insecure: true}}}}");
    let mut running = Running::start(&[("OTEL_CONFIG", &runnable(&exporter))]);
    let listening = running.wait_for("transport=http");
    let port = listening.trim().rsplit(':').next().unwrap().parse().unwrap();
    running.wait_for("requests are taken");
    assert!(
        post(port, r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"lost"}]}]}]}"#).contains(" 200 ")
    );
    running.terminate();
    let said = running.wait_for("stopped with data lost");
    assert!(said.contains("1 accepted item could"), "{said}");
    assert_eq!(running.exit_code(), 3);
}

/// A collector that listens on free ports.
struct Running {
    process: Child,
    errors: Receiver<String>,
}

impl Running {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
            .arg("--config=env:OTEL_CONFIG")
            .env_clear()
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, errors) = mpsc::channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { process, errors }
    }

    /// The first line on standard error that holds `text`, from where the last wait ended.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("{text:?} was not said: {error}"),
            }
        }
    }

    fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            match self.process.try_wait().unwrap() {
                Some(status) => return status.code().unwrap(),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("the collector does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A configuration with this exporter, on free ports, that gives up soon.
fn runnable(exporter: &str) -> String {
    let name = exporter.split(':').next().unwrap();
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
         exporters: {{{exporter}}}\n\
         service:\n  shutdown_timeout: 100ms\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [{name}]}}}}\n"
    )
}

fn post(port: u16, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
    write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn call(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_refusal-collector"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
