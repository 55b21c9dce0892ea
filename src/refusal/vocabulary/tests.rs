use super::*;
use std::collections::{HashMap, HashSet};

fn vocabulary() -> Vocabulary {
    Vocabulary::embedded().unwrap()
}

#[test]
fn every_example_in_the_data_gives_what_it_says() {
    let vocabulary = vocabulary();
    let mut wrong = Vec::new();
    let mut run = |vendor: Option<Vendor>, file: &str, example: &data::Example| {
        if let Err(got) = vocabulary.try_example(vendor, example) {
            wrong.push(format!("{file}: {example} gives {got}"));
        }
    };
    for file in vocabulary.vendors() {
        for facts in &file.surfaces {
            assert!(!facts.examples.is_empty(), "{} {:?} has no example", file.vendor, facts.id);
            for example in &facts.examples {
                run(vocabulary.vendor_named(&file.vendor), &file.vendor, example);
            }
        }
    }
    for example in &embedded::emitters().unwrap().examples {
        run(None, "emitters", example);
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_surface_names_its_source_and_the_day_it_was_read() {
    for file in vocabulary().vendors() {
        assert!(!file.identity.providers.is_empty(), "{}", file.vendor);
        for facts in &file.surfaces {
            let id = facts.id.as_deref().unwrap();
            assert!(!facts.source.is_empty() && facts.evidence.is_some(), "{id}");
            assert!(facts.identity.is_none(), "{id}");
            let date = facts.checked.as_deref().unwrap();
            assert!(
                date.len() == 10 && date.starts_with("20") && date.matches('-').count() == 2,
                "{id}: {date}"
            );
        }
    }
}

#[test]
fn no_word_is_listed_twice_for_a_vendor_and_a_field() {
    for file in vocabulary().vendors() {
        let (mut stops, mut categories) = (HashSet::new(), HashSet::new());
        for facts in &file.surfaces {
            for (field, words) in &facts.stop {
                for word in words.keys() {
                    assert!(
                        stops.insert((field.as_str(), word)),
                        "{} {} {word}",
                        file.vendor,
                        field.as_str()
                    );
                }
            }
            for word in facts.categories.keys() {
                assert!(categories.insert(word), "{} {word}", file.vendor);
            }
        }
    }
}

#[test]
fn words_of_one_known_form_agree_in_their_class() {
    let forms = vocabulary().forms;
    for file in vocabulary().vendors() {
        let mut classes = HashMap::new();
        for (field, words) in file.surfaces.iter().flat_map(|facts| &facts.stop) {
            for (word, entry) in words {
                let first = classes.entry((field.as_str(), forms.fold(word).unwrap())).or_insert(entry.class);
                assert_eq!(*first, entry.class, "{} {} {word}", file.vendor, field.as_str());
            }
        }
    }
}
