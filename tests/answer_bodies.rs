//! Every recorded body of a vendor tells how it ended, and tells nothing of what it said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use refusal_collector::refusal::answer::{Answer, CategorySource, Content, Findings, Shape, StopField};
use refusal_collector::refusal::verdict::Side;
use std::path::PathBuf;

fn bodies() -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    let mut bodies = Vec::new();
    for vendor in root.read_dir().unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        for file in vendor.path().read_dir().unwrap().map(Result::unwrap) {
            let name =
                format!("{}/{}", vendor.file_name().to_string_lossy(), file.file_name().to_string_lossy());
            bodies.push((name, std::fs::read(file.path()).unwrap()));
        }
    }
    bodies.sort();
    assert!(bodies.len() > 100);
    bodies
}

fn read(name: &str) -> Answer {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    Answer::read(&std::fs::read(root.join(name)).unwrap())
}

#[test]
fn stop_words_are_the_vendors_own() {
    let stops: Vec<_> = read("azure/responses_content_filters.json").stops.into_vec();
    assert_eq!(stops.len(), 2);
    assert_eq!((stops[0].field, &*stops[0].word), (StopField::IncompleteReason, "content_filter"));
    assert_eq!((stops[1].field, &*stops[1].word), (StopField::Status, "incomplete"));
    assert_eq!(&*read("google/unknown_finish_reason.json").stops[0].word, "POLICY_HOLD");
}

#[test]
fn nothing_of_what_was_said_is_in_an_answer() {
    const SAID: [&str; 9] = [
        "explanation",
        "fct_opaque",
        "how do I",
        "Hello",
        "First",
        "sorry",
        "Sorry",
        "can't",
        "internal-projects",
    ];
    for (name, body) in bodies() {
        let shown = format!("{:?}", Answer::read(&body));
        for said in SAID {
            assert!(!shown.contains(said), "{name}: {said} in {shown}");
        }
    }
}

#[test]
fn categories_stand_where_they_fired() {
    let categories = read("azure/content_filter_output.json").categories;
    assert_eq!(categories.len(), 1);
    assert_eq!(categories[0].source, CategorySource::ContentFilter);
    assert_eq!(categories[0].side, Side::Output);
    assert_eq!(&*categories[0].word, "self_harm");
    assert!(read("azure/annotate_only_not_refusal.json").categories.is_empty());
    assert!(read("bedrock/converse_pii_masked_not_refusal.json").categories.is_empty());
}

#[test]
fn errors_tell_what_came_with_them() {
    let error = read("openrouter/guardrail_403.json").error.unwrap();
    assert_eq!((error.status, error.findings), (Some(403), Some(Findings::Patterns)));
    assert_eq!(read("zhipu/error_400_1301_input.json").side, Some(Side::Input));
}

#[test]
fn an_empty_answer_is_no_masked_one() {
    assert_eq!(read("anthropic/refusal_before_output_cyber.json").content, Content::Empty);
    assert_eq!(read("anthropic/refusal_mid_stream.sse").content, Content::Some);
    assert_eq!(read("qwen/native_string_null.json").shape, Some(Shape::DashScope));
}
