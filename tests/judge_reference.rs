//! The judge on generated spans that contradict themselves in every way, beside a slow and obvious one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/reference.rs"]
mod reference;

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;
use reference::Told;
use refusal_collector::otlp::visit::{Envelope, Visit};
use refusal_collector::otlp::wire::Malformed;
use refusal_collector::otlp::{Signal, splice::splice};
use refusal_collector::refusal::evidence::{Origin, read_span};
use refusal_collector::refusal::judge::judge;
use refusal_collector::refusal::policy::Policy;
use refusal_collector::refusal::vocabulary::Vocabulary;
use serde_json::json;
use std::ops::Range;
use std::sync::OnceLock;

/// Ordinary ends, policy, words that fold others, words of nobody, and none.
const WORDS: &[&str] = &[
    "end_turn",
    "stop",
    "STOP",
    "length",
    "MAX_TOKENS",
    "tool_calls",
    "pause_turn",
    "error",
    "other",
    "refusal",
    "content_filter",
    "content-filter",
    "SAFETY",
    "RECITATION",
    "guardrail_intervened",
    "quantum_flux_halt",
    "Stopped-Early",
    "refusal_pending",
    "null",
    "None",
    "",
];

/// What users, models and tools say. Some of it looks like what vendors say.
const SAYINGS: &[&str] = &[
    "",
    "Paris",
    "the reason\" for \"refusal\": \"none",
    "{\"finish_reason\": \"content_filter\"}",
    "\",\"finish_reason\":\"refusal\",\"",
    "{\"type\":\"refusal\",\"refusal\":\"no\"}",
    "stop_details: {category: cyber}",
];

const SCOPES: &[&str] = &[
    "",
    "app.chat",
    "opentelemetry.instrumentation.genai.anthropic",
    "com.anthropic.sdk.python",
    "opentelemetry.instrumentation.openai.v1",
    "openinference.instrumentation.openai",
];

fn word() -> impl Strategy<Value = &'static str> {
    select(WORDS)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn string(key: &'static str) -> impl Fn(&'static str) -> KeyValue + Clone {
    move |text| attribute(key, Value::StringValue(text.to_owned()))
}

fn one_of(key: &'static str, texts: &'static [&'static str]) -> BoxedStrategy<KeyValue> {
    select(texts).prop_map(string(key)).boxed()
}

/// Words in every form in which libraries write several.
fn reasons() -> impl Strategy<Value = KeyValue> {
    (vec(word(), 0..3), 0..5).prop_map(|(words, form)| {
        let list = |quote: &str| {
            let quoted: Vec<String> = words.iter().map(|word| format!("{quote}{word}{quote}")).collect();
            quoted.join(", ")
        };
        let value = match form {
            0 => {
                let text = |word: &&str| AnyValue { value: Some(Value::StringValue((*word).to_owned())) };
                Value::ArrayValue(ArrayValue { values: words.iter().map(text).collect() })
            }
            1 => Value::StringValue(format!("[{}]", list("\""))),
            2 => Value::StringValue(format!("[{}]", list("'"))),
            3 => Value::StringValue(words.join(",")),
            _ => Value::StringValue(words.first().copied().unwrap_or_default().to_owned()),
        };
        attribute("gen_ai.response.finish_reasons", value)
    })
}

fn messages() -> impl Strategy<Value = KeyValue> {
    let part = (any::<bool>(), select(SAYINGS));
    let message = (vec(part, 0..3), of(word()));
    vec(message, 0..3).prop_map(|messages| {
        let messages: Vec<_> = messages
            .into_iter()
            .map(|(parts, reason)| {
                let part = |(declines, said)| match declines && said == "Paris" {
                    true => json!({"type": "refusal", "content": said}),
                    false => json!({"type": "text", "content": said}),
                };
                let parts: Vec<_> = parts.into_iter().map(part).collect();
                json!({"role": "assistant", "parts": parts, "finish_reason": reason})
            })
            .collect();
        attribute("gen_ai.output.messages", Value::StringValue(json!(messages).to_string()))
    })
}

fn details() -> impl Strategy<Value = serde_json::Value> {
    select(&["cyber", "bio", "quantum_harm", "null", "absent"][..]).prop_map(|category| match category {
        "absent" => serde_json::Value::Null,
        "null" => json!({"type": "refusal", "category": null, "explanation": null}),
        category => json!({"type": "refusal", "category": category, "explanation": "no"}),
    })
}

fn answers() -> impl Strategy<Value = KeyValue> {
    let anthropic = (of(word()), details(), select(SAYINGS)).prop_map(|(word, details, said)| {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": said}],
            "stop_reason": word, "stop_details": details, "usage": {"input_tokens": 3, "output_tokens": 5},
        })
    });
    let choice = (of(word()), of(Just("I'd rather not")), select(SAYINGS));
    let openai = vec(choice, 1..3).prop_map(|choices| {
        let choices: Vec<_> = choices
            .into_iter()
            .enumerate()
            .map(|(index, (word, refusal, said))| {
                json!({
                    "index": index, "finish_reason": word,
                    "message": {"role": "assistant", "content": said, "refusal": refusal},
                })
            })
            .collect();
        json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4.1", "choices": choices})
    });
    prop_oneof![anthropic.boxed(), openai.boxed()]
        .prop_map(|answer| attribute("output.value", Value::StringValue(answer.to_string())))
}

fn metadata() -> impl Strategy<Value = KeyValue> {
    details().prop_map(|details| {
        attribute("metadata", Value::StringValue(json!({"stop_details": details, "user": "u"}).to_string()))
    })
}

/// What has nothing to do with it, however odd.
fn noise() -> impl Strategy<Value = KeyValue> {
    let leaf = prop_oneof![
        Just(None),
        any::<bool>().prop_map(|truth| Some(Value::BoolValue(truth))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        select(SAYINGS).prop_map(|said| Some(Value::StringValue(said.to_owned()))),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ];
    let value = leaf.prop_map(|value| AnyValue { value }).prop_recursive(4, 12, 3, |inner| {
        let list = vec(inner.clone(), 0..3)
            .prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) });
        let map = inner.prop_map(|value| {
            let entry = KeyValue { key: "finish_reason".into(), value: Some(value), ..KeyValue::default() };
            AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![entry] })) }
        });
        prop_oneof![list, map]
    });
    let key = prop_oneof![
        select(
            &[
                "http.route",
                "",
                "input.value",
                "gen_ai.input.messages",
                "order.status",
                "gen_ai.request.top_p"
            ][..]
        )
        .prop_map(str::to_owned),
        "[a-z]{1,40}",
    ];
    (key, value).prop_map(|(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let operation = one_of("gen_ai.operation.name", &["chat", "invoke_agent", "execute_tool", "list_models"]);
    let kind = one_of("openinference.span.kind", &["LLM", "AGENT", "TOOL"]);
    let provider =
        one_of("gen_ai.provider.name", &["anthropic", "openai", "aws.bedrock", "gcp.gemini", "acme", ""]);
    let system = one_of("gen_ai.system", &["anthropic", "openai", "strands-agents"]);
    let maker = one_of("llm.provider", &["anthropic", "openai", "google"]);
    let model = one_of("gen_ai.request.model", &["claude-sonnet-4-5", "gpt-4.1", "gemini-2.5-flash", "m"]);
    let name = one_of("llm.model_name", &["claude-sonnet-4-5", "gpt-4.1"]);
    let native = one_of("anthropic.message.stop_reason", WORDS);
    let reason = one_of("llm.finish_reason", WORDS);
    let error = one_of("error.type", &["", "openai.BadRequestError", "TimeoutError"]);
    let tokens = Just(attribute("gen_ai.usage.output_tokens", Value::IntValue(7)));
    let single = (
        of(operation),
        of(kind),
        of(provider),
        of(system),
        of(maker),
        of(model),
        of(name),
        of(native),
        of(reason),
        of(error),
    );
    let many =
        (of(tokens), vec(reasons(), 0..3), of(messages()), of(answers()), of(metadata()), vec(noise(), 0..4));
    (single, many)
        .prop_map(|(single, many)| {
            let (a, b, c, d, e, f, g, h, i, j) = single;
            let (tokens, reasons, messages, answers, metadata, noise) = many;
            let mut all: Vec<KeyValue> = [a, b, c, d, e, f, g, h, i, j, tokens, messages, answers, metadata]
                .into_iter()
                .flatten()
                .collect();
            all.extend(reasons);
            all.extend(noise);
            all
        })
        .prop_shuffle()
}

fn span() -> impl Strategy<Value = Span> {
    let sentence =
        select(&["", "timed out", "Your request was rejected as a result of our safety system."][..]);
    let status = of((0..3i32, sentence));
    (attributes(), status, select(&["call", "POST /v1"][..]), any::<bool>()).prop_map(
        |(attributes, status, name, has_ended)| Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: name.into(),
            start_time_unix_nano: 1,
            end_time_unix_nano: if has_ended { 2 } else { 0 },
            attributes,
            status: status.map(|(code, message)| Status { code, message: message.to_owned() }),
            ..Span::default()
        },
    )
}

fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| Vocabulary::embedded().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_judge_says_what_the_slow_one_says(span in span(), scope in select(SCOPES), unknown in vec(any::<u8>(), 0..40)) {
        let expected = reference::judge(&span, scope, vocabulary());
        // A field that nobody knows, in front.
        let mut message = vec![0xfa, 0x3f, unknown.len() as u8];
        message.extend(&unknown);
        span.encode(&mut message).unwrap();
        let told = fast(&message, scope);
        prop_assert_eq!(told, expected, "{}", compact(&span));
    }
}

/// A span on a few lines.
fn compact(span: &Span) -> String {
    let line = |a: &KeyValue| {
        format!("\n    {}: {:?}", a.key, a.value.as_ref().and_then(|value| value.value.as_ref()))
    };
    let attributes: String = span.attributes.iter().map(line).collect();
    format!("{:?} {:?}{attributes}", span.name, span.status)
}

/// The verdict of the code under test on a span that stands by itself.
fn fast(message: &[u8], scope: &str) -> Option<Told> {
    let mut encoded_scope = vec![0x0a, scope.len() as u8];
    encoded_scope.extend(scope.as_bytes());
    let mut origin = OriginOf { scope: Origin::default() };
    // The scope is told as in a request: one group of one scope and no item.
    let by_scope = wrapped(2, &wrapped(1, &encoded_scope));
    let request = wrapped(1, &by_scope).leak();
    splice(Signal::Traces, request, &mut origin).unwrap();
    let evidence = read_span(message, 0..message.len(), &shorten(&origin.scope)).unwrap()?;
    let policy = Policy::default();
    let verdict = judge(&evidence, vocabulary(), &policy, "w")?.verdict;
    Some(Told {
        class: verdict.class,
        value: verdict.value.map(|value| value.into_owned()),
        category: verdict.refusal.map(|refusal| refusal.category),
    })
}

fn shorten<'a>(origin: &Origin<'static>) -> Origin<'a> {
    *origin
}

struct OriginOf {
    scope: Origin<'static>,
}

impl Visit<'static> for OriginOf {
    fn resource(&mut self, resource: &Envelope<'static>) -> Result<(), Malformed> {
        self.scope = Origin::of_resource(resource)?;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'static>) -> Result<(), Malformed> {
        self.scope.enter_scope(scope)
    }

    fn item(&mut self, _: &'static [u8], _: Range<usize>, _: &mut Vec<u8>) -> Result<(), Malformed> {
        Ok(())
    }
}

/// A message as a field of another.
fn wrapped(field: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![field << 3 | 2, content.len() as u8];
    message.extend(content);
    message
}
