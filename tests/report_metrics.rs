//! Metrics that are sent by OTLP: what arrives is what `/metrics` says, whatever the protocol, and to the last event.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
mod telemetry_support;

use backend::{Answer, Backend, Recorded};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, NumberDataPoint, metric, number_data_point,
};
use prost::Message;
use refusal_collector::config::{self, Sources};
use refusal_collector::pipeline::Collector;
use refusal_collector::report::metrics::Pushes;
use refusal_collector::telemetry::registry::Registry;
use refusal_collector::telemetry::text::Form;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use telemetry_support::{exposition, registry_that_has_seen_everything};

/// All points of a round, by name and labels as Prometheus has them.
type Points = BTreeMap<(String, BTreeMap<String, String>), NumberDataPoint>;

fn points(requests: &[Recorded]) -> Points {
    let mut points = Points::new();
    for request in requests {
        let request = ExportMetricsServiceRequest::decode(&request.message()[..]).unwrap();
        let metrics =
            request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
        for metric in metrics {
            let mut name = metric.name.replace('.', "_");
            let unit = match metric.unit.as_str() {
                "s" => "_seconds",
                "By" => "_bytes",
                things => {
                    assert!(things.starts_with('{') && things.ends_with('}'), "{}: {things:?}", metric.name);
                    ""
                }
            };
            if !name.ends_with(unit) {
                name += unit;
            }
            let of_metric = match metric.data.unwrap() {
                metric::Data::Sum(sum) => {
                    assert!(sum.is_monotonic);
                    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
                    assert!(sum.data_points.iter().all(|point| point.start_time_unix_nano > 0));
                    name += "_total";
                    sum.data_points
                }
                metric::Data::Gauge(gauge) => gauge.data_points,
                other => panic!("{name}: {other:?}"),
            };
            for point in of_metric {
                let twice = points.insert((name.clone(), labels(&point.attributes)), point);
                assert_eq!(twice, None, "{name} has a series twice");
            }
        }
    }
    points
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => (pair.key.replace('.', "_"), value.clone()),
        other => panic!("{}: {other:?}", pair.key),
    };
    attributes.iter().map(pair).collect()
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value.unwrap() {
        number_data_point::Value::AsInt(value) => value as f64,
        number_data_point::Value::AsDouble(value) => value,
    }
}

/// What the registry serves, but for what moves by itself.
fn assert_same(registry: &Registry, points: &Points) {
    let text = registry.text(Form::OpenMetrics, false);
    let families = exposition::read(&text, exposition::Form::OpenMetrics);
    let samples: Vec<_> = families.into_values().flat_map(|family| family.samples).collect();
    assert_eq!(samples.len(), points.len());
    for sample in samples {
        let point = points.get(&(sample.name.clone(), sample.labels.clone()));
        let point = point.unwrap_or_else(|| panic!("nobody sent {} {:?}", sample.name, sample.labels));
        if !sample.name.starts_with("otelcol_process_") {
            assert_eq!(value(point), sample.value, "{} {:?}", sample.name, sample.labels);
        }
        let served = sample.exemplar.map(|exemplar| exemplar.labels["trace_id"].clone());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let sent = point.exemplars.first().map(|exemplar| hex(&exemplar.trace_id));
        assert_eq!(sent, served, "{} {:?}", sample.name, sample.labels);
    }
}

fn telemetry(reader: &str) -> config::model::Telemetry {
    load(&format!(
        "{{metrics: {{readers: [{{periodic: {reader}}}]}}, resource: {{deployment.environment: test}}}}"
    ))
    .service
    .telemetry
}

fn load(telemetry: &str) -> config::Config {
    let text = format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}, exporters: {{debug: }}, \
         service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}, telemetry: {telemetry}}}}}"
    );
    let sources = Sources { config: vec![text], ..Sources::default() };
    config::load(&sources).unwrap_or_else(|errors| panic!("{errors}")).config
}

const OFTEN: &str = "interval: 50, timeout: 5000";
const NEVER: &str = "interval: 3600000, timeout: 5000";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_what_metrics_says_over_both_protocols() {
    for (protocol, scheme, compression) in
        [("grpc", "", "gzip"), ("grpc", "http://", "none"), ("http/protobuf", "http://", "gzip")]
    {
        let backend = Backend::start().await;
        let target = format!(
            "{{otlp: {{protocol: {protocol}, endpoint: '{scheme}{}', insecure: true, compression: {compression}, \
             headers: [{{name: x-tenant, value: a}}], headers_list: x-more=b}}}}",
            backend.address
        );
        let telemetry = telemetry(&format!("{{{OFTEN}, exporter: {target}}}"));
        let registry = registry_that_has_seen_everything();
        let pushes = Pushes::start(&telemetry, &registry).unwrap();
        let [first, second, ..] = &backend.wait_for_accepted(2).await[..] else { panic!("too few") };
        for request in [first, second] {
            assert_eq!(request.is_grpc, protocol == "grpc");
            assert_eq!((request.header("x-tenant"), request.header("x-more")), (Some("a"), Some("b")));
            if protocol != "grpc" {
                assert_eq!(request.path, "/v1/metrics");
            }
            assert_same(&registry, &points(std::slice::from_ref(request)));
        }
        let resource = ExportMetricsServiceRequest::decode(&first.message()[..]).unwrap().resource_metrics;
        let resource = labels(&resource[0].resource.as_ref().unwrap().attributes);
        assert_eq!(resource["service_name"], "refusal-collector");
        assert_eq!(resource["service_version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (resource["deployment_environment"].as_str(), resource["service_instance_id"].len()),
            ("test", 36)
        );
        pushes.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_numbers_are_sent_when_the_collector_stops() {
    let backend = Backend::start().await;
    let target = format!("{{otlp: {{endpoint: 'http://{}/in/metrics'}}}}", backend.address);
    let telemetry = format!("{{metrics: {{readers: [{{periodic: {{{NEVER}, exporter: {target}}}}}]}}}}");
    let collector = Collector::start(load(&telemetry)).await.unwrap();
    assert_eq!(collector.metrics_addresses().count(), 0, "nothing is served where only periodic readers are");
    assert!(backend.requests().is_empty());
    let registry = collector.registry().clone();
    collector.shutdown().await;
    let [last] = &backend.requests()[..] else { panic!("not one request") };
    assert_eq!(last.path, "/in/metrics");
    assert_same(&registry, &points(std::slice::from_ref(last)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_fails_is_tried_again_and_the_next_one_has_everything() {
    let backend = Backend::start().await;
    backend.script([Answer::Http(503), Answer::Disconnect, Answer::Http(400), Answer::Http(400)]);
    let target = format!("{{otlp: {{endpoint: 'http://{}'}}}}", backend.address);
    let telemetry = telemetry(&format!("{{interval: 100, timeout: 4000, exporter: {target}}}"));
    let registry = registry_that_has_seen_everything();
    let pushes = Pushes::start(&telemetry, &registry).unwrap();
    let accepted = backend.wait_for_accepted(1).await;
    assert_same(&registry, &points(&accepted[..1]));
    pushes.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_hangs_holds_up_the_end_for_seconds_only() {
    let backend = Backend::start().await;
    backend.always(Answer::Hang);
    let target = format!("{{otlp: {{endpoint: 'http://{}'}}}}", backend.address);
    let telemetry = telemetry(&format!("{{interval: 50, timeout: 60000, exporter: {target}}}"));
    let pushes = Pushes::start(&telemetry, &registry_that_has_seen_everything()).unwrap();
    backend.wait_for_requests(1).await;
    let start = Instant::now();
    pushes.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(backend.requests().len(), 2, "the round that hung was given up for the last one");
}

#[tokio::test]
async fn a_certificate_that_is_not_there_stops_the_start() {
    let reader = "{exporter: {otlp: {endpoint: 'https://backend:4318', certificate: /nowhere/ca.pem}}}";
    let (endpoint, error) =
        Pushes::start(&telemetry(reader), &registry_that_has_seen_everything()).unwrap_err();
    assert_eq!(endpoint, "https://backend:4318");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
