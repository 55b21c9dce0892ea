//! Vocabulary files of users: any text is taken or refused, and a vocabulary that was extended by it answers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use refusal_collector::refusal::vocabulary::{Extension, Vocabulary};
use std::sync::LazyLock;

static EMBEDDED: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::embedded().expect("the embedded vocabulary is sound"));

fuzz_target!(|text: &str| {
    let extension = match Extension::parse("words.yaml", text) {
        Ok(extension) => extension,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let _ = extension.changes(&EMBEDDED);
    let Ok(extended) = EMBEDDED.extended(&extension) else { return };
    for name in extension.vendors.keys() {
        let _ = extended.vendor_called(name).map(|vendor| extended.provider_name(vendor));
        let _ = extended.vendor_of_provider(name);
        let _ = extended.vendor_of_model(name);
        let _ = extended.vendor_of_host(name);
    }
});
