//! The vocabulary against the vendor facts it was made from (`tests/data/vendors.yaml`): nothing may be lost, and
//! what differs on purpose is listed here with its reason.

#![allow(clippy::unwrap_used, clippy::panic)]

use refusal_collector::refusal::answer::{ErrorFacts, Findings, StopField};
use refusal_collector::refusal::verdict::{Actor, Category, Class, Side};
use refusal_collector::refusal::vocabulary::{Lookup, Vendor, Vocabulary};
use serde::Deserialize;

#[derive(Deserialize)]
struct Research {
    surfaces: Vec<Surface>,
    otel_finish_words: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Surface {
    id: String,
    otel_provider: Vec<String>,
    values: Vec<Value>,
    incomplete_values: Vec<Value>,
    native_values: Vec<Value>,
    messages_values: Vec<Value>,
    block_reasons: Vec<Value>,
    decisions_block_reasons: Vec<String>,
    finish_reason_category: Vec<Value>,
    category_map: Vec<Value>,
    errors: Vec<ErrorCase>,
}

#[derive(Deserialize)]
struct Value {
    value: Option<String>,
    class: Option<Class>,
    category: Option<Category>,
}

#[derive(Deserialize)]
struct ErrorCase {
    http: Option<u16>,
    code: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    path: Option<String>,
    equals: Option<String>,
    contains: Option<String>,
    starts_with: Option<String>,
    present: Option<bool>,
    #[serde(rename = "in", default)]
    one_of: Vec<String>,
    require_message_contains: Option<String>,
    and: Option<Box<ErrorCase>>,
    class: Option<Class>,
    refusal: Option<bool>,
    category: Option<Category>,
    actor: Option<Actor>,
    side: Option<Side>,
}

/// What the vocabulary says differently on purpose: surface, what, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "mistral.chat",
        "status 403 alone",
        "403 also means a missing permission; the sentence or type must say guardrail",
    ),
    ("azure.openai.chat", "finish_reason of Foundry errors", "a stop word, not an error"),
    (
        "anthropic.messages",
        "category copyright of a 400",
        "the research calls it a guess; the body names no area",
    ),
    (
        "openrouter.chat",
        "metadata.reasons and metadata.patterns",
        "fields of the body, read by the answer reader",
    ),
    ("otel_finish_words", "empty string", "says that no value came: missing, not other"),
];

fn research() -> Research {
    let text = include_str!("data/vendors.yaml");
    serde_saphyr::from_str(text).unwrap()
}

fn fields_of(surface: &str) -> &'static [StopField] {
    match surface {
        id if id.starts_with("anthropic.") => &[StopField::StopReason],
        "bedrock.converse" => &[StopField::StopReason],
        "bedrock.invoke_model" | "bedrock.apply_guardrail" => &[StopField::GuardrailAction],
        "openai.responses" | "azure.openai.responses" | "google.interactions" => &[StopField::Status],
        "openai.realtime" => &[StopField::Status, StopField::IncompleteReason],
        "openai.assistants" => &[StopField::IncompleteReason],
        "xai.rest" => &[StopField::FinishReason, StopField::Status, StopField::IncompleteReason],
        "ollama" => &[StopField::FinishReason, StopField::StopReason],
        _ => &[StopField::FinishReason],
    }
}

fn check_stops(
    vocabulary: &Vocabulary,
    vendor: Option<Vendor>,
    fields: &[StopField],
    values: &[Value],
    surface: &str,
    wrong: &mut Vec<String>,
) {
    for Value { value, class, category } in values {
        let word = value.as_deref().unwrap();
        let stops: Vec<_> = fields.iter().filter_map(|field| vocabulary.stop(vendor, *field, word)).collect();
        let Some(stop) = stops.iter().find(|stop| class.is_none_or(|class| stop.class == class)) else {
            wrong.push(format!("{surface} {word}: {stops:?} instead of {class:?}"));
            continue;
        };
        if category.is_some() && stop.category != *category {
            wrong.push(format!("{surface} {word}: {:?} instead of {category:?}", stop.category));
        }
    }
}

#[test]
fn every_stop_word_of_every_surface_has_the_class_that_its_vendor_gives_it() {
    let vocabulary = Vocabulary::embedded().unwrap();
    let mut wrong = Vec::new();
    let research = research();
    assert!(research.surfaces.len() >= 38);
    for surface in &research.surfaces {
        for provider in &surface.otel_provider {
            let vendor = vocabulary.vendor_of_provider(provider);
            assert!(vendor.is_some() || provider == "*", "{}: provider {provider}", surface.id);
            let mut check = |fields: &[StopField], values: &[Value]| {
                check_stops(&vocabulary, vendor, fields, values, &surface.id, &mut wrong);
            };
            check(fields_of(&surface.id), &surface.values);
            check(&[StopField::IncompleteReason], &surface.incomplete_values);
            check(&[StopField::FinishReason], &surface.native_values);
            check(&[StopField::StopReason], &surface.messages_values);
            check(&[StopField::BlockReason], &surface.block_reasons);
            check(&[StopField::FinishReason], &surface.finish_reason_category);
            for word in &surface.decisions_block_reasons {
                let stop = vocabulary.stop(vendor, StopField::BlockReason, word).unwrap();
                assert_eq!(stop.class, Class::Refusal, "{word}");
            }
        }
    }
    let (empty, words): (Vec<_>, Vec<_>) =
        research.otel_finish_words.into_iter().partition(|word| word.value.as_deref() == Some(""));
    assert_eq!(empty.len(), 1);
    assert_eq!(vocabulary.lookup(None, StopField::FinishReason, ""), Lookup::Absent);
    check_stops(&vocabulary, None, &[StopField::FinishReason], &words, "otel_finish_words", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_category_word_of_every_surface_is_known_for_each_spelling_of_its_provider() {
    let vocabulary = Vocabulary::embedded().unwrap();
    for surface in research().surfaces {
        for provider in &surface.otel_provider {
            let vendor = vocabulary.vendor_of_provider(provider);
            for Value { value, category, .. } in &surface.category_map {
                let Some(word) = value else { continue };
                assert_eq!(vocabulary.category(vendor, word), *category, "{} {word}", surface.id);
            }
        }
    }
}

#[test]
fn every_error_of_every_surface_means_what_its_vendor_means() {
    let vocabulary = Vocabulary::embedded().unwrap();
    let mut excepted = 0;
    let mut checked = 0;
    for surface in research().surfaces {
        for case in &surface.errors {
            let vendor = surface.otel_provider.first().and_then(|key| vocabulary.vendor_of_provider(key));
            let Some(all) = facts(case) else {
                excepted += 1;
                continue;
            };
            for facts in all {
                let meaning = vocabulary.error(vendor, &facts);
                let at = format!("{}: {facts:?} gives {meaning:?}", surface.id);
                if case.refusal == Some(false) {
                    assert_eq!(meaning, None, "{at}");
                    continue;
                }
                checked += 1;
                let meaning = meaning.unwrap_or_else(|| panic!("{at}"));
                assert_eq!(Some(meaning.class), case.class, "{at}");
                let guess = case.category == Some(Category::Copyright);
                if let Some(category) = case.category.filter(|c| !guess && *c != Category::Unspecified) {
                    assert_eq!(meaning.category, Some(category), "{at}");
                }
                if let Some(actor) = case.actor {
                    assert_eq!(meaning.actor, actor, "{at}");
                }
                if let Some(side) = case.side {
                    assert_eq!(meaning.side, side, "{at}");
                }
            }
        }
    }
    assert!(checked >= 35, "{checked}");
    // The bare 403 and the Foundry finish reason.
    assert_eq!(excepted, 2, "{EXCEPTIONS:?}");
}

/// The facts that an answer reader would give; `None` for the listed exceptions.
fn facts(case: &ErrorCase) -> Option<Vec<ErrorFacts>> {
    let path = case.path.as_deref().unwrap_or("");
    if path.contains("finish_reason") {
        return None;
    }
    let mut facts = ErrorFacts { status: case.http, ..ErrorFacts::default() };
    facts.findings = match path.rsplit_once('.').filter(|_| case.present == Some(true)) {
        Some((_, "reasons")) => Some(Findings::Reasons),
        Some((_, "patterns")) => Some(Findings::Patterns),
        _ => None,
    };
    facts.code = case.code.as_deref().map(Box::from);
    facts.kind = case.kind.as_deref().map(Box::from);
    facts.message = case.require_message_contains.as_deref().map(|part| format!("It is our {part}.").into());
    put(&mut facts, case, path);
    if let Some(and) = &case.and {
        put(&mut facts, and, and.path.as_deref().unwrap_or(""));
    }
    if !case.one_of.is_empty() {
        let code = |code: &String| ErrorFacts { code: Some(code.as_str().into()), ..facts.clone() };
        return Some(case.one_of.iter().map(code).collect());
    }
    let told =
        facts.code.is_some() || facts.kind.is_some() || facts.message.is_some() || facts.findings.is_some();
    told.then(|| vec![facts])
}

fn put(facts: &mut ErrorFacts, case: &ErrorCase, path: &str) {
    if let Some(word) = &case.equals {
        let word = Some(word.as_str().into());
        if path.ends_with("type") {
            facts.kind = word;
        } else {
            facts.code = word;
        }
    }
    if let Some(part) = &case.contains {
        facts.message = Some(format!("Error: {part} (sample)").into());
    }
    if let Some(start) = &case.starts_with {
        facts.message = Some(format!("{start} and more").into());
    }
}
