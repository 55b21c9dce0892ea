use super::*;
use crate::refusal::verdict::{Action, Actor, Category, Delivery, Phase};
use crate::telemetry::{Identity, Observation, RefusalLabels};
use std::collections::BTreeMap;
use std::time::Duration;

/// An ordinary response of nobody in particular: without ids, so that each counts.
fn observation() -> Observation<'static> {
    Observation {
        provider: "anthropic",
        model: "claude-opus-4-5",
        workload: "checkout",
        instrumentation: "opentelemetry.instrumentation.anthropic",
        class: Class::Complete,
        value: Some("end_turn"),
        vendor_category: None,
        refusal: None,
        recovered: None,
        input_tokens: Some(21),
        output_tokens: Some(9),
        discard_output: false,
        blind_emitter: false,
        identity: Identity { is_span: true, leaf: true, ..Identity::default() },
    }
}

fn refused(category: Category) -> Observation<'static> {
    let refusal = RefusalLabels {
        category,
        actor: Actor::PlatformClassifier,
        phase: Phase::BeforeOutput,
        delivery: Delivery::Success,
        action: Action::Surface,
    };
    Observation { class: Class::Refusal, value: Some("refusal"), refusal: Some(refusal), ..observation() }
}

fn unknown(value: &str) -> Observation<'_> {
    Observation { class: Class::Unknown, value: Some(value), ..observation() }
}

fn limits() -> LabelLimits {
    LabelLimits::default()
}

fn count<'a>(responses: &Responses, observations: impl IntoIterator<Item = Observation<'a>>) {
    let mut tally = responses.tally();
    observations.into_iter().for_each(|observation| _ = tally.add(&observation));
    responses.commit(tally);
}

/// All points as `name{label="value",...}` with their values.
#[derive(Default)]
struct Points {
    name: &'static str,
    points: BTreeMap<String, u64>,
    exemplars: BTreeMap<String, Exemplar>,
    starts: BTreeMap<String, SystemTime>,
}

impl Sink for Points {
    fn metric(&mut self, metric: &Descriptor) {
        self.name = metric.name;
    }

    fn point(&mut self, point: &Point<'_>) {
        let labels: Vec<_> = point.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let key = format!("{}{{{}}}", self.name, labels.join(","));
        let Value::Integer(value) = point.value else { panic!("{key} is no integer") };
        self.exemplars.extend(point.exemplar.map(|exemplar| (key.clone(), exemplar)));
        self.starts.extend(point.start.map(|start| (key.clone(), start)));
        assert_eq!(self.points.insert(key, value), None, "a series is told twice");
    }
}

fn points(responses: &Responses) -> Points {
    let mut points = Points::default();
    responses.collect(&mut points);
    points
}

impl Points {
    /// The series of one metric that are not 0.
    fn moved(&self, metric: &str) -> Vec<(&str, u64)> {
        let prefix = format!("{metric}{{");
        let of_metric = self.points.iter().filter(|(key, value)| key.starts_with(&prefix) && **value != 0);
        of_metric.map(|(key, value)| (&key[prefix.len()..key.len() - 1], *value)).collect()
    }

    fn sum(&self, metric: &str) -> u64 {
        self.moved(metric).iter().map(|(_, value)| value).sum()
    }

    fn len(&self, metric: &str) -> usize {
        self.points.keys().filter(|key| key.starts_with(&format!("{metric}{{"))).count()
    }
}

#[test]
fn all_ten_classes_are_born_at_zero_with_the_first_response() {
    let responses = Responses::new(limits());
    count(&responses, [observation()]);
    let points = points(&responses);
    assert_eq!(points.len("llm.responses"), 10);
    let place = "gen_ai.provider.name=anthropic,gen_ai.request.model=claude-opus-4-5,llm.workload=checkout";
    for class in Class::ALL {
        let key = format!("llm.responses{{{place},llm.stop_reason.class={class}}}");
        assert_eq!(points.points[&key], u64::from(*class == Class::Complete));
    }
}

#[test]
fn a_refusal_has_the_labels_of_the_public_example() {
    let responses = Responses::new(limits());
    count(&responses, [refused(Category::Cyber)]);
    let labels = "gen_ai.provider.name=anthropic,gen_ai.request.model=claude-opus-4-5,llm.workload=checkout,\
                  llm.refusal.category=cyber,llm.refusal.actor=platform_classifier,\
                  llm.refusal.phase=before_output,llm.refusal.delivery=success,llm.refusal.action=surface";
    assert_eq!(points(&responses).moved("llm.refusals"), [(labels, 1)]);
}

#[test]
fn each_kind_of_event_moves_its_own_counters() {
    let responses = Responses::new(limits());
    let discarded = Observation { discard_output: true, ..refused(Category::Bio) };
    let recovered = Observation { recovered: Some(Category::Cyber), ..observation() };
    let missing = Observation { class: Class::Missing, value: None, ..observation() };
    let blind = Observation { blind_emitter: true, instrumentation: "litellm", ..observation() };
    count(&responses, [observation(), discarded, discarded, recovered, unknown("halt"), missing, blind]);
    let points = points(&responses);
    let place = "gen_ai.provider.name=anthropic,gen_ai.request.model=claude-opus-4-5,llm.workload=checkout";
    let bio = format!("{place},llm.refusal.category=bio");
    assert_eq!(points.sum("llm.responses"), 7);
    assert_eq!(points.sum("llm.refusals"), 2);
    assert_eq!(
        points.moved("llm.refusal.discarded_tokens"),
        [
            (format!("{bio},gen_ai.token.type=input").as_str(), 42),
            (format!("{bio},gen_ai.token.type=output").as_str(), 18)
        ]
    );
    assert_eq!(
        points.moved("llm.refusal.recoveries"),
        [(format!("{place},llm.refusal.category=cyber").as_str(), 1)]
    );
    let of_value = "gen_ai.provider.name=anthropic,llm.workload=checkout,llm.stop_reason.value=halt";
    assert_eq!(points.moved("llm.stop_reason.unknown"), [(of_value, 1)]);
    assert_eq!(
        points.moved("llm.stop_reason.missing"),
        [(
            "gen_ai.provider.name=anthropic,llm.workload=checkout,\
              llm.instrumentation=opentelemetry.instrumentation.anthropic",
            1
        )]
    );
    assert_eq!(points.moved("llm.refusal.blind_emitter_responses"), [("llm.instrumentation=litellm", 1)]);
}

#[test]
fn a_tally_that_is_not_committed_leaves_no_trace() {
    let responses = Responses::new(limits());
    let mut tally = responses.tally();
    let identity = Identity { response_id: "msg_0123456789abcdef", ..observation().identity };
    tally.add(&Observation { identity, ..refused(Category::Cyber) });
    drop(tally);
    assert_eq!(points(&responses).sum("llm.responses"), 0);

    count(&responses, [Observation { identity, ..refused(Category::Cyber) }]);
    assert_eq!(points(&responses).sum("llm.refusals"), 1);
}

#[test]
fn an_unknown_value_is_told_with_the_time_when_it_was_seen_last() {
    let responses = Responses::new(limits());
    for seconds in [1000, 3000, 2000] {
        let mut tally = responses.tally();
        tally.add(&unknown("halt"));
        responses.commit_at(tally, UNIX_EPOCH + Duration::from_secs(seconds));
    }
    let points = points(&responses);
    let labels = "gen_ai.provider.name=anthropic,llm.workload=checkout,llm.stop_reason.value=halt";
    assert_eq!(points.moved("llm.stop_reason.unknown_last_seen_timestamp"), [(labels, 3000)]);
    assert_eq!(
        points.starts[&format!("llm.stop_reason.unknown{{{labels}}}")],
        UNIX_EPOCH + Duration::from_secs(1000)
    );
}

#[test]
fn the_newest_trace_is_the_exemplar() {
    let responses = Responses::new(limits());
    let with_trace = |n: &'static [u8; 24]| {
        let identity = Identity { trace_id: &n[..16], span_id: &n[16..], ..observation().identity };
        Observation { identity, discard_output: true, ..refused(Category::Cyber) }
    };
    count(&responses, [with_trace(&[1; 24]), with_trace(&[2; 24]), refused(Category::Cyber)]);
    count(&responses, [Observation { identity: with_trace(&[3; 24]).identity, ..observation() }]);
    let points = points(&responses);
    let exemplar = |metric: &str| {
        let (_, exemplar) = points.exemplars.iter().find(|(key, _)| key.starts_with(metric)).unwrap();
        (exemplar.trace_id, exemplar.span_id, exemplar.value)
    };
    assert_eq!(exemplar("llm.refusals{"), ([2; 16], [2; 8], 1));
    assert_eq!(exemplar("llm.refusal.discarded_tokens{"), ([2; 16], [2; 8], 21));
    assert_eq!(exemplar("llm.responses{"), ([3; 16], [3; 8], 1));
}

#[test]
fn absent_labels_are_placeholders() {
    let responses = Responses::new(limits());
    let bare = Observation { provider: "", model: "", workload: "", instrumentation: "", ..unknown("") };
    count(&responses, [bare, Observation { class: Class::Missing, value: None, ..bare }]);
    let points = points(&responses);
    assert_eq!(
        points.moved("llm.stop_reason.unknown"),
        [("gen_ai.provider.name=_unknown,llm.workload=unknown_service,llm.stop_reason.value=_empty", 1)]
    );
    assert_eq!(
        points.moved("llm.stop_reason.missing"),
        [("gen_ai.provider.name=_unknown,llm.workload=unknown_service,llm.instrumentation=_unknown", 1)]
    );
    assert!(points.moved("llm.responses")[0].0.contains("gen_ai.request.model=_unknown"));
    assert_eq!(points.sum("refusal_collector.label_overflow"), 0);
}

#[test]
fn long_and_unprintable_values_become_short_and_printable_labels() {
    let responses = Responses::new(limits());
    let long = "v".repeat(300);
    count(&responses, [unknown(&long), unknown("a\nb")]);
    let longer = "v".repeat(400);
    count(&responses, [unknown(&longer)]);
    let of_value =
        |value| format!("gen_ai.provider.name=anthropic,llm.workload=checkout,llm.stop_reason.value={value}");
    assert_eq!(
        points(&responses).moved("llm.stop_reason.unknown"),
        [(of_value("a\\nb").as_str(), 1), (of_value(&"v".repeat(64)).as_str(), 2)]
    );
}

#[test]
fn stop_reason_values_are_capped_per_provider_while_all_other_labels_stay() {
    let responses = Responses::new(LabelLimits { stop_reason_values: 2, ..limits() });
    for provider in ["anthropic", "openai"] {
        for value in ["a", "b", "c", "d", "a"] {
            count(&responses, [Observation { provider, ..unknown(value) }]);
        }
    }
    let points = points(&responses);
    let label = |provider, value| {
        format!("gen_ai.provider.name={provider},llm.workload=checkout,llm.stop_reason.value={value}")
    };
    for provider in ["anthropic", "openai"] {
        let of_provider: Vec<_> = points
            .moved("llm.stop_reason.unknown")
            .into_iter()
            .filter(|(labels, _)| labels.contains(provider))
            .collect();
        assert_eq!(
            of_provider,
            [
                (label(provider, "_other").as_str(), 2),
                (label(provider, "a").as_str(), 2),
                (label(provider, "b").as_str(), 1)
            ]
        );
    }
    assert_eq!(points.moved("refusal_collector.label_overflow"), [("label=llm.stop_reason.value", 4)]);
}

#[test]
fn each_free_label_has_its_own_cap_and_overflow_count() {
    let small = LabelLimits { providers: 1, models: 1, workloads: 1, instrumentations: 1, ..limits() };
    let responses = Responses::new(small);
    count(&responses, [Observation { class: Class::Missing, ..observation() }]);
    let others = Observation {
        provider: "p",
        model: "m",
        workload: "w",
        instrumentation: "i",
        class: Class::Missing,
        ..observation()
    };
    count(&responses, [others, others]);
    let points = points(&responses);
    assert_eq!(points.moved("llm.stop_reason.missing").len(), 2);
    assert_eq!(
        points.moved("refusal_collector.label_overflow"),
        [
            ("label=gen_ai.provider.name", 2),
            ("label=gen_ai.request.model", 2),
            ("label=llm.instrumentation", 2),
            ("label=llm.workload", 2),
        ]
    );
}

#[test]
fn instrumentations_that_are_no_label_take_no_room_from_those_that_are() {
    let responses = Responses::new(LabelLimits { instrumentations: 1, ..limits() });
    count(&responses, [Observation { instrumentation: "faithful", ..observation() }]);
    count(&responses, [Observation { instrumentation: "lossy", class: Class::Missing, ..observation() }]);
    let points = points(&responses);
    assert!(points.moved("llm.stop_reason.missing")[0].0.ends_with("llm.instrumentation=lossy"));
}

#[test]
fn the_series_budget_gives_up_the_model_first_then_the_workload() {
    let responses = Responses::new(LabelLimits { series: 80, ..limits() });
    let with = |model, workload| Observation { model, workload, ..observation() };
    let models = ["m1", "m2", "m3", "m4", "m5", "m6"];
    count(&responses, models.map(|model| with(model, "w1")));
    count(&responses, [with("m1", "w2"), with("m2", "w2"), with("m1", "w3"), with("m1", "w1")]);
    let points = points(&responses);
    let place = "gen_ai.provider.name=anthropic,gen_ai.request.model";
    let labels =
        |model, workload| format!("{place}={model},llm.workload={workload},llm.stop_reason.class=complete");
    let expected = [
        (labels("_other", "_other"), 1),
        (labels("_other", "w1"), 2),
        (labels("_other", "w2"), 2),
        (labels("m1", "w1"), 2),
        (labels("m2", "w1"), 1),
        (labels("m3", "w1"), 1),
        (labels("m4", "w1"), 1),
    ];
    let moved = points.moved("llm.responses");
    assert_eq!(moved, expected.iter().map(|(labels, n)| (labels.as_str(), *n)).collect::<Vec<_>>());
    assert_eq!(
        points.moved("refusal_collector.label_overflow"),
        [("label=gen_ai.request.model", 5), ("label=llm.workload", 1)]
    );
}

#[test]
fn a_refusal_and_an_unknown_reason_are_seen_whatever_fills_the_budget() {
    let responses = Responses::new(LabelLimits { series: 40, ..limits() });
    let workloads: Vec<String> = (0..400).map(|n| format!("w{n}")).collect();
    let models: Vec<String> = (0..60).map(|n| format!("m{n}")).collect();
    for workload in &workloads {
        count(&responses, models.iter().map(|model| Observation { model, workload, ..observation() }));
    }
    let late = |observation| Observation { workload: "late", model: "late", ..observation };
    let categories = [Category::Cyber, Category::Bio, Category::Violence, Category::Hate, Category::Sexual];
    count(&responses, categories.map(|category| late(refused(category))));
    let values: Vec<String> = (0..32).map(|n| format!("halt{n}")).collect();
    count(&responses, values.iter().map(|value| late(unknown(value))));
    let points = points(&responses);
    assert_eq!(points.sum("llm.responses"), 400 * 60 + 5 + 32);
    assert_eq!(points.sum("llm.refusals"), 5);
    for category in categories {
        let labels = format!("llm.refusal.category={category}");
        assert!(points.moved("llm.refusals").iter().any(|(l, n)| l.contains(&labels) && *n == 1));
    }
    for value in &values {
        let labels = format!("llm.stop_reason.value={value}");
        assert!(points.moved("llm.stop_reason.unknown").iter().any(|(l, n)| l.ends_with(&labels) && *n == 1));
    }
    assert!(points.points.len() < 40 + 150, "{} series", points.points.len());
}

#[test]
fn hostile_values_of_every_free_label_leave_a_bounded_number_of_series() {
    let responses = Responses::new(limits());
    for start in (0..20_000).step_by(1000) {
        let names: Vec<String> = (start..start + 1000).map(|n| format!("value-{n}")).collect();
        count(
            &responses,
            names.iter().map(|name| Observation {
                provider: name,
                model: name,
                workload: name,
                instrumentation: name,
                ..unknown(name)
            }),
        );
    }
    let points = points(&responses);
    assert_eq!(points.sum("llm.responses"), 20_000);
    assert_eq!(points.sum("llm.stop_reason.unknown"), 20_000);
    assert!(points.points.len() <= 20_000 + 3000, "{} series", points.points.len());
}

#[test]
fn counts_are_exact_when_many_threads_commit() {
    let responses = Responses::new(LabelLimits { series: 400, workloads: 20, ..limits() });
    let models: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let workloads: Vec<String> = (0..40).map(|n| format!("w{n}")).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..500 {
                    let observations = (0..20).map(|m| {
                        let (model, workload) = (&models[m % 10], &workloads[(n + m) % 40]);
                        match m % 4 {
                            0 => Observation { model, workload, ..refused(Category::Cyber) },
                            1 => Observation { model, workload, ..unknown("halt") },
                            _ => Observation { model, workload, ..observation() },
                        }
                    });
                    count(&responses, observations);
                }
            });
        }
    });
    let points = points(&responses);
    assert_eq!(points.sum("llm.responses"), 4 * 500 * 20);
    assert_eq!(points.sum("llm.refusals"), 4 * 500 * 5);
    assert_eq!(points.sum("llm.stop_reason.unknown"), 4 * 500 * 5);
}

#[test]
fn a_retried_request_counts_once_whatever_thread_brings_it() {
    let responses = Responses::new(limits());
    let ids: Vec<String> = (0..200).map(|n| format!("msg_{n:032}")).collect();
    let request = || {
        ids.iter().map(|id| Observation {
            identity: Identity { response_id: id, ..observation().identity },
            ..observation()
        })
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| count(&responses, request())));
        }
    });
    let points = points(&responses);
    assert_eq!(points.sum("llm.responses"), 200);
    assert_eq!(points.sum("refusal_collector.repeated_sightings"), 200 * 19);
}

#[test]
fn a_refusal_that_a_raw_request_tells_of_has_the_model_of_the_span_above() {
    let responses = Responses::new(limits());
    let identity = |span_id, parent_span_id| Identity {
        trace_id: &[7; 16],
        span_id,
        parent_span_id,
        ..observation().identity
    };
    let above = Observation { identity: identity(&[1; 8], &[]), ..observation() };
    let raw = Observation {
        provider: "litellm",
        model: "",
        instrumentation: "litellm",
        identity: identity(&[2; 8], &[1; 8]),
        ..refused(Category::Cyber)
    };
    count(&responses, [raw, above]);
    let points = points(&responses);
    assert_eq!((points.sum("llm.responses"), points.sum("llm.refusals")), (1, 1));
    let (labels, _) = points.moved("llm.refusals")[0];
    assert!(labels.starts_with("gen_ai.provider.name=anthropic,gen_ai.request.model=claude-opus-4-5,"));
    assert_eq!(points.exemplars.values().next().unwrap().span_id, [2; 8]);
}

#[test]
fn responses_beyond_the_window_of_one_request_are_counted_without_being_known_again() {
    let responses = Responses::new(LabelLimits { seen_responses: 10, ..limits() });
    let id = "msg_0123456789abcdef";
    let identity = Identity { response_id: id, ..observation().identity };
    count(&responses, (0..15).map(|_| Observation { identity, ..observation() }));
    assert_eq!(points(&responses).sum("llm.responses"), 6);
}

#[test]
fn an_impossible_number_of_tokens_is_left_out() {
    let responses = Responses::new(limits());
    let refused = Observation { discard_output: true, output_tokens: Some(7), ..refused(Category::Cyber) };
    count(&responses, [Observation { input_tokens: Some(u64::MAX), ..refused }, refused]);
    assert_eq!(points(&responses).sum("llm.refusal.discarded_tokens"), 21 + 14);
}
