//! A configuration of the OpenTelemetry Collector is taken as it is, or what cannot be taken is told.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::config::{self, Diagnostic, Environment, Problem, Sources};
use std::collections::{BTreeMap, BTreeSet};

/// Every key that the Collector's otlp receiver, memory_limiter, batch, OTLP and debug exporters, health_check and telemetry
/// have with a default, and that changes nothing here or is built.
const ACCEPTED: &str = "
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: localhost:4317
        transport: tcp
        max_recv_msg_size_mib: 4
        max_concurrent_streams: 16
        read_buffer_size: 524288
        write_buffer_size: 0
        include_metadata: false
        keepalive:
          server_parameters:
            max_connection_idle: 11s
            max_connection_age: 12s
            max_connection_age_grace: 13s
            time: 30s
            timeout: 5s
          enforcement_policy: {min_time: 10s, permit_without_stream: true}
        middlewares: []
        tls: null
        auth: null
      http:
        endpoint: localhost:4318
        traces_url_path: /v1/traces
        metrics_url_path: /v1/metrics
        logs_url_path: /v1/logs
        max_request_body_size: 20971520
        compression_algorithms: ['', gzip, zstd, zlib, snappy, deflate, lz4]
        cors: {allowed_origins: ['*'], allowed_headers: [x], max_age: 7200}
        include_metadata: true
        response_headers: {x: y}
        keep_alives_enabled: true
        read_timeout: 10s
        read_header_timeout: 20s
        write_timeout: 30s
        idle_timeout: 60s
processors:
  memory_limiter:
    check_interval: 1s
    limit_mib: 400
    spike_limit_mib: 80
    limit_percentage: 0
    spike_limit_percentage: 0
    min_gc_interval_when_soft_limited: 10s
    min_gc_interval_when_hard_limited: 0s
    max_gc_interval_when_soft_limited: 30s
    max_gc_interval_when_hard_limited: 30s
  batch:
    send_batch_size: 8192
    timeout: 200ms
    send_batch_max_size: 0
    metadata_keys: []
    metadata_cardinality_limit: 1000
exporters:
  otlp:
    endpoint: backend:4317
    timeout: 5s
    compression: gzip
    tls:
      insecure: false
      insecure_skip_verify: false
      ca_file: /ca.pem
      cert_file: /cert.pem
      key_file: /key.pem
      server_name_override: name
      include_system_ca_certs_pool: false
    keepalive: {time: 10s, timeout: 10s, permit_without_stream: true}
    read_buffer_size: 0
    write_buffer_size: 524288
    wait_for_ready: false
    headers: {x: y}
    user_agent: agent
    balancer_name: round_robin
    authority: name
    auth: null
    middlewares: []
    retry_on_failure:
      enabled: true
      initial_interval: 5s
      randomization_factor: 0.5
      multiplier: 1.5
      max_interval: 30s
      max_elapsed_time: 300s
    sending_queue:
      enabled: true
      num_consumers: 10
      queue_size: 1000
      sizer: requests
      block_on_overflow: false
      wait_for_result: false
      storage: null
  otlphttp:
    endpoint: http://backend:4318
    traces_endpoint: http://backend:4318/t
    metrics_endpoint: http://backend:4318/m
    logs_endpoint: http://backend:4318/l
    profiles_endpoint: http://backend:4318/p
    encoding: proto
    timeout: 30s
    compression: gzip
    compression_params: {level: 6}
    read_buffer_size: 0
    write_buffer_size: 524288
    max_idle_conns: 100
    max_idle_conns_per_host: 0
    max_conns_per_host: 0
    idle_conn_timeout: 90s
    force_attempt_http2: true
    http2_read_idle_timeout: 0s
    http2_ping_timeout: 0s
    disable_keep_alives: false
    cookies: null
    proxy_url: ''
    headers: {x: y}
  debug:
    verbosity: basic
    sampling_initial: 2
    sampling_thereafter: 1
    use_internal_logger: true
extensions:
  health_check: {endpoint: 'localhost:13133', path: /, response_body: null, check_collector_pipeline: {enabled: false}}
  pprof: {endpoint: 'localhost:1777'}
  memory_ballast: {size_mib: 64}
service:
  extensions: [health_check, pprof, memory_ballast]
  telemetry:
    logs:
      level: INFO
      encoding: console
      development: false
      sampling: {enabled: true, tick: 10s, initial: 10, thereafter: 100}
      disable_caller: false
      disable_stacktrace: false
      output_paths: [stderr]
      error_output_paths: [stderr]
      initial_fields: {}
    metrics:
      level: normal
      readers:
        - pull:
            exporter:
              prometheus:
                host: localhost
                port: 8888
                without_scope_info: true
                without_type_suffix: true
                without_units: true
                with_resource_constant_labels: {included: []}
      views: []
    resource: {service.name: collector}
    an_operators_own_key: true
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlp, otlphttp, debug]
";

/// Which of them are told to have no effect; all others are read.
const IGNORED: [&str; 47] = [
    "exporters.debug.use_internal_logger",
    "exporters.otlp.balancer_name",
    "exporters.otlp.read_buffer_size",
    "exporters.otlp.user_agent",
    "exporters.otlp.wait_for_ready",
    "exporters.otlp.write_buffer_size",
    "exporters.otlphttp.cookies",
    "exporters.otlphttp.disable_keep_alives",
    "exporters.otlphttp.force_attempt_http2",
    "exporters.otlphttp.http2_ping_timeout",
    "exporters.otlphttp.http2_read_idle_timeout",
    "exporters.otlphttp.idle_conn_timeout",
    "exporters.otlphttp.max_conns_per_host",
    "exporters.otlphttp.max_idle_conns",
    "exporters.otlphttp.max_idle_conns_per_host",
    "exporters.otlphttp.profiles_endpoint",
    "exporters.otlphttp.read_buffer_size",
    "exporters.otlphttp.write_buffer_size",
    "extensions.health_check.check_collector_pipeline",
    "extensions.health_check.response_body",
    "extensions.memory_ballast",
    "extensions.pprof",
    "processors.batch.metadata_cardinality_limit",
    "processors.memory_limiter.max_gc_interval_when_hard_limited",
    "processors.memory_limiter.max_gc_interval_when_soft_limited",
    "processors.memory_limiter.min_gc_interval_when_hard_limited",
    "processors.memory_limiter.min_gc_interval_when_soft_limited",
    "receivers.otlp.protocols.grpc.include_metadata",
    "receivers.otlp.protocols.grpc.keepalive.enforcement_policy",
    "receivers.otlp.protocols.grpc.read_buffer_size",
    "receivers.otlp.protocols.grpc.write_buffer_size",
    "receivers.otlp.protocols.http.compression_algorithms",
    "receivers.otlp.protocols.http.cors",
    "receivers.otlp.protocols.http.include_metadata",
    "receivers.otlp.protocols.http.keep_alives_enabled",
    "receivers.otlp.protocols.http.response_headers",
    "receivers.otlp.protocols.http.write_timeout",
    "service.telemetry.an_operators_own_key",
    "service.telemetry.logs.development",
    "service.telemetry.logs.disable_caller",
    "service.telemetry.logs.disable_stacktrace",
    "service.telemetry.logs.error_output_paths",
    "service.telemetry.metrics.readers[0].pull.exporter.prometheus.with_resource_constant_labels",
    "service.telemetry.metrics.readers[0].pull.exporter.prometheus.without_scope_info",
    "service.telemetry.metrics.readers[0].pull.exporter.prometheus.without_type_suffix",
    "service.telemetry.metrics.readers[0].pull.exporter.prometheus.without_units",
    "service.telemetry.metrics.views",
];

#[test]
fn every_key_with_a_meaning_or_none_here_is_accepted() {
    let loaded = match load(ACCEPTED) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", config::Errors(errors)),
    };
    let ignored: BTreeSet<String> = loaded
        .warnings
        .iter()
        .map(|warning| match &*warning.problem {
            Problem::Ignored { path, .. } => path.to_string(),
            other => panic!("{other}"),
        })
        .collect();
    let expected = IGNORED.map(str::to_owned).into();
    assert_eq!(ignored, expected);
}

#[test]
fn what_would_change_the_way_of_data_is_an_error() {
    let cases = [
        ("receivers::otlp::protocols::grpc::middlewares: [{id: x}]", "there are no middlewares"),
        ("processors::batch::metadata_keys: [tenant]", "cannot keep batches apart"),
        ("exporters::otlp::tls::ca_pem: PEM", "write the certificates to a file"),
        ("exporters::otlp::tls::min_version: '1.3'", "TLS 1.2 and 1.3 are spoken"),
        ("exporters::otlp::tls::cipher_suites: [X]", "none can be chosen"),
        ("exporters::otlphttp::proxy_url: http://proxy:1", "proxies are not supported"),
        ("exporters::otlphttp::encoding: json", "\"json\" is not known here"),
        ("extensions::zpages: ", "zpages"),
        ("service::telemetry::traces: {processors: [{simple: {}}]}", "\"simple\" is not known here"),
        (
            "service::telemetry::metrics::readers: [{periodic: {exporter: {otlp: {endpoint: 'http://b', \
             temporality_preference: delta}}}}]",
            "\"delta\" is not known here",
        ),
        ("connectors::count: ", "there are no connectors"),
    ];
    for (line, expected) in cases {
        let errors = load_over(ACCEPTED, line).err().unwrap_or_default();
        let told = errors.iter().any(|error| error.to_string().contains(expected));
        assert!(told, "{line}: {}", config::Errors(errors));
    }
}

#[test]
fn what_is_switched_off_is_no_error() {
    for line in [
        "receivers::otlp::protocols::grpc::middlewares: []",
        "exporters::otlp::sending_queue::storage: ",
        "exporters::otlp::sending_queue::wait_for_result: false",
        "exporters::otlp::tls::include_system_ca_certs_pool: false",
        "connectors: {}",
        "service::telemetry::traces: {}",
    ] {
        let errors = load_over(ACCEPTED, line).err().unwrap_or_default();
        assert!(errors.is_empty(), "{line}: {}", config::Errors(errors));
    }
}

#[test]
fn the_operators_sidecar_configuration_runs() {
    // As the Operator hands it over: --config=env:OTEL_CONFIG, the receiver on the pod's address.
    let text = "
receivers:
  otlp:
    protocols:
      grpc: {endpoint: '${env:POD_IP}:4317'}
      http: {}
exporters:
  otlp: {endpoint: 'gateway.observability.svc:4317', tls: {insecure: true}}
processors:
  refusal: {}
extensions:
  health_check: {endpoint: '${env:POD_IP}:13133'}
service:
  extensions: [health_check]
  telemetry:
    metrics:
      readers: [{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}}]
  pipelines:
    traces: {receivers: [otlp], processors: [refusal], exporters: [otlp]}
    metrics: {receivers: [otlp], processors: [refusal], exporters: [otlp]}
";
    let environment = [("OTEL_CONFIG", text), ("POD_IP", "10.1.2.3")];
    let sources = Sources {
        config: vec!["env:OTEL_CONFIG".to_owned()],
        set: Vec::new(),
        environment: Environment::Fixed(environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
    };
    let loaded = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty());
    let Some(config::model::Receiver::Otlp(otlp)) = loaded.config.receivers.values().next() else {
        panic!("another receiver")
    };
    assert_eq!(otlp.grpc.as_ref().unwrap().endpoint, "10.1.2.3:4317");
    assert!(otlp.http.is_some());
}

fn load(text: &str) -> Result<config::Loaded, Vec<Diagnostic>> {
    load_sources(vec![format!("yaml:{text}")])
}

fn load_over(text: &str, line: &str) -> Result<config::Loaded, Vec<Diagnostic>> {
    load_sources(vec![format!("yaml:{text}"), format!("yaml:{line}")])
}

fn load_sources(config: Vec<String>) -> Result<config::Loaded, Vec<Diagnostic>> {
    let environment = Environment::Fixed(BTreeMap::new());
    config::load(&Sources { config, set: Vec::new(), environment }).map_err(|config::Errors(errors)| errors)
}
