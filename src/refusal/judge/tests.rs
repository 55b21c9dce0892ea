//! Verdicts over items that are built for the purpose; what libraries really write is judged in `tests/corpus.rs`.

use super::*;
use crate::otlp::Signal;
use crate::otlp::splice::splice;
use crate::otlp::visit::{Envelope, Visit};
use crate::otlp::wire::Malformed;
use crate::refusal::evidence::{Origin, read_log_record, read_span};
use crate::refusal::verdict::{Actor, Delivery, Phase};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status::StatusCode};
use prost::Message;
use std::ops::Range;

/// A span by its attributes.
struct Item {
    scope: &'static str,
    span: Span,
}

fn call(provider: &str) -> Item {
    let span = Span { name: "chat".into(), end_time_unix_nano: 1, ..Span::default() };
    let item = Item { scope: "corpus", span };
    item.with("gen_ai.operation.name", "chat").with("gen_ai.provider.name", provider)
}

impl Item {
    fn with(mut self, key: &str, value: impl IntoValue) -> Self {
        let value = Some(AnyValue { value: Some(value.into_value()) });
        self.span.attributes.push(KeyValue { key: key.into(), value, ..KeyValue::default() });
        self
    }

    fn failed(mut self, message: &str) -> Self {
        self.span.status = Some(Status { message: message.into(), code: StatusCode::Error.into() });
        self
    }

    fn bytes(self) -> Vec<u8> {
        let scope = Some(InstrumentationScope { name: self.scope.into(), ..InstrumentationScope::default() });
        let spans = ScopeSpans { scope, spans: vec![self.span], ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
    }
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for &str {
    fn into_value(self) -> Value {
        Value::StringValue(self.into())
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Value {
        Value::BoolValue(self)
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::IntValue(self)
    }
}

impl<const N: usize> IntoValue for [&str; N] {
    fn into_value(self) -> Value {
        let values = self.into_iter().map(|text| AnyValue { value: Some(text.into_value()) }).collect();
        Value::ArrayValue(ArrayValue { values })
    }
}

/// Judges the items of a request and appends the verdicts.
struct Judge<F> {
    signal: Signal,
    origin: Origin<'static>,
    judged: F,
}

impl<F: FnMut(Option<Judgment<'static>>)> Visit<'static> for Judge<F> {
    fn resource(&mut self, resource: &Envelope<'static>) -> Result<(), Malformed> {
        self.origin = Origin::of_resource(resource)?;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'static>) -> Result<(), Malformed> {
        self.origin.enter_scope(scope)
    }

    fn item(
        &mut self,
        message: &'static [u8],
        item: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let read = match self.signal {
            Signal::Logs => read_log_record(message, item, &self.origin)?,
            Signal::Traces | Signal::Metrics => read_span(message, item, &self.origin)?,
        };
        let vocabulary = Box::leak(Box::new(Vocabulary::embedded().unwrap()));
        let judgment = read.and_then(|evidence| {
            let judgment = judge(&evidence, vocabulary, Box::leak(Box::default()), "checkout")?;
            judgment.verdict.append(&evidence, out, self.signal.attributes_field().unwrap());
            Some(judgment)
        });
        (self.judged)(judgment);
        Ok(())
    }
}

/// The judgment of a span, and the span with the verdict on it.
fn judged(item: Item) -> (Option<Judgment<'static>>, Span) {
    let message: &'static [u8] = item.bytes().leak();
    let mut judgment = None;
    let mut judge =
        Judge { signal: Signal::Traces, origin: Origin::default(), judged: |found| judgment = found };
    let outcome = splice(Signal::Traces, message, &mut judge).unwrap();
    let bytes = outcome.rewritten.map_or(message.to_vec(), |message| message.as_slice().to_vec());
    let mut request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    (judgment, request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0))
}

fn verdict(item: Item) -> Verdict<'static> {
    judged(item).0.expect("a response").verdict
}

fn class(item: Item) -> (Class, Option<String>) {
    let verdict = verdict(item);
    (verdict.class, verdict.value.map(Cow::into_owned))
}

#[test]
fn a_plain_span_is_no_response_and_leaves_as_it_came() {
    let span = Span { name: "GET".into(), end_time_unix_nano: 1, ..Span::default() };
    let plain = Item { scope: "http", span }.with("http.response.status_code", 500).with("error.type", "500");
    let message: &'static [u8] = plain.bytes().leak();
    let mut judge =
        Judge { signal: Signal::Traces, origin: Origin::default(), judged: |j| assert_eq!(j, None) };
    assert_eq!(splice(Signal::Traces, message, &mut judge).unwrap().rewritten, None);
}

#[test]
fn ordinary_ends_are_told_apart_and_keep_their_word() {
    for (provider, word, expected) in [
        ("anthropic", "end_turn", Class::Complete),
        ("anthropic", "pause_turn", Class::Pause),
        ("openai", "length", Class::Length),
        ("gcp.gemini", "MAX_TOKENS", Class::Length),
        ("aws.bedrock", "tool_use", Class::ToolUse),
    ] {
        let item = call(provider).with("gen_ai.response.finish_reasons", [word]);
        assert_eq!(class(item), (expected, Some(word.into())));
    }
}

#[test]
fn an_unlisted_word_is_unknown_and_no_word_is_missing() {
    let unlisted = call("openai").with("gen_ai.response.finish_reasons", ["quantum_flux_halt"]);
    assert_eq!(class(unlisted), (Class::Unknown, Some("quantum_flux_halt".into())));
    assert_eq!(class(call("openai")), (Class::Missing, None));
    assert_eq!(class(call("openai").with("gen_ai.response.finish_reasons", [""; 0])), (Class::Missing, None));
}

#[test]
fn the_vendors_own_word_counts_over_finish_reasons_and_a_policy_word_over_all() {
    let contradicting = call("anthropic")
        .with("gen_ai.response.finish_reasons", ["stop"])
        .with("anthropic.message.stop_reason", "quantum_flux_halt");
    assert_eq!(class(contradicting), (Class::Unknown, Some("quantum_flux_halt".into())));
    let policy = call("openai")
        .with("llm.finish_reason", "stop")
        .with("gen_ai.response.finish_reasons", ["stop", "content_filter"]);
    assert_eq!(class(policy), (Class::Refusal, Some("content_filter".into())));
}

#[test]
fn a_failed_call_is_an_error_unless_its_sentence_is_a_refusal() {
    assert_eq!(class(call("openai").failed("Error code: 429 - Rate limit reached")), (Class::Error, None));
    let refused = verdict(
        call("openai")
            .with("error.type", "openai.BadRequestError")
            .failed("Error code: 400 - Your request was rejected as a result of our safety system."),
    );
    assert_eq!(refused.class, Class::Refusal);
    let refusal = refused.refusal.unwrap();
    assert_eq!((refusal.delivery, refusal.phase), (Delivery::Error, Phase::BeforeOutput));
    assert_eq!(refusal.signal, "status.message");
}

#[test]
fn what_an_application_says_is_the_best_evidence_and_is_not_repeated() {
    let item = call("anthropic")
        .with("gen_ai.response.finish_reasons", ["stop"])
        .with("llm.refusal.category", "cyber")
        .with("llm.refusal.actor", "platform_classifier");
    let (judgment, span) = judged(item);
    let judgment = judgment.unwrap();
    let refusal = judgment.verdict.refusal.unwrap();
    assert_eq!((judgment.rule, refusal.category), (Rule::Application, Category::Cyber));
    assert_eq!(refusal.actor, Actor::PlatformClassifier);
    let written = |key: &str| span.attributes.iter().filter(|a| a.key == key).count();
    assert_eq!(written("llm.refusal.category"), 1);
    assert_eq!(written("llm.refusal.phase"), 1);
    assert_eq!(written("llm.stop_reason.class"), 1);
}

#[test]
fn a_verdict_that_stands_on_an_item_reads_back_as_it_was() {
    let item = call("anthropic").with("gen_ai.response.finish_reasons", ["refusal"]);
    let (judgment, span) = judged(item);
    let message: &'static [u8] = Item { scope: "corpus", span }.bytes().leak();
    struct ReadBack(Option<Verdict<'static>>);
    impl Visit<'static> for ReadBack {
        fn resource(&mut self, _: &Envelope<'static>) -> Result<(), Malformed> {
            Ok(())
        }
        fn scope(&mut self, _: &Envelope<'static>) -> Result<(), Malformed> {
            Ok(())
        }
        fn item(
            &mut self,
            message: &'static [u8],
            item: Range<usize>,
            _: &mut Vec<u8>,
        ) -> Result<(), Malformed> {
            let evidence = read_span(message, item, &Origin::default())?.expect("a response");
            assert!(evidence.is_judged());
            self.0 = Verdict::written_on(&evidence);
            Ok(())
        }
    }
    let mut read_back = ReadBack(None);
    splice(Signal::Traces, message, &mut read_back).unwrap();
    assert_eq!(read_back.0, judgment.map(|judgment| judgment.verdict));
}

#[test]
fn an_agents_span_counts_only_when_it_says_how_a_call_ended() {
    let agent = |item: Item| {
        let mut item = item.with("gen_ai.agent.name", "a");
        item.span.attributes.remove(0);
        item.with("gen_ai.operation.name", "invoke_agent")
    };
    assert_eq!(judged(agent(call("openai"))).0, None);
    assert_eq!(judged(agent(call("openai").failed("Error code: 500"))).0, None);
    let repeating = agent(call("openai").with("gen_ai.response.finish_reasons", ["stop"]));
    assert_eq!(class(repeating).0, Class::Complete);
    let refused = agent(call("openai").failed("Model refused to produce output: no"));
    assert_eq!(class(refused).0, Class::Refusal);
}

/// A span without keys of the GenAI conventions.
fn bare(scope: &'static str) -> Item {
    Item { scope, span: Span { name: "x".into(), end_time_unix_nano: 1, ..Span::default() } }
}

#[test]
fn langfuse_puts_everything_in_json() {
    let generation = || {
        bare("langfuse-sdk")
            .with("langfuse.observation.type", "generation")
            .with("langfuse.observation.model.name", "gpt-4.1")
    };
    let streamed = generation().with("langfuse.observation.metadata.finish_reason", "\"content_filter\"");
    assert_eq!(class(streamed), (Class::Refusal, Some("content_filter".into())));
    let unlisted = generation().with("langfuse.observation.metadata.finish_reason", "\"quantum_flux_halt\"");
    assert_eq!(class(unlisted), (Class::Unknown, Some("quantum_flux_halt".into())));
    let lost = generation().with("langfuse.observation.output", r#"{"role": "assistant", "content": ""}"#);
    assert_eq!(class(lost), (Class::Missing, None));
    let completed = generation().with("langfuse.observation.metadata.status", "\"completed\"");
    assert_eq!(class(completed), (Class::Complete, Some("completed".into())));
    let incomplete = generation()
        .with("langfuse.observation.metadata.status", "\"incomplete\"")
        .with("langfuse.observation.metadata.incomplete_details", r#"{"reason":"content_filter"}"#);
    assert_eq!(class(incomplete), (Class::Refusal, Some("content_filter".into())));
    let declined = generation().with("langfuse.observation.metadata.status", "\"completed\"").with(
        "langfuse.observation.output",
        r#"[{"id":"msg_1","content":[{"refusal":"I can't.","type":"refusal"}],"role":"assistant","status":"completed","type":"message"}]"#,
    );
    assert_eq!(class(declined).0, Class::Refusal);
    let failed = generation().with("langfuse.observation.level", "ERROR").with(
        "langfuse.observation.status_message",
        "Error code: 400 - Your request was rejected as a result of our safety system.",
    );
    assert_eq!(class(failed).0, Class::Refusal);
}

#[test]
fn langchain_wraps_the_answer_in_generations() {
    let call = || {
        bare("openinference.instrumentation.langchain")
            .with("openinference.span.kind", "LLM")
            .with("llm.provider", "anthropic")
            .with("llm.system", "anthropic")
    };
    let generation = |metadata: &str| {
        format!(
            r#"{{"generations": [[{{"text": "", "generation_info": null, "type": "ChatGeneration", "message": {{"lc": 1,
            "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {{"content": [],
            "response_metadata": {metadata}, "type": "ai", "id": "lc_run-1"}}}}}}]], "llm_output": null, "run": null}}"#
        )
    };
    let refused = generation(
        r#"{"id": "msg_1", "model": "claude", "stop_reason": "refusal", "stop_details": {"category": "cyber",
        "explanation": "no", "type": "refusal"}}"#,
    );
    let verdict = verdict(call().with("llm.finish_reason", "refusal").with("output.value", &*refused));
    assert_eq!(verdict.refusal.unwrap().category, Category::Cyber);
    let status = generation(
        r#"{"id": "resp_1", "object": "response", "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}"#,
    );
    assert_eq!(class(call().with("output.value", &*status)), (Class::Refusal, Some("content_filter".into())));
    let unlisted = generation(
        r#"{"id": "resp_1", "object": "response", "status": "incomplete", "incomplete_details": {"reason": "quantum_flux_halt"}}"#,
    );
    assert_eq!(
        class(call().with("output.value", &*unlisted)),
        (Class::Unknown, Some("quantum_flux_halt".into()))
    );
}

#[test]
fn pieces_of_an_answer_under_keys_of_their_own_are_read() {
    let piece = |key: &str, value: &str| class(call("openai").with(key, value));
    assert_eq!(piece("openai.response.status", "completed"), (Class::Complete, Some("completed".into())));
    assert_eq!(
        piece("openai.response.incomplete_details", r#"{"reason":"max_output_tokens"}"#).0,
        Class::Length
    );
    assert_eq!(piece("openai.response.incomplete_details.reason", "content_filter").0, Class::Refusal);
    assert_eq!(piece("openai.message.refusal", "I can't help with that.").0, Class::Refusal);
    assert_eq!(
        piece("gcp.gemini.promptFeedback", r#"{"blockReason":"PROHIBITED_CONTENT"}"#).0,
        Class::Refusal
    );
    assert_eq!(piece("azure.content_filter_results", r#"{"violence":{"filtered":true}}"#).0, Class::Refusal);
    assert_eq!(piece("azure.content_filter_results", r#"{"violence":{"filtered":false}}"#).0, Class::Missing);
    let flattened = call("azure.ai.openai")
        .with("gen_ai.response.finish_reasons", ["content_filter"])
        .with("azure.content_filter_results.self_harm.filtered", true);
    assert_eq!(verdict(flattened).refusal.unwrap().category, Category::SelfHarm);
    let details = call("anthropic")
        .with("anthropic.message.stop_reason", "refusal")
        .with("anthropic.message.stop_details.category", "bio");
    assert_eq!(verdict(details).refusal.unwrap().category, Category::Bio);
    let error =
        call("openai").with("openai.error.code", "cyber_policy").with("http.response.status_code", 400);
    let verdict = verdict(error);
    assert_eq!((verdict.class, verdict.refusal.unwrap().category), (Class::Refusal, Category::Cyber));
}

#[test]
fn a_foreign_stop_word_counts_only_beside_signs_of_a_call() {
    let alone = bare("batch").with("job.stop_reason", "refusal").with("container.finish_reason", "OOMKilled");
    assert_eq!(judged(alone).0, None);
    let beside = bare("app").with("gen_ai.request.model", "m").with("myapp.stop_reason", "refusal");
    assert_eq!(class(beside).0, Class::Refusal);
}

#[test]
fn a_span_that_has_not_ended_is_no_response() {
    let mut item = call("openai").with("gen_ai.response.finish_reasons", ["stop"]);
    item.span.end_time_unix_nano = 0;
    assert_eq!(judged(item).0, None);
}

#[test]
fn an_item_of_another_kind_of_work_is_no_response() {
    for operation in ["embeddings", "execute_tool", "retrieval"] {
        let item =
            bare("app").with("gen_ai.operation.name", operation).with("gen_ai.provider.name", "openai");
        assert_eq!(judged(item.failed("Error code: 500")).0, None, "{operation}");
    }
    let listing =
        bare("app").with("gen_ai.operation.name", "list_models").with("gen_ai.provider.name", "openai");
    assert_eq!(judged(listing).0, None);
}

#[test]
fn a_recovered_decline_stays_complete_and_is_not_hidden() {
    let served = call("anthropic").with("llm.finish_reason", "end_turn").with(
        "output.value",
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"fallback",
        "from":{"model":"claude-opus-4-5"},"to":{"model":"claude-haiku-4-5"},"trigger":{"type":"refusal",
        "category":"cyber"}},{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#,
    );
    let (judgment, span) = judged(served);
    let verdict = judgment.unwrap().verdict;
    assert_eq!(verdict.class, Class::Complete);
    let recovered = verdict.recovered.unwrap();
    assert_eq!((recovered.category, recovered.by.as_deref()), (Category::Cyber, Some("claude-haiku-4-5")));
    assert!(span.attributes.iter().any(|attribute| attribute.key == "llm.refusal.recovered"));
    let told = call("anthropic")
        .with("gen_ai.response.finish_reasons", ["stop"])
        .with("llm.refusal.recovered", true);
    let verdict = self::verdict(told);
    assert_eq!((verdict.class, verdict.recovered.is_some()), (Class::Complete, true));
}

#[test]
fn an_id_of_zeros_is_no_id() {
    let item = call("aws.bedrock").with("aws.request_id", "00000000-0000-0000-0000-000000000000");
    let message = item.with("gen_ai.response.id", "msg_bdrk_01").span.encode_to_vec();
    let evidence = read_span(&message, 0..message.len(), &Origin::default()).unwrap().unwrap();
    let identity = evidence.identity();
    assert_eq!((identity.request_id, identity.response_id), ("", "msg_bdrk_01"));
}
