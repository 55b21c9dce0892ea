//! Any split of a body gives the same answer, a cut one tells less and nothing else, and hostile ones cost nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use refusal_collector::refusal::answer::{Answer, Content, ErrorFacts, Reader, StopField};
use std::path::PathBuf;
use std::sync::LazyLock;

static BODIES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    let mut bodies = Vec::new();
    for vendor in root.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in vendor.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            let body = std::fs::read(&file).unwrap();
            bodies.push((file.strip_prefix(&root).unwrap().display().to_string(), body));
        }
    }
    bodies.sort();
    let quoted = serde_json::to_vec(&String::from_utf8(bodies[0].1.clone()).unwrap()).unwrap();
    bodies.push(("within a string".to_owned(), quoted));
    bodies
});

fn read_in(body: &[u8], size: usize) -> Answer {
    let mut reader = Reader::new();
    for chunk in body.chunks(size) {
        reader.feed(chunk);
    }
    reader.finish()
}

#[test]
fn the_split_of_a_body_does_not_matter() {
    for (name, body) in BODIES.iter() {
        let whole = Answer::read(body);
        for size in [1, 2, 3, 5, 7, 16, 61, 250] {
            assert_eq!(read_in(body, size), whole, "{name} in chunks of {size}");
        }
    }
}

#[test]
fn the_split_of_an_error_text_does_not_matter() {
    let text = b"Error code: 400 - {'error': {'code': 'content_filter', 'message': 'it\\'s \\u00e9'}} [x";
    let read = |size| {
        let mut reader = Reader::of_error();
        text.chunks(size).for_each(|chunk| reader.feed(chunk));
        reader.finish()
    };
    assert!(read(text.len()).error.is_some());
    for size in 1..text.len() {
        assert_eq!(read(size), read(text.len()));
    }
}

#[test]
fn any_line_ending_comment_and_spacing_of_events_is_read() {
    for (name, body) in BODIES.iter().filter(|(name, _)| name.ends_with("sse")) {
        let text = String::from_utf8(body.clone()).unwrap();
        let whole = Answer::read(body);
        let dense: String =
            text.replace("data: ", "data:").split_inclusive('\n').filter(|line| *line != "\n").collect();
        for other in [
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
            text.replace("\n\n", "\n: ping\nid: 1\nretry: 5\nunknown\n\n"),
            format!("\u{feff}\n\n: hello\n\n{text}"),
            // Without blank lines, as some keep the lines of a stream.
            dense,
        ] {
            for size in [1, 2, 13, usize::MAX] {
                assert_eq!(read_in(other.as_bytes(), size), whole, "{name} in chunks of {size}: {other:?}");
            }
        }
    }
}

/// That a fact of the start is a fact of the whole.
fn is_among<T: PartialEq + std::fmt::Debug>(part: &Option<T>, whole: &Option<T>) -> bool {
    part.is_none() || part == whole
}

fn error_is_among(part: &ErrorFacts, whole: &ErrorFacts) -> bool {
    let message = match (&part.message, &whole.message) {
        (Some(part), Some(whole)) => whole.starts_with(&**part),
        (part, _) => part.is_none(),
    };
    message
        && is_among(&part.code, &whole.code)
        && is_among(&part.inner_code, &whole.inner_code)
        && is_among(&part.kind, &whole.kind)
        && is_among(&part.status, &whole.status)
        && is_among(&part.findings, &whole.findings)
}

fn assert_tells_less(name: &str, at: usize, part: &Answer, whole: &Answer) {
    let context = || format!("{name} cut at {at}: {part:#?}\nof {whole:#?}");
    let placeholder = |field, word: &str| {
        word.is_empty() || word == "null" || (field == StopField::Status && word == "in_progress")
    };
    for stop in &part.stops {
        assert!(whole.stops.contains(stop) || placeholder(stop.field, &stop.word), "{}", context());
    }
    for category in &part.categories {
        assert!(whole.categories.contains(category), "{}", context());
    }
    assert!(part.category_null <= whole.category_null, "{}", context());
    assert!(part.refusal_part <= whole.refusal_part, "{}", context());
    assert!(part.tool_call <= whole.tool_call, "{}", context());
    assert!(part.guardrail_intervened <= whole.guardrail_intervened, "{}", context());
    assert!(part.content == Content::Unknown || part.content == whole.content, "{}", context());
    assert!(is_among(&part.side, &whole.side), "{}", context());
    assert!(is_among(&part.recommended_model, &whole.recommended_model), "{}", context());
    assert!(is_among(&part.id, &whole.id) && is_among(&part.model, &whole.model), "{}", context());
    assert!(is_among(&part.shape, &whole.shape), "{}", context());
    if let Some(error) = &part.error {
        assert!(whole.error.as_ref().is_some_and(|whole| error_is_among(error, whole)), "{}", context());
    }
    if let Some(fallback) = &part.fallback {
        let whole = whole.fallback.as_ref().unwrap();
        assert!(is_among(&fallback.from, &whole.from) && is_among(&fallback.to, &whole.to), "{}", context());
        assert!(is_among(&fallback.category, &whole.category), "{}", context());
    }
}

#[test]
fn a_body_that_is_cut_tells_less_and_nothing_else() {
    for (name, body) in BODIES.iter() {
        let whole = Answer::read(body);
        let text = body.trim_ascii_end();
        for at in 0..text.len() {
            let part = Answer::read(&body[..at]);
            assert_tells_less(name, at, &part, &whole);
            let framed = ["sse", "jsonl", "ndjson"].iter().any(|ending| name.ends_with(ending));
            // Of a stream, the last lines say nothing new.
            if at > 0 && !framed {
                assert!(part.incomplete, "{name} cut at {at}");
            }
        }
    }
}

#[test]
fn a_stream_without_its_end_is_incomplete() {
    for (name, body) in BODIES.iter().filter(|(name, _)| name.ends_with("sse")) {
        let text = String::from_utf8(body.clone()).unwrap();
        let events: Vec<_> = text.split_inclusive("\n\n").collect();
        let start = Answer::read(events[0].as_bytes());
        assert!(start.incomplete || start.stops.iter().any(|stop| !stop.word.is_empty()), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_body_is_read_the_same_in_any_split(
        body in 0usize..100,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        splits in prop::collection::vec(1usize..200, 1..20),
    ) {
        let (_, body) = &BODIES[body % BODIES.len()];
        let mut body = body.clone();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let mut reader = Reader::new();
        let mut rest = body.as_slice();
        for size in splits.iter().cycle() {
            let (chunk, more) = rest.split_at(rest.len().min(*size));
            reader.feed(chunk);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(reader.finish(), Answer::read(&body));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..40) {
        prop_assert_eq!(read_in(&bytes, size), Answer::read(&bytes));
    }

    #[test]
    fn no_json_makes_the_reader_panic(text in json_like(), size in 1usize..40) {
        prop_assert_eq!(read_in(text.as_bytes(), size), Answer::read(text.as_bytes()));
        let _ = Answer::read_error(&text);
        let _ = Answer::read_under("error", &text);
    }
}

/// Texts that are made of what answers are made of, in any order.
fn json_like() -> impl Strategy<Value = String> {
    const PIECES: [&str; 54] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "'",
        "\\",
        "(",
        ")",
        "=",
        "<",
        ">",
        "null",
        "None",
        "true",
        "1",
        "\n",
        "data: ",
        "event: error\n",
        "\n\n",
        "\"error\":",
        "\"message\":",
        "\"code\":",
        "\"choices\":[",
        "\"content\":",
        "\"stop_reason\":\"refusal\"",
        "\"stop_details\":{",
        "\"category\":",
        "\"type\":\"refusal\"",
        "\"type\":",
        "\"content_filter_results\":{",
        "\"hate\":{\"filtered\":true}",
        "\"content_filters\":[{",
        "\"blocked\":true",
        "\"trace\":{\"guardrail\":{",
        "\"topicPolicy\":{\"topics\":[{",
        "\"action\":\"BLOCKED\"",
        "\"usage\":{",
        "\"iterations\":[{",
        "\"fallback_message\"",
        "\"model\":\"m\"",
        "\"from\":{",
        "\"delta\":",
        "\"body\":\"",
        "\"promptFeedback\":{",
        "\"safetyRatings\":[{",
        "\"status\":\"completed\"",
        "\"object\":\"response\"",
        "\"id\":\"i\"",
        "\"{\\\"error\\\":",
        "\"role\":\"user\"",
        "\"output\":[",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat())
}
