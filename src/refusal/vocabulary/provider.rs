//! Which vendor telemetry speaks of: by provider key, host, model name or shape of the answer.

use super::Vendor;
use super::data::{Identity, ProviderNames};
use crate::refusal::answer::Shape;
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
    host_patterns: Vec<(Box<str>, usize)>,
    /// By the first byte of the pattern.
    models: HashMap<u8, Vec<(Box<str>, usize)>, RandomState>,
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
                    self.host_patterns.insert(0, (host.into(), index));
                } else {
                    self.domains.insert(host.into(), index);
                }
            }
            for model in provider.models.iter().map(|model| model.to_ascii_lowercase()) {
                let Some(first) = model.bytes().next() else { continue };
                self.models.entry(first).or_default().insert(0, (model.into(), index));
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
        self.names.iter().find(|(owner, _)| *owner == vendor).map(|(_, name)| &**name)
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
        let host = lower_case(bare_host(host)?);
        let mut domain: &str = &host;
        loop {
            if let Some(index) = self.domains.get(domain) {
                return self.provider(*index);
            }
            match domain.split_once('.') {
                Some((_, above)) => domain = above,
                None => break,
            }
        }
        let (_, index) = self.host_patterns.iter().find(|(pattern, _)| glob(pattern, &host))?;
        self.provider(*index)
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
            if let Some((_, index)) = patterns.flatten().find(|(pattern, _)| glob(pattern, model)) {
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
    fn hosts_are_found_in_urls() {
        for host in
            ["api.x.ai", "API.x.ai.", "https://api.x.ai/v1/", "http://u:p@api.x.ai:8080?a", "api.x.ai:443"]
        {
            assert_eq!(bare_host(host).map(str::to_ascii_lowercase).as_deref(), Some("api.x.ai"), "{host}");
        }
        assert_eq!(bare_host("http://"), None);
    }
}
