//! Answers as instrumentation libraries put them into attributes and log bodies give the facts that are in them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;
use refusal_collector::refusal::answer::{Answer, Extractor};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    truth: Truth,
    captured: Captured,
}

#[derive(Deserialize)]
struct Truth {
    category: Option<String>,
    is_refusal: bool,
}

#[derive(Deserialize)]
struct Captured {
    #[serde(default)]
    recorded_stop_values: Vec<String>,
    category: Option<Recoverable>,
}

#[derive(Deserialize)]
struct Recoverable {
    #[serde(default)]
    r#where: Vec<String>,
}

/// A value of a recording: where it stood (`span:KEY`, `event[NAME]:KEY`, `log[NAME]:KEY`, `log[NAME]:body`).
struct Stood {
    place: String,
    value: AnyValue,
}

fn recordings() -> Vec<(String, Expected, Vec<Stood>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut recordings = Vec::new();
    for directory in root.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for file in directory.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.display().to_string();
            let Some(stem) = name.strip_suffix(".expected.yaml") else { continue };
            let text = std::fs::read_to_string(&file).unwrap();
            let Ok(expected) = serde_saphyr::from_str::<Expected>(&text) else { continue };
            let mut stood = spans(Path::new(&format!("{stem}.pb")));
            stood.extend(logs(Path::new(&format!("{stem}.logs.pb"))));
            recordings.push((stem.to_owned(), expected, stood));
        }
    }
    assert!(recordings.len() > 300, "{}", recordings.len());
    recordings
}

fn attributes(place: &str, attributes: Vec<KeyValue>) -> impl Iterator<Item = Stood> {
    attributes.into_iter().filter_map(move |attribute| {
        Some(Stood { place: format!("{place}:{}", attribute.key), value: attribute.value? })
    })
}

fn spans(file: &Path) -> Vec<Stood> {
    let Ok(bytes) = std::fs::read(file) else { return Vec::new() };
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    let spans =
        request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans).flat_map(|scope| scope.spans);
    let mut stood = Vec::new();
    for span in spans {
        stood.extend(attributes("span", span.attributes));
        for event in span.events {
            stood.extend(attributes(&format!("event[{}]", event.name), event.attributes));
        }
    }
    stood
}

fn logs(file: &Path) -> Vec<Stood> {
    let Ok(bytes) = std::fs::read(file) else { return Vec::new() };
    let request = ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap();
    let records = request
        .resource_logs
        .into_iter()
        .flat_map(|logs| logs.scope_logs)
        .flat_map(|scope| scope.log_records);
    let mut stood = Vec::new();
    for record in records {
        let place = format!("log[{}]", record.event_name);
        let body = record.body.map(|value| Stood { place: format!("{place}:body"), value });
        stood.extend(body);
        stood.extend(attributes(&place, record.attributes));
    }
    stood
}

/// Reads a value as the caller of the reader does: a whole answer as text, a part of one under its key, a structure by
/// a walk.
fn read(stood: &Stood) -> Answer {
    const PARTS: [&str; 3] = ["safetyRatings", "promptFeedback", "content_filter_results"];
    let key = stood.place.rsplit('.').next().unwrap();
    match &stood.value.value {
        Some(Value::StringValue(text)) if PARTS.contains(&key) => Answer::read_under(key, text),
        Some(Value::StringValue(text)) => Answer::read(text.as_bytes()),
        _ => {
            let mut extractor = Extractor::new();
            walk(&stood.value, &mut extractor);
            extractor.finish()
        }
    }
}

fn walk(value: &AnyValue, extractor: &mut Extractor) {
    match &value.value {
        Some(Value::StringValue(text)) => extractor.string(text),
        Some(Value::BoolValue(value)) => extractor.boolean(*value),
        Some(Value::IntValue(value)) => extractor.integer(*value),
        Some(Value::DoubleValue(value)) => extractor.float(*value),
        Some(Value::ArrayValue(array)) => {
            extractor.begin_array();
            array.values.iter().for_each(|value| walk(value, extractor));
            extractor.end();
        }
        Some(Value::KvlistValue(list)) => {
            extractor.begin_object();
            for entry in &list.values {
                extractor.key(&entry.key);
                match &entry.value {
                    Some(value) => walk(value, extractor),
                    None => extractor.null(),
                }
            }
            extractor.end();
        }
        _ => extractor.null(),
    }
}

/// Splits `span:output.value<json>.choices[0].finish_reason` into the place of the value and the path within.
fn place_and_path<'p>(recorded: &'p str, stood: &[Stood]) -> Option<(String, &'p str)> {
    if let Some((place, path)) = recorded.split_once("<json>") {
        return Some((place.to_owned(), path));
    }
    // A structured value.
    let of_log = stood.iter().filter(|stood| stood.place.starts_with("log["));
    of_log.into_iter().find_map(|stood| {
        let path = recorded.strip_prefix(&stood.place)?;
        path.starts_with(['.', '[']).then(|| (stood.place.clone(), path))
    })
}

#[test]
fn stop_words_in_attributes_are_found() {
    let mut checked = 0;
    for (name, expected, stood) in recordings() {
        for recorded in &expected.captured.recorded_stop_values {
            let (recorded, word) = recorded.split_once(" = ").unwrap();
            let Some((place, path)) = place_and_path(recorded, &stood) else { continue };
            // A schema of attributes; a conversation with its history; a list of words, which is no answer.
            if place.ends_with("json_schema")
                || place.ends_with("all_messages")
                || place.ends_with("finish_reasons")
            {
                continue;
            }
            // The status of an item, and one that is not final, stand back behind that of the response.
            if path.contains("output[") || path.contains(".item.") || word == "in_progress" {
                continue;
            }
            let answers: Vec<_> = stood.iter().filter(|stood| stood.place == place).map(read).collect();
            let found = answers.iter().flat_map(|answer| &answer.stops).any(|stop| &*stop.word == word);
            assert!(found, "{name}: {recorded} = {word}: {answers:#?}");
            checked += 1;
        }
    }
    assert!(checked > 350, "{checked}");
}

#[test]
fn categories_in_attributes_are_found() {
    let mut checked = 0;
    for (name, expected, stood) in recordings() {
        let (Some(truth), Some(category)) = (&expected.truth.category, &expected.captured.category) else {
            continue;
        };
        for recorded in &category.r#where {
            let Some((place, path)) = recorded.split_once("<json>") else { continue };
            // A library's own digest of a guardrail's trace.
            if place.ends_with("input_filter") || place.ends_with("output_filter") {
                continue;
            }
            let answers: Vec<_> = stood.iter().filter(|stood| stood.place == place).map(read).collect();
            let found = answers.iter().any(|answer| {
                let named = answer.categories.iter().any(|category| &*category.word == truth);
                let blocked = answer.stops.iter().any(|stop| &*stop.word == truth);
                let declined = answer.fallback.iter().any(|fallback| {
                    fallback.category.as_ref().is_some_and(|category| category.as_deref() == Some(truth))
                });
                named || blocked || declined
            });
            assert!(found, "{name}: {path} of {place} = {truth}: {answers:#?}");
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn nothing_in_ordinary_answers_declines() {
    let mut checked = 0;
    for (name, expected, stood) in recordings() {
        // A fallback that rescued tells of the refusal that it rescued from.
        if expected.truth.is_refusal || name.contains("fallback") {
            continue;
        }
        for stood in &stood {
            let answer = read(stood);
            let declined =
                answer.refusal_part || answer.guardrail_intervened || !answer.categories.is_empty();
            assert!(!declined && answer.error.is_none(), "{name}: {}: {answer:#?}", stood.place);
            checked += 1;
        }
    }
    assert!(checked > 3000, "{checked}");
}
