//! `components`: what a configuration can name.

use super::Exit;

/// In the OpenTelemetry Collector's form, so that tools which read that read this.
const COMPONENTS: &str = "\
receivers:
  - name: otlp
    stability: {logs: Beta, metrics: Beta, traces: Beta}
  - name: ext_proc
    stability: {logs: Beta, traces: Beta}
processors:
  - name: refusal
    stability: {logs: Beta, metrics: Beta, traces: Beta}
  - name: memory_limiter
    stability: {logs: Beta, metrics: Beta, traces: Beta}
  - name: batch
    stability: {logs: Beta, metrics: Beta, traces: Beta}
exporters:
  - name: otlp_grpc
    aliases: [otlp]
    stability: {logs: Beta, metrics: Beta, traces: Beta}
  - name: otlp_http
    aliases: [otlphttp]
    stability: {logs: Beta, metrics: Beta, traces: Beta}
  - name: debug
    stability: {logs: Beta, metrics: Beta, traces: Beta}
extensions:
  - name: health_check
    stability: {extension: Beta}
  - name: file_storage
    stability: {extension: Beta}
  - name: bearertokenauth
    stability: {extension: Beta}
providers:
  - scheme: env
  - scheme: file
  - scheme: yaml
";

pub fn execute() -> Exit {
    let command = env!("CARGO_PKG_NAME");
    let description = env!("CARGO_PKG_DESCRIPTION");
    let version = env!("CARGO_PKG_VERSION");
    super::print(&format!(
        "buildinfo:\n  command: {command}\n  description: {description}\n  version: {version}\n{COMPONENTS}"
    ));
    Exit::Clean
}
