//! Components: addresses are addresses, and numbers make sense.

use super::Checker;
use crate::config::diagnostic::{Diagnostic, Problem};
use crate::config::endpoint;
use crate::config::model::{
    Batch, ClientTls, Compression, Config, ExtProcReceiver, Extension, GrpcServer, HttpServer, MemoryLimiter,
    OtlpGrpcExporter, OtlpHttpExporter, OtlpReceiver, Processor, QueueBatch, RefusalProcessor, Retry, Secret,
    SendingQueue, ServerTls, Sizer,
};
use crate::config::node::Path;
use crate::otlp::Signal;
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;

impl Checker<'_> {
    pub(super) fn otlp_receiver(&mut self, receiver: &OtlpReceiver, path: &Path) {
        let protocols = path.key("protocols");
        if receiver.grpc.is_none() && receiver.http.is_none() {
            self.invalid(&protocols, "at least one protocol must be there: grpc, http or both");
        }
        if let Some(grpc) = &receiver.grpc {
            self.grpc_server(grpc, &protocols.key("grpc"));
        }
        if let Some(http) = &receiver.http {
            self.http_server(http, &protocols.key("http"));
        }
    }

    pub(super) fn ext_proc(&mut self, receiver: &ExtProcReceiver, path: &Path) {
        self.address(&path.key("endpoint"), endpoint::check_endpoint(receiver.listens_at()));
        let numbers = [
            ("max_connections", receiver.max_connections),
            ("max_concurrent_streams", receiver.max_concurrent_streams as usize),
            ("max_open_streams", receiver.max_open_streams),
            ("max_state_mib", receiver.max_state),
            ("max_window_mib", receiver.max_window),
            ("max_answer_size_mib", receiver.max_answer_size),
            ("max_waiting_records", receiver.max_waiting_records),
        ];
        for (key, number) in numbers {
            self.at_least(1, number, &path.key(key));
        }
        self.at_least(1024, receiver.max_header_size as usize, &path.key("max_header_size"));
        self.not_zero(receiver.wait, &path.key("wait"));
        if let Some(header) = &receiver.workload_header
            && HeaderName::from_bytes(header.as_bytes()).is_err()
        {
            self.invalid(&path.key("workload_header"), "this is no name of a header");
        }
        self.server_security(receiver.tls.as_ref(), path);
    }

    fn grpc_server(&mut self, server: &GrpcServer, path: &Path) {
        self.address(&path.key("endpoint"), endpoint::check_endpoint(server.listens_at()));
        self.at_least(1, server.max_message_size, &path.key("max_recv_msg_size_mib"));
        self.at_least(1, server.max_concurrent_streams as usize, &path.key("max_concurrent_streams"));
        self.at_least(1024, server.max_header_size as usize, &path.key("max_header_size"));
        self.at_least(1, server.max_connections, &path.key("max_connections"));
        self.not_zero(server.read_timeout, &path.key("read_timeout"));
        let parameters = path.keys(["keepalive", "server_parameters"]);
        self.not_zero(server.keepalive_time, &parameters.key("time"));
        self.not_zero(server.keepalive_timeout, &parameters.key("timeout"));
        self.server_security(server.tls.as_ref(), path);
    }

    fn http_server(&mut self, server: &HttpServer, path: &Path) {
        self.address(&path.key("endpoint"), endpoint::check_endpoint(server.listens_at()));
        self.at_least(1, server.max_request_body_size, &path.key("max_request_body_size"));
        self.at_least(1, server.max_concurrent_streams as usize, &path.key("max_concurrent_streams"));
        self.at_least(1024, server.max_header_size as usize, &path.key("max_header_size"));
        self.at_least(1, server.max_connections, &path.key("max_connections"));
        self.not_zero(server.read_header_timeout, &path.key("read_header_timeout"));
        self.not_zero(server.read_timeout, &path.key("read_timeout"));
        self.not_zero(server.idle_timeout, &path.key("idle_timeout"));
        let paths = [
            ("traces_url_path", &server.traces_url_path),
            ("logs_url_path", &server.logs_url_path),
            ("metrics_url_path", &server.metrics_url_path),
        ];
        for (position, (key, url_path)) in paths.iter().enumerate() {
            self.url_path(url_path, &path.key(key));
            if paths.iter().take(position).any(|(_, other)| other == url_path) {
                self.invalid(&path.key(key), &format!("{url_path} is the path of another signal already"));
            }
        }
        self.server_security(server.tls.as_ref(), path);
    }

    fn server_security(&mut self, tls: Option<&ServerTls>, path: &Path) {
        let Some(tls) = tls else { return };
        for (key, file) in [("cert_file", &tls.cert_file), ("key_file", &tls.key_file)] {
            if file.is_none() {
                let (path, key) = (path.key("tls"), key.to_owned());
                let place = self.tree.place(&path);
                self.findings.error(Diagnostic::at(&place, Problem::Missing { path, key }));
            }
        }
        if tls.reload_interval.is_some_and(|interval| interval.is_zero()) {
            self.invalid(&path.keys(["tls", "reload_interval"]), "must be longer than zero");
        }
    }

    pub(super) fn refusal(&mut self, processor: &RefusalProcessor, path: &Path) {
        if processor.workload.is_empty() || processor.workload.iter().any(String::is_empty) {
            self.invalid(&path.key("workload"), "name at least one resource attribute, as in [service.name]");
        }
        let limits = &processor.limits;
        let numbers = [
            ("stop_reason_values", limits.stop_reason_values),
            ("providers", limits.providers),
            ("models", limits.models),
            ("instrumentations", limits.instrumentations),
            ("workloads", limits.workloads),
            ("series", limits.series),
            ("seen_responses", limits.seen_responses),
            ("unknown_values", limits.unknown_values),
            ("waiting_events", limits.waiting_events),
        ];
        for (key, number) in numbers {
            self.at_least(1, number, &path.keys(["limits", key]));
        }
    }

    /// Events leave as log records where there is a logs pipeline.
    pub(super) fn events(&mut self, config: &Config) {
        if config.service.pipelines.values().any(|pipeline| pipeline.signal == Signal::Logs) {
            return;
        }
        for (id, processor) in &config.processors {
            let path = Path::component("processors", id).key("events");
            if let Processor::Refusal(refusal) = processor
                && !refusal.events.is_empty()
                && self.tree.find(&path).is_some()
            {
                let reason = "events leave by logs pipelines, and there is none".to_owned();
                let problem = Problem::Ignored { path: path.clone(), reason };
                self.findings.warning(Diagnostic::at(&self.tree.place(&path), problem));
            }
        }
    }

    pub(super) fn memory_limiter(&mut self, limiter: &MemoryLimiter, path: &Path) {
        if limiter.limit.is_none() && limiter.limit_percentage.is_none() {
            self.invalid(path, "limit_mib or limit_percentage must be there");
        }
        if limiter.limit == Some(0) && limiter.limit_percentage.is_none() {
            self.invalid(&path.key("limit_mib"), "must be at least 1");
        }
        for (key, percentage) in [
            ("limit_percentage", limiter.limit_percentage),
            ("spike_limit_percentage", limiter.spike_limit_percentage),
        ] {
            if percentage.is_some_and(|percentage| percentage > 100) {
                self.invalid(&path.key(key), "must be at most 100");
            }
        }
        if let (Some(limit), Some(spike)) = (limiter.limit, limiter.spike_limit)
            && spike >= limit
        {
            self.invalid(&path.key("spike_limit_mib"), "must be smaller than limit_mib");
        }
    }

    pub(super) fn batch(&mut self, batch: &Batch, path: &Path) {
        if batch.send_batch_max_size != 0 && batch.send_batch_max_size < batch.send_batch_size {
            self.invalid(&path.key("send_batch_max_size"), "must be 0 or at least send_batch_size");
        }
        if batch.send_batch_size == 0 && batch.timeout.is_zero() {
            self.invalid(path, "send_batch_size and timeout cannot both be zero: nothing would be merged");
        }
    }

    pub(super) fn otlp_grpc(&mut self, exporter: &OtlpGrpcExporter, path: &Path) {
        self.target(&exporter.endpoint, endpoint::check_grpc_target, &path.key("endpoint"));
        self.client_tls(&exporter.tls, path);
        self.not_zero(exporter.timeout, &path.key("timeout"));
        self.headers(&exporter.headers, path);
        if let Some(keepalive) = &exporter.keepalive {
            self.not_zero(keepalive.time, &path.keys(["keepalive", "time"]));
            self.not_zero(keepalive.timeout, &path.keys(["keepalive", "timeout"]));
        }
        self.queue(&exporter.queue, &path.key("sending_queue"));
        self.retry(&exporter.retry, &path.key("retry_on_failure"));
        self.compression_level(exporter.compression, exporter.compression_level, path);
    }

    pub(super) fn otlp_http(&mut self, exporter: &OtlpHttpExporter, path: &Path) {
        let own = [
            ("traces_endpoint", &exporter.traces_endpoint),
            ("logs_endpoint", &exporter.logs_endpoint),
            ("metrics_endpoint", &exporter.metrics_endpoint),
        ];
        if !exporter.endpoint.is_empty() || own.iter().all(|(_, endpoint)| endpoint.is_none()) {
            self.target(&exporter.endpoint, endpoint::check_url, &path.key("endpoint"));
        }
        for (key, endpoint) in own {
            if let Some(endpoint) = endpoint {
                self.target(endpoint, endpoint::check_url, &path.key(key));
            }
        }
        self.client_tls(&exporter.tls, path);
        self.not_zero(exporter.timeout, &path.key("timeout"));
        self.headers(&exporter.headers, path);
        self.queue(&exporter.queue, &path.key("sending_queue"));
        self.retry(&exporter.retry, &path.key("retry_on_failure"));
        self.compression_level(exporter.compression, exporter.compression_level, path);
    }

    fn client_tls(&mut self, tls: &ClientTls, path: &Path) {
        let tls_path = path.key("tls");
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => self.invalid(&tls_path.key("cert_file"), "needs key_file beside it"),
            (None, Some(_)) => self.invalid(&tls_path.key("key_file"), "needs cert_file beside it"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if tls.reload_interval.is_some_and(|interval| interval.is_zero()) {
            self.invalid(&tls_path.key("reload_interval"), "must be longer than zero");
        }
    }

    fn headers(&mut self, headers: &BTreeMap<String, Secret>, path: &Path) {
        for (name, value) in headers {
            let header = path.keys(["headers", name]);
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                let reason = "this is no name of a header".to_owned();
                let place = self.tree.place(&header);
                self.findings
                    .error(Diagnostic::at(&place, Problem::Invalid { path: header.clone(), reason }));
            }
            if HeaderValue::from_str(value.reveal()).is_err() {
                self.invalid(&header, "the value has characters that a header cannot carry");
            }
        }
    }

    fn compression_level(&mut self, compression: Compression, level: Option<i32>, path: &Path) {
        let Some(level) = level else { return };
        let path = path.keys(["compression_params", "level"]);
        match compression {
            Compression::Gzip if !(0..=9).contains(&level) => {
                self.invalid(&path, "must be from 0 to 9 for gzip")
            }
            Compression::Zstd if !(1..=22).contains(&level) => {
                self.invalid(&path, "must be from 1 to 22 for zstd")
            }
            Compression::Gzip | Compression::Zstd | Compression::None => {}
        }
    }

    fn queue(&mut self, queue: &SendingQueue, path: &Path) {
        self.at_least(1, queue.num_consumers, &path.key("num_consumers"));
        self.at_least(1, queue.queue_size, &path.key("queue_size"));
        if queue.wait_for_result && queue.storage.is_some() {
            self.invalid(&path.key("wait_for_result"), "cannot be combined with storage");
        }
        if let Some(batch) = &queue.batch {
            self.queue_batch(batch, queue, &path.key("batch"));
        }
    }

    fn queue_batch(&mut self, batch: &QueueBatch, queue: &SendingQueue, path: &Path) {
        self.not_zero(batch.flush_timeout, &path.key("flush_timeout"));
        if batch.sizer == Sizer::Requests {
            self.invalid(&path.key("sizer"), "must be items or bytes");
        }
        if batch.max_size != 0 && batch.max_size < batch.min_size {
            self.invalid(&path.key("max_size"), "must be 0 or at least min_size");
        }
        if batch.sizer == queue.sizer && batch.min_size > queue.queue_size {
            self.invalid(&path.key("min_size"), "cannot be larger than queue_size");
        }
    }

    fn retry(&mut self, retry: &Retry, path: &Path) {
        if !retry.enabled {
            return;
        }
        self.not_zero(retry.initial_interval, &path.key("initial_interval"));
        self.not_zero(retry.max_interval, &path.key("max_interval"));
        if !(0.0..=1.0).contains(&retry.randomization_factor) {
            self.invalid(&path.key("randomization_factor"), "must be from 0 to 1");
        }
        if retry.multiplier < 1.0 {
            self.invalid(&path.key("multiplier"), "must be at least 1");
        }
        let longest = retry.max_elapsed_time;
        if !longest.is_zero() && (longest < retry.initial_interval || longest < retry.max_interval) {
            let reason = "must be 0, which means for ever, or at least initial_interval and max_interval";
            self.invalid(&path.key("max_elapsed_time"), reason);
        }
    }

    pub(super) fn extension(&mut self, extension: &Extension, path: &Path) {
        match extension {
            Extension::HealthCheck(health) => {
                self.address(&path.key("endpoint"), endpoint::check_listener(&health.endpoint));
                self.url_path(&health.path, &path.key("path"));
            }
            Extension::FileStorage(storage) => {
                if storage.directory.as_os_str().is_empty() {
                    self.invalid(&path.key("directory"), "must not be empty");
                }
                self.at_least(1, storage.max_size, &path.key("max_size_mib"));
            }
            Extension::BearerTokenAuth(auth) => match (&auth.token, &auth.filename) {
                (None, None) => self.invalid(path, "token or filename must be there"),
                (Some(_), Some(_)) => self.invalid(&path.key("token"), "cannot be combined with filename"),
                (Some(_), None) | (None, Some(_)) => {}
            },
            Extension::RefusalApi(api) => {
                self.address(&path.key("endpoint"), endpoint::check_listener(&api.endpoint));
                self.at_least(1, api.watch_buffer, &path.key("watch_buffer"));
            }
        }
    }
}
