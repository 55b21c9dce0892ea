//! Spans that stand beside others in a request are judged and counted as they are alone, whatever those have in common with
//! them: on all recordings, and on spans that differ from a recorded one in one thing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value as Told};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use refusal_collector::config::model::{LabelLimits, RefusalProcessor};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Message, Payload, Permit};
use refusal_collector::processor::refusal::{Refusal, Rulebook};
use refusal_collector::telemetry::metric::{Descriptor, Point, Sink, Value};
use refusal_collector::telemetry::responses::Responses;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

#[test]
fn what_stands_beside_a_span_changes_nothing() {
    let recorded = recorded();
    assert!(recorded.len() > 100, "{} ways to look", recorded.len());
    for (group, span) in &recorded {
        let variants: Vec<Span> = variants(span).collect();
        for some in variants.chunks(8) {
            // Each comes before the recorded one and after it, and all behind those few that no precedents are made of.
            let few = std::iter::repeat_n(span, FEW);
            let all = few.chain(some.iter().flat_map(|varied| [varied, span, varied]));
            let spans: Vec<Span> = all.cloned().collect();
            assert_eq!(together(group, &spans), alone(group, &spans), "{spans:#?}");
        }
    }
}

/// How many spans of a scope are judged before there are precedents.
const FEW: usize = 8;

/// The spans as they leave, and what is counted of them.
type Outcome = (Vec<Span>, Points);

fn together(group: &ResourceSpans, spans: &[Span]) -> Outcome {
    let mut counters = Counters::new();
    let spans = counters.judge(group, spans);
    (spans, counters.points())
}

fn alone(group: &ResourceSpans, spans: &[Span]) -> Outcome {
    let mut counters = Counters::new();
    let spans = spans.iter().flat_map(|span| counters.judge(group, std::slice::from_ref(span))).collect();
    (spans, counters.points())
}

struct Counters(Responses);

impl Counters {
    /// Without a window: all that comes counts, so that spans need no ids of their own.
    fn new() -> Self {
        Counters(Responses::new(LabelLimits { seen_responses: 0, ..LabelLimits::default() }))
    }

    fn judge(&mut self, group: &ResourceSpans, spans: &[Span]) -> Vec<Span> {
        static REFUSAL: OnceLock<Refusal> = OnceLock::new();
        let refusal = REFUSAL.get_or_init(|| {
            let config = RefusalProcessor::default();
            Refusal::new(&config, Rulebook::new(&config).unwrap(), None)
        });
        let mut group = group.clone();
        group.scope_spans[0].spans = spans.to_vec();
        let payload = Payload {
            signal: Signal::Traces,
            message: Message::Bare(
                ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec().into(),
            ),
            arrived: None,
            items: 0,
            permit: Arc::new(Permit::default()),
            caller: Default::default(),
        };
        let mut tally = self.0.tally();
        let payload = refusal.process(payload, &mut tally).unwrap().payload;
        self.0.commit(tally);
        let request = ExportTraceServiceRequest::decode(payload.message.as_slice()).unwrap();
        request.resource_spans.into_iter().flat_map(|mut group| group.scope_spans.remove(0).spans).collect()
    }

    /// What was counted, without the times.
    fn points(self) -> Points {
        let mut points = Points::default();
        self.0.collect(&mut points);
        points
    }
}

#[derive(Debug, Default, PartialEq)]
struct Points {
    is_counter: bool,
    points: Vec<(Vec<String>, u64)>,
}

impl Sink for Points {
    fn metric(&mut self, metric: &Descriptor) {
        self.is_counter = metric.is_counter();
    }

    fn point(&mut self, point: &Point<'_>) {
        if let (true, Value::Integer(value)) = (self.is_counter, point.value) {
            self.points.push((point.labels.iter().map(|(_, value)| (*value).to_owned()).collect(), value));
        }
    }
}

/// One short span of each way to look that is recorded, with its resource and scope.
fn recorded() -> Vec<(ResourceSpans, Span)> {
    let (mut recorded, mut known) = (Vec::new(), BTreeSet::new());
    for group in recorded_groups() {
        for ScopeSpans { scope, spans, schema_url } in &group.scope_spans {
            let empty = ScopeSpans { scope: scope.clone(), spans: vec![], schema_url: schema_url.clone() };
            let group = ResourceSpans { scope_spans: vec![empty], ..group.clone() };
            for span in spans {
                let keys: Vec<_> = span.attributes.iter().map(|attribute| attribute.key.clone()).collect();
                if span.encoded_len() < MOST_BYTES && known.insert(keys) && is_response(&group, span) {
                    recorded.push((group.clone(), span.clone()));
                }
            }
        }
    }
    recorded
}

fn recorded_groups() -> impl Iterator<Item = ResourceSpans> {
    let entries = |path: PathBuf| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = entries(corpus).filter(|path| path.is_dir()).flat_map(entries);
    let traces = files.filter(|file| {
        let name = file.to_str().unwrap();
        name.ends_with(".pb") && !name.ends_with(".logs.pb")
    });
    // Some are damaged on purpose.
    let requests = traces.flat_map(|file| ExportTraceServiceRequest::decode(&*std::fs::read(file).unwrap()));
    requests.flat_map(|request| request.resource_spans)
}

/// Longer ones take longer, and differ in nothing but the length of what was said.
const MOST_BYTES: usize = 3000;

fn is_response(group: &ResourceSpans, span: &Span) -> bool {
    let (judged, _) = alone(group, std::slice::from_ref(span));
    judged[0] != *span
}

/// Spans that differ from `span` in one thing.
fn variants(span: &Span) -> impl Iterator<Item = Span> {
    let changes = (0..span.attributes.len()).flat_map(|at| (0..VALUES + 4).map(move |change| (at, change)));
    let of_attributes = changes.map(|(at, change)| with_attribute(span.clone(), at, change));
    let status = |code: StatusCode| Some(Status { code: code.into(), message: "timed out".into() });
    let event = Event { name: "exception".into(), ..Event::default() };
    let others = [
        Span { span_id: vec![7; 8], trace_id: vec![7; 16], parent_span_id: vec![9; 8], ..span.clone() },
        Span { status: status(StatusCode::Error), ..span.clone() },
        Span { status: status(StatusCode::Ok), ..span.clone() },
        Span { status: None, events: vec![], ..span.clone() },
        Span { end_time_unix_nano: 0, ..span.clone() },
        Span { events: vec![event], ..span.clone() },
        Span { name: "chat gpt-5".into(), ..span.clone() },
    ];
    of_attributes.chain(others)
}

const VALUES: usize = 9;

fn with_attribute(mut span: Span, at: usize, change: usize) -> Span {
    let text = |text: &str| Some(Told::StringValue(text.into()));
    let list = ArrayValue { values: vec![AnyValue { value: text("galactic_halt") }] };
    let values: [Option<Told>; VALUES] = [
        None,
        text(""),
        text("galactic_halt"),
        text("0"),
        text("refusal"),
        Some(Told::IntValue(0)),
        Some(Told::IntValue(7)),
        Some(Told::BoolValue(true)),
        Some(Told::ArrayValue(list)),
    ];
    let last = span.attributes.len() - 1;
    match change.checked_sub(VALUES) {
        None => {
            span.attributes[at].value = values[change].clone().map(|value| AnyValue { value: Some(value) })
        }
        Some(0) => _ = span.attributes.remove(at),
        Some(1) => span.attributes.swap(at, last),
        Some(2) => span.attributes.push(KeyValue { ..span.attributes[at].clone() }),
        Some(_) => span.attributes[at].key = "unlisted.key".into(),
    }
    span
}
