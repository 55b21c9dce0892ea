//! The processor on generated requests, beside a slow and obvious normalizer that decodes everything with prost.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message as _;
use refusal_collector::config::model::{LabelLimits, RefusalProcessor};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Message, Payload, Permit};
use refusal_collector::processor::refusal::{Refusal, Rulebook};
use refusal_collector::telemetry::responses::Responses;
use std::sync::{Arc, OnceLock};

/// Stop words of Anthropic, OpenAI and the instrumentations, and what they mean. The empty word stands for none.
const WORDS: &[(&str, &str)] = &[
    ("end_turn", "complete"),
    ("stop", "complete"),
    ("max_tokens", "length"),
    ("length", "length"),
    ("model_context_window_exceeded", "length"),
    ("tool_use", "tool_use"),
    ("tool_calls", "tool_use"),
    ("tool_call", "tool_use"),
    ("stop_sequence", "stop_sequence"),
    ("pause_turn", "pause"),
    ("refusal", "refusal"),
    ("content_filter", "refusal"),
    ("quantum_flux_halt", "unknown"),
    ("stopped_early", "unknown"),
    ("", "missing"),
];

/// How the four families of instrumentations write a stop word.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    /// OpenTelemetry's conventions: an array of strings.
    OtelGenAi,
    /// The same with the messages as JSON, where the word stands once more.
    OtelGenAiMessages,
    /// The span of Anthropic's own SDK.
    AnthropicSdk,
    /// OpenLLMetry: the array, under its own scope.
    OpenLlmetry,
    /// OpenInference: a string of its own key.
    OpenInference,
}

const DIALECTS: [Dialect; 5] = [
    Dialect::OtelGenAi,
    Dialect::OtelGenAiMessages,
    Dialect::AnthropicSdk,
    Dialect::OpenLlmetry,
    Dialect::OpenInference,
];

impl Dialect {
    fn scope(self) -> &'static str {
        match self {
            Dialect::OtelGenAi | Dialect::OtelGenAiMessages => {
                "opentelemetry.instrumentation.genai.anthropic"
            }
            Dialect::AnthropicSdk => "com.anthropic.sdk.python",
            Dialect::OpenLlmetry => "opentelemetry.instrumentation.anthropic",
            Dialect::OpenInference => "openinference.instrumentation.anthropic",
        }
    }

    fn attributes(self, word: &str) -> Vec<KeyValue> {
        let mut attributes = match self {
            Dialect::OpenInference => vec![
                string("openinference.span.kind", "LLM"),
                string("llm.provider", "anthropic"),
                string("llm.model_name", "claude-opus-4-5"),
            ],
            _ => vec![
                string("gen_ai.operation.name", "chat"),
                string("gen_ai.provider.name", "anthropic"),
                string("gen_ai.request.model", "claude-opus-4-5"),
            ],
        };
        if word.is_empty() {
            return attributes;
        }
        let reasons = || attribute("gen_ai.response.finish_reasons", array(word));
        match self {
            Dialect::OtelGenAi | Dialect::OpenLlmetry => attributes.push(reasons()),
            Dialect::OtelGenAiMessages => {
                let messages = serde_json::json!([
                    {"role": "assistant", "parts": [{"type": "text", "content": "so"}], "finish_reason": word}
                ]);
                attributes.push(string("gen_ai.output.messages", &messages.to_string()));
                attributes.push(reasons());
            }
            Dialect::AnthropicSdk => attributes.push(string("anthropic.message.stop_reason", word)),
            Dialect::OpenInference => attributes.push(string("llm.finish_reason", word)),
        }
        attributes
    }
}

#[derive(Clone, Debug)]
enum Item {
    /// A call to a model that ended with this word, or failed.
    Call { word: usize, failed: bool },
    /// A span that has nothing to do with models.
    Other,
}

/// What the normalizer says of a span: class and value.
type Expected = Option<(&'static str, Option<&'static str>)>;

impl Item {
    fn expected(&self) -> Expected {
        let Item::Call { word, failed } = self else { return None };
        Some(match WORDS[*word] {
            ("", _) if *failed => ("error", None),
            ("", class) => (class, None),
            (word, class) => (class, Some(word)),
        })
    }
}

/// What one library says: its spans, each with the order in which its attributes stand.
type Group = (Dialect, Vec<(Item, Vec<Index>)>);

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let call = (0..WORDS.len(), any::<bool>()).prop_map(|(word, failed)| {
        // A call that failed has no stop word.
        let word = if failed { WORDS.len() - 1 } else { word };
        Item::Call { word, failed }
    });
    let item = prop_oneof![3 => call, 2 => Just(Item::Other)];
    let order = vec(any::<Index>(), 12);
    vec((select(&DIALECTS[..]), vec((item, order), 0..6)), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_fast_path_says_what_the_slow_one_says_and_changes_nothing_else(groups in groups()) {
        let mut expected = Vec::new();
        let mut id = 0u64;
        let groups: Vec<ResourceSpans> = groups
            .into_iter()
            .map(|(dialect, items)| {
                let spans = items.into_iter().map(|(item, order)| {
                    id += 1;
                    expected.push(item.expected());
                    span(dialect, &item, &order, id)
                });
                let spans: Vec<Span> = spans.collect();
                let scope = InstrumentationScope { name: dialect.scope().into(), ..Default::default() };
                let resource = Resource { attributes: vec![string("service.name", "w")], ..Default::default() };
                ResourceSpans {
                    resource: Some(resource),
                    scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
                    ..Default::default()
                }
            })
            .collect();
        let request = ExportTraceServiceRequest { resource_spans: groups };

        let (rewritten, items, counted) = judged(&request);
        prop_assert_eq!(items, expected.len());
        let mut rewritten = ExportTraceServiceRequest::decode(&rewritten[..]).unwrap();
        let mut told = Vec::new();
        for span in spans_mut(&mut rewritten) {
            let of = |span: &Span, key| {
                let mut found = span.attributes.iter().filter(|a| a.key == key);
                let first = found.next().map(text);
                assert!(found.next().is_none(), "{key} twice");
                first
            };
            told.push((of(span, "llm.stop_reason.class"), of(span, "llm.stop_reason.value")));
            let ours = |a: &KeyValue| a.key.starts_with("llm.stop_reason.") || a.key.starts_with("llm.refusal.");
            let first = span.attributes.iter().position(ours).unwrap_or(span.attributes.len());
            prop_assert!(span.attributes[first..].iter().all(ours), "verdicts stand at the end");
            span.attributes.truncate(first);
        }
        let expected_texts: Vec<_> = expected
            .iter()
            .map(|verdict| match verdict {
                None => (None, None),
                Some((class, value)) => (Some((*class).to_owned()), value.map(str::to_owned)),
            })
            .collect();
        prop_assert_eq!(told, expected_texts);
        prop_assert_eq!(rewritten, request);
        prop_assert_eq!(counted, expected.iter().flatten().count() as u64);
    }
}

/// The request after the processor, how many items it counted, and how many responses.
fn judged(request: &ExportTraceServiceRequest) -> (Vec<u8>, usize, u64) {
    static REFUSAL: OnceLock<Refusal> = OnceLock::new();
    let refusal = REFUSAL.get_or_init(|| {
        let config = RefusalProcessor::default();
        Refusal::new(&config, Rulebook::new(&config).unwrap(), None)
    });
    let responses = Responses::new(LabelLimits::default());
    let mut tally = responses.tally();
    let message = request.encode_to_vec();
    let payload = Payload {
        signal: Signal::Traces,
        message: Message::Bare(message.clone().into()),
        arrived: None,
        items: 0,
        permit: Arc::new(Permit::default()),
        caller: Default::default(),
    };
    let payload = refusal.process(payload, &mut tally).unwrap().payload;
    responses.commit(tally);
    let registry =
        refusal_collector::telemetry::registry::Registry::new(Default::default(), Arc::new(responses));
    let text = registry.text(refusal_collector::telemetry::text::Form::Prometheus, false);
    let of_responses = text.lines().filter(|line| line.starts_with("llm_responses_total{"));
    let counted = of_responses.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    (payload.message.as_slice().to_vec(), payload.items, counted)
}

fn span(dialect: Dialect, item: &Item, order: &[Index], id: u64) -> Span {
    let (mut attributes, failed) = match item {
        Item::Call { word, failed } => (dialect.attributes(WORDS[*word].0), *failed),
        Item::Other => {
            (vec![string("http.request.method", "GET"), string("url.path", "/stop/refusal")], false)
        }
    };
    // Any order of attributes says the same.
    for (at, index) in order.iter().enumerate().take(attributes.len()) {
        let other = index.index(attributes.len());
        attributes.swap(at, other);
    }
    Span {
        trace_id: [id.to_be_bytes(), [1; 8]].concat(),
        span_id: id.to_be_bytes().to_vec(),
        name: "call".into(),
        kind: 3,
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes,
        status: failed.then(|| Status { code: StatusCode::Error.into(), message: "timed out".into() }),
        ..Default::default()
    }
}

fn spans_mut(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    let scopes = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn array(word: &str) -> Value {
    Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(Value::StringValue(word.into())) }] })
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        other => format!("{other:?}"),
    }
}
