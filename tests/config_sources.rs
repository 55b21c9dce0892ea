//! Where configuration comes from: sources are merged and expanded as the OpenTelemetry Collector does it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::config::model::{Exporter, OtlpGrpcExporter, Processor, Receiver, Verbosity};
use refusal_collector::config::print::{self, Secrets};
use refusal_collector::config::{self, ComponentId, Config, Environment, Errors, Loaded, Sources};
use refusal_collector::refusal::answer::StopField;
use refusal_collector::refusal::verdict::Class;
use refusal_collector::refusal::vocabulary::Vocabulary;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Valid by itself.
const BASE: &str = "yaml:
receivers:
  otlp: {protocols: {grpc: }}
exporters:
  otlp_grpc: {endpoint: 'backend:4317'}
  debug:
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_grpc, debug]}
";

#[test]
fn without_a_source_the_embedded_default_runs() {
    let loaded = load(&[], &[], &[]);
    assert!(loaded.warnings.is_empty());
    let config = loaded.config;
    let Receiver::Otlp(otlp) = &config.receivers[&ComponentId::new("otlp")] else {
        panic!("another receiver")
    };
    assert_eq!(otlp.grpc.as_ref().unwrap().endpoint, "localhost:4317");
    assert_eq!(otlp.http.as_ref().unwrap().endpoint, "localhost:4318");
    assert_eq!(config.service.pipelines.len(), 3);
    assert_eq!(
        config.service.telemetry.metrics.pulled().map(|reader| reader.port).collect::<Vec<_>>(),
        [8888]
    );
    assert!(config.extensions.contains_key(&ComponentId::new("health_check")));
    for signal in ["traces", "logs"] {
        assert_eq!(
            config.service.pipelines[&ComponentId::new(signal)].processors,
            [ComponentId::new("refusal")]
        );
    }
}

#[test]
fn a_set_value_alone_changes_the_default() {
    let config = load(&[], &["exporters.debug.verbosity=detailed"], &[]).config;
    assert_eq!(debug(&config), Verbosity::Detailed);
}

#[test]
fn files_variables_and_texts_are_sources() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("collector.yaml");
    fs::write(&file, BASE.strip_prefix("yaml:").unwrap()).unwrap();
    let path = file.display().to_string();
    for argument in [path.clone(), format!("file:{path}")] {
        assert_eq!(grpc(&load(&[&argument], &[], &[]).config).endpoint, "backend:4317");
    }
    let operator = [("OTEL_CONFIG", BASE.strip_prefix("yaml:").unwrap())];
    assert_eq!(grpc(&load(&["env:OTEL_CONFIG"], &[], &operator).config).endpoint, "backend:4317");
    let config = load(&[BASE, "yaml:exporters::otlp_grpc::timeout: 7s"], &[], &[]).config;
    assert_eq!(grpc(&config).timeout, Duration::from_secs(7));
}

#[test]
fn maps_are_joined_and_all_else_is_replaced() {
    let over = "yaml:
exporters:
  otlp_grpc:
    timeout: 9s
    headers: {b: '2'}
service:
  pipelines:
    traces: {exporters: [otlp_grpc]}
";
    let base = format!("{BASE}processors: {{refusal: {{workload: [a, b]}}}}\n");
    let first = "yaml:exporters: {otlp_grpc: {headers: {a: '1'}}}";
    let config = load(&[&base, first, over], &[], &[]).config;
    let exporter = grpc(&config);
    assert_eq!((exporter.endpoint.as_str(), exporter.timeout), ("backend:4317", Duration::from_secs(9)));
    assert_eq!(exporter.headers.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(
        config.service.pipelines[&ComponentId::new("traces")].exporters,
        [ComponentId::new("otlp_grpc")]
    );

    let config = load(&[&base, "yaml:processors: {refusal: {workload: [c]}}"], &[], &[]).config;
    assert_eq!(workload(&config), ["c"]);
}

#[test]
fn null_takes_back_what_an_earlier_source_said() {
    let base = format!("{BASE}processors: {{refusal: {{workload: [a]}}}}\n");
    for later in ["yaml:processors::refusal: ", "yaml:processors::refusal::workload: null"] {
        assert_eq!(workload(&load(&[&base, later], &[], &[]).config), ["service.name"], "{later}");
    }
}

#[test]
fn set_values_come_last_and_are_yaml() {
    let sets = [
        "exporters.otlp_grpc.timeout=1s",
        "exporters.otlp_grpc.timeout=2s",
        "exporters::debug::verbosity=normal",
    ];
    let config = load(&[BASE, "yaml:exporters::otlp_grpc::timeout: 9s"], &sets, &[]).config;
    assert_eq!(grpc(&config).timeout, Duration::from_secs(2));
    assert_eq!(debug(&config), Verbosity::Normal);

    let sets = [
        "processors.refusal.workload=[k8s.namespace.name, service.name]",
        "processors.refusal.count_judged=true",
    ];
    let config = load(&[BASE], &sets, &[]).config;
    assert_eq!(workload(&config), ["k8s.namespace.name", "service.name"]);

    let dotted = "exporters::debug/eu.1::verbosity=basic";
    assert!(load(&[BASE], &[dotted], &[]).config.exporters.keys().any(|id| id.to_string() == "debug/eu.1"));
}

#[test]
fn a_value_that_is_one_expansion_keeps_the_type_of_what_it_brings() {
    let text = "yaml:
exporters:
  otlp_grpc:
    tls: {insecure: '${env:INSECURE}'}
    headers: ${env:HEADERS}
    sending_queue: {queue_size: '${env:SIZE:-17}', num_consumers: '${NUMBER}'}
    timeout: ${env:TIMEOUT}
processors:
  refusal: {workload: '${env:WORKLOAD}', count_judged: '${yaml:true}'}
";
    let variables = [
        ("INSECURE", "true"),
        ("HEADERS", "{a: 1, b: 'x y'}"),
        ("NUMBER", "3"),
        ("TIMEOUT", "4s"),
        ("WORKLOAD", "[a, '${env:INNER}']"),
        ("INNER", "b"),
    ];
    let config = load(&[BASE, text], &[], &variables).config;
    let exporter = grpc(&config);
    assert!(exporter.tls.insecure);
    let headers: Vec<(&str, &str)> =
        exporter.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("a", "1"), ("b", "x y")]);
    assert_eq!((exporter.queue.queue_size, exporter.queue.num_consumers), (17, 3));
    assert_eq!(exporter.timeout, Duration::from_secs(4));
    assert_eq!(workload(&config), ["a", "b"]);
}

#[test]
fn where_text_is_needed_an_expansion_brings_its_text_unchanged() {
    let values =
        ["0123", "1e3", "true", "null", "\"quoted\"", "a # b", "{a: b}", "[1", "key: value", "a$b", "  x"];
    for value in values {
        let text = "yaml:exporters::otlp_grpc::headers: {x: '${env:VALUE}', y: 'Bearer ${env:VALUE}'}";
        let config = load(&[BASE, text], &[], &[("VALUE", value)]).config;
        let headers = &grpc(&config).headers;
        assert_eq!(headers["x"].reveal(), value);
        assert_eq!(headers["y"].reveal(), format!("Bearer {value}"));
    }
}

#[test]
fn expansions_may_stand_in_expansions_and_dollars_can_be_written() {
    let cases = [
        ("${env:A}", "a"),
        ("${A}-${env:A}", "a-a"),
        ("${env:NO:-d}", "d"),
        ("${NO:-d}", "d"),
        ("${env:NO:-}", ""),
        ("${env:EMPTY:-d}", ""),
        ("${env:${env:NAME}}", "a"),
        ("${env:NO:-${env:A}}", "a"),
        ("${env:NO:-x:-y}", "x:-y"),
        ("x${env:CHAIN}", "xa"),
        ("$$", "$"),
        ("$${env:A}", "${env:A}"),
        ("$$${env:A}", "$a"),
        ("a$b", "a$b"),
        ("${env:ESCAPED}", "${env:A}"),
        ("${env:NO:-$$x}", "$x"),
    ];
    let variables =
        [("A", "a"), ("EMPTY", ""), ("NAME", "A"), ("CHAIN", "${env:A}"), ("ESCAPED", "$${env:A}")];
    for (written, expected) in cases {
        let text = format!("yaml:exporters::otlp_grpc::headers: {{x: 'v{written}'}}");
        let config = load(&[BASE, &text], &[], &variables).config;
        assert_eq!(grpc(&config).headers["x"].reveal(), format!("v{expected}"), "{written}");
    }
}

#[test]
fn a_file_can_be_put_into_a_value() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("token"), "s3cr3t\n").unwrap();
    fs::write(directory.path().join("queue.yaml"), "num_consumers: 2\nqueue_size: ${env:SIZE}\n").unwrap();
    let directory = directory.path().display().to_string();
    let text = format!(
        "yaml:exporters::otlp_grpc: {{headers: {{a: '${{file:{directory}/token}}', b: 'Bearer ${{file:{directory}/token}}'}}, \
         sending_queue: '${{file:{directory}/queue.yaml}}'}}"
    );
    let config = load(&[BASE, &text], &[], &[("SIZE", "5")]).config;
    let exporter = grpc(&config);
    assert_eq!(exporter.headers["a"].reveal(), "s3cr3t");
    assert_eq!(exporter.headers["b"].reveal(), "Bearer s3cr3t");
    assert_eq!((exporter.queue.num_consumers, exporter.queue.queue_size), (2, 5));
}

#[test]
fn words_of_the_vocabulary_come_from_files_and_from_the_configuration_which_counts_more() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("words.yaml");
    fs::write(&file, "openai: {stop: {finish_reason: {halt: length, freeze: length}}}\n").unwrap();
    let inline = "openai: {stop: {finish_reason: {halt: refusal}}}";
    let text =
        format!("yaml:processors: {{refusal: {{vocabulary: {{files: ['{}'], {inline}}}}}}}", file.display());
    let loaded = load(&[BASE, &text], &[], &[]);
    let Processor::Refusal(refusal) = &loaded.config.processors[&ComponentId::new("refusal")] else {
        panic!()
    };
    let vocabulary = Vocabulary::embedded().unwrap().extended(&refusal.vocabulary).unwrap();
    let openai = vocabulary.vendor_of_provider("openai");
    let class = |word| vocabulary.stop(openai, StopField::FinishReason, word).map(|stop| stop.class);
    assert_eq!(
        [class("halt"), class("freeze"), class("unheard")],
        [Some(Class::Refusal), Some(Class::Length), None]
    );

    let printed = print::to_yaml(&loaded, Secrets::Redacted).unwrap();
    let again = load(&[&format!("yaml:{printed}")], &[], &[]);
    assert_eq!(print::to_yaml(&again, Secrets::Redacted).unwrap(), printed);

    fs::write(&file, "openai: {stopp: {}}\n").unwrap();
    let errors = try_load(&[BASE, &text], &[], &[]).err().unwrap().to_string();
    assert!(errors.contains("words.yaml:1:10: unknown key \"stopp\" in openai"), "{errors}");
}

#[test]
fn an_unset_variable_is_empty_with_a_warning() {
    let loaded = load(&[BASE, "yaml:exporters::otlp_grpc::authority: ${env:NO_SUCH}"], &[], &[]);
    assert_eq!(grpc(&loaded.config).authority, None);
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings[0].starts_with("--config=yaml:1:34: ${env:NO_SUCH} is not set, so it is empty"),
        "{warnings:?}"
    );
}

#[test]
fn expansions_that_never_end_are_an_error() {
    for (name, value) in [("LOOP", "${env:LOOP}"), ("LOOP", "x${env:LOOP}${env:LOOP}")] {
        let errors =
            try_load(&[BASE, "yaml:exporters::otlp_grpc::authority: ${env:LOOP}"], &[], &[(name, value)]);
        let errors = errors.err().unwrap().to_string();
        assert!(errors.contains("too many expansions: does a value refer to itself?"), "{errors}");
    }
}

#[test]
fn what_an_expansion_brings_is_not_shown_in_errors() {
    let text = "yaml:exporters::otlp_grpc: {timeout: '${env:KEY}', compression: '${env:KEY}', sending_queue: {queue_size: '${env:KEY}'}}";
    let errors = try_load(&[BASE, text], &[], &[("KEY", "s3cr3t-api-key")]).err().unwrap().to_string();
    assert!(!errors.contains("s3cr3t"), "{errors}");
    assert!(errors.contains("${env:KEY}"), "{errors}");
}

#[test]
fn a_key_without_a_value_has_its_default() {
    let text = "yaml:
exporters:
  otlp_grpc: {timeout: , headers: , tls: , sending_queue: {queue_size: , sizer: }, retry_on_failure: , keepalive: }
processors:
  refusal: {workload: , count_judged: , limits: {models: }}
extensions:
";
    let config = load(&[BASE, text], &[], &[]).config;
    let exporter = grpc(&config);
    assert_eq!((exporter.timeout, exporter.queue.queue_size), (Duration::from_secs(5), 1000));
    assert_eq!(exporter.keepalive.unwrap().time, Duration::from_secs(10), "the key alone switches it on");
    assert_eq!(workload(&config), ["service.name"]);
}

#[test]
fn unused_components_are_a_warning() {
    let loaded = load(&[BASE, "yaml:{processors: {batch: }, extensions: {health_check: }}"], &[], &[]);
    let warnings: Vec<String> = loaded.warnings.iter().map(|warning| warning.problem.to_string()).collect();
    let expected = [
        "processors.batch is defined and nowhere used",
        "extensions.health_check is defined and nowhere used",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn what_is_printed_loads_again_and_prints_the_same() {
    let rich = "yaml:
exporters:
  otlp_grpc:
    endpoint: https://backend:4317
    headers: {authorization: 'Bearer $$x$${y}', plain: '1.10', colon: 'a: b', hash: 'a # b'}
    compression: none
    compression_params: {level: 3}
    keepalive: {permit_without_stream: true}
    retry_on_failure: {max_elapsed_time: 0s, multiplier: 2}
  otlphttp/eu: {traces_endpoint: 'http://eu:4318/v1/traces', tls: {ca_file: /ca.pem}}
receivers:
  otlp/two: {protocols: {http: {endpoint: '[::1]:4319'}, grpc: {endpoint: ':4320', keepalive: {server_parameters: {max_connection_idle: 0s}}}}}
processors:
  memory_limiter: {limit_percentage: 75, check_interval: 1s, spike_limit_percentage: 20}
  batch/small: {timeout: 100ms}
  refusal: {workload: ['true', '1', 'null', '~', 'a.b']}
service:
  admission: {budget_mib: 64}
  telemetry: {logs: {level: 'info,h2=warn', encoding: json}, metrics: {level: none}}
  pipelines:
    logs/audit: {receivers: [otlp/two], processors: [memory_limiter, refusal, batch/small], exporters: [otlphttp/eu]}
";
    for sources in [&[][..], &[BASE], &[BASE, rich]] {
        let first = load(sources, &[], &[]);
        for secrets in [Secrets::Redacted, Secrets::Revealed] {
            let yaml = print::to_yaml(&first, secrets).unwrap();
            let again = load(&[&format!("yaml:{yaml}")], &[], &[]);
            assert_eq!(print::to_yaml(&again, secrets).unwrap(), yaml);
            let json = print::to_json(&first, secrets).unwrap();
            let again = load(&[&format!("yaml:{json}")], &[], &[]);
            assert_eq!(print::to_json(&again, secrets).unwrap(), json);
        }
        let revealed = print::to_yaml(&first, Secrets::Revealed).unwrap();
        let again = load(&[&format!("yaml:{revealed}")], &[], &[]);
        assert_eq!(format!("{:?}", again.config), format!("{:?}", first.config));
        assert_eq!(grpc_headers(&again.config), grpc_headers(&first.config));
    }
}

#[test]
fn secrets_are_printed_only_where_asked_for() {
    let text = "yaml:exporters::otlp_grpc::headers: {authorization: 'Bearer ${env:KEY}', x: '${env:KEY}'}";
    let loaded = load(&[BASE, text], &[], &[("KEY", "s3cr3t")]);
    assert!(!print::to_yaml(&loaded, Secrets::Redacted).unwrap().contains("s3cr3t"));
    assert!(!format!("{:?}", loaded.config).contains("s3cr3t"));
    let revealed = print::to_yaml(&loaded, Secrets::Revealed).unwrap();
    assert!(
        revealed.contains("authorization: Bearer s3cr3t") && revealed.contains("x: s3cr3t"),
        "{revealed}"
    );
}

fn load(config: &[&str], set: &[&str], variables: &[(&str, &str)]) -> Loaded {
    try_load(config, set, variables).unwrap_or_else(|errors| panic!("{errors}"))
}

fn try_load(config: &[&str], set: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Errors> {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let variables: BTreeMap<String, String> =
        variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    config::load(&Sources {
        config: owned(config),
        set: owned(set),
        environment: Environment::Fixed(variables),
    })
}

fn grpc(config: &Config) -> &OtlpGrpcExporter {
    match &config.exporters[&ComponentId::new("otlp_grpc")] {
        Exporter::OtlpGrpc(exporter) => exporter,
        other => panic!("{other:?}"),
    }
}

fn grpc_headers(config: &Config) -> Vec<(String, String)> {
    let exporter = match config.exporters.get(&ComponentId::new("otlp_grpc")) {
        Some(Exporter::OtlpGrpc(exporter)) => exporter,
        _ => return Vec::new(),
    };
    exporter.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()
}

fn debug(config: &Config) -> Verbosity {
    match &config.exporters[&ComponentId::new("debug")] {
        Exporter::Debug(exporter) => exporter.verbosity,
        other => panic!("{other:?}"),
    }
}

fn workload(config: &Config) -> &[String] {
    match &config.processors[&ComponentId::new("refusal")] {
        Processor::Refusal(processor) => &processor.workload,
        other => panic!("{other:?}"),
    }
}
