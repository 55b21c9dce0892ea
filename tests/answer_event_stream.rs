//! AWS event streams are read like the JSON in them, however the wire splits them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use flate2::Crc;
use refusal_collector::refusal::answer::{Answer, Content, Reader, StopField};
use std::path::PathBuf;

fn body(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bodies").join(name))
        .unwrap()
}

/// One message, as AWS frames it.
fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(u8::try_from(name.len()).unwrap());
        block.extend_from_slice(name.as_bytes());
        block.push(7);
        block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    let checksum = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        crc.sum().to_be_bytes()
    };
    let length = u32::try_from(block.len() + payload.len() + 16).unwrap();
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
    let prelude = checksum(&message);
    message.extend_from_slice(&prelude);
    message.extend_from_slice(&block);
    message.extend_from_slice(payload);
    let end = checksum(&message);
    message.extend_from_slice(&end);
    message
}

fn event(kind: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, payload)
}

fn read_in(bytes: &[u8], size: usize) -> Answer {
    let mut reader = Reader::new();
    bytes.chunks(size).for_each(|chunk| reader.feed(chunk));
    reader.finish()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            encoded.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[sextet as usize]) });
        }
    }
    encoded
}

#[test]
fn converse_streams_tell_what_their_events_tell() {
    let lines = body("bedrock/converse_stream_guardrail.events.jsonl");
    let mut framed = Vec::new();
    for line in lines.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for (kind, payload) in value.as_object().unwrap() {
            framed.extend(event(kind, payload.to_string().as_bytes()));
        }
    }
    let expected = Answer::read(lines.as_bytes());
    assert!(expected.guardrail_intervened && !expected.incomplete);
    for size in [1, 2, 3, 7, 64, framed.len()] {
        assert_eq!(read_in(&framed, size), expected, "in chunks of {size}");
    }
    // messageStop, then metadata with the trace: cut between the two, the reason is there and the category is not.
    let metadata = framed.windows(8).rposition(|window| window == b"metadata").unwrap();
    let cut = Answer::read(&framed[..metadata]);
    assert_eq!(&*cut.stops[0].word, "guardrail_intervened");
    assert!(cut.incomplete && cut.categories.is_empty());
}

#[test]
fn chunks_of_invoke_model_hold_the_vendors_own_events() {
    let stream = body("anthropic/refusal_mid_stream.sse");
    let mut framed = Vec::new();
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let payload = format!(r#"{{"bytes":"{}","p":"abcdefgh"}}"#, base64(data.as_bytes()));
        framed.extend(event("chunk", payload.as_bytes()));
    }
    let expected = Answer::read(stream.as_bytes());
    for size in [1, 5, 100, framed.len()] {
        assert_eq!(read_in(&framed, size), expected, "in chunks of {size}");
    }
}

#[test]
fn a_guardrail_intervenes_in_the_last_chunk() {
    let last = br#"{"type":"message_stop","amazon-bedrock-guardrailAction":"INTERVENED"}"#;
    let payload = format!(r#"{{"bytes":"{}"}}"#, base64(last));
    let answer = Answer::read(&event("chunk", payload.as_bytes()));
    assert!(answer.guardrail_intervened && !answer.incomplete);
    assert_eq!(answer.stops[0].field, StopField::GuardrailAction);
}

#[test]
fn exceptions_in_a_stream_are_errors() {
    let mut framed = event("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"text":"First"}}"#);
    let headers = [(":exception-type", "throttlingException"), (":message-type", "exception")];
    framed.extend(message(&headers, br#"{"message":"Too many requests"}"#));
    let answer = Answer::read(&framed);
    let error = answer.error.unwrap();
    assert_eq!(error.kind.as_deref(), Some("throttlingException"));
    assert_eq!(error.message.as_deref(), Some("Too many requests"));
    assert_eq!(answer.content, Content::Some);
}

#[test]
fn a_stream_that_is_cut_or_broken_is_incomplete() {
    let framed = event("messageStart", br#"{"role":"assistant"}"#);
    assert!(Answer::read(&framed).incomplete);
    let mut broken = event("messageStop", br#"{"stopReason":"end_turn"}"#);
    assert!(!Answer::read(&broken).incomplete);
    broken[8] ^= 1;
    let answer = Answer::read(&broken);
    assert!(answer.incomplete && answer.stops.is_empty());
}
