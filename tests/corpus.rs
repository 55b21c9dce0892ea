//! Every recorded request of every instrumentation library, judged and counted as the collector does, against what the
//! vendor had answered and what of that a perfect reader could still tell (`tests/corpus/*/*.expected.yaml`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/recordings.rs"]
mod recordings;

use recordings::{Case, Exceptions, Judged, all_cases};
use refusal_collector::refusal::answer::StopField;
use refusal_collector::refusal::verdict::{Category, Class, Phase};
use refusal_collector::refusal::vocabulary::{Lookup, Vocabulary};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a case got wrong, in words.
type Faults = Vec<String>;

#[test]
fn every_recording_is_judged_as_far_as_it_can_be_and_counted_once() {
    let vocabulary = Vocabulary::embedded().unwrap();
    let exceptions = Exceptions::load();
    let mut matrix: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut report = String::new();
    for case in all_cases() {
        let judged = case.judge(&vocabulary);
        assert_eq!(judged.malformed, None, "{}", case.name);
        let faults = faults(&case, &judged, &vocabulary, &exceptions);
        let (good, all) = matrix.entry(case.instrumentation.clone()).or_default();
        *all += 1;
        if faults.is_empty() {
            *good += 1;
        } else {
            writeln!(report, "{}", case.name).unwrap();
            for fault in faults {
                writeln!(report, "    {fault}").unwrap();
            }
            for item in &judged.items {
                writeln!(report, "    saw {item}").unwrap();
            }
        }
    }
    let unused = exceptions.unused();
    assert!(unused.is_empty(), "exceptions that nothing needs: {unused:?}");
    if !report.is_empty() {
        for (instrumentation, (good, all)) in matrix {
            writeln!(report, "{good:4}/{all:<4} {instrumentation}").unwrap();
        }
        panic!("\n{report}");
    }
}

/// The same recordings with other invented words in them, so that nothing rests on the ones that were recorded.
#[test]
fn a_word_that_nobody_has_heard_of_is_unknown_whatever_it_is() {
    let vocabulary = Vocabulary::embedded().unwrap();
    let mut changed = 0;
    for case in all_cases() {
        if !case.is_recoverable() || case.is_known() || case.truth.is_refusal {
            continue;
        }
        // Of the same length, so that no length in the message changes.
        for word in ["zx81_spectrum_on_", "refusal_pending__", "completed-perhaps", "STOP_AND_CALL_MOM"] {
            let replaced = case.judge_with(&vocabulary, &|message| {
                replace(message, b"quantum_flux_halt", word.as_bytes());
                replace(message, b"QUANTUM_FLUX_HALT", word.as_bytes());
            });
            let best = replaced.best().unwrap_or_else(|| panic!("{}: no response found", case.name));
            assert_eq!(best.class, Class::Unknown, "{} with {word}", case.name);
            assert!(same_word(best.value.as_deref(), Some(word)), "{}: {:?}", case.name, best.value);
            changed += 1;
        }
    }
    assert!(changed > 300, "only {changed} recordings were changed");
}

#[test]
fn a_category_that_nobody_has_heard_of_is_unknown_and_named() {
    let vocabulary = Vocabulary::embedded().unwrap();
    let mut changed = 0;
    for case in all_cases() {
        let Some(word @ ("cyber" | "bio")) = case.recoverable_category() else { continue };
        let invented = &"qzwxv"[..word.len()];
        let replaced =
            case.judge_with(&vocabulary, &|message| replace(message, word.as_bytes(), invented.as_bytes()));
        let best = replaced.best().unwrap_or_else(|| panic!("{}: no response found", case.name));
        assert_eq!(best.category, Some(Category::Unknown), "{}", case.name);
        assert_eq!(best.vendor_category.as_deref(), Some(invented), "{}", case.name);
        changed += 1;
    }
    assert!(changed > 8, "only {changed} recordings were changed");
}

#[test]
fn a_damaged_request_is_refused_or_judged_but_never_a_panic() {
    let vocabulary = Vocabulary::embedded().unwrap();
    // Any sequence will do as long as it is always the same.
    let random = std::cell::Cell::new(0x9e37_79b9_7f4a_7c15_u64);
    let next = |below: usize| {
        let mut x = random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        random.set(x);
        (x % below.max(1) as u64) as usize
    };
    let mut refused = 0;
    for case in all_cases().iter().step_by(3) {
        for _ in 0..20 {
            let damaged = case.judge_with(&vocabulary, &|message| {
                for _ in 0..=next(4) {
                    let at = next(message.len());
                    message[at] = next(256) as u8;
                }
            });
            refused += usize::from(damaged.malformed.is_some());
        }
    }
    assert!(refused > 100, "only {refused} were refused: was anything damaged?");
}

fn replace(message: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    for at in 0..=message.len().saturating_sub(from.len()) {
        if message[at..].starts_with(from) {
            message[at..at + to.len()].copy_from_slice(to);
        }
    }
}

fn faults(case: &Case, judged: &Judged, vocabulary: &Vocabulary, exceptions: &Exceptions) -> Faults {
    let mut faults = Faults::new();
    let responses = exceptions.responses(&case.name).unwrap_or(case.calls());
    if judged.counted != responses {
        faults.push(format!("counted as {} responses, not {responses}", judged.counted));
    }
    if case.calls() == 0 {
        if !judged.untouched {
            faults.push("touched, though it is no LLM call".to_owned());
        }
        return faults;
    }
    let expected = expected_class(case, vocabulary);
    let Some(best) = judged.best() else {
        if case.is_recoverable() && exceptions.class(&case.name).is_none() {
            faults.push(format!("no response found, {expected:?} expected"));
        }
        return faults;
    };
    match exceptions.class(&case.name) {
        Some(class) if class == best.class => {}
        Some(class) => faults.push(format!("{} instead of the excepted {class}", best.class)),
        None if case.is_recoverable() => {
            if !expected.contains(&best.class) {
                faults.push(format!("{} instead of {expected:?}", best.class));
            }
            if best.class == Class::Unknown && !same_word(best.value.as_deref(), case.stop_word()) {
                faults.push(format!("value {:?} instead of {:?}", best.value, case.stop_word()));
            }
        }
        // What was lost must not be made up.
        None => {
            let is_invented = match best.class {
                Class::Refusal => !case.truth.is_refusal,
                Class::Unknown => !same_word(best.value.as_deref(), case.stop_word()),
                _ => false,
            };
            if is_invented {
                faults.push(format!("{} made up", best.class));
            }
        }
    }
    if let Some(phase) = best.phase
        && let Some(truth) = exceptions.phase(&case.name).or(case.truth.phase)
        && phase != truth
        && phase != Phase::Unknown
    {
        faults.push(format!("phase {phase} instead of {truth}"));
    }
    if let Some(word) = case.recoverable_category() {
        let expected = category_of(vocabulary, case, word);
        if best.category != Some(expected) {
            faults.push(format!("category {:?} instead of {expected} ({word})", best.category));
        }
    } else if best.category.is_some_and(|category| !may_stand_for_none(category, case, vocabulary)) {
        faults.push(format!("category {:?} made up", best.category));
    }
    faults
}

/// The classes that a case's truth allows; several where a library's word is coarser than the vendor's.
fn expected_class(case: &Case, vocabulary: &Vocabulary) -> Vec<Class> {
    let truth = &case.truth;
    if truth.is_refusal {
        return vec![Class::Refusal];
    }
    if truth.shape == "error" {
        return vec![Class::Error];
    }
    if !case.is_known() {
        return vec![Class::Unknown];
    }
    // A hop to a fallback is a complete response with a decline behind it.
    if truth.scenario.contains("fallback") {
        return vec![Class::Complete];
    }
    let vendor = truth.provider.as_deref().and_then(|provider| vocabulary.vendor_of_provider(provider));
    let fields =
        [StopField::StopReason, StopField::FinishReason, StopField::IncompleteReason, StopField::Status];
    let word = case.stop_word().unwrap_or_default();
    let class = fields.into_iter().find_map(|field| match vocabulary.lookup(vendor, field, word) {
        Lookup::Known(stop) => Some(stop.class),
        Lookup::Absent | Lookup::Unknown => None,
    });
    let mut classes: Vec<Class> = class.into_iter().collect();
    if truth.scenario == "tool_use" {
        classes.push(Class::ToolUse);
    }
    // Google's OTHER is an error to some libraries.
    if class == Some(Class::Other) {
        classes.push(Class::Error);
    }
    classes
}

/// Whether the word that arrived is the vendor's, apart from what a library did to its form.
fn same_word(arrived: Option<&str>, vendors: Option<&str>) -> bool {
    let word = arrived.map(|word| word.rsplit('.').next().unwrap_or(word));
    matches!((word, vendors), (Some(one), Some(other)) if one.eq_ignore_ascii_case(other))
}

fn category_of(vocabulary: &Vocabulary, case: &Case, word: &str) -> Category {
    let vendor = case.truth.provider.as_deref().and_then(|provider| vocabulary.vendor_of_provider(provider));
    let by_stop = || {
        [StopField::BlockReason, StopField::FinishReason, StopField::StopReason]
            .into_iter()
            .find_map(|field| vocabulary.stop(vendor, field, word)?.category)
    };
    match word {
        // The corpus' own word for Cohere's ERROR_TOXIC.
        "toxic" => Category::GeneralHarm,
        _ => by_stop().or_else(|| vocabulary.category(vendor, word)).unwrap_or(Category::Unknown),
    }
}

/// Whether a category may be told though none of the vendor's words is recoverable: what stands for a lack, and what
/// the stop word itself says.
fn may_stand_for_none(category: Category, case: &Case, vocabulary: &Vocabulary) -> bool {
    if matches!(category, Category::Unspecified | Category::Missing) {
        return true;
    }
    let word = case.stop_word().unwrap_or_default();
    let of_stop = category_of(vocabulary, case, word);
    let of_truth = case.truth.category.as_deref().map(|word| category_of(vocabulary, case, word));
    category == of_stop || Some(category) == of_truth
}
