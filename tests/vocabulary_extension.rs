//! What users add to the vocabulary: it does what it says, and it cannot make the collector quiet.

#![allow(clippy::unwrap_used)]

use refusal_collector::refusal::answer::{ErrorFacts, StopField};
use refusal_collector::refusal::verdict::{Actor, Category, Class};
use refusal_collector::refusal::vocabulary::{Extension, Lookup, Vocabulary, VocabularyError};

fn embedded() -> Vocabulary {
    Vocabulary::embedded().unwrap()
}

fn extended(yaml: &str) -> Result<Vocabulary, VocabularyError> {
    embedded().extended(&Extension::parse("mine.yaml", yaml)?)
}

fn class(vocabulary: &Vocabulary, vendor: &str, word: &str) -> Option<Class> {
    let vendor = vocabulary.vendor_of_provider(vendor);
    vocabulary.stop(vendor, StopField::FinishReason, word).map(|stop| stop.class)
}

#[test]
fn a_new_stop_reason_is_one_line() {
    let vocabulary = extended("anthropic: {stop: {stop_reason: {policy_hold: refusal}}}").unwrap();
    assert_eq!(class(&vocabulary, "anthropic", "policy_hold"), Some(Class::Refusal));
    assert_eq!(class(&vocabulary, "anthropic", "StopReason.POLICY_HOLD"), Some(Class::Refusal));
    assert_eq!(class(&vocabulary, "openai", "policy_hold"), Some(Class::Refusal), "behind a gateway");
    assert_eq!(class(&vocabulary, "anthropic", "refusal"), Some(Class::Refusal));
    assert_eq!(class(&embedded(), "anthropic", "policy_hold"), None);
}

#[test]
fn what_is_said_overrides_what_is_embedded() {
    let yaml = "
gcp.gemini:
  stop:
    finish_reason:
      OTHER: {class: refusal, category: other, actor: model}
  categories:
    HARM_CATEGORY_DANGEROUS_CONTENT: cyber
    HARM_CATEGORY_QUANTUM: {category: weapons, actor: platform_classifier}
";
    let vocabulary = extended(yaml).unwrap();
    let google = vocabulary.vendor_named("google");
    let stop = vocabulary.stop(google, StopField::FinishReason, "OTHER").unwrap();
    assert_eq!((stop.class, stop.actor), (Class::Refusal, Some(Actor::Model)));
    assert_eq!(vocabulary.category(google, "HARM_CATEGORY_DANGEROUS_CONTENT"), Some(Category::Cyber));
    assert_eq!(vocabulary.category(google, "harm_category_quantum"), Some(Category::Weapons));
}

#[test]
fn errors_can_be_taught_and_excused() {
    let yaml = "
openai:
  errors:
  - {when: {word: quantum_policy}, class: refusal, category: other, actor: platform_classifier, side: input}
  - {when: {code: 4711}, class: length}
  not_refusals:
  - message: our own usage policy
";
    let vocabulary = extended(yaml).unwrap();
    let openai = vocabulary.vendor_named("openai");
    let error = |code: Option<&str>, message: &str| {
        let facts =
            ErrorFacts { code: code.map(Box::from), message: Some(message.into()), ..ErrorFacts::default() };
        vocabulary.error(openai, &facts).map(|meaning| meaning.class)
    };
    assert_eq!(error(Some("quantum_policy"), ""), Some(Class::Refusal));
    assert_eq!(error(None, "Error code: 400 - {'code': 'quantum_policy'}"), Some(Class::Refusal));
    assert_eq!(error(Some("4711"), ""), Some(Class::Length));
    assert_eq!(error(None, "this violates our usage policy"), Some(Class::Refusal));
    assert_eq!(error(None, "this violates our usage policy, our own usage policy"), None);
}

#[test]
fn a_new_vendor_says_how_telemetry_names_it() {
    let yaml = "
acme:
  identity:
    providers:
    - {name: acme.ai, aliases: [acme-chat], hosts: [llm.acme.example], models: ['*-acme', acme-*]}
    names_categories: true
  stop: {finish_reason: {DONE: complete, NOPE: refusal}}
";
    let vocabulary = extended(yaml).unwrap();
    let acme = vocabulary.vendor_of_provider("ACME_Chat");
    assert!(acme.is_some());
    assert_eq!(vocabulary.vendor_of_host("https://llm.acme.example/v1"), acme);
    assert_eq!(vocabulary.vendor_of_model("big-acme"), acme);
    assert_eq!(vocabulary.vendor_of_model("acme-1"), acme);
    assert_eq!(vocabulary.provider_name(acme.unwrap()), "acme.ai");
    assert_eq!(class(&vocabulary, "acme.ai", "DONE"), Some(Class::Complete));
    assert!(vocabulary.names_categories(acme.unwrap(), Some("NOPE")));
}

#[test]
fn a_word_for_everybody_holds_for_everybody() {
    let vocabulary = extended("any: {stop: {finish_reason: {blocked_by_proxy: refusal}}}").unwrap();
    for vendor in ["anthropic", "cohere", "nobody"] {
        assert_eq!(class(&vocabulary, vendor, "blocked_by_proxy"), Some(Class::Refusal), "{vendor}");
    }
}

#[test]
fn nothing_can_be_made_unknown_or_missing() {
    for yaml in [
        "anthropic: {stop: {stop_reason: {refusal: unknown}}}",
        "anthropic: {stop: {stop_reason: {refusal: {class: missing}}}}",
        "anthropic: {categories: {cyber: unknown}}",
        "anthropic: {categories: {cyber: {category: missing}}}",
        "anthropic: {stop: {stop_reason: {refusal: {class: refusal, category: missing}}}}",
        "anthropic: {errors: [{when: {word: x}, class: missing}]}",
        "anthropic: {errors: [{when: {word: x}, class: complete}]}",
        "anthropic: {errors: [{when: {word: x}, class: refusal, category: unknown}]}",
    ] {
        assert!(extended(yaml).is_err(), "{yaml}");
    }
    assert_eq!(embedded().lookup(None, StopField::FinishReason, "unknown_thing"), Lookup::Unknown);
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_may_have_been_meant() {
    let told = |yaml: &str| extended(yaml).unwrap_err().to_string();
    let syntax = told("anthropic:\n  stop:\n    stop_reason:\n      policy_hold: refusl\n");
    assert!(syntax.starts_with("mine.yaml:4:7: unknown variant `refusl`, expected"), "{syntax}");
    let unknown_key = told("anthropic:\n  stops: {}\n");
    assert!(unknown_key.starts_with("mine.yaml:2:3: ") && unknown_key.contains("stops"), "{unknown_key}");
    let unlistable = told("anthropic:\n  stop:\n    stop_reason:\n      x: unknown\n");
    assert!(unlistable.starts_with("mine.yaml:4:"), "{unlistable}");
    let vendor = told("antropic: {categories: {x: cyber}}");
    assert!(vendor.contains("`antropic`, did you mean `anthropic`?"), "{vendor}");
    let taken = told("acme: {identity: {providers: [{name: OpenAI}]}}");
    assert!(taken.contains("acme") && taken.contains("OpenAI") && taken.contains("openai"), "{taken}");
    let empty = told("openai: {not_refusals: [{without: x}]}");
    assert!(empty.contains("not_refusals[0]"), "{empty}");
    let long = told(&format!("openai: {{categories: {{{}: cyber}}}}", "x".repeat(200)));
    assert!(long.contains("longer than 128 bytes"), "{long}");
    assert!(
        told("openai: {categories: {a: cyber, a: bio}}").starts_with("mine.yaml:1:"),
        "a word given twice"
    );
}

#[test]
fn files_lie_under_what_the_configuration_says_itself() {
    let said =
        |class: &str| Extension::parse("f", &format!("cohere: {{stop: {{finish_reason: {{X: {class}}}}}}}"));
    let mut extension = said("pause").unwrap();
    extension.add(said("error").unwrap().vendors);
    extension.add(said("length").unwrap().vendors);
    let vocabulary = embedded().extended(&extension).unwrap();
    assert_eq!(class(&vocabulary, "cohere", "X"), Some(Class::Pause));
    let mut files_only = Extension::default();
    files_only.add(said("error").unwrap().vendors);
    files_only.add(said("length").unwrap().vendors);
    let vocabulary = embedded().extended(&files_only).unwrap();
    assert_eq!(class(&vocabulary, "cohere", "X"), Some(Class::Length));
}

#[test]
fn an_extension_survives_being_printed() {
    let yaml =
        "files: [a.yaml]\nanthropic: {stop: {stop_reason: {policy_hold: {class: refusal, category: bio}}}}\n";
    let extension: Extension = serde_saphyr::from_str(yaml).unwrap();
    let printed = serde_json::to_string(&extension).unwrap();
    let again: Extension = serde_saphyr::from_str(&printed).unwrap();
    assert_eq!(again.files, extension.files);
    assert_eq!(serde_json::to_string(&again).unwrap(), printed);
}

#[test]
fn what_changes_is_told_word_by_word() {
    let yaml = "
anthropic: {stop: {stop_reason: {policy_hold: refusal, end_turn: pause}}, categories: {cyber: bio}}
";
    let changes = Extension::parse("mine.yaml", yaml).unwrap().changes(&embedded());
    let told: Vec<_> = changes
        .iter()
        .map(|change| (change.word.as_str(), change.before.as_deref(), change.now.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("end_turn", Some("complete"), "pause"),
            ("policy_hold", None, "refusal"),
            ("cyber", Some("cyber"), "bio"),
        ]
    );
}
