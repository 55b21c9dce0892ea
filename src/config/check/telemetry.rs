//! What the collector tells of itself: it goes somewhere, and not back into the collector.

use super::Checker;
use crate::config::diagnostic::Problem;
use crate::config::endpoint;
use crate::config::model::{
    BatchProcessor, Level, Logs, MetricReader, OtlpProtocol, OtlpTarget, ParentBased, RootSampler, Sampler,
    Telemetry, TelemetryProcessor,
};
use crate::config::node::Path;
use tracing_subscriber::filter::Targets;

impl Checker<'_> {
    pub(super) fn telemetry(&mut self, telemetry: &Telemetry, path: &Path) {
        self.logs(&telemetry.logs, &path.key("logs"));
        let readers = path.keys(["metrics", "readers"]);
        for (index, reader) in telemetry.metrics.readers.iter().enumerate() {
            let MetricReader::Periodic(reader) = reader else { continue };
            let path = readers.index(index).key("periodic");
            self.not_zero(reader.interval, &path.key("interval"));
            self.not_zero(reader.timeout, &path.key("timeout"));
            self.otlp_target(&reader.exporter.otlp, &path.keys(["exporter", "otlp"]));
        }
        self.processors(&telemetry.logs.processors, &path.keys(["logs", "processors"]));
        self.processors(&telemetry.traces.processors, &path.keys(["traces", "processors"]));
        self.sampler(&telemetry.traces.sampler, &path.keys(["traces", "sampler"]));
    }

    fn logs(&mut self, logs: &Logs, path: &Path) {
        self.log_level(logs, &path.key("level"));
        if logs.output_paths.iter().any(|path| path.trim().is_empty()) {
            self.invalid(&path.key("output_paths"), "write stderr, stdout or the path of a file");
        }
        if logs.sampling.is_some_and(|sampling| sampling.tick.is_zero()) {
            self.invalid(&path.keys(["sampling", "tick"]), "must be longer than zero");
        }
    }

    fn log_level(&mut self, logs: &Logs, path: &Path) {
        let level = logs.level.to_lowercase();
        let is_filter = level.contains(['=', ',']) && level.parse::<Targets>().is_ok();
        let is_the_collectors = matches!(level.as_str(), "dpanic" | "panic" | "fatal");
        if !is_filter && !is_the_collectors && !LOG_LEVELS.contains(&level.as_str()) {
            let known = LOG_LEVELS.map(str::to_owned).to_vec();
            self.error(path, Problem::UnknownWord { path: path.clone(), word: logs.level.clone(), known });
        }
    }

    fn processors(&mut self, processors: &[TelemetryProcessor], path: &Path) {
        for (index, TelemetryProcessor::Batch(batch)) in processors.iter().enumerate() {
            let path = path.index(index).key("batch");
            let BatchProcessor { max_queue_size, max_export_batch_size, .. } = *batch;
            self.not_zero(batch.schedule_delay, &path.key("schedule_delay"));
            self.not_zero(batch.export_timeout, &path.key("export_timeout"));
            self.at_least(1, max_queue_size, &path.key("max_queue_size"));
            self.at_least(1, max_export_batch_size, &path.key("max_export_batch_size"));
            if max_export_batch_size > max_queue_size {
                self.invalid(&path.key("max_export_batch_size"), "must not be more than max_queue_size");
            }
            self.otlp_target(&batch.exporter.otlp, &path.keys(["exporter", "otlp"]));
        }
    }

    fn otlp_target(&mut self, target: &OtlpTarget, path: &Path) {
        let check = match target.protocol {
            OtlpProtocol::Grpc => endpoint::check_grpc_target,
            OtlpProtocol::HttpProtobuf => endpoint::check_url,
        };
        self.target(&target.endpoint, check, &path.key("endpoint"));
        self.not_zero(target.timeout, &path.key("timeout"));
        if target.client_certificate.is_some() != target.client_key.is_some() {
            self.invalid(path, "client_certificate and client_key are of use only together");
        }
    }

    fn sampler(&mut self, sampler: &Sampler, path: &Path) {
        let (ratio, path) = match sampler {
            Sampler::TraceIdRatioBased(ratio) => (ratio, path.clone()),
            Sampler::ParentBased(ParentBased { root: RootSampler::TraceIdRatioBased(ratio) }) => {
                (ratio, path.keys(["parent_based", "root"]))
            }
            Sampler::AlwaysOn(_) | Sampler::AlwaysOff(_) | Sampler::ParentBased(_) => return,
        };
        if !(0.0..=1.0).contains(&ratio.ratio) {
            self.invalid(&path.keys(["trace_id_ratio_based", "ratio"]), "must be from 0 to 1");
        }
    }
}

const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// The endpoints of logs and traces, which must not come back to the collector: what it tells of their coming would be told
/// again, for ever. Metrics may: there are not more of them by that.
pub(super) fn round_trips(telemetry: &Telemetry) -> impl Iterator<Item = (&str, Path)> {
    let path = Path::of(["service", "telemetry"]);
    let traces = (telemetry.traces.level != Level::None).then_some(&telemetry.traces.processors);
    let signals = [("logs", Some(&telemetry.logs.processors)), ("traces", traces)];
    signals.into_iter().flat_map(move |(signal, processors)| {
        let path = path.keys([signal, "processors"]);
        processors.into_iter().flatten().enumerate().map(move |(index, TelemetryProcessor::Batch(batch))| {
            let path = path.index(index).keys(["batch", "exporter", "otlp", "endpoint"]);
            (batch.exporter.otlp.endpoint.as_str(), path)
        })
    })
}
