//! The collector's own spans: a request from its receiver through its processors to its exporters. The names are the
//! OpenTelemetry Collector's. Where `service.telemetry.traces` sends none, nobody listens to [`TARGET`], and a span costs
//! a look at a flag.

use crate::config::ComponentId;
use crate::otlp::Signal;
use crate::telemetry::own::Transport;
use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::fmt::Display;
use std::sync::Arc;
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of all spans, and of nothing else.
pub const TARGET: &str = "refusal_collector::spans";

/// From the head of a request to its answer. It is a part of the trace that `headers` tell of.
pub fn receive(receiver: &ComponentId, transport: Transport, signal: Signal, headers: &HeaderMap) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "receive",
        otel.name = %format_args!("receiver/{receiver}/{}", received(signal)),
        otel.kind = "server",
        otel.status_code = Empty,
        otel.status_description = Empty,
        receiver = %receiver,
        transport = %transport,
        items.accepted = Empty,
        items.refused = Empty,
    );
    if !span.is_disabled() {
        // A span that has begun keeps the parent that it has, and this one has not.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
    span
}

/// What one processor makes of a request, within the span that is open.
pub fn process(processor: &'static str) -> Span {
    info_span!(target: TARGET, "process", otel.name = %format_args!("processor/{processor}"), processor)
}

/// The way of a request from an exporter's queue to the backend, with all attempts.
pub fn export(exporter: &ComponentId, signal: Signal, caller: &Caller) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "export",
        otel.name = %format_args!("exporter/{exporter}/{signal}"),
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        exporter = %exporter,
        items.sent = Empty,
        items.failed = Empty,
    );
    if !span.is_disabled()
        && let Some((first, others)) = caller.0.as_deref().and_then(<[SpanContext]>::split_first)
    {
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(first.clone()));
        others.iter().for_each(|other| span.add_link(other.clone()));
    }
    span
}

/// Says that what the span is of has failed.
pub fn fail(span: &Span, why: &dyn Display) {
    if !span.is_disabled() {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", tracing::field::display(why));
    }
}

/// The spans in which a request arrived; of a merged one there may be several. Cloning is cheap, and costs nothing where
/// there are none.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<[SpanContext]>>);

impl Caller {
    /// The span `receive`, if it is recorded.
    pub fn of(receive: &Span) -> Self {
        if receive.is_disabled() {
            return Caller::default();
        }
        let context = receive.context().span().span_context().clone();
        Caller(context.is_valid().then(|| Arc::from([context])))
    }

    /// Of requests that leave as one: all of them, up to a bound.
    pub fn merged<'a>(callers: impl Iterator<Item = &'a Caller>) -> Self {
        let contexts: Vec<SpanContext> =
            callers.filter_map(|caller| caller.0.as_deref()).flatten().take(MOST_CALLERS).cloned().collect();
        Caller((!contexts.is_empty()).then(|| contexts.into()))
    }
}

/// So many links a span has at most.
const MOST_CALLERS: usize = 128;

fn received(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "TraceDataReceived",
        Signal::Logs => "LogsReceived",
        Signal::Metrics => "MetricsReceived",
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
