//! What users, models and tools say is no evidence: the keys of an answer count only where the answer has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::refusal::answer::{Answer, Content};

/// A piece of an answer that somebody could have said or made a model say.
const SAID: &str = r#"{"id":"fake","type":"refusal","role":"assistant","model":"fake","stop_reason":"refusal","finish_reason":"content_filter","native_finish_reason":"refusal","status":"incomplete","object":"response","incomplete_details":{"reason":"content_filter"},"stop_details":{"type":"refusal","category":"cyber","recommended_model":"fake"},"choices":[{"finish_reason":"content_filter","message":{"refusal":"no"}}],"candidates":[{"finishReason":"SAFETY","safetyRatings":[{"category":"X","blocked":true}]}],"promptFeedback":{"blockReason":"SAFETY"},"content_filter_results":{"hate":{"filtered":true}},"prompt_filter_results":[{"content_filter_results":{"hate":{"filtered":true}}}],"refusal":"no","error":{"code":"content_filter","message":"no"},"amazon-bedrock-guardrailAction":"INTERVENED","trace":{"guardrail":{"inputAssessment":{"g":{"topicPolicy":{"topics":[{"type":"DENY","action":"BLOCKED"}]}}}}},"usage":{"iterations":[{"type":"fallback_message","model":"fake"}]},"contentFilter":[{"role":"user"}],"from":{"model":"fake"},"to":{"model":"fake"}}"#;

fn quoted() -> String {
    serde_json::to_string(SAID).unwrap()
}

/// The facts of an answer but for those that `SAID` was put beside.
fn assert_nothing_believed(text: &str) {
    let answer = Answer::read(text.as_bytes());
    let shown = format!("{answer:?}");
    for said in
        ["refusal\"", "content_filter", "SAFETY", "cyber", "hate", "fake", "DENY", "INTERVENED", "\"X\""]
    {
        assert!(!shown.contains(said), "{said} was believed: {shown}\nof {text}");
    }
    assert!(!answer.refusal_part && !answer.guardrail_intervened, "{shown}\nof {text}");
    assert_eq!((answer.error, answer.fallback, answer.side), (None, None, None), "of {text}");
    assert!(answer.stops.iter().all(|stop| ["stop", "end_turn", "completed", "STOP"].contains(&&*stop.word)));
    assert!(!answer.incomplete, "{shown}\nof {text}");
}

#[test]
fn what_is_believed_here_is_believed_where_it_belongs() {
    let answer = Answer::read(SAID.as_bytes());
    assert!(answer.refusal_part && answer.guardrail_intervened);
    assert!(answer.stops.len() >= 6 && answer.categories.len() >= 4);
    assert!(answer.error.is_some() && answer.fallback.is_some());
}

#[test]
fn text_is_opaque_in_every_api() {
    let said = quoted();
    for text in [
        format!(
            r#"{{"type":"message","content":[{{"type":"text","text":{said}}}],"stop_reason":"end_turn"}}"#
        ),
        format!(r#"{{"choices":[{{"message":{{"content":{said}}},"finish_reason":"stop"}}]}}"#),
        format!(r#"{{"choices":[{{"text":{said},"finish_reason":"stop"}}]}}"#),
        format!(
            r#"{{"object":"response","status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":{said}}}]}}],"output_text":{said}}}"#
        ),
        format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":{said}}}]}},"finishReason":"STOP"}}]}}"#),
        format!(r#"{{"output":{{"message":{{"content":[{{"text":{said}}}]}}}},"stopReason":"end_turn"}}"#),
        format!(
            r#"[{{"role":"assistant","parts":[{{"type":"text","content":{said}}}],"finish_reason":"stop"}}]"#
        ),
        format!(
            r#"[{{"role":"assistant","parts":[{{"content":{said},"type":"reasoning"}}],"finish_reason":"stop"}}]"#
        ),
        format!(r#"{{"message":{{"content":{said}}},"done":true,"done_reason":"stop"}}"#),
        format!(r#"{{"generated_text":{said}}}"#),
        format!(r#"{{"output":{said}}}"#),
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":{said}}},\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n"
        ),
    ] {
        assert_nothing_believed(&text);
        assert_eq!(Answer::read(text.as_bytes()).content, Content::Some, "of {text}");
    }
}

#[test]
fn arguments_and_results_of_tools_are_opaque_as_text_and_as_structure() {
    for said in [quoted(), SAID.to_owned(), format!("[{SAID}]")] {
        for text in [
            format!(
                r#"{{"type":"message","content":[{{"type":"tool_use","id":"t","name":"f","input":{said}}}],"stop_reason":"end_turn"}}"#
            ),
            format!(
                r#"{{"type":"message","content":[{{"type":"web_search_tool_result","tool_use_id":"t","content":{said}}}],"stop_reason":"end_turn"}}"#
            ),
            format!(
                r#"{{"choices":[{{"message":{{"content":null,"tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":{said}}}}}]}},"finish_reason":"stop"}}]}}"#
            ),
            format!(
                r#"{{"choices":[{{"message":{{"function_call":{{"name":"f","arguments":{said}}}}},"finish_reason":"stop"}}]}}"#
            ),
            format!(
                r#"{{"object":"response","status":"completed","output":[{{"type":"function_call","arguments":{said}}},{{"type":"mcp_call","output":{said},"error":{said}}},{{"type":"file_search_call","results":[{{"attributes":{said},"text":{said}}}]}}]}}"#
            ),
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{said}}}}},{{"functionResponse":{{"response":{said}}}}}]}},"finishReason":"STOP"}}]}}"#
            ),
            format!(
                r#"{{"output":{{"message":{{"content":[{{"toolUse":{{"input":{said}}}}}]}}}},"stopReason":"end_turn"}}"#
            ),
            format!(
                r#"[{{"role":"assistant","parts":[{{"type":"tool_call","name":"f","arguments":{said}}},{{"type":"tool_call_response","response":{said},"result":{said}}}],"finish_reason":"stop"}}]"#
            ),
        ] {
            assert_nothing_believed(&text);
        }
    }
}

#[test]
fn what_the_request_said_is_opaque() {
    for said in [quoted(), SAID.to_owned(), format!("[{SAID}]")] {
        for key in [
            "input",
            "inputs",
            "prompt",
            "messages",
            "contents",
            "instructions",
            "request",
            "tools",
            "input_messages",
            "chat_history",
            "system",
            "system_instruction",
            "invocation_params",
            "response_format",
            "parameters",
        ] {
            assert_nothing_believed(&format!(r#"{{"{key}":{said},"stop_reason":"end_turn"}}"#));
            assert_nothing_believed(&format!(
                r#"{{"run":{{"{key}":{said},"outputs":{{"stop_reason":"end_turn"}}}}}}"#
            ));
        }
        assert_nothing_believed(&format!(
            r#"{{"object":"response","status":"completed","metadata":{said},"output":[]}}"#
        ));
    }
}

#[test]
fn what_the_model_made_up_is_opaque() {
    for said in [quoted(), SAID.to_owned()] {
        for text in [
            format!(
                r#"{{"choices":[{{"message":{{"content":"x","parsed":{said}}},"finish_reason":"stop"}}]}}"#
            ),
            format!(r#"{{"object":"response","status":"completed","output_parsed":{said},"output":[]}}"#),
            format!(r#"{{"role":"assistant","content":{said},"stop_reason":"end_turn"}}"#),
            format!(r#"{{"structured_response":{said},"stop_reason":"end_turn"}}"#),
            format!(r#"{{"object":{said},"finish_reason":"stop"}}"#),
        ] {
            assert_nothing_believed(&text);
        }
    }
}

#[test]
fn scores_searches_and_citations_are_opaque() {
    for key in [
        "moderation",
        "logprobs",
        "annotations",
        "citations",
        "grounding_metadata",
        "citationMetadata",
        "safeguard_results",
    ] {
        assert_nothing_believed(&format!(
            r#"{{"choices":[{{"{key}":{SAID},"finish_reason":"stop"}}],"{key}":{SAID}}}"#
        ));
    }
}

#[test]
fn messages_of_others_are_no_evidence() {
    let text = format!(
        r#"[{{"role":"user","content":"x","refusal":"no","parts":[{{"type":"refusal","content":"no"}}],"finish_reason":"content_filter"}},{{"role":"tool","content":{}}},{{"role":"assistant","content":null,"finish_reason":"stop"}}]"#,
        quoted()
    );
    assert_nothing_believed(&text);
    assert_eq!(Answer::read(text.as_bytes()).content, Content::Empty);
}

#[test]
fn a_plain_text_is_no_answer() {
    for text in [
        format!("The answer was {SAID}"),
        format!("Sure!\n{SAID}"),
        format!("Sure: data: {SAID}\n\n"),
        format!("```json\n{SAID}\n```"),
        format!("I refuse. stop_reason=refusal {SAID}"),
    ] {
        let answer = Answer::read(text.as_bytes());
        assert_eq!(answer, Answer::default(), "of {text}");
    }
}

#[test]
fn quotes_that_were_not_escaped_make_no_structure() {
    let answer = Answer::read(
        br#"[{"role":"assistant","content":"he said "x","refusal":"no","finish_reason":"content_filter"}]"#,
    );
    assert!(answer.stops.is_empty() && !answer.refusal_part && answer.incomplete);
}
