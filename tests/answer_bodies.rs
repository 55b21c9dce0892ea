//! Every recorded body of a vendor tells how it ended, and tells nothing of what it said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::refusal::answer::{Answer, CategorySource, Content, Reader, StopField};
use refusal_collector::refusal::verdict::Side;
use serde::Deserialize;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Manifest {
    bodies: Vec<Body>,
}

#[derive(Deserialize)]
struct Body {
    file: String,
    status: u16,
    expect: Expected,
}

/// What is expected of the verdict; the answer must hold the facts that it takes.
#[derive(Deserialize)]
struct Expected {
    class: String,
    category: Option<String>,
    actor: Option<String>,
    side: Option<String>,
    phase: Option<String>,
    fallback: Option<String>,
    declined_category: Option<String>,
    declined_model: Option<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bodies")
}

fn bodies() -> Vec<(Body, Vec<u8>)> {
    let manifest = std::fs::read_to_string(root().join("manifest.yaml")).unwrap();
    let manifest: Manifest = serde_saphyr::from_str(&manifest).unwrap();
    assert!(manifest.bodies.len() > 100);
    let read = |body: Body| {
        let text = std::fs::read(root().join(&body.file)).unwrap();
        (body, text)
    };
    manifest.bodies.into_iter().map(read).collect()
}

fn read(body: &Body, text: &[u8]) -> Answer {
    let mut reader = Reader::new();
    reader.http_status(body.status);
    reader.feed(text);
    reader.finish()
}

/// Words with which an answer ends as it should.
const ORDINARY: [&str; 13] = [
    "end_turn",
    "stop",
    "eos",
    "eos_token",
    "COMPLETE",
    "completed",
    "STOP",
    "max_messages",
    "CONTINUATION",
    "null",
    "unload",
    "length",
    "incomplete",
];

/// Words that say what went wrong, where nothing was declined.
const FAILED: [&str; 7] = [
    "malformed_tool_use",
    "TIMEOUT",
    "error",
    "insufficient_system_resource",
    "abort",
    "repetition",
    "failed",
];

fn is_ordinary(word: &str) -> bool {
    ORDINARY.contains(&word)
}

/// Whether the answer holds something that only declined requests have.
fn declines(answer: &Answer) -> bool {
    answer.refusal_part
        || answer.guardrail_intervened
        || !answer.categories.is_empty()
        || answer.error.is_some()
        || answer.stops.iter().any(|stop| !is_ordinary(&stop.word) && !FAILED.contains(&&*stop.word))
}

#[test]
fn every_body_holds_what_its_verdict_takes() {
    for (body, text) in bodies() {
        let answer = read(&body, &text);
        let expected = &body.expect;
        let context = format!("{}: {answer:#?}", body.file);
        match expected.class.as_str() {
            "refusal" => assert!(declines(&answer), "{context}"),
            "complete" | "length" | "pause" | "other" => {
                assert!(!declines(&answer), "{context}");
                assert!(answer.stops.iter().any(|stop| is_ordinary(&stop.word)), "{context}");
            }
            "unknown" => {
                let new = |word: &str| {
                    word.ends_with("hold") || word.ends_with("HOLD") || word == "brand_new_reason"
                };
                assert!(answer.stops.iter().any(|stop| new(&stop.word)), "{context}");
            }
            "error" => {
                let failed = answer.stops.iter().any(|stop| FAILED.contains(&&*stop.word));
                assert!(failed || answer.error.is_some() || answer.incomplete, "{context}");
                assert!(!answer.refusal_part && answer.categories.is_empty(), "{context}");
            }
            other => panic!("{}: class {other}", body.file),
        }
        assert_eq!(answer.incomplete, body.file.ends_with("stream_cut.sse"), "{context}");

        let named = !answer.categories.is_empty();
        match expected.category.as_deref() {
            Some("unspecified") => assert!(!named, "{context}"),
            Some(_) => {
                // What names the category, if not a field for it.
                let by_word = answer.stops.iter().any(|stop| {
                    matches!(stop.field, StopField::FinishReason | StopField::BlockReason)
                        && !is_ordinary(&stop.word)
                });
                assert!(named || by_word || answer.error.is_some(), "{context}");
            }
            None => {}
        }
        let sides = |side| {
            let of_word = |field| match field {
                StopField::BlockReason => Some(Side::Input),
                StopField::FinishReason => Some(Side::Output),
                _ => None,
            };
            answer.side == Some(side)
                || answer.categories.iter().any(|category| category.side == side)
                || answer.stops.iter().any(|stop| of_word(stop.field) == Some(side))
                || answer.error.is_some()
        };
        match expected.side.as_deref() {
            Some("input") => assert!(sides(Side::Input), "{context}"),
            Some("output") => assert!(sides(Side::Output), "{context}"),
            _ => {}
        }
        // An error came before any output, unless some was there.
        match expected.phase.as_deref() {
            Some("before_output") if expected.actor.as_deref() == Some("customer_guardrail") => {}
            Some("before_output") => assert_ne!(answer.content, Content::Some, "{context}"),
            Some("mid_stream") => {
                assert!(answer.content == Content::Some || answer.refusal_part, "{context}")
            }
            _ => {}
        }
        let fallback = answer.fallback.as_ref();
        assert_eq!(fallback.is_some(), expected.fallback.as_deref() == Some("served"), "{context}");
        if let Some(declined) = &expected.declined_category {
            let category = fallback.and_then(|fallback| fallback.category.clone()).flatten();
            assert_eq!(category.as_deref(), Some(declined.as_str()), "{context}");
        }
        if let Some(declined) = &expected.declined_model {
            assert_eq!(
                fallback.and_then(|fallback| fallback.from.as_deref()),
                Some(declined.as_str()),
                "{context}"
            );
        }
    }
}

/// One line a body, so that a change of what is read from any of them is seen.
#[test]
fn the_facts_of_every_body_are_these() {
    let mut table = String::new();
    for (body, text) in bodies() {
        writeln!(table, "{}", body.file).unwrap();
        describe(&read(&body, &text), &mut table);
    }
    insta::assert_snapshot!(table);
}

fn describe(answer: &Answer, table: &mut String) {
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(table, "  {name}: {value}").unwrap();
        }
    };
    let stops: Vec<_> = answer.stops.iter().map(|stop| format!("{:?} {:?}", stop.field, stop.word)).collect();
    let categories: Vec<_> = answer
        .categories
        .iter()
        .map(|category| format!("{:?} {:?} {:?}", category.source, category.word, category.side))
        .collect();
    line("shape", &answer.shape.map(|shape| format!("{shape:?}")).unwrap_or_default());
    line("stops", &stops.join(", "));
    line("categories", &categories.join(", "));
    let flags = [
        ("category null", answer.category_null),
        ("refusal part", answer.refusal_part),
        ("tool call", answer.tool_call),
        ("guardrail intervened", answer.guardrail_intervened),
        ("incomplete", answer.incomplete),
    ];
    let set: Vec<_> = flags.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    line("flags", &set.join(", "));
    line("content", &format!("{:?}", answer.content));
    line("side", &answer.side.map(|side| format!("{side:?}")).unwrap_or_default());
    line("error", &answer.error.as_ref().map(|error| format!("{error:?}")).unwrap_or_default());
    line("fallback", &answer.fallback.as_ref().map(|fallback| format!("{fallback:?}")).unwrap_or_default());
    line("recommended", answer.recommended_model.as_deref().unwrap_or_default());
    line("id", answer.id.as_deref().unwrap_or_default());
    line("model", answer.model.as_deref().unwrap_or_default());
    let tokens = |tokens: Option<u64>| tokens.map_or("-".to_owned(), |tokens| tokens.to_string());
    line("tokens", &format!("{} {}", tokens(answer.input_tokens), tokens(answer.output_tokens)));
}

#[test]
fn nothing_of_what_was_said_is_in_an_answer() {
    let said = |text: &str| {
        let mut found: Vec<String> = Vec::new();
        for value in
            serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>().map_while(Result::ok)
        {
            collect(&value, false, &mut found);
        }
        found
    };
    let mut checked = 0;
    for (body, text) in bodies() {
        let shown = format!("{:?}", read(&body, &text));
        let text = String::from_utf8(text).unwrap();
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let words: Vec<_> = said(&text).into_iter().chain(events.flat_map(said)).collect();
        for word in words.iter().filter(|word| word.len() > 3) {
            assert!(!shown.contains(word.as_str()), "{}: {word:?} in {shown}", body.file);
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked}");
}

/// The strings that somebody said, and credentials.
fn collect(value: &serde_json::Value, private: bool, found: &mut Vec<String>) {
    const PRIVATE: [&str; 17] = [
        "text",
        "content",
        "refusal",
        "explanation",
        "detailed_explanation",
        "message",
        "fallback_credit_token",
        "flagged_input",
        "patterns",
        "actionReason",
        "match",
        "name",
        "blockReasonMessage",
        "finishMessage",
        "generated_text",
        "delta",
        "modelOutput",
    ];
    match value {
        serde_json::Value::String(text) if private => found.push(text.clone()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, private, found)),
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let private = PRIVATE.contains(&key.as_str()) && !value.is_object();
                collect(value, private, found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_reader_says_nothing_of_what_it_holds() {
    let mut reader = Reader::new();
    reader.feed(br#"{"error":{"message":"a secret pro"#);
    assert!(!format!("{reader:?}").contains("secret"));
    let answer = reader.finish();
    assert!(answer.error.as_ref().unwrap().message.is_some());
    assert!(!format!("{answer:?}").contains("secret"));
}

#[test]
fn a_category_that_is_no_field_is_named_by_a_sentence() {
    let xai = std::fs::read(root().join("xai/error_403_safety_check.json")).unwrap();
    let categories = Answer::read(&xai).categories;
    assert_eq!(categories[0].source, CategorySource::ErrorDetail);
    assert_eq!(&*categories[0].word, "SAFETY_CHECK_TYPE_CYBER");
}
