//! Metrics as text: both forms are valid, agree with each other and with another writer, and are all documented.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod telemetry_support;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family as TheirFamily;
use prometheus_client::registry::Registry as TheirRegistry;
use refusal_collector::config::model::LabelLimits;
use refusal_collector::refusal::verdict::{Category, Class};
use refusal_collector::telemetry::metric::{Descriptor, Point, Sink};
use refusal_collector::telemetry::own::Own;
use refusal_collector::telemetry::registry::Registry;
use refusal_collector::telemetry::responses::Responses;
use refusal_collector::telemetry::text::{Form, name, sample_name};
use refusal_collector::telemetry::{Identity, Observation};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use telemetry_support::exposition::{self, Families};
use telemetry_support::{count, observation, refused, registry_that_has_seen_everything};

fn prometheus(registry: &Registry) -> Families {
    exposition::read(&registry.text(Form::Prometheus, false), exposition::Form::Prometheus)
}

fn openmetrics(registry: &Registry) -> Families {
    exposition::read(&registry.text(Form::OpenMetrics, false), exposition::Form::OpenMetrics)
}

/// These move by themselves.
fn is_of_the_moment(name: &str) -> bool {
    name.starts_with("otelcol_process_")
}

#[test]
fn both_forms_are_valid_and_say_the_same() {
    let registry = registry_that_has_seen_everything();
    let values = |families: Families| -> BTreeMap<String, f64> {
        let samples = families.into_values().flat_map(|family| family.samples);
        let told = samples.map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.value));
        told.filter(|(name, _)| !is_of_the_moment(name)).collect()
    };
    let (one, other) = (values(prometheus(&registry)), values(openmetrics(&registry)));
    assert!(one.len() > 200, "{}", one.len());
    assert_eq!(one, other);
}

#[test]
fn the_text_is_sorted_and_stays_the_same_while_nothing_happens() {
    let registry = registry_that_has_seen_everything();
    let lines = || -> Vec<String> {
        let text = registry.text(Form::OpenMetrics, true);
        text.lines().filter(|line| !is_of_the_moment(line)).map(str::to_owned).collect()
    };
    assert_eq!(lines(), lines());
    let types: Vec<String> = lines().into_iter().filter(|line| line.starts_with("# TYPE")).collect();
    assert!(types.is_sorted(), "{types:#?}");
}

#[test]
fn created_times_stand_beside_every_counter_where_they_are_switched_on() {
    let registry = registry_that_has_seen_everything();
    let families = exposition::read(&registry.text(Form::OpenMetrics, true), exposition::Form::OpenMetrics);
    for (name, family) in families {
        let with = |suffix: &str| -> BTreeSet<_> {
            let of_name = family.samples.iter().filter(|sample| sample.name.ends_with(suffix));
            of_name.map(|sample| format!("{:?}", sample.labels)).collect()
        };
        match family.kind.as_str() {
            "counter" => assert_eq!(with("_total"), with("_created"), "{name}"),
            _ => assert!(with("_created").is_empty(), "{name}"),
        }
    }
}

#[test]
fn a_refusal_carries_its_trace_as_an_exemplar() {
    let registry = registry_that_has_seen_everything();
    let families = openmetrics(&registry);
    for metric in ["llm_refusals", "llm_responses", "llm_refusal_discarded_tokens"] {
        let exemplars: Vec<_> = families[metric].samples.iter().filter_map(|s| s.exemplar.as_ref()).collect();
        assert!(!exemplars.is_empty(), "{metric}");
        assert_eq!(exemplars[0].labels["trace_id"], "ab".repeat(16));
        assert_eq!(exemplars[0].labels["span_id"], "cd".repeat(8));
    }
}

#[test]
fn a_fresh_collector_already_shows_what_is_born_at_zero() {
    let registry = Registry::new(Own::new(), Arc::new(Responses::new(LabelLimits::default())));
    let families = prometheus(&registry);
    let overflow = &families["refusal_collector_label_overflow_total"];
    assert_eq!((overflow.samples.len(), overflow.sum()), (5, 0.0));
    assert!(!families.contains_key("llm_responses_total"));
}

#[test]
fn hostile_label_values_arrive_as_they_are() {
    let registry = registry_that_has_seen_everything();
    let values: BTreeSet<String> = prometheus(&registry)["llm_stop_reason_unknown_total"]
        .samples
        .iter()
        .map(|sample| sample.labels["llm_stop_reason_value"].clone())
        .collect();
    let hostile = "a \"quoted\" \\ back\\nslash {x=\"y\"} # EOF \\u{202e}größer";
    assert_eq!(values, BTreeSet::from(["halt".to_owned(), hostile.to_owned()]));
}

/// The labels of `llm_refusals_total`, for the other writer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TheirLabels {
    gen_ai_provider_name: String,
    gen_ai_request_model: String,
    llm_workload: String,
    llm_refusal_category: String,
    llm_refusal_actor: String,
    llm_refusal_phase: String,
    llm_refusal_delivery: String,
    llm_refusal_action: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TheirTrace {
    trace_id: String,
    span_id: String,
}

#[test]
fn prometheus_client_writes_the_same_refusals() {
    let responses = Arc::new(Responses::new(LabelLimits::default()));
    let theirs = TheirFamily::<TheirLabels, CounterWithExemplar<TheirTrace>>::default();
    for (n, workload) in (1..).zip(["checkout", "a \"quoted\" \\ name", "größer"]) {
        let span_id = [n; 8];
        let identity = Identity { span_id: &span_id, ..refused().identity };
        count(&responses, &[Observation { workload, identity, ..refused() }]);
        let labels = TheirLabels {
            gen_ai_provider_name: "anthropic".to_owned(),
            gen_ai_request_model: "claude-opus-4-5".to_owned(),
            llm_workload: workload.to_owned(),
            llm_refusal_category: "cyber".to_owned(),
            llm_refusal_actor: "platform_classifier".to_owned(),
            llm_refusal_phase: "mid_stream".to_owned(),
            llm_refusal_delivery: "success".to_owned(),
            llm_refusal_action: "surface".to_owned(),
        };
        let trace = TheirTrace { trace_id: "ab".repeat(16), span_id: format!("0{n}").repeat(8) };
        theirs.get_or_create(&labels).inc_by(1, Some(trace), None);
    }
    let mut registry = TheirRegistry::default();
    registry.register("llm_refusals", "LLM responses that are refusals", theirs);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();

    let mut ours = sorted("llm_refusals", openmetrics(&Registry::new(Own::new(), responses)));
    // They are not told the time.
    ours.samples.iter_mut().for_each(|sample| sample.exemplar.as_mut().unwrap().time = None);
    assert_eq!(ours, sorted("llm_refusals", exposition::read(&text, exposition::Form::OpenMetrics)));
}

/// A family in the order of its labels: they do not sort.
fn sorted(name: &str, mut families: Families) -> exposition::Family {
    let mut family = families.remove(name).unwrap();
    family.samples.sort_by_key(|sample| format!("{:?}", sample.labels.values()));
    family
}

#[test]
fn prometheus_client_writes_the_same_responses() {
    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Labels {
        gen_ai_provider_name: String,
        gen_ai_request_model: String,
        llm_workload: String,
        llm_stop_reason_class: String,
    }
    let responses = Arc::new(Responses::new(LabelLimits::default()));
    let theirs = TheirFamily::<Labels, Counter>::default();
    for (n, workload) in ["checkout", "a \"quoted\" \\ name", "größer", "日本語"].into_iter().enumerate()
    {
        for class in Class::ALL {
            let labels = Labels {
                gen_ai_provider_name: "anthropic".to_owned(),
                gen_ai_request_model: "claude-opus-4-5".to_owned(),
                llm_workload: workload.to_owned(),
                llm_stop_reason_class: class.to_string(),
            };
            let times = if *class == Class::Complete { n as u64 + 1 } else { 0 };
            theirs.get_or_create(&labels).inc_by(times);
            (0..times).for_each(|_| count(&responses, &[Observation { workload, ..observation() }]));
        }
    }
    let mut registry = TheirRegistry::default();
    registry.register("llm_responses", "LLM responses by how they ended", theirs);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();

    let ours = sorted("llm_responses", openmetrics(&Registry::new(Own::new(), responses)));
    assert_eq!(ours, sorted("llm_responses", exposition::read(&text, exposition::Form::OpenMetrics)));
}

#[test]
fn the_account_of_every_exporter_adds_up_in_the_text() {
    let families = prometheus(&registry_that_has_seen_everything());
    for exporter in ["otlp_grpc", "debug"] {
        for data_type in ["traces", "logs", "metrics"] {
            let of = |name: &str| -> f64 {
                let samples = families[&format!("refusal_collector_exporter_{name}")].samples.iter();
                let here = samples.filter(|sample| {
                    sample.labels["exporter"] == exporter && sample.labels["data_type"] == data_type
                });
                here.map(|sample| sample.value).sum()
            };
            let came = of("accepted_items_total") + of("restored_items_total");
            let here = of("queued_items") + of("in_flight_items");
            let ended = of("exported_items_total") + of("rejected_items_total") + of("dropped_items_total");
            assert_eq!((came, came), (42.0, here + ended));
        }
    }
}

/// Every metric with the names of its labels, as Prometheus has them.
#[derive(Default)]
struct Catalogue {
    metrics: BTreeMap<String, (&'static str, BTreeSet<String>)>,
    last: String,
}

impl Sink for Catalogue {
    fn metric(&mut self, metric: &Descriptor) {
        self.last = sample_name(metric);
        let kind = if metric.is_counter() { "counter" } else { "gauge" };
        self.metrics.insert(self.last.clone(), (kind, BTreeSet::new()));
    }

    fn point(&mut self, point: &Point<'_>) {
        let (_, labels) = self.metrics.get_mut(&self.last).unwrap();
        labels.extend(point.labels.iter().map(|(label, _)| name(label)));
    }
}

#[test]
fn every_metric_is_documented_with_its_labels_and_nothing_else_is() {
    let mut catalogue = Catalogue::default();
    registry_that_has_seen_everything().collect(&mut catalogue);
    let document = include_str!("../docs/metrics.md");
    let mut documented = BTreeMap::new();
    for row in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [metric, kind, labels, ..] = cells[..] else { continue };
        if kind != "counter" && kind != "gauge" {
            continue;
        }
        let labels: BTreeSet<String> =
            labels.split(',').map(|label| label.trim().trim_matches('`').to_owned()).collect();
        let labels = labels.into_iter().filter(|label| !label.is_empty()).collect();
        // One row for the three signals.
        let names = match metric.trim_matches('`').split_once("{items}") {
            None => vec![metric.trim_matches('`').to_owned()],
            Some((before, after)) => ["spans", "log_records", "metric_points"]
                .map(|items| format!("{before}{items}{after}"))
                .to_vec(),
        };
        for name in names {
            let kind = if kind == "counter" { "counter" } else { "gauge" };
            assert_eq!(documented.insert(name.clone(), (kind, BTreeSet::clone(&labels))), None, "{name}");
        }
    }
    assert_eq!(documented, catalogue.metrics);
}

#[test]
fn documented_limits_are_the_programs_limits() {
    let document = include_str!("../docs/metrics.md");
    let LabelLimits {
        stop_reason_values,
        providers,
        models,
        instrumentations,
        workloads,
        series,
        seen_responses,
        unknown_values,
        waiting_events,
    } = LabelLimits::default();
    for (key, limit) in [
        ("stop_reason_values", stop_reason_values),
        ("providers", providers),
        ("models", models),
        ("instrumentations", instrumentations),
        ("workloads", workloads),
        ("series", series),
        ("seen_responses", seen_responses),
        ("unknown_values", unknown_values),
        ("waiting_events", waiting_events),
    ] {
        let row = format!("| `{key}` | {limit} |");
        assert!(document.contains(&row), "docs/metrics.md has no row {row}");
    }
    for category in Category::ALL {
        assert!(document.contains(&format!("`{category}`")), "{category}");
    }
    for class in Class::ALL {
        assert!(document.contains(&format!("`{class}`")), "{class}");
    }
}

#[test]
fn promtool_accepts_the_text() {
    let text = registry_that_has_seen_everything().text(Form::Prometheus, false);
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // 1 and 2 are errors, 3 is advice about names.
    assert!(output.status.success() || output.status.code() == Some(3), "{said}");
}
