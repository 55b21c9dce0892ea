//! What the caller should do about a refusal: the first rule that matches says.

use crate::refusal::pattern::Pattern;
use crate::refusal::verdict::{Action, Category, Phase};
use crate::refusal::vocabulary::Vocabulary;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{BorrowedStrDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Rules in order. Without any, every refusal is to be shown to the user.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Compiled>,
}

/// One rule of `processors.refusal.policy`: what it asks for, and what it then says. It matches a refusal that has one
/// word of each list; what is not there is not asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Any of these categories.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Category>")]
    pub category: Vec<Category>,
    /// Any of these: a vendor of the vocabulary (`google`) is all of its providers, a provider key (`gcp.vertex_ai`)
    /// is that one.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub vendor: Vec<String>,
    /// Any of these models; `*` stands for anything.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub model: Vec<String>,
    /// Any of these workloads; `*` stands for anything.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub workload: Vec<String>,
    /// Any of these phases.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Phase>")]
    pub phase: Vec<Phase>,
    /// What to do then.
    pub action: Action,
    /// The model to go to, for [`Action::Reroute`]; without it the vendor's recommendation counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_model: Option<Box<str>>,
}

/// A rule names a vendor that the vocabulary does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy[{rule}]: the vocabulary has no vendor or provider {vendor:?}")]
pub struct UnknownVendor {
    /// Which rule, from 0.
    pub rule: usize,
    /// Which of its vendors, from 0.
    pub index: usize,
    /// The name.
    pub vendor: String,
}

/// A refusal, as policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its categories, the primary one first.
    pub categories: &'a [Category],
    /// `gen_ai.provider.name`.
    pub provider: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
    /// `llm.workload`.
    pub workload: &'a str,
    /// When it was declined.
    pub phase: Phase,
}

impl Policy {
    /// A policy of these rules, tried in order. Vendors are looked up in `vocabulary`.
    pub fn new(rules: &[Rule], vocabulary: &Vocabulary) -> Result<Self, UnknownVendor> {
        let compiled = rules.iter().enumerate().map(|(rule, said)| {
            Compiled::new(said, vocabulary).map_err(|(index, vendor)| UnknownVendor { rule, index, vendor })
        });
        Ok(Policy { rules: compiled.collect::<Result<_, _>>()? })
    }

    /// What to do about a refusal, and the model to go to if a rule names one.
    pub fn decide(&self, subject: &Subject<'_>) -> (Action, Option<&str>) {
        let rule = self.rules.iter().find(|rule| rule.matches(subject));
        rule.map_or((Action::Surface, None), |rule| (rule.action, rule.fallback_model.as_deref()))
    }
}

impl Rule {
    /// Whether it matches every refusal.
    pub fn matches_all(&self) -> bool {
        let Rule { category, vendor, model, workload, phase, action: _, fallback_model: _ } = self;
        let is_empty = [vendor, model, workload].iter().all(|list| list.is_empty());
        is_empty && category.is_empty() && phase.is_empty()
    }
}

/// A rule whose names have been looked up.
#[derive(Clone, Debug)]
struct Compiled {
    categories: Vec<Category>,
    providers: Vec<Box<str>>,
    models: Vec<Pattern>,
    workloads: Vec<Pattern>,
    phases: Vec<Phase>,
    action: Action,
    fallback_model: Option<Box<str>>,
}

impl Compiled {
    fn new(rule: &Rule, vocabulary: &Vocabulary) -> Result<Self, (usize, String)> {
        let mut providers = Vec::new();
        for (index, vendor) in rule.vendor.iter().enumerate() {
            let before = providers.len();
            providers.extend(vocabulary.providers_called(vendor).map(Box::from));
            if providers.len() == before {
                return Err((index, vendor.clone()));
            }
        }
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Ok(Compiled {
            categories: rule.category.clone(),
            providers,
            models: patterns(&rule.model),
            workloads: patterns(&rule.workload),
            phases: rule.phase.clone(),
            action: rule.action,
            fallback_model: rule.fallback_model.clone(),
        })
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let fits =
            |patterns: &[Pattern], text| patterns.is_empty() || patterns.iter().any(|p| p.matches(text));
        (self.categories.is_empty() || subject.categories.iter().any(|c| self.categories.contains(c)))
            && (self.phases.is_empty() || self.phases.contains(&subject.phase))
            && (self.providers.is_empty() || self.providers.iter().any(|name| **name == *subject.provider))
            && fits(&self.models, subject.model)
            && fits(&self.workloads, subject.workload)
    }
}

/// One word, or a list of at least one.
struct OneOrMany<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<T>(), generator.subschema_for::<Vec<T>>()]})
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a list of words")
    }
    fn visit_borrowed_str<E: Error>(self, word: &'de str) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(BorrowedStrDeserializer::new(word))?])
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        let words: Vec<T> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        match words.is_empty() {
            true => Err(Error::custom("name at least one, or leave the key out")),
            false => Ok(words),
        }
    }
    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
}

fn one_or_many<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(OneOrMany(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: Subject<'_> = Subject {
        categories: &[Category::Cyber, Category::Hate],
        provider: "anthropic",
        model: "claude-opus-4-5",
        workload: "checkout",
        phase: Phase::BeforeOutput,
    };

    fn policy(json: &str) -> Result<Policy, UnknownVendor> {
        let rules: Vec<Rule> = serde_json::from_str(json).unwrap();
        Policy::new(&rules, &Vocabulary::embedded().unwrap())
    }

    #[test]
    fn without_rules_a_refusal_is_shown_to_the_user() {
        assert_eq!(Policy::default().decide(&REFUSAL), (Action::Surface, None));
    }

    #[test]
    fn the_first_rule_that_matches_in_every_part_decides() {
        let policy = policy(
            r#"[
                {"phase": "mid_stream", "action": "ignore"},
                {"category": "hate", "workload": "search", "action": "ignore"},
                {"category": ["bio", "hate"], "vendor": ["openai", "anthropic"], "model": "claude-opus-*",
                 "action": "reroute", "fallback_model": "claude-haiku-4-5"},
                {"action": "escalate"}
            ]"#,
        )
        .unwrap();
        assert_eq!(policy.decide(&REFUSAL), (Action::Reroute, Some("claude-haiku-4-5")));
        let other = Subject { categories: &[Category::Weapons], ..REFUSAL };
        assert_eq!(policy.decide(&other), (Action::Escalate, None));
    }

    #[test]
    fn a_vendor_is_all_its_providers_and_a_provider_is_itself() {
        let policy = policy(
            r#"[{"vendor": "gcp.vertex_ai", "action": "ignore"}, {"vendor": "google", "action": "escalate"}]"#,
        )
        .unwrap();
        let action = |provider| policy.decide(&Subject { provider, ..REFUSAL }).0;
        assert_eq!(action("gcp.vertex_ai"), Action::Ignore);
        assert_eq!(action("gcp.gemini"), Action::Escalate);
        assert_eq!(action("anthropic"), Action::Surface);
    }

    #[test]
    fn a_vendor_that_nobody_knows_is_told() {
        let error = policy(r#"[{"vendor": ["openai", "acme"], "action": "ignore"}]"#).unwrap_err();
        assert_eq!(error, UnknownVendor { rule: 0, index: 1, vendor: "acme".to_owned() });
    }
}
