//! Which vendor telemetry speaks of: by provider key, host, model name or shape of the answer.

use super::Vendor;
use super::data::{Identity, ProviderNames};
use crate::refusal::answer::Shape;
use crate::refusal::pattern::Pattern;
use ahash::RandomState;
use std::borrow::Cow;
use std::collections::HashMap;

/// A provider name of the vocabulary and the vendor that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider<'v> {
    /// The vendor.
    pub vendor: Vendor,
    /// The canonical `gen_ai.provider.name`; a vendor may have several (`gcp.gemini`, `gcp.vertex_ai`).
    pub name: &'v str,
}

/// Everything that tells a provider.
#[derive(Clone, Debug, Default)]
pub(super) struct Providers {
    names: Vec<(Vendor, Box<str>)>,
    /// Spelled as in the data, so that the usual spelling costs one hash.
    spelled: HashMap<Box<str>, usize, RandomState>,
    squeezed: HashMap<Box<str>, usize, RandomState>,
    domains: HashMap<Box<str>, usize, RandomState>,
    host_patterns: Vec<(Pattern, usize)>,
    /// By the first byte of the pattern.
    models: HashMap<u8, Vec<(Pattern, usize)>, RandomState>,
    shapes: Vec<(Shape, usize)>,
}

/// A provider key that belongs to another vendor already.
pub(super) struct Taken {
    pub(super) key: String,
    pub(super) owner: Vendor,
}

/// The longest key, host or model name that is looked at, in bytes.
const MAX_BYTES: usize = 512;

impl Providers {
    /// Adds what tells `vendor`. Later additions win over earlier ones, but no key changes its vendor.
    pub(super) fn add(&mut self, vendor: Vendor, identity: &Identity) -> Result<(), Taken> {
        for provider in &identity.providers {
            let index = self.index_of(vendor, &provider.name);
            self.add_keys(vendor, index, provider)?;
            for host in provider.hosts.iter().map(|host| host.to_ascii_lowercase()) {
                if host.contains('*') {
                    self.host_patterns.insert(0, (Pattern::new(&host), index));
                } else {
                    self.domains.insert(host.into(), index);
                }
            }
            for model in provider.models.iter().map(|model| model.to_ascii_lowercase()) {
                let Some(first) = model.bytes().next() else { continue };
                self.models.entry(first).or_default().insert(0, (Pattern::new(&model), index));
            }
        }
        if let Some(first) = self.names.iter().position(|(owner, _)| *owner == vendor) {
            self.shapes.extend(identity.shapes.iter().map(|shape| (shape.0, first)));
        }
        Ok(())
    }

    fn add_keys(&mut self, vendor: Vendor, index: usize, provider: &ProviderNames) -> Result<(), Taken> {
        for key in std::iter::once(&provider.name).chain(&provider.aliases) {
            self.spelled.insert(key.as_str().into(), index);
            let before = self.squeezed.insert(squeeze(key).into(), index);
            match before.and_then(|index| self.names.get(index)) {
                Some((owner, _)) if *owner != vendor => {
                    return Err(Taken { key: key.clone(), owner: *owner });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn index_of(&mut self, vendor: Vendor, name: &str) -> usize {
        let known = self.names.iter().position(|(owner, known)| *owner == vendor && **known == *name);
        known.unwrap_or_else(|| {
            self.names.push((vendor, name.into()));
            self.names.len() - 1
        })
    }

    /// The usual provider name of a vendor.
    pub(super) fn name_of(&self, vendor: Vendor) -> Option<&str> {
        self.names_of(vendor).next()
    }

    /// All provider names of a vendor.
    pub(super) fn names_of(&self, vendor: Vendor) -> impl Iterator<Item = &str> {
        self.names.iter().filter(move |(owner, _)| *owner == vendor).map(|(_, name)| &**name)
    }

    /// All provider names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(_, name)| &**name)
    }

    /// By provider key. A key that is unknown as a whole may be known without its last part: `anthropic.messages`.
    pub(super) fn by_key(&self, key: &str) -> Option<Provider<'_>> {
        if let Some(index) = self.spelled.get(key) {
            return self.provider(*index);
        }
        if key.len() > MAX_BYTES {
            return None;
        }
        let mut key = key;
        loop {
            if let Some(index) = self.squeezed.get(squeeze(key).as_str()) {
                return self.provider(*index);
            }
            (key, _) = key.rsplit_once('.')?;
        }
    }

    /// By host name, with or without scheme, port and path.
    pub(super) fn by_host(&self, host: &str) -> Option<Provider<'_>> {
        if let Some(index) = self.of_domain(host) {
            return self.provider(index);
        }
        let bare = lower_case(bare_host(host)?);
        let by_domain = if bare == host { None } else { self.of_domain(&bare) };
        let by_pattern = || self.host_patterns.iter().find(|(pattern, _)| pattern.matches(&bare));
        let index = by_domain.or_else(|| by_pattern().map(|(_, index)| *index))?;
        self.provider(index)
    }

    /// The provider that owns this domain, or one above it.
    fn of_domain(&self, host: &str) -> Option<usize> {
        if host.len() > MAX_BYTES {
            return None;
        }
        let mut domain = host;
        loop {
            if let Some(index) = self.domains.get(domain) {
                return Some(*index);
            }
            (_, domain) = domain.split_once('.')?;
        }
    }

    /// By model name. A platform that shows in the name (`us.anthropic.claude-…`, `azure/…`) is told before the maker.
    pub(super) fn by_model(&self, model: &str) -> Option<Provider<'_>> {
        if model.len() > MAX_BYTES {
            return None;
        }
        let lower = lower_case(model.trim_matches(['"', ' ']));
        let mut model: &str = &lower;
        loop {
            let patterns =
                [model.bytes().next()?, b'*'].into_iter().filter_map(|byte| self.models.get(&byte));
            if let Some((_, index)) = patterns.flatten().find(|(pattern, _)| pattern.matches(model)) {
                return self.provider(*index);
            }
            let (first, rest) = model.split_once('/')?;
            if let Some(index) = self.squeezed.get(squeeze(first).as_str()) {
                return self.provider(*index);
            }
            model = rest;
        }
    }

    /// By the shape of an answer.
    pub(super) fn by_shape(&self, shape: Shape) -> Option<Vendor> {
        let (_, index) = self.shapes.iter().find(|(known, _)| *known == shape)?;
        self.names.get(*index).map(|(vendor, _)| *vendor)
    }

    /// Every key, as it is spelled in the data.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.spelled.keys().map(|key| &**key)
    }

    fn provider(&self, index: usize) -> Option<Provider<'_>> {
        self.names.get(index).map(|(vendor, name)| Provider { vendor: *vendor, name })
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

/// A key without what emitters vary: case and punctuation. `Mistral AI`, `mistral_ai` and `MistralAI` are one.
fn squeeze(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The host of a URL, without its port and a last dot; also of what is no URL.
fn bare_host(host: &str) -> Option<&str> {
    if host.len() > MAX_BYTES {
        return None;
    }
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let end = host.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(host.len());
    let host = host.get(..end)?;
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    let host = host.split_once(':').map_or(host, |(host, _)| host).trim_end_matches('.');
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_urls() {
        for host in
            ["api.x.ai", "API.x.ai.", "https://api.x.ai/v1/", "http://u:p@api.x.ai:8080?a", "api.x.ai:443"]
        {
            assert_eq!(bare_host(host).map(str::to_ascii_lowercase).as_deref(), Some("api.x.ai"), "{host}");
        }
        assert_eq!(bare_host("http://"), None);
    }
}
