//! Makes a vocabulary of its data.

use super::data::{BillingEntry, EmittersFile, Facts, VendorFile};
use super::emitter::Emitters;
use super::error::{VocabularyError, check};
use super::extension::ANYBODY;
use super::form::Forms;
use super::provider::Providers;
use super::signature::{Matcher, Signature};
use super::words::{Merged, Words};
use super::{Vendor, Vocabulary};
use serde::Deserialize;
use std::sync::Arc;

/// What a vocabulary is made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    pub(super) vendors: Vec<VendorFile>,
    pub(super) emitters: EmittersFile,
    /// What an extension says of everybody's words.
    #[serde(skip)]
    pub(super) anybody: Vec<Facts>,
}

/// One vendor, indexed.
#[derive(Clone, Debug)]
pub(super) struct VendorIndex {
    pub(super) words: Words,
    pub(super) errors: Vec<Signature>,
    pub(super) not_refusals: Vec<Matcher>,
    pub(super) billing: Vec<BillingEntry>,
    pub(super) gateway: bool,
    pub(super) imitates_openai: bool,
    pub(super) names_categories: bool,
}

impl Vocabulary {
    pub(super) fn build(data: Data) -> Result<Self, VocabularyError> {
        let forms = Forms::new(&data.emitters.enum_names);
        let mut providers = Providers::default();
        let mut vendors = Vec::with_capacity(data.vendors.len());
        for (index, file) in data.vendors.iter().enumerate() {
            providers.add(Vendor::at(index), &file.identity).map_err(|taken| {
                VocabularyError::ProviderTaken {
                    vendor: file.vendor.clone(),
                    key: taken.key,
                    owner: data
                        .vendors
                        .get(usize::from(taken.owner.0))
                        .map_or_else(String::new, |v| v.vendor.clone()),
                }
            })?;
            vendors.push(VendorIndex::new(file, &forms)?);
        }
        let named = |name: &'static str| {
            let index = data.vendors.iter().position(|file| file.vendor == name);
            index.map(Vendor::at).ok_or(VocabularyError::NoVendor(name))
        };
        let (openai, anthropic) = (named("openai")?, named("anthropic")?);
        let emitters = &data.emitters;
        let emitted = [emitters.as_facts()];
        let mut merged = Merged::default();
        for facts in emitted.iter().chain(&data.anybody) {
            check(ANYBODY, facts)?;
            merged.add(facts);
        }
        // What an extension says comes last in the data and first in a search.
        let anybody = || data.anybody.iter().rev();
        let errors = anybody().flat_map(|facts| &facts.errors).chain(&emitters.errors);
        let not_refusals = anybody().flat_map(|facts| &facts.not_refusals).chain(&emitters.not_refusals);
        Ok(Vocabulary {
            emitted: Words::new(&merged, &forms),
            emitted_errors: errors.map(Signature::new).collect(),
            not_refusals: not_refusals.map(Matcher::new).collect(),
            absent: emitters.absent.iter().filter_map(|word| forms.fold(word)).collect(),
            emitters: Emitters::new(&emitters.emitters),
            openai,
            anthropic,
            vendors,
            providers,
            forms,
            data: Arc::new(data),
        })
    }
}

impl VendorIndex {
    fn new(file: &VendorFile, forms: &Forms) -> Result<Self, VocabularyError> {
        let mut merged = Merged::default();
        for facts in &file.surfaces {
            check(&file.vendor, facts)?;
            merged.add(facts);
        }
        let latest_first = || file.surfaces.iter().rev();
        Ok(VendorIndex {
            words: Words::new(&merged, forms),
            errors: latest_first().flat_map(|facts| &facts.errors).map(Signature::new).collect(),
            not_refusals: latest_first().flat_map(|facts| &facts.not_refusals).map(Matcher::new).collect(),
            billing: file.surfaces.iter().flat_map(|facts| facts.billing.iter().cloned()).collect(),
            gateway: file.identity.gateway,
            imitates_openai: file.identity.imitates_openai,
            names_categories: file.identity.names_categories,
        })
    }
}
