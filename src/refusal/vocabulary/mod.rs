//! What vendors' words mean: data, one YAML file per vendor, embedded and extended by configuration.
//!
//! A word is looked up exactly in its vendor's own words, then in OpenAI's and Anthropic's (behind a gateway the
//! provider is the backend, while the value speaks the client's API), then in the words of emitters; then in the same
//! order by known form. A word that is found nowhere is [`Lookup::Unknown`]: nothing is guessed.

pub mod data;
mod embedded;
mod emitter;
mod error;
mod example;
mod extension;
mod form;
mod index;
mod lookup;
mod meaning;
mod provider;
mod signature;
mod table;
mod words;

#[cfg(test)]
mod tests;

pub use emitter::Emitter;
pub use error::VocabularyError;
pub use example::Outcome;
pub use extension::{ANYBODY, Change, Extension};
pub use meaning::{BillingRules, CategoryMeaning, ErrorMeaning, Lookup, Stop};
pub use provider::Provider;
pub use table::Table;

use crate::refusal::answer::{Shape, StopField};
use data::{EmittersFile, FieldName, VendorFile};
use emitter::Emitters;
use form::Forms;
use index::{Data, VendorIndex};
use provider::Providers;
use signature::{Matcher, Signature};
use std::sync::Arc;
use words::Words;

/// The words of all vendors, indexed for lookup. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    vendors: Vec<VendorIndex>,
    providers: Providers,
    forms: Forms,
    emitted: Words,
    emitted_errors: Vec<Signature>,
    not_refusals: Vec<Matcher>,
    absent: Vec<String>,
    openai: Vendor,
    anthropic: Vendor,
    emitters: Emitters,
    data: Arc<Data>,
}

/// A vendor of a [`Vocabulary`]: what its file is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vendor(pub u16);

impl Vendor {
    fn at(index: usize) -> Self {
        Vendor(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

impl Vocabulary {
    /// The vocabulary that is compiled in. It is tested at build time, so this fails only in a broken build.
    pub fn embedded() -> Result<Self, VocabularyError> {
        Self::build(embedded::data()?)
    }

    /// The vendor that a provider key means: the values of `gen_ai.provider.name`, `gen_ai.system`, `llm.provider`,
    /// `llm.system`, in any case, with the emitters' own spellings (`anthropic.messages`, `az.ai.openai`, `google`).
    pub fn vendor_of_provider(&self, provider: &str) -> Option<Vendor> {
        self.provider_of_key(provider).map(|provider| provider.vendor)
    }

    /// The vendor behind a host name (`server.address`, the host of a URL).
    pub fn vendor_of_host(&self, host: &str) -> Option<Vendor> {
        self.provider_of_host(host).map(|provider| provider.vendor)
    }

    /// The vendor whose model this is, as far as its name tells: the platform if that shows (`us.anthropic.claude-…`
    /// is Bedrock's, `azure/…` Azure's), else the maker (`claude-*`, `gpt-*`, `anthropic/claude-…`).
    pub fn vendor_of_model(&self, model: &str) -> Option<Vendor> {
        self.provider_of_model(model).map(|provider| provider.vendor)
    }

    /// The vendor whose answers have this shape.
    pub fn vendor_of_shape(&self, shape: Shape) -> Option<Vendor> {
        self.providers.by_shape(shape)
    }

    /// As [`Self::vendor_of_provider`], with the canonical name that the key stands for.
    pub fn provider_of_key(&self, key: &str) -> Option<Provider<'_>> {
        self.providers.by_key(key)
    }

    /// As [`Self::vendor_of_host`], with the canonical name of what answers there.
    pub fn provider_of_host(&self, host: &str) -> Option<Provider<'_>> {
        self.providers.by_host(host)
    }

    /// As [`Self::vendor_of_model`], with the canonical name.
    pub fn provider_of_model(&self, model: &str) -> Option<Provider<'_>> {
        self.providers.by_model(model)
    }

    /// The canonical `gen_ai.provider.name` of a vendor.
    pub fn provider_name(&self, vendor: Vendor) -> &str {
        self.providers.name_of(vendor).unwrap_or("")
    }

    /// The providers that a user calls so: all of a vendor by the name of its data, one by a provider key; none if there
    /// is neither.
    pub fn providers_called(&self, name: &str) -> impl Iterator<Item = &str> {
        let vendor = self.vendor_named(name);
        let one = if vendor.is_none() { self.provider_of_key(name) } else { None };
        let of_vendor = vendor.into_iter().flat_map(|vendor| self.providers.names_of(vendor));
        of_vendor.chain(one.map(|provider| provider.name))
    }

    /// The names of all vendors and providers.
    pub fn provider_and_vendor_names(&self) -> impl Iterator<Item = &str> {
        self.vendors().iter().map(|file| file.vendor.as_str()).chain(self.providers.names())
    }

    /// The field of a vendor's API in which most of its stop words stand; without a vendor, that of most vendors.
    pub fn usual_stop_field(&self, vendor: Option<Vendor>) -> &'static str {
        let file = vendor.and_then(|vendor| self.vendors().get(usize::from(vendor.0)));
        let stops = file.into_iter().flat_map(|file| &file.surfaces).flat_map(|facts| &facts.stop);
        let most = stops.max_by_key(|(_, words)| words.len());
        most.map_or(FieldName(StopField::FinishReason), |(field, _)| *field).as_str()
    }

    /// The emitter with this scope name, if it is one whose losses are known. One look for all spans of a scope will do.
    pub fn emitter(&self, scope_name: &str) -> Option<&Emitter> {
        self.emitters.of_scope(scope_name)
    }

    /// All emitters whose losses are known.
    pub fn emitters(&self) -> &[Emitter] {
        self.emitters.all()
    }

    /// The data of all vendors.
    pub fn vendors(&self) -> &[VendorFile] {
        &self.data.vendors
    }

    /// The data on emitters.
    pub fn emitter_data(&self) -> &EmittersFile {
        &self.data.emitters
    }

    /// The vendor with this name (what its file is called).
    pub fn vendor_named(&self, name: &str) -> Option<Vendor> {
        let index = self.vendors().iter().position(|file| file.vendor == name)?;
        Some(Vendor::at(index))
    }

    /// The name of a vendor (what its file is called).
    pub fn vendor_name(&self, vendor: Vendor) -> &str {
        self.vendors().get(usize::from(vendor.0)).map_or("", |file| &file.vendor)
    }
}
