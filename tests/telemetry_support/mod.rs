//! A registry that has seen everything, and a strict reader of both text forms.
#![allow(dead_code)]

pub mod exposition;

use refusal_collector::config::ComponentId;
use refusal_collector::config::model::{LabelLimits, Sizer};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::Budget;
use refusal_collector::refusal::verdict::{Action, Actor, Category, Class, Delivery, Phase};
use refusal_collector::telemetry::events::{Events, WatchLimits};
use refusal_collector::telemetry::own::{Amount, DropReason, Own, RejectReason, Transport};
use refusal_collector::telemetry::own_logs::OwnLogs;
use refusal_collector::telemetry::registry::Registry;
use refusal_collector::telemetry::responses::Responses;
use refusal_collector::telemetry::{Identity, Observation, RefusalLabels};
use std::sync::Arc;

/// A response that ended by itself.
pub fn observation() -> Observation<'static> {
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

/// A response that was refused in the middle of its stream.
pub fn refused() -> Observation<'static> {
    let labels = RefusalLabels {
        category: Category::Cyber,
        actor: Actor::PlatformClassifier,
        phase: Phase::MidStream,
        delivery: Delivery::Success,
        action: Action::Surface,
    };
    let identity = Identity { trace_id: &[0xab; 16], span_id: &[0xcd; 8], ..observation().identity };
    let (class, value) = (Class::Refusal, Some("refusal"));
    Observation { class, value, refusal: Some(labels), discard_output: true, identity, ..observation() }
}

pub fn count(responses: &Responses, observations: &[Observation<'_>]) {
    let mut tally = responses.tally();
    observations.iter().for_each(|observation| _ = tally.add(observation));
    responses.commit(tally);
}

/// Everything that a collector counts has happened at least once.
pub fn registry_that_has_seen_everything() -> Registry {
    let responses = Arc::new(Responses::new(LabelLimits::default()));
    let unknown = |value| Observation { class: Class::Unknown, value: Some(value), ..observation() };
    let missing = Observation { class: Class::Missing, value: None, blind_emitter: true, ..observation() };
    let recovered = Observation { recovered: Some(Category::Bio), ..observation() };
    let hostile = "a \"quoted\" \\ back\nslash {x=\"y\"} # EOF \u{202e}größer";
    let everywhere = Observation { provider: hostile, model: hostile, workload: hostile, ..unknown(hostile) };
    count(&responses, &[observation(), refused(), unknown("halt"), missing, recovered, everywhere]);

    let own = Own::new();
    own.show_budget(Budget::new(64 << 20));
    own.tap(&ComponentId::new("ext_proc")).refused();
    for signal in Signal::ALL {
        for transport in [Transport::Grpc, Transport::Http] {
            let receiver = own.receiver(&ComponentId::new("otlp"), transport, signal);
            receiver.accepted(10);
            receiver.refused(5);
            receiver.malformed();
        }
        for id in ["otlp_grpc", "debug"] {
            let exporter = own.exporter(&ComponentId::new(id), signal);
            exporter.set_queue_capacity(1000, Sizer::Requests);
            exporter.accept(Amount::request(40, 4000));
            exporter.restore(Amount::request(2, 200));
            exporter.start(Amount::request(40, 4000));
            exporter.exported(Amount::part(10, 1000));
            exporter.send_failed(30);
            exporter.enqueue_failed(7);
            exporter.rejected(RejectReason::Invalid, Amount::part(5, 500));
            exporter.dropped(DropReason::RetryExhausted, Amount::part(5, 500));
        }
    }
    let (own_logs, _) = OwnLogs::new([ComponentId::new("otlp_grpc")], 1);
    let events = Events::new(10, WatchLimits { watchers: 1, buffer: 1 }, own_logs);
    Registry::new(own, responses).with_events(Arc::new(events))
}
