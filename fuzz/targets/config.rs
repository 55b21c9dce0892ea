//! Configuration: any text is taken or refused with errors that can be shown, and what was taken means the same after it
//! was printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use refusal_collector::config::print::{Secrets, to_yaml};
use refusal_collector::config::{Environment, Loaded, Sources, load};
use std::collections::BTreeMap;

fuzz_target!(|text: &str| {
    let Some(loaded) = loaded(text) else { return };
    let printed = to_yaml(&loaded, Secrets::Revealed).expect("YAML can say it");
    let again = self::loaded(&printed.replace('$', "$$")).expect("what was printed is taken");
    assert_eq!(to_yaml(&again, Secrets::Revealed).ok(), Some(printed));
});

fn loaded(text: &str) -> Option<Loaded> {
    let variables = BTreeMap::from([("HOST".to_owned(), "localhost".to_owned())]);
    let sources = Sources {
        config: vec![format!("yaml:{text}")],
        set: Vec::new(),
        environment: Environment::Fixed(variables),
    };
    match load(&sources) {
        Ok(loaded) => {
            let _ = loaded.warnings.iter().map(ToString::to_string).count();
            Some(loaded)
        }
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            None
        }
    }
}
