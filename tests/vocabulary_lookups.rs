//! Lookups over everything at once: sample answers of all vendors, every form of every word, near misses and hostile
//! input.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use refusal_collector::refusal::answer::{Answer, ErrorFacts, StopField};
use refusal_collector::refusal::verdict::Class;
use refusal_collector::refusal::vocabulary::{Lookup, Vendor, Vocabulary};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::embedded().unwrap());

#[derive(Deserialize)]
struct Manifest {
    bodies: Vec<Body>,
}

#[derive(Deserialize)]
struct Body {
    file: String,
    status: u16,
    expect: Expectation,
}

#[derive(Deserialize)]
struct Expectation {
    class: Class,
}

fn bodies() -> Vec<(Body, Answer)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    let manifest = std::fs::read_to_string(root.join("manifest.yaml")).unwrap();
    let manifest: Manifest = serde_saphyr::from_str(&manifest).unwrap();
    let read = |body: Body| {
        let answer = Answer::read(&std::fs::read(root.join(&body.file)).unwrap());
        (body, answer)
    };
    manifest.bodies.into_iter().map(read).collect()
}

fn vendor_of(body: &Body) -> Option<Vendor> {
    let vendor = match body.file.split('/').next().unwrap() {
        "openai_chat" | "openai_responses" => "openai",
        "hf_tgi" => "huggingface",
        vendor => vendor,
    };
    Some(VOCABULARY.vendor_named(vendor).unwrap())
}

#[test]
fn a_stop_word_of_a_sample_answer_is_unknown_exactly_where_the_answer_is() {
    let mut words = 0;
    for (body, answer) in bodies() {
        let lookups: Vec<_> = answer
            .stops
            .iter()
            .map(|stop| (&stop.word, VOCABULARY.lookup(vendor_of(&body), stop.field, &stop.word)))
            .collect();
        words += lookups.len();
        let unknown = lookups.iter().any(|(_, lookup)| *lookup == Lookup::Unknown);
        assert_eq!(unknown, body.expect.class == Class::Unknown, "{}: {lookups:?}", body.file);
    }
    assert!(words > 80, "{words}");
}

#[test]
fn what_alone_ends_a_sample_answer_has_the_class_of_the_answer() {
    for (body, answer) in bodies() {
        let [stop] = answer.stops.as_slice() else { continue };
        // A refusal in words, and an error beside the word, outweigh it. OTHER is known and no refusal of its own.
        if answer.refusal_part || answer.error.is_some() || body.file == "google/candidate_other.json" {
            continue;
        }
        let class = VOCABULARY.stop(vendor_of(&body), stop.field, &stop.word).map(|stop| stop.class);
        assert_eq!(class.unwrap_or(Class::Unknown), body.expect.class, "{}", body.file);
    }
}

#[test]
fn an_error_of_a_sample_answer_is_a_refusal_exactly_where_the_answer_is() {
    let mut errors = 0;
    for (body, answer) in bodies() {
        let Some(mut facts) = answer.error else { continue };
        if body.status >= 400 {
            facts.status = Some(body.status);
        }
        let by_stop = answer.stops.iter().any(|stop| {
            let stop = VOCABULARY.stop(vendor_of(&body), stop.field, &stop.word);
            stop.is_some_and(|stop| stop.class == Class::Refusal)
        });
        let meaning = VOCABULARY.error(vendor_of(&body), &facts);
        let refused = by_stop || meaning.is_some_and(|meaning| meaning.class == Class::Refusal);
        assert_eq!(refused, body.expect.class == Class::Refusal, "{}: {facts:?} {meaning:?}", body.file);
        errors += 1;
    }
    assert!(errors > 20, "{errors}");
}

/// Every word of a stop or finish reason, with its vendor.
fn reasons() -> impl Iterator<Item = (Option<Vendor>, StopField, &'static str, Class)> {
    VOCABULARY.vendors().iter().flat_map(|file| {
        let vendor = VOCABULARY.vendor_named(&file.vendor);
        file.surfaces.iter().flat_map(|facts| &facts.stop).flat_map(move |(field, words)| {
            words.iter().map(move |(word, entry)| (vendor, field.0, word.as_str(), entry.class))
        })
    })
}

/// The word in snake case, without the name of an enum.
fn plain(word: &str) -> String {
    let word = word.to_ascii_lowercase().replace(['-', ' '], "_");
    word.rsplit_once("reason_").map_or(word.clone(), |(_, word)| word.to_owned())
}

#[test]
fn every_word_is_known_in_every_form_that_emitters_give_it() {
    let mut forms = 0;
    for (vendor, field, word, class) in reasons().filter(|(.., word, _)| !word.is_empty()) {
        for form in [
            word.to_ascii_lowercase(),
            word.to_ascii_uppercase(),
            word.replace('_', "-"),
            word.replace('_', " "),
            format!("\"{word}\""),
            format!("FinishReason.{}", word.to_ascii_uppercase()),
            format!("google.genai.types.FinishReason.{word}"),
            format!("StopReason::{word}"),
            format!("<FinishReason.{word}: '{word}'>"),
            format!("FINISH_REASON_{}", plain(word).to_ascii_uppercase()),
        ] {
            let found = VOCABULARY.stop(vendor, field, &form).map(|stop| stop.class);
            assert_eq!(found, Some(class), "{form} of {vendor:?} {field:?}");
            forms += 1;
        }
    }
    assert!(forms > 2000, "{forms}");
}

#[test]
fn a_near_miss_stays_unknown() {
    let listed: BTreeSet<String> = reasons()
        .map(|(.., word, _)| plain(word))
        .chain(VOCABULARY.emitter_data().words.keys().map(|word| plain(word)))
        .collect();
    for (vendor, field, word, _) in reasons().filter(|(.., word, _)| !word.is_empty()) {
        let cut = &word[..word.len() - 1];
        for near in [
            format!("{word}s"),
            format!("{word}ed"),
            format!("{word}_v2"),
            format!("{word}."),
            format!("x{word}"),
            format!("un{word}"),
            format!("{word}_{word}"),
            format!("{word},{word}"),
            cut.to_owned(),
        ] {
            if near.is_empty() || listed.contains(&plain(&near)) {
                continue;
            }
            let found = VOCABULARY.lookup(vendor, field, &near);
            assert_eq!(found, Lookup::Unknown, "{near} of {vendor:?}");
        }
    }
    for near in
        ["stopped", "end_turns", "refusal_v2", "content_filters", "unstop", "STOP_NOW", "st-op", "not.stop"]
    {
        for vendor in VOCABULARY.vendors() {
            let vendor = VOCABULARY.vendor_named(&vendor.vendor);
            assert_eq!(VOCABULARY.lookup(vendor, StopField::FinishReason, near), Lookup::Unknown, "{near}");
        }
        assert_eq!(VOCABULARY.lookup(None, StopField::FinishReason, near), Lookup::Unknown, "{near}");
    }
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        ".{0,2000}",
        "[\\x00-\\x20<>.:'\"_-]{0,40}",
        "(FinishReason|stop|Reason|REASON|<|>|:|\\.|'|\"| |_|-|\\*|/|é|\u{0}){0,12}",
        "[a-zA-Z_]{1,3}".prop_map(|part| part.repeat(2000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn hostile_words_are_looked_up_without_harm(
        word in anything(),
        vendor in proptest::option::of(0_u16..40),
        field in 0_usize..7,
    ) {
        const FIELDS: [StopField; 7] = [
            StopField::StopReason, StopField::FinishReason, StopField::NativeFinishReason, StopField::Status,
            StopField::IncompleteReason, StopField::BlockReason, StopField::GuardrailAction,
        ];
        let vendor = vendor.map(Vendor);
        let found = VOCABULARY.lookup(vendor, FIELDS[field], &word);
        if let Lookup::Known(stop) = found {
            prop_assert!(!matches!(stop.class, Class::Unknown | Class::Missing));
        }
        prop_assert!(word.len() <= 128 || found == Lookup::Unknown);
        VOCABULARY.category_meaning(vendor, &word);
        VOCABULARY.provider_of_key(&word);
        VOCABULARY.provider_of_host(&word);
        VOCABULARY.provider_of_model(&word);
        VOCABULARY.emitter(&word);
        if let Some(vendor) = vendor {
            VOCABULARY.names_categories(vendor, Some(&word));
            VOCABULARY.provider_name(vendor);
        }
    }

    #[test]
    fn hostile_errors_are_read_without_harm(message in anything(), code in anything(), lead in 0_usize..5) {
        let lead = ["", "Error code: ", "Block reason: '", "Failed check: SAFETY_CHECK_TYPE", "(content_filter"][lead];
        let facts = ErrorFacts {
            code: Some(code.as_str().into()),
            kind: Some(message.as_str().into()),
            message: Some(format!("{lead}{message}").into()),
            ..ErrorFacts::default()
        };
        VOCABULARY.error(None, &facts);
        VOCABULARY.error_category_word(Some(Vendor(1)), &facts);
    }
}
