//! Which vendor telemetry speaks of: by provider key, host, model name or shape of the answer.

use super::Vendor;
use super::data::{Identity, ProviderNames};
use crate::refusal::answer::Shape;
use ahash::RandomState;
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
    keys: HashMap<Box<str>, usize, RandomState>,
    hosts: Vec<(Box<str>, usize)>,
    models: Vec<(Box<str>, usize)>,
    shapes: Vec<(Shape, usize)>,
}

/// The longest key, host or model name that is looked at, in bytes.
const MAX_BYTES: usize = 512;

impl Providers {
    /// Adds what tells `vendor`. Later additions win over earlier ones. Gives back the key that already belongs to
    /// another vendor, if there is one.
    pub(super) fn add(&mut self, vendor: Vendor, identity: &Identity) -> Result<(), (String, Vendor)> {
        for provider in &identity.providers {
            let index = self.index_of(vendor, &provider.name);
            self.add_names(vendor, index, provider)?;
            for host in &provider.hosts {
                self.hosts.insert(0, (host.to_ascii_lowercase().into(), index));
            }
            for model in &provider.models {
                self.models.insert(0, (model.to_ascii_lowercase().into(), index));
            }
        }
        if let Some(first) = self.names.iter().position(|(owner, _)| *owner == vendor) {
            self.shapes.extend(identity.shapes.iter().map(|shape| (shape.0, first)));
        }
        Ok(())
    }

    fn add_names(
        &mut self,
        vendor: Vendor,
        index: usize,
        provider: &ProviderNames,
    ) -> Result<(), (String, Vendor)> {
        for key in std::iter::once(&provider.name).chain(&provider.aliases) {
            let owner = self.keys.insert(squeeze(key).into(), index).and_then(|i| self.names.get(i));
            if let Some((owner, _)) = owner
                && *owner != vendor
            {
                return Err((key.clone(), *owner));
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
        self.names.iter().find(|(owner, _)| *owner == vendor).map(|(_, name)| &**name)
    }

    /// By provider key. A key that is unknown as a whole may be known without its last part: `anthropic.messages`.
    pub(super) fn by_key(&self, key: &str) -> Option<Provider<'_>> {
        if key.len() > MAX_BYTES {
            return None;
        }
        let mut key = key;
        loop {
            if let Some(index) = self.keys.get(squeeze(key).as_str()) {
                return self.provider(*index);
            }
            (key, _) = key.rsplit_once('.')?;
        }
    }

    /// By host name, with or without scheme, port and path.
    pub(super) fn by_host(&self, host: &str) -> Option<Provider<'_>> {
        let host = bare_host(host)?.to_ascii_lowercase();
        let (_, index) = self.hosts.iter().find(|(pattern, _)| host_matches(pattern, &host))?;
        self.provider(*index)
    }

    /// By model name. A platform that shows in the name (`us.anthropic.claude-…`, `azure/…`) is told before the maker.
    pub(super) fn by_model(&self, model: &str) -> Option<Provider<'_>> {
        if model.len() > MAX_BYTES {
            return None;
        }
        let lower = model.trim_matches(['"', ' ']).to_ascii_lowercase();
        let mut model = lower.as_str();
        loop {
            if let Some((_, index)) = self.models.iter().find(|(pattern, _)| glob(pattern, model)) {
                return self.provider(*index);
            }
            let (first, rest) = model.split_once('/')?;
            if let Some(index) = self.keys.get(squeeze(first).as_str()) {
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

    fn provider(&self, index: usize) -> Option<Provider<'_>> {
        self.names.get(index).map(|(vendor, name)| Provider { vendor: *vendor, name })
    }
}

/// A key without what emitters vary: case and punctuation. `Mistral AI`, `mistral_ai` and `MistralAI` are one.
fn squeeze(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn bare_host(host: &str) -> Option<&str> {
    if host.len() > MAX_BYTES * 4 {
        return None;
    }
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next()?;
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    let host = host.split(':').next()?.trim_end_matches('.');
    (!host.is_empty()).then_some(host)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    if pattern.contains('*') {
        return glob(pattern, host);
    }
    host.strip_suffix(pattern).is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

/// Whether `text` matches `pattern`, in which each `*` stands for anything.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        assert!(glob("gpt-*", "gpt-4.1"));
        assert!(!glob("gpt-*", "my-gpt-4"));
        assert!(glob("o1", "o1"));
        assert!(!glob("o1", "o1-mini"));
        assert!(glob("bedrock*.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com"));
        assert!(glob("arn:aws*:bedrock:*", "arn:aws-cn:bedrock:x"));
        assert!(!glob("a*a", "a"));
        assert!(glob("*", ""));
    }

    #[test]
    fn a_domain_covers_what_is_below_it_only() {
        assert!(host_matches("openai.com", "api.openai.com"));
        assert!(host_matches("openai.com", "openai.com"));
        assert!(!host_matches("openai.com", "notopenai.com"));
        assert!(!host_matches("openai.com", "openai.com.evil.example"));
    }

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
