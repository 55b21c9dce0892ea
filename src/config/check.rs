//! What types alone cannot say: references are defined, addresses are addresses, numbers make sense.

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::endpoint;
use super::model::{
    Batch, ClientTls, ComponentId, Compression, Config, Exporter, Extension, GrpcServer, HttpServer, Logs,
    MemoryLimiter, OtlpGrpcExporter, OtlpHttpExporter, OtlpReceiver, Processor, QueueBatch, Receiver,
    RefusalProcessor, Retry, Secret, SendingQueue, ServerTls, Sizer,
};
use super::node::{Expansion, Node, Path, Value};
use http::{HeaderName, HeaderValue};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Notes what is wrong in `config`. `tree` is what it was read from, and says where.
pub fn check(config: &Config, tree: &Node, findings: &mut Findings) {
    let mut checker = Checker { tree, findings };
    for (id, receiver) in &config.receivers {
        let path = Path::of(["receivers"]).key(&id.to_string());
        match receiver {
            Receiver::Otlp(receiver) => checker.otlp_receiver(receiver, &path),
        }
    }
    for (id, processor) in &config.processors {
        let path = Path::of(["processors"]).key(&id.to_string());
        match processor {
            Processor::Refusal(processor) => checker.refusal(processor, &path),
            Processor::MemoryLimiter(limiter) => checker.memory_limiter(limiter, &path),
            Processor::Batch(batch) => checker.batch(batch, &path),
        }
    }
    for (id, exporter) in &config.exporters {
        let path = Path::of(["exporters"]).key(&id.to_string());
        match exporter {
            Exporter::OtlpGrpc(exporter) => checker.otlp_grpc(exporter, &path),
            Exporter::OtlpHttp(exporter) => checker.otlp_http(exporter, &path),
            Exporter::Debug(_) => {}
        }
    }
    for (id, extension) in &config.extensions {
        let path = Path::of(["extensions"]).key(&id.to_string());
        checker.extension(extension, &path);
    }
    checker.service(config);
    checker.listeners(config);
    checker.unused(config);
}

struct Checker<'a> {
    tree: &'a Node,
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn otlp_receiver(&mut self, receiver: &OtlpReceiver, path: &Path) {
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

    fn grpc_server(&mut self, server: &GrpcServer, path: &Path) {
        self.address(&path.key("endpoint"), endpoint::check_listener(&server.endpoint));
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
        self.address(&path.key("endpoint"), endpoint::check_listener(&server.endpoint));
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
                self.invalid(&path.keys(["tls", key]), "a listener with TLS needs a certificate and its key");
            }
        }
        if tls.reload_interval.is_some_and(|interval| interval.is_zero()) {
            self.invalid(&path.keys(["tls", "reload_interval"]), "must be longer than zero");
        }
    }

    fn refusal(&mut self, processor: &RefusalProcessor, path: &Path) {
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
        ];
        for (key, number) in numbers {
            self.at_least(1, number, &path.keys(["limits", key]));
        }
    }

    fn memory_limiter(&mut self, limiter: &MemoryLimiter, path: &Path) {
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

    fn batch(&mut self, batch: &Batch, path: &Path) {
        if batch.send_batch_max_size != 0 && batch.send_batch_max_size < batch.send_batch_size {
            self.invalid(&path.key("send_batch_max_size"), "must be 0 or at least send_batch_size");
        }
        if batch.send_batch_size == 0 && batch.timeout.is_zero() {
            self.invalid(path, "send_batch_size and timeout cannot both be zero: nothing would be merged");
        }
    }

    fn otlp_grpc(&mut self, exporter: &OtlpGrpcExporter, path: &Path) {
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

    fn otlp_http(&mut self, exporter: &OtlpHttpExporter, path: &Path) {
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

    fn extension(&mut self, extension: &Extension, path: &Path) {
        match extension {
            Extension::HealthCheck(health) => {
                self.address(&path.key("endpoint"), endpoint::check_listener(&health.endpoint));
                self.url_path(&health.path, &path.key("path"));
            }
            Extension::FileStorage(storage) => {
                if storage.directory.as_os_str().is_empty() {
                    self.invalid(&path.key("directory"), "must not be empty");
                }
            }
            Extension::BearerTokenAuth(auth) => match (&auth.token, &auth.filename) {
                (None, None) => self.invalid(path, "token or filename must be there"),
                (Some(_), Some(_)) => self.invalid(&path.key("token"), "cannot be combined with filename"),
                (Some(_), None) | (None, Some(_)) => {}
            },
            Extension::RefusalApi(api) => {
                self.address(&path.key("endpoint"), endpoint::check_listener(&api.endpoint));
            }
        }
    }

    fn service(&mut self, config: &Config) {
        let service = Path::of(["service"]);
        self.references(&config.service.extensions, "extensions", &service.key("extensions"));
        self.log_level(&config.service.telemetry.logs, &service.keys(["telemetry", "logs", "level"]));
        if config.service.admission.budget.is_some_and(|budget| budget == 0) {
            self.invalid(&service.keys(["admission", "budget_mib"]), "must be at least 1");
        }
        let pipelines = service.key("pipelines");
        if config.service.pipelines.is_empty() {
            self.invalid(&pipelines, "there must be at least one pipeline: traces, logs or metrics");
        }
        for (id, pipeline) in &config.service.pipelines {
            let path = pipelines.key(&id.to_string());
            self.references(&pipeline.receivers, "receivers", &path.key("receivers"));
            self.references(&pipeline.processors, "processors", &path.key("processors"));
            self.references(&pipeline.exporters, "exporters", &path.key("exporters"));
            for (key, list) in [("receivers", &pipeline.receivers), ("exporters", &pipeline.exporters)] {
                if list.is_empty() {
                    self.invalid(&path.key(key), "a pipeline needs at least one");
                }
            }
        }
        for (id, exporter) in &config.exporters {
            let path = Path::of(["exporters"]).key(&id.to_string());
            let (queue, auth) = match exporter {
                Exporter::OtlpGrpc(exporter) => (&exporter.queue, &exporter.auth),
                Exporter::OtlpHttp(exporter) => (&exporter.queue, &exporter.auth),
                Exporter::Debug(_) => continue,
            };
            if let Some(storage) = &queue.storage {
                self.extension_of("file_storage", storage, &path.keys(["sending_queue", "storage"]));
            }
            if let Some(auth) = auth {
                self.extension_of(
                    "bearertokenauth",
                    &auth.authenticator,
                    &path.keys(["auth", "authenticator"]),
                );
            }
        }
        for (id, receiver) in &config.receivers {
            let Receiver::Otlp(otlp) = receiver;
            let auth = [
                ("grpc", otlp.grpc.as_ref().and_then(|grpc| grpc.auth.as_ref())),
                ("http", otlp.http.as_ref().and_then(|http| http.auth.as_ref())),
            ];
            for (protocol, auth) in auth {
                if let Some(auth) = auth {
                    let path = Path::of(["receivers"]).key(&id.to_string());
                    let path = path.keys(["protocols", protocol, "auth", "authenticator"]);
                    self.extension_of("bearertokenauth", &auth.authenticator, &path);
                }
            }
        }
    }

    fn references(&mut self, ids: &[ComponentId], section: &'static str, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, id) in ids.iter().enumerate() {
            let place = self.element(path, index, id);
            if !self.is_defined(section, id) {
                self.undefined(section, id, &place);
            } else if !seen.insert(id) {
                self.invalid(&place, &format!("{id} is listed twice"));
            }
        }
    }

    fn extension_of(&mut self, kind: &str, id: &ComponentId, path: &Path) {
        if !self.is_defined("extensions", id) {
            self.undefined("extensions", id, path);
        } else if id.kind != kind {
            self.invalid(path, &format!("{id} is no {kind}"));
        }
    }

    fn log_level(&mut self, logs: &Logs, path: &Path) {
        let level = logs.level.to_lowercase();
        let is_filter = level.contains(['=', ',']) && EnvFilter::try_new(&level).is_ok();
        if !is_filter && !LOG_LEVELS.contains(&level.as_str()) {
            let known = LOG_LEVELS.map(str::to_owned).to_vec();
            self.error(path, Problem::UnknownWord { path: path.clone(), word: logs.level.clone(), known });
        }
    }

    /// No two listen at one address, and no exporter sends to a listener of this program.
    fn listeners(&mut self, config: &Config) {
        let mut taken: BTreeMap<(String, u16), Path> = BTreeMap::new();
        for (endpoint, path) in listeners(config) {
            let Some(address) = endpoint::identity(&endpoint) else { continue };
            match taken.get(&address) {
                Some(other) => self.invalid(&path, &format!("{endpoint} is the address of {other} already")),
                None => drop(taken.insert(address, path)),
            }
        }
        for (id, exporter) in &config.exporters {
            let endpoint = match exporter {
                Exporter::OtlpGrpc(exporter) => &exporter.endpoint,
                Exporter::OtlpHttp(exporter) => &exporter.endpoint,
                Exporter::Debug(_) => continue,
            };
            let Some((host, port)) = endpoint::identity(endpoint) else { continue };
            let everywhere = (host == "localhost").then(|| taken.get(&("*".to_owned(), port))).flatten();
            if let Some(receiver) = taken.get(&(host, port)).or(everywhere) {
                let path = Path::of(["exporters"]).key(&id.to_string()).key("endpoint");
                self.invalid(&path, &format!("{endpoint} is {receiver}: data would go round for ever"));
            }
        }
    }

    fn unused(&mut self, config: &Config) {
        let pipelines = || config.service.pipelines.values();
        let mut extensions: BTreeSet<&ComponentId> = config.service.extensions.iter().collect();
        for exporter in config.exporters.values() {
            let (storage, auth) = match exporter {
                Exporter::OtlpGrpc(exporter) => (&exporter.queue.storage, &exporter.auth),
                Exporter::OtlpHttp(exporter) => (&exporter.queue.storage, &exporter.auth),
                Exporter::Debug(_) => continue,
            };
            extensions.extend(storage.iter().chain(auth.iter().map(|auth| &auth.authenticator)));
        }
        self.unused_of(
            "receivers",
            config.receivers.keys(),
            &pipelines().flat_map(|p| &p.receivers).collect(),
        );
        self.unused_of(
            "processors",
            config.processors.keys(),
            &pipelines().flat_map(|p| &p.processors).collect(),
        );
        self.unused_of(
            "exporters",
            config.exporters.keys(),
            &pipelines().flat_map(|p| &p.exporters).collect(),
        );
        self.unused_of("extensions", config.extensions.keys(), &extensions);
    }

    fn unused_of<'c>(
        &mut self,
        section: &str,
        defined: impl Iterator<Item = &'c ComponentId>,
        used: &BTreeSet<&ComponentId>,
    ) {
        for id in defined.filter(|id| !used.contains(id)) {
            let path = Path::of([section]).key(&id.to_string());
            let place = self.tree.place(&path);
            self.findings.warning(Diagnostic::at(&place, Problem::Unused { path }));
        }
    }

    fn target(&mut self, endpoint: &str, check: fn(&str) -> Result<(), String>, path: &Path) {
        match endpoint {
            "" if self.findings.has_misspelling_of(path) => {}
            "" => match self.tree.find(path).and_then(|node| node.expansion.as_ref()) {
                Some(Expansion { reference, .. }) => {
                    self.invalid(path, &format!("must not be empty, and {reference} is"));
                }
                None => self.invalid(path, "must not be empty: where should data go?"),
            },
            endpoint => self.address(path, check(endpoint)),
        }
    }

    fn address(&mut self, path: &Path, checked: Result<(), String>) {
        if let Err(reason) = checked {
            self.invalid(path, &reason);
        }
    }

    fn url_path(&mut self, url_path: &str, path: &Path) {
        if !url_path.starts_with('/')
            || url_path.contains(|c: char| c.is_whitespace() || c == '?' || c == '#')
        {
            self.invalid(path, &format!("{url_path:?} is no path: it starts with / and has no query"));
        }
    }

    fn at_least(&mut self, least: usize, number: usize, path: &Path) {
        if number < least {
            self.invalid(path, &format!("must be at least {least}"));
        }
    }

    fn not_zero(&mut self, duration: Duration, path: &Path) {
        if duration.is_zero() {
            self.invalid(path, "must be longer than zero; write a long time, such as 24h, for no limit");
        }
    }

    fn invalid(&mut self, path: &Path, reason: &str) {
        self.error(path, Problem::Invalid { path: path.clone(), reason: reason.to_owned() });
    }

    fn undefined(&mut self, section: &'static str, id: &ComponentId, path: &Path) {
        let known = self.defined(section);
        self.error(path, Problem::Undefined { path: path.clone(), id: id.to_string(), section, known });
    }

    /// Notes an error, unless the value is known to be wrong already.
    fn error(&mut self, path: &Path, problem: Problem) {
        let error = Diagnostic::at(&self.tree.value_place(path), problem);
        if self.tree.find(path).is_none() || !self.findings.has_error_at(&error) {
            self.findings.error(error);
        }
    }

    /// What a section defines, whether it could be read or not.
    fn defined(&self, section: &str) -> Vec<String> {
        let section = self.tree.find(&Path::of([section])).and_then(Node::as_map);
        section.into_iter().flat_map(|map| map.iter()).map(|(key, _)| key.name.clone()).collect()
    }

    fn is_defined(&self, section: &str, id: &ComponentId) -> bool {
        self.defined(section).contains(&id.to_string())
    }

    /// The place of an id in a list. The list may have lost elements that could not be read, so it is looked for.
    fn element(&self, list: &Path, index: usize, id: &ComponentId) -> Path {
        let id = id.to_string();
        let is_id = |node: &Node| matches!(&node.value, Value::Scalar(scalar) if scalar.text == id);
        let found = match self.tree.find(list).map(|node| &node.value) {
            Some(Value::List(nodes)) => {
                nodes.iter().enumerate().skip(index).find(|(_, node)| is_id(node)).map(|(index, _)| index)
            }
            _ => None,
        };
        list.index(found.unwrap_or(index))
    }
}

const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

fn listeners(config: &Config) -> Vec<(String, Path)> {
    let mut listeners = Vec::new();
    for (id, receiver) in &config.receivers {
        let Receiver::Otlp(otlp) = receiver;
        let protocols = Path::of(["receivers"]).key(&id.to_string()).key("protocols");
        let grpc =
            otlp.grpc.as_ref().map(|grpc| (grpc.endpoint.clone(), protocols.keys(["grpc", "endpoint"])));
        let http =
            otlp.http.as_ref().map(|http| (http.endpoint.clone(), protocols.keys(["http", "endpoint"])));
        listeners.extend(grpc.into_iter().chain(http));
    }
    for (id, extension) in &config.extensions {
        let path = Path::of(["extensions"]).key(&id.to_string()).key("endpoint");
        match extension {
            Extension::HealthCheck(health) => listeners.push((health.endpoint.clone(), path)),
            Extension::RefusalApi(api) => listeners.push((api.endpoint.clone(), path)),
            Extension::FileStorage(_) | Extension::BearerTokenAuth(_) => {}
        }
    }
    let metrics = &config.service.telemetry.metrics;
    for (index, reader) in metrics.prometheus.iter().enumerate().filter(|_| metrics.enabled) {
        let path = Path::of(["service", "telemetry", "metrics", "readers"]).index(index);
        let host = if reader.host.contains(':') { format!("[{}]", reader.host) } else { reader.host.clone() };
        listeners
            .push((format!("{host}:{}", reader.port), path.keys(["pull", "exporter", "prometheus", "port"])));
    }
    listeners
}
