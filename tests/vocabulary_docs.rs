//! The tables in the documentation are those of the vocabulary. `UPDATE_DOCS=1 cargo test --test vocabulary_docs` writes
//! them anew.

#![allow(clippy::unwrap_used, clippy::panic)]

use refusal_collector::refusal::vocabulary::{Extension, Table, Vocabulary};
use std::fs;
use std::path::PathBuf;

const END: &str = "<!-- end generated -->\n";

fn check(document: &str, heading: bool, tables: &[Table]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let written = fs::read_to_string(&path).unwrap();
    let mut text = written.clone();
    for table in tables {
        let begin = format!("<!-- begin generated: {} -->\n", table.title.to_lowercase());
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{document} lacks {begin}"));
        let (_, after) = rest.split_once(END).unwrap();
        let title = if heading { format!("## {}\n\n", table.title) } else { String::new() };
        text = format!("{before}{begin}{title}{}{END}{after}", table.to_markdown());
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        text,
        "docs/{document} is behind the vocabulary: UPDATE_DOCS=1 cargo test --test vocabulary_docs"
    );
}

#[test]
fn the_documented_vocabulary_is_the_embedded_one() {
    let vocabulary = Vocabulary::embedded().unwrap();
    let tables = [
        vocabulary.provider_table(None),
        vocabulary.stop_table(None),
        vocabulary.emitted_word_table(),
        vocabulary.category_table(None),
        vocabulary.error_table(None),
        vocabulary.billing_table(None),
    ];
    check("vocabulary.md", true, &tables);
}

#[test]
fn the_documented_emitters_are_the_embedded_ones() {
    check("emitters.md", false, &[Vocabulary::embedded().unwrap().emitter_table()]);
}

#[test]
fn the_documented_extension_is_a_valid_one() {
    let document = include_str!("../docs/vocabulary.md");
    let mut examples = 0;
    for block in document.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        let words = block.split_once("    vocabulary:\n").unwrap().1;
        // The file that one of them names is not read here.
        let extension: Extension = serde_saphyr::from_str(words).unwrap();
        let extended = Vocabulary::embedded().unwrap().extended(&extension).unwrap();
        for (_, vendor, example) in extension.examples(&extended) {
            assert_eq!(extended.try_example(vendor, example), Ok(()), "{example}");
        }
        examples += 1;
    }
    assert_eq!(examples, 2);
}
