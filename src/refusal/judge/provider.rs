//! Who answered: provider keys, then the scope's name, the host, the model's name.

use super::Call;
use crate::refusal::answer::Answer;
use crate::refusal::evidence::Evidence;
use crate::refusal::vocabulary::{Provider, Vocabulary};
use smallvec::SmallVec;
use std::ops::ControlFlow;

/// The last answer to the question who answered: the items of a request nearly all tell the same, and to look it up
/// takes longer than all the rest.
#[derive(Debug, Default)]
pub(super) struct Memo<'a> {
    /// All that tells the provider, as it stands on an item.
    told: SmallVec<[&'a [u8]; 6]>,
    provider: Option<Provider<'a>>,
}

impl<'a> Memo<'a> {
    /// The provider behind an item.
    pub(super) fn of(&mut self, evidence: &Evidence<'a>, vocabulary: &'a Vocabulary) -> Option<Provider<'a>> {
        if !self.is_told_by(evidence) {
            self.told.clear();
            let _ = evidence.for_each_sign_of_provider(|told| {
                self.told.push(told);
                ControlFlow::Continue(())
            });
            self.provider = of(evidence, vocabulary);
        }
        self.provider
    }

    /// Whether the item tells the same as the last one.
    #[inline]
    fn is_told_by(&self, evidence: &Evidence<'a>) -> bool {
        let mut known = self.told.iter();
        let same = evidence.for_each_sign_of_provider(|told| match known.next() {
            Some(known) if *known == told => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        });
        same.is_continue() && known.next().is_none()
    }
}

/// The provider behind an item.
pub(super) fn of<'v>(evidence: &Evidence<'_>, vocabulary: &'v Vocabulary) -> Option<Provider<'v>> {
    let named = evidence.providers().find_map(|key| vocabulary.provider_of_key(key));
    let host = || evidence.host().and_then(|host| vocabulary.provider_of_host(host));
    let model =
        || Some(evidence.model()).filter(|m| !m.is_empty()).and_then(|m| vocabulary.provider_of_model(m));
    match named {
        // Whoever speaks OpenAI's API is called so by OpenAI's clients.
        Some(provider) if provider.name == OPENAI => host().or_else(model).or(named),
        Some(_) => named,
        None => of_scope(evidence.instrumentation(), vocabulary).or_else(host).or_else(model),
    }
}

/// The provider behind an answer that was seen on the wire.
pub(super) fn of_call<'v>(
    call: &Call<'_>,
    answer: &Answer,
    vocabulary: &'v Vocabulary,
) -> Option<Provider<'v>> {
    let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let key = told(call.provider).and_then(|key| vocabulary.provider_of_key(&key));
    let host = || told(call.host).and_then(|host| vocabulary.provider_of_host(&host));
    let model = || {
        let model = told(call.model).or_else(|| answer.model.as_deref().map(str::to_owned));
        model.and_then(|model| vocabulary.provider_of_model(&model))
    };
    let shape = || {
        let vendor = vocabulary.vendor_of_shape(answer.shape?)?;
        Some(Provider { vendor, name: vocabulary.provider_name(vendor) })
    };
    key.or_else(host).or_else(shape).or_else(model)
}

/// The provider whose name is a part of the scope's: `openinference.instrumentation.anthropic`.
fn of_scope<'v>(scope: &str, vocabulary: &'v Vocabulary) -> Option<Provider<'v>> {
    let parts = scope.split('.').filter(|part| !NO_PROVIDERS.contains(part));
    parts.rev().find_map(|part| vocabulary.provider_of_key(part))
}

const OPENAI: &str = "openai";

/// Parts of scope names that say nothing, so that they are not looked up.
const NO_PROVIDERS: &[&str] = &[
    "",
    "opentelemetry",
    "instrumentation",
    "openinference",
    "genai",
    "telemetry",
    "tracer",
    "com",
    "io",
    "v1",
];
