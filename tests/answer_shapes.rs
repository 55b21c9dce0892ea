//! The same facts are found whoever made the answer, whatever is wrapped around it, and however it was printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::refusal::answer::{Answer, CategorySource, Content, Extractor, Shape, StopField};
use refusal_collector::refusal::verdict::Side;

fn read(text: &str) -> Answer {
    Answer::read(text.as_bytes())
}

/// The stop words, as `Field:word`.
fn stops(answer: &Answer) -> Vec<String> {
    answer.stops.iter().map(|stop| format!("{:?}:{}", stop.field, stop.word)).collect()
}

/// The categories, as `Source:word:Side`.
fn categories(answer: &Answer) -> Vec<String> {
    answer
        .categories
        .iter()
        .map(|found| format!("{:?}:{}:{:?}", found.source, found.word, found.side))
        .collect()
}

const CLAUDE: &str = r#"{"id":"msg_01","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal","category":"cyber","explanation":"why"},"usage":{"input_tokens":25,"output_tokens":1}}"#;

const CHAT: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-x","choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":null,"refusal":"I can't.","role":"assistant","tool_calls":null}}],"usage":{"prompt_tokens":14,"completion_tokens":8}}"#;

fn is_claude(answer: &Answer) {
    assert_eq!(stops(answer), ["StopReason:refusal"]);
    assert_eq!(categories(answer), ["StopDetails:cyber:Unknown"]);
    assert_eq!(answer.content, Content::Empty);
    assert_eq!(answer.id.as_deref(), Some("msg_01"));
    assert_eq!(answer.model.as_deref(), Some("claude-x"));
    assert_eq!((answer.input_tokens, answer.output_tokens), (Some(25), Some(1)));
    assert!(!answer.refusal_part && !answer.tool_call && !answer.category_null && !answer.incomplete);
}

fn is_chat(answer: &Answer) {
    assert_eq!(stops(answer), ["FinishReason:stop"]);
    assert!(answer.refusal_part);
    assert_eq!(answer.content, Content::Empty);
    assert_eq!(answer.id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(answer.shape, Some(Shape::OpenAiChat));
    assert!(!answer.tool_call && !answer.incomplete);
}

#[test]
fn wrappers_hide_nothing() {
    for (before, after) in [
        ("", ""),
        ("{\"output\":", "}"),
        ("{\"response\":{\"status_code\":200,\"request_id\":\"r\",\"body\":", "},\"error\":null}"),
        ("[", "]"),
        ("{\"raw\":", ",\"delta\":null}"),
        ("{\"inputs\":{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]},\"outputs\":", "}"),
        ("{\"result\":{\"type\":\"succeeded\",\"message\":", "}}"),
        ("{\"data\":[[", "]]}"),
        ("{\"output\":[", "]}"),
    ] {
        is_claude_if(&format!("{before}{CLAUDE}{after}"), before);
        let answer = read(&format!("{before}{CHAT}{after}"));
        if before != "{\"output\":[" {
            is_chat(&answer);
        } else {
            assert_eq!(stops(&answer), ["FinishReason:stop"]);
            assert!(answer.refusal_part);
        }
    }
}

fn is_claude_if(text: &str, before: &str) {
    let answer = read(text);
    if before == "{\"output\":[" {
        // Items of a list of outputs: their ids are theirs.
        assert_eq!(stops(&answer), ["StopReason:refusal"]);
        assert_eq!(categories(&answer), ["StopDetails:cyber:Unknown"]);
    } else {
        is_claude(&answer);
    }
}

#[test]
fn texts_within_texts_are_read_where_answers_are_wrapped_so() {
    let quoted = serde_json::to_string(CLAUDE).unwrap();
    is_claude(&read(&quoted));
    is_claude(&read(&format!("{{\"statusCode\":200,\"body\":{quoted}}}")));
    is_claude(&read(&serde_json::to_string(&format!("{{\"body\":{quoted}}}")).unwrap()));
    let python_bytes = format!("b'{}'", CHAT.replace('\'', "\\'"));
    is_chat(&read(&python_bytes));
}

#[test]
fn langchain_repeats_the_same_facts() {
    let answer = read(
        r#"{"generations":[[{"text":"","generation_info":{"finish_reason":"content_filter","logprobs":null},"type":"ChatGeneration","message":{"lc":1,"type":"constructor","id":["langchain","schema","messages","AIMessage"],"kwargs":{"content":"","additional_kwargs":{"refusal":null},"response_metadata":{"token_usage":{"completion_tokens":0,"prompt_tokens":14},"model_provider":"openai","model_name":"gpt-x","id":"chatcmpl-7","finish_reason":"content_filter","logprobs":null},"type":"ai","id":"lc_run--1","tool_calls":[],"usage_metadata":{"input_tokens":14,"output_tokens":0},"invalid_tool_calls":[]}}}]],"llm_output":{"token_usage":{"completion_tokens":0,"prompt_tokens":14},"model_name":"gpt-x","id":"chatcmpl-7"},"run":null,"type":"LLMResult"}"#,
    );
    assert_eq!(stops(&answer), ["FinishReason:content_filter"]);
    assert_eq!(answer.id.as_deref(), Some("chatcmpl-7"));
    assert_eq!(answer.content, Content::Empty);
    assert_eq!(answer.error, None);
    let claude = read(
        r#"{"generations":[[{"text":"","message":{"kwargs":{"content":[],"response_metadata":{"id":"msg_9","model":"claude-x","stop_reason":"refusal","stop_sequence":null,"stop_details":{"category":"bio","explanation":"e","type":"refusal"},"usage":{"input_tokens":25,"output_tokens":1}},"type":"ai","id":"lc_run--2"}}}]],"llm_output":null}"#,
    );
    assert_eq!(stops(&claude), ["StopReason:refusal"]);
    assert_eq!(categories(&claude), ["StopDetails:bio:Unknown"]);
    assert_eq!(claude.id.as_deref(), Some("msg_9"));
    let refused = read(
        r#"{"generations":[[{"text":"","message":{"kwargs":{"content":"","additional_kwargs":{"refusal":"I can't."},"response_metadata":{"finish_reason":"stop"},"type":"ai"}}}]]}"#,
    );
    assert!(refused.refusal_part);
    let responses = read(
        r#"{"generations":[[{"text":"","message":{"kwargs":{"content":[{"type":"refusal","refusal":"I can't."}],"response_metadata":{"id":"resp_1","incomplete_details":null,"metadata":{},"object":"response","status":"completed","model":"gpt-x"},"type":"ai"}}}]]}"#,
    );
    assert!(responses.refusal_part);
    assert_eq!(stops(&responses), ["Status:completed"]);
    assert_eq!(responses.id.as_deref(), Some("resp_1"));
}

#[test]
fn message_lists_of_frameworks_are_read() {
    let answer = read(
        r#"[{"role":"assistant","parts":[{"type":"text","content":"Sure, "}],"finish_reason":"content_filter"}]"#,
    );
    assert_eq!(stops(&answer), ["FinishReason:content_filter"]);
    assert_eq!(answer.content, Content::Some);
    let typed_last = read(
        r#"[{"role":"assistant","parts":[{"content":"I can't.","type":"refusal"}],"finish_reason":"stop","name":null}]"#,
    );
    assert!(typed_last.refusal_part);
    assert_eq!(typed_last.content, Content::Empty);
    let haystack = read(
        r#"{"replies":[{"role":"assistant","meta":{"model":"gpt-x","index":0,"finish_reason":"content_filter","usage":{"prompt_tokens":25,"completion_tokens":7}},"name":null,"content":[{"text":"Sure, "}]}]}"#,
    );
    assert_eq!(stops(&haystack), ["FinishReason:content_filter"]);
    assert_eq!((haystack.content, haystack.output_tokens), (Content::Some, Some(7)));
    let spring = read(
        r#"{"result":{"metadata":{"finishReason":"STOP","contentFilters":[]},"output":{"messageType":"ASSISTANT","text":"x","toolCalls":[]}}}"#,
    );
    assert_eq!(stops(&spring), ["FinishReason:STOP"]);
    let vercel = read(r#"{"finishReason":{"unified":"other","raw":"policy_hold"},"text":""}"#);
    assert_eq!(stops(&vercel), ["FinishReason:other", "NativeFinishReason:policy_hold"]);
}

#[test]
fn vercels_metadata_is_read() {
    let answer = read(
        r#"{"anthropic":{"usage":{"input_tokens":25,"output_tokens":7},"stopSequence":null,"stopDetails":{"type":"refusal","category":"bio","explanation":"e"},"iterations":null}}"#,
    );
    assert_eq!(categories(&answer), ["StopDetails:bio:Unknown"]);
    let google = read(
        r#"{"google":{"promptFeedback":{"blockReason":"SAFETY"},"safetyRatings":[{"category":"HARM_CATEGORY_HATE_SPEECH","probability":"HIGH","blocked":true}],"finishMessage":null}}"#,
    );
    assert_eq!(stops(&google), ["BlockReason:SAFETY"]);
    assert_eq!(categories(&google), ["SafetyRating:HARM_CATEGORY_HATE_SPEECH:Unknown"]);
    assert_eq!(read(r#"{"openai":{"responseId":"resp_1"}}"#).id.as_deref(), Some("resp_1"));
}

#[test]
fn gemini_is_read_as_sdks_print_it() {
    for text in [
        r#"{"candidates":[{"content":{"parts":[{"text":"Sure"}],"role":"model"},"finish_reason":"SAFETY","index":0,"safety_ratings":[{"blocked":true,"category":"HARM_CATEGORY_HARASSMENT","probability":"HIGH"},{"blocked":null,"category":"HARM_CATEGORY_HATE_SPEECH"}]}],"model_version":"gemini-x","response_id":"r-1"}"#,
        r#"{'candidates': [{'content': {'parts': [{'text': 'Sure'}]}, 'finishReason': 'SAFETY', 'safetyRatings': [{'category': 'HARM_CATEGORY_HARASSMENT', 'blocked': True}]}], 'modelVersion': 'gemini-x', 'responseId': 'r-1'}"#,
        "candidates=[Candidate(finish_reason=<FinishReason.SAFETY: 'SAFETY'>)]",
        r#"GenerateContentResponse(candidates=[Candidate(content=Content(parts=[Part(text='Sure')], role='model'), finish_reason=<FinishReason.SAFETY: 'SAFETY'>, safety_ratings=[SafetyRating(blocked=True, category=<HarmCategory.HARM_CATEGORY_HARASSMENT: 'HARM_CATEGORY_HARASSMENT'>)])], model_version='gemini-x', response_id='r-1', when=datetime.datetime(2026, 1, 1))"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"Sure"}]},"finishReason":3,"safetyRatings":[{"category":"HARM_CATEGORY_HARASSMENT","blocked":true}]}],"modelVersion":"gemini-x","responseId":"r-1"}"#,
    ] {
        let answer = read(text);
        if text.starts_with("candidates=") {
            // No answer: a piece of one is read where it is said to be one.
            assert_eq!(answer.stops.len(), 0);
            continue;
        }
        assert_eq!(stops(&answer), ["FinishReason:SAFETY"], "{text}");
        assert_eq!(categories(&answer), ["SafetyRating:HARM_CATEGORY_HARASSMENT:Output"], "{text}");
        assert_eq!(answer.content, Content::Some);
        assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("r-1"), Some("gemini-x")));
    }
    let call = read(
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"finish_reason":"SAFETY"}}}]},"finishReason":"STOP"}]}"#,
    );
    assert!(call.tool_call);
    assert_eq!(stops(&call), ["FinishReason:STOP"]);
}

#[test]
fn a_gemini_stream_that_ends_without_a_reason_was_cut() {
    let chunk = r#"{"candidates":[{"content":{"parts":[{"text":"x"}],"role":"model"},"index":0}]}"#;
    let last = r#"{"candidates":[{"finishReason":"STOP","index":0}]}"#;
    assert!(read(&format!("[{chunk},{chunk}]")).incomplete);
    assert!(!read(&format!("[{chunk},{last}]")).incomplete);
    assert!(read(&format!("data: {chunk}\r\n\r\n")).incomplete);
    assert!(!read(&format!("data: {chunk}\r\n\r\ndata: {last}\r\n\r\n")).incomplete);
}

#[test]
fn values_apart_are_read_under_their_key() {
    let details = "{'type': 'refusal', 'category': 'cyber', 'explanation': 'why'}";
    assert_eq!(categories(&Answer::read_under("stop_details", details)), ["StopDetails:cyber:Unknown"]);
    let nested = format!("{{\"metadata\":{{\"stop_details\":\"{details}\"}}}}");
    assert_eq!(categories(&read(&nested)), ["StopDetails:cyber:Unknown"]);
    assert!(Answer::read_under("stop_details", "{\"type\": \"refusal\"}").category_null);
    let filters = r#"{"hate":{"filtered":false},"violence":{"filtered":true,"severity":"high"}}"#;
    assert_eq!(
        categories(&Answer::read_under("content_filter_results", filters)),
        ["ContentFilter:violence:Unknown"]
    );
    let choices = "[{'finish_reason': 'stop', 'message': {'content': None, 'refusal': \"I can't\"}}]";
    let answer = Answer::read_under("choices", choices);
    assert_eq!(stops(&answer), ["FinishReason:stop"]);
    assert!(answer.refusal_part);
    assert_eq!(
        stops(&Answer::read_under("promptFeedback", r#"{"blockReason":"SAFETY"}"#)),
        ["BlockReason:SAFETY"]
    );
    assert_eq!(stops(&Answer::read_under("stop_reason", "policy_hold")), ["StopReason:policy_hold"]);
    assert_eq!(
        stops(&Answer::read_under("finish_reasons", r#"["stop","length"]"#)),
        ["FinishReason:stop", "FinishReason:length"]
    );
    assert_eq!(stops(&Answer::read_under("status", "incomplete")), ["Status:incomplete"]);
    assert_eq!(Answer::read_under("id", "msg_1").id.as_deref(), Some("msg_1"));
    assert!(Answer::read_under("refusal", "I can't.").refusal_part);
    assert_eq!(Answer::read_under("error", "boom").error.unwrap().message.as_deref(), Some("boom"));
}

#[test]
fn a_structured_value_is_walked_without_making_text_of_it() {
    let mut walk = Extractor::new();
    walk.begin_object();
    walk.key("index");
    walk.integer(0);
    walk.key("finish_reason");
    walk.string("content_filter");
    walk.key("message");
    walk.begin_object();
    walk.key("content");
    walk.string("");
    walk.key("tool_calls");
    walk.begin_array();
    walk.begin_object();
    walk.key("arguments");
    walk.begin_object();
    walk.key("stop_reason");
    walk.string("refusal");
    walk.end();
    walk.end();
    walk.end();
    walk.end();
    walk.end();
    let answer = walk.finish();
    assert_eq!(stops(&answer), ["FinishReason:content_filter"]);
    assert!(answer.tool_call && !answer.incomplete);

    let mut cut = Extractor::new();
    cut.begin_object();
    cut.key("usage");
    cut.begin_object();
    cut.key("input_tokens");
    cut.float(12.0);
    let answer = cut.finish();
    assert!(answer.incomplete);
    assert_eq!(answer.input_tokens, Some(12));

    let mut text = Extractor::new();
    text.string(CLAUDE);
    is_claude(&text.finish());
}

#[test]
fn content_that_somebody_masked_is_unknown() {
    for mask in ["***", "[REDACTED]", "<redacted>", "__REDACTED__", "None"] {
        let answer = read(&format!(
            r#"{{"choices":[{{"finish_reason":"content_filter","message":{{"content":"{mask}"}}}}]}}"#
        ));
        assert_eq!(answer.content, Content::Unknown, "{mask}");
    }
    for text in ["none", "***bold*** words", "Redacted", "filtered"] {
        let answer = read(&format!(r#"{{"choices":[{{"message":{{"content":"{text}"}}}}]}}"#));
        assert_eq!(answer.content, Content::Some, "{text}");
    }
    // Content capture is off.
    let answer = read(r#"{"index":0,"finish_reason":"content_filter","message":{"role":"assistant"}}"#);
    assert_eq!(answer.content, Content::Unknown);
}

#[test]
fn placeholders_give_way_to_words() {
    let chunk = |reason: &str| {
        format!(r#"{{"output":{{"choices":[{{"finish_reason":"{reason}","message":{{"content":"x"}}}}]}}}}"#)
    };
    assert_eq!(stops(&read(&chunk("null"))), ["FinishReason:null"]);
    assert_eq!(stops(&read(&format!("{}\n{}", chunk("null"), chunk("stop")))), ["FinishReason:stop"]);
    assert_eq!(stops(&read(r#"[{"role":"assistant","finish_reason":""}]"#)), ["FinishReason:"]);
    assert!(stops(&read(r#"[{"role":"assistant","finish_reason":null}]"#)).is_empty());
}

#[test]
fn statuses_of_items_count_only_when_no_response_is_around_them() {
    let items = r#"[{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"refusal","refusal":"I can't."}]}]"#;
    assert_eq!(stops(&read(items)), ["Status:completed"]);
    let cut = &items[..items.len() - 1];
    assert!(stops(&read(cut)).is_empty(), "whatever was around it may have failed");
    let response = format!(r#"{{"id":"resp_1","object":"response","output":{items},"status":"incomplete"}}"#);
    assert_eq!(stops(&read(&response)), ["Status:incomplete"]);
    assert!(stops(&read(r#"{"status":"success","data":{}}"#)).is_empty());
}

#[test]
fn errors_are_read_in_every_style() {
    let error = |text: &str| read(text).error.unwrap();
    let google = error(r#"{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}"#);
    assert_eq!((google.status, google.kind.as_deref()), (Some(400), Some("INVALID_ARGUMENT")));
    let aws = error(r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}"#);
    assert_eq!(aws.kind.as_deref(), Some("AccessDeniedException"));
    assert_eq!(aws.message.as_deref(), Some("no"));
    let wrapped = error(
        r#"{"error":{"message":"{\"error\":{\"code\":\"content_filter\",\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\"}}}","code":"502"}}"#,
    );
    assert_eq!(wrapped.inner_code.as_deref(), Some("ResponsibleAIPolicyViolation"));
    let upstream = read(
        r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"innererror\":{\"content_filter_result\":{\"hate\":{\"filtered\":true}}}}}","provider_name":"Azure"}}}"#,
    );
    assert_eq!(categories(&upstream), ["ContentFilter:hate:Input"]);
    for no_error in [
        r#"{"error":null,"choices":[]}"#,
        r#"{"code":0,"message":"success","data":{}}"#,
        r#"{"message":"Hello"}"#,
        r#"{"output":[{"type":"mcp_call","error":"tool failed","status":"failed"}],"object":"response"}"#,
    ] {
        assert_eq!(read(no_error).error, None, "{no_error}");
    }
}

#[test]
fn error_texts_of_clients_are_read() {
    let openai = Answer::read_error(
        "Error code: 400 - {'error': {'message': 'The response was filtered', 'type': None, 'param': 'prompt', 'code': 'content_filter', 'innererror': {'code': 'ResponsibleAIPolicyViolation', 'content_filter_result': {'jailbreak': {'filtered': True, 'detected': True}}}}}",
    );
    assert_eq!(categories(&openai), ["ContentFilter:jailbreak:Input"]);
    let error = openai.error.unwrap();
    assert_eq!(error.code.as_deref(), Some("content_filter"));
    assert_eq!(error.message.as_deref(), Some("The response was filtered"));
    let flat = Answer::read_error(
        "400 - {'message': 'declined', 'code': 'cyber_policy', 'type': 'invalid_request'}",
    )
    .error
    .unwrap();
    assert_eq!(flat.code.as_deref(), Some("cyber_policy"));
    assert_eq!(flat.kind.as_deref(), Some("invalid_request"));
    let cohere = Answer::read_error("headers: {'date': 'x'}, status_code: 400, body: {'message': 'invalid'}");
    assert_eq!(cohere.error.unwrap().message.as_deref(), Some("invalid"));
    let prose = Answer::read_error("Content Exists Risk").error.unwrap();
    assert_eq!(prose.message.as_deref(), Some("Content Exists Risk"));
    assert!(!Answer::read_error("Content Exists Risk").incomplete);
}

#[test]
fn the_http_status_makes_an_error_of_a_bare_message() {
    let mut reader = refusal_collector::refusal::answer::Reader::new();
    reader.http_status(400);
    reader.feed(br#"{"message":"invalid request: blocked","id":"e1"}"#);
    let error = reader.finish().error.unwrap();
    assert_eq!((error.status, error.message.as_deref()), (Some(400), Some("invalid request: blocked")));
}

#[test]
fn older_bedrock_bodies_are_read() {
    let titan = read(
        r#"{"inputTextTokenCount":5,"results":[{"tokenCount":3,"outputText":"Sorry","completionReason":"CONTENT_FILTERED"}]}"#,
    );
    assert_eq!(stops(&titan), ["FinishReason:CONTENT_FILTERED"]);
    assert_eq!(titan.content, Content::Some);
    let mistral = read(r#"{"outputs":[{"text":"x","stop_reason":"length"}]}"#);
    assert_eq!(stops(&mistral), ["StopReason:length"]);
    let guardrail = read(
        r#"{"action":"GUARDRAIL_INTERVENED","outputs":[{"text":"no"}],"assessments":[{"wordPolicy":{"customWords":[{"match":"secret word","action":"BLOCKED"}],"managedWordLists":[{"match":"dang","type":"PROFANITY","action":"BLOCKED"}]},"sensitiveInformationPolicy":{"piiEntities":[{"match":"a@b","type":"EMAIL","action":"BLOCKED"},{"match":"c@d","type":"EMAIL","action":"ANONYMIZED"}]},"contextualGroundingPolicy":{"filters":[{"type":"GROUNDING","threshold":0.7,"score":0.1,"action":"BLOCKED"}]}}]}"#,
    );
    assert!(guardrail.guardrail_intervened);
    assert_eq!(stops(&guardrail), ["GuardrailAction:GUARDRAIL_INTERVENED"]);
    let words: Vec<_> = guardrail.categories.iter().map(|category| &*category.word).collect();
    assert_eq!(
        words,
        [
            "wordPolicy:customWords",
            "wordPolicy:PROFANITY",
            "sensitiveInformationPolicy:piiEntities",
            "contextualGroundingPolicy:GROUNDING"
        ]
    );
    let spelled = read(
        r#"{"trace":{"guardrail":{"input_assessment":{"policy-1":{"word_policy":{"custom_words":[{"match":"x","action":"GuardrailWordPolicyAction.BLOCKED"}]},"content_policy":{"filters":[{"action":"NONE","type":"HATE"}]}}}}}}"#,
    );
    assert_eq!(categories(&spelled), ["GuardrailTrace:wordPolicy:customWords:Input"]);
    assert!(
        !read(r#"{"stop_reason":"end_turn","amazon-bedrock-guardrailAction":"NONE"}"#).guardrail_intervened
    );
}

#[test]
fn calls_that_the_vendor_answers_itself_are_no_tool_calls() {
    let server = read(
        r#"{"content":[{"type":"server_tool_use","name":"web_search","input":{}},{"type":"text","text":"x"}],"stop_reason":"end_turn"}"#,
    );
    assert!(!server.tool_call);
    let own = read(r#"{"content":[{"type":"tool_use","name":"f","input":{}}],"stop_reason":"tool_use"}"#);
    assert!(own.tool_call);
    let item = |kind: &str| {
        read(&format!(r#"{{"object":"response","output":[{{"type":"{kind}"}}],"status":"completed"}}"#))
            .tool_call
    };
    assert!(item("function_call") && !item("web_search_call"));
    assert!(
        read(r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#)
            .tool_call
    );
    assert!(!read(r#"{"choices":[{"message":{"tool_calls":[],"function_call":null}}]}"#).tool_call);
}

#[test]
fn a_fallback_of_several_hops_tells_its_ends() {
    let part = |from: &str, to: &str, category: &str| {
        format!(
            r#"{{"from":{{"model":"{from}"}},"to":{{"model":"{to}"}},"trigger":{{"category":{category},"type":"refusal"}},"type":"fallback"}}"#
        )
    };
    let answer = read(&format!(
        r#"{{"type":"message","content":[{},{},{{"type":"text","text":"x"}}],"stop_reason":"end_turn","stop_details":null}}"#,
        part("a", "b", "null"),
        part("b", "c", "\"bio\"")
    ));
    let fallback = answer.fallback.unwrap();
    assert_eq!((fallback.from.as_deref(), fallback.to.as_deref()), (Some("a"), Some("c")));
    assert_eq!(fallback.category, Some(None));
    let metadata = read(
        r#"{"usage_iterations":[{"model":"a","output_tokens":1,"type":"message"},{"model":"b","type":"fallback_message"}]}"#,
    );
    let fallback = metadata.fallback.unwrap();
    assert_eq!((fallback.from.as_deref(), fallback.to.as_deref()), (Some("a"), Some("b")));
}

#[test]
fn streams_are_read_as_lists_of_chunks_too() {
    let chunks = r#"[{"type":"message_start","message":{"id":"msg_1","type":"message","model":"c","content":[],"stop_reason":null,"stop_details":null}},{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","category":null}},"usage":{"output_tokens":1}},{"type":"message_stop"}]"#;
    let answer = read(chunks);
    assert_eq!(stops(&answer), ["StopReason:refusal"]);
    assert!(answer.category_null && !answer.incomplete);
    assert_eq!(answer.content, Content::Empty);
    // The null of the first event does not stand for the one that was lost.
    let cut = &chunks[..chunks.find("\"stop_details\":{").unwrap()];
    let answer = read(cut);
    assert_eq!(stops(&answer), ["StopReason:refusal"]);
    assert!(answer.incomplete && !answer.category_null);
}

#[test]
fn deltas_of_responses_are_told_by_their_type_in_any_order() {
    let event = |kind: &str, first: bool| {
        let kind = format!(r#""type":"response.{kind}""#);
        if first { format!(r#"{{{kind},"delta":"I"}}"#) } else { format!(r#"{{"delta":"I",{kind}}}"#) }
    };
    for first in [true, false] {
        assert!(read(&event("refusal.delta", first)).refusal_part);
        assert_eq!(read(&event("refusal.delta", first)).content, Content::Unknown);
        assert_eq!(read(&event("output_text.delta", first)).content, Content::Some);
        assert!(read(&event("function_call_arguments.delta", first)).tool_call);
        let reasoning = read(&event("reasoning_summary_text.delta", first));
        assert_eq!((reasoning.content, reasoning.refusal_part), (Content::Unknown, false));
    }
}

#[test]
fn an_error_event_may_be_bare() {
    let answer = read("event: error\ndata: {\"message\":\"boom\",\"code\":\"overloaded\"}\n\n");
    assert_eq!(answer.error.unwrap().code.as_deref(), Some("overloaded"));
}

#[test]
fn categories_of_filters_that_did_not_block_are_none() {
    let filters = |blocked: &str| {
        read(&format!(
            r#"{{"object":"response","status":"completed","content_filters":[{{"content_filter_results":{{"hate":{{"filtered":true}}}},{blocked}"source_type":"prompt"}}]}}"#
        ))
    };
    assert_eq!(categories(&filters("\"blocked\":true,")), ["ContentFilter:hate:Input"]);
    assert!(filters("\"blocked\":false,").categories.is_empty());
    let lists = read(
        r#"{"choices":[{"finish_reason":"content_filter","content_filter_results":{"custom_blocklists":{"filtered":true,"details":[{"filtered":true,"id":"x"}]},"custom_topics":[{"filtered":true,"id":"y"}],"profanity":{"filtered":false,"detected":true}}}]}"#,
    );
    assert_eq!(
        categories(&lists),
        ["ContentFilter:custom_blocklists:Output", "ContentFilter:custom_topics:Output"]
    );
    assert!(lists.categories.iter().all(|category| category.source == CategorySource::ContentFilter));
    assert!(lists.categories.iter().all(|category| category.side == Side::Output));
    assert_eq!(lists.stops[0].field, StopField::FinishReason);
}

#[test]
fn a_matched_string_beside_a_finish_reason_is_no_stop_word() {
    for matched in ["\"</s>\"", "128009", "[\"a\"]", "{\"type\":\"refusal\"}"] {
        let answer = read(&format!(
            r#"{{"choices":[{{"finish_reason":"stop","stop_reason":{matched},"message":{{"content":"x"}}}}]}}"#
        ));
        assert_eq!(stops(&answer), ["FinishReason:stop"]);
        assert_eq!(answer.shape, Some(Shape::OpenAiChat));
    }
}
