//! What a user adds to the vocabulary without a release: `processors.refusal.vocabulary`.

use super::data::{Evidence, Facts, Identity, VendorFile};
use super::error::{VocabularyError, check};
use super::{Vendor, Vocabulary};
use crate::refusal::verdict::{Category, Class};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The key for words that may stand in the telemetry of any vendor.
pub const ANYBODY: &str = "any";

/// Facts by vendor, inline and in files; a file is a map by vendor too.
///
/// A vendor is called as its data file is (`anthropic`, `google`), or by one of its provider keys. A new one needs
/// `identity.providers`. `any` stands for everybody.
#[derive(Clone, Debug, Default)]
pub struct Extension {
    /// Files with more of the same. Whoever loads the configuration reads them and adds what they say by
    /// [`Extension::add`].
    pub files: Vec<PathBuf>,
    /// What is said of each vendor.
    pub vendors: BTreeMap<String, Facts>,
    /// What files say, each laid over the ones before; not part of the configuration.
    added: Vec<BTreeMap<String, Facts>>,
}

/// What an extension changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The vendor.
    pub vendor: String,
    /// The field or kind of fact.
    pub place: String,
    /// The word.
    pub word: String,
    /// What it meant before, as the vocabulary without the extension finds it; `None`: it was unknown.
    pub before: Option<String>,
    /// What it means now.
    pub now: String,
}

impl Extension {
    /// An extension of what is said of each vendor.
    pub fn of(vendors: BTreeMap<String, Facts>) -> Self {
        Extension { vendors, ..Extension::default() }
    }

    /// Reads the text of a vocabulary file.
    pub fn parse(file: &str, text: &str) -> Result<Self, VocabularyError> {
        super::embedded::parse(file, text).map(Extension::of)
    }

    /// Adds what one of [`Extension::files`] says. Files are laid over each other in this order, and what stands in
    /// the configuration itself over all files.
    pub fn add(&mut self, vendors: BTreeMap<String, Facts>) {
        self.added.push(vendors);
    }

    fn said(&self) -> impl Iterator<Item = (&str, &Facts)> {
        let all = self.added.iter().chain(std::iter::once(&self.vendors));
        all.flatten().map(|(vendor, facts)| (vendor.as_str(), facts))
    }

    /// The examples in it, with the vendor they are about.
    pub fn examples<'e>(
        &'e self,
        vocabulary: &'e Vocabulary,
    ) -> impl Iterator<Item = (&'e str, Option<Vendor>, &'e super::data::Example)> {
        self.said().flat_map(move |(name, facts)| {
            let vendor = vocabulary.vendor_called(name);
            facts.examples.iter().map(move |example| (name, vendor, example))
        })
    }

    /// What it changes in `base`, word by word.
    pub fn changes(&self, base: &Vocabulary) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, facts) in self.said() {
            let vendor = base.vendor_called(name);
            let mut change = |place: &str, word: &str, before: Option<String>, now: String| {
                let (vendor, place, word) = (name.to_owned(), place.to_owned(), word.to_owned());
                changes.push(Change { vendor, place, word, before, now });
            };
            for (field, words) in &facts.stop {
                for (word, entry) in words {
                    let before = base.stop(vendor, field.0, word);
                    let before = before.map(|stop| meaning(stop.class, stop.category));
                    change(field.as_str(), word, before, meaning(entry.class, entry.category));
                }
            }
            for (word, entry) in &facts.categories {
                let before = base.category(vendor, word).map(|category| category.to_string());
                change("category", word, before, entry.category.to_string());
            }
            for (index, entry) in facts.errors.iter().enumerate() {
                change("error", &format!("errors[{index}]"), None, meaning(entry.class, entry.category));
            }
            for (index, _) in facts.not_refusals.iter().enumerate() {
                change("error", &format!("not_refusals[{index}]"), None, "error".to_owned());
            }
            let providers = facts.identity.iter().flat_map(|identity| &identity.providers);
            for key in providers.flat_map(|provider| std::iter::once(&provider.name).chain(&provider.aliases))
            {
                let before = base.vendor_of_provider(key).map(|vendor| base.vendor_name(vendor).to_owned());
                change("provider", key, before, name.to_owned());
            }
        }
        changes
    }
}

impl Vocabulary {
    /// The vocabulary that is compiled in, with an extension laid over it.
    pub fn with(extension: &Extension) -> Result<Vocabulary, VocabularyError> {
        let embedded = Self::embedded()?;
        // Most have none, and indexing twice makes a start longer.
        if extension.said().next().is_none() { Ok(embedded) } else { embedded.extended(extension) }
    }

    /// This vocabulary with an extension laid over it.
    pub fn extended(&self, extension: &Extension) -> Result<Vocabulary, VocabularyError> {
        let mut data = (*self.data).clone();
        for (name, facts) in extension.said() {
            check(name, facts)?;
            if name == ANYBODY {
                data.anybody.push(facts.clone());
                continue;
            }
            let known = data.vendors.iter().position(|file| file.vendor == name);
            let known = known.or_else(|| self.vendor_called(name).map(|vendor| usize::from(vendor.0)));
            if let Some(file) = known.and_then(|index| data.vendors.get_mut(index)) {
                extend(file, facts);
                continue;
            }
            let identity = facts.identity.clone().filter(|identity| !identity.providers.is_empty());
            let Some(identity) = identity else {
                let nearest = self.nearest_vendor(name);
                return Err(VocabularyError::UnknownVendor { vendor: name.to_owned(), nearest });
            };
            let (vendor, label) = (name.to_owned(), name.to_owned());
            data.vendors.push(VendorFile { vendor, name: label, identity, surfaces: vec![surface(facts)] });
        }
        Vocabulary::build(data)
    }

    /// The vendor that a user calls so: by the name of its data, else by a provider key.
    pub fn vendor_called(&self, name: &str) -> Option<Vendor> {
        self.vendor_named(name).or_else(|| self.vendor_of_provider(name))
    }

    fn nearest_vendor(&self, name: &str) -> Option<String> {
        let names = self.vendors().iter().map(|file| file.vendor.as_str()).chain(self.providers.keys());
        let (distance, nearest) =
            names.map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
        (distance <= 1 + name.len() / 4).then(|| nearest.to_owned())
    }
}

fn extend(file: &mut VendorFile, facts: &Facts) {
    file.surfaces.push(surface(facts));
    let Some(Identity { providers, shapes, gateway, imitates_openai, names_categories }) = &facts.identity
    else {
        return;
    };
    file.identity.providers.extend(providers.iter().cloned());
    file.identity.shapes.extend(shapes);
    file.identity.gateway |= gateway;
    file.identity.imitates_openai |= imitates_openai;
    file.identity.names_categories |= names_categories;
}

/// An extension's facts as a surface of the vendor.
fn surface(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.identity = None;
    facts.id.get_or_insert_with(|| "configuration".to_owned());
    facts.evidence.get_or_insert(Evidence::Configuration);
    facts
}

fn meaning(class: Class, category: Option<Category>) -> String {
    category.map_or_else(|| class.to_string(), |category| format!("{class}, {category}"))
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByVendor;
        impl<'de> Visitor<'de> for ByVendor {
            type Value = Extension;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by vendor, and `files`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extension, A::Error> {
                let mut extension = Extension::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "files" {
                        extension.files = map.next_value()?;
                    } else {
                        extension.vendors.insert(key, map.next_value()?);
                    }
                }
                Ok(extension)
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Extension, E> {
                Ok(Extension::default())
            }
        }
        deserializer.deserialize_map(ByVendor)
    }
}

impl Serialize for Extension {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.files.is_empty() {
            map.serialize_entry("files", &self.files)?;
        }
        for (vendor, facts) in &self.vendors {
            map.serialize_entry(vendor, facts)?;
        }
        map.end()
    }
}

impl JsonSchema for Extension {
    fn schema_name() -> Cow<'static, str> {
        "Vocabulary".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {"files": generator.subschema_for::<Vec<PathBuf>>()},
            "additionalProperties": generator.subschema_for::<Facts>(),
        })
    }
}
