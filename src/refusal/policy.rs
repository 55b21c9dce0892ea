//! What the caller should do about a refusal: the first rule that matches says.

use crate::refusal::verdict::{Action, Category, Phase};

/// Rules in order. Without any, every refusal is to be shown to the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// One rule: what it asks for, and what it then says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// When it applies.
    pub when: Condition,
    /// What to do then.
    pub action: Action,
    /// The model to go to, for [`Action::Reroute`].
    pub fallback_model: Option<Box<str>>,
}

/// What a rule asks for. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Any of these categories.
    pub categories: Vec<Category>,
    /// Any of these, as in `gen_ai.provider.name`.
    pub providers: Vec<Box<str>>,
    /// Any of these models; `*` at the end stands for any rest.
    pub models: Vec<Box<str>>,
    /// Any of these workloads; `*` at the end stands for any rest.
    pub workloads: Vec<Box<str>>,
    /// Any of these phases.
    pub phases: Vec<Phase>,
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
    /// A policy of these rules, tried in order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Policy { rules }
    }

    /// What to do about a refusal, and the model to go to if a rule names one.
    pub fn decide(&self, subject: &Subject<'_>) -> (Action, Option<&str>) {
        let rule = self.rules.iter().find(|rule| rule.when.holds(subject));
        rule.map_or((Action::Surface, None), |rule| (rule.action, rule.fallback_model.as_deref()))
    }
}

impl Condition {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let any = |patterns: &[Box<str>], text| patterns.is_empty() || patterns.iter().any(|p| fits(p, text));
        (self.categories.is_empty() || subject.categories.iter().any(|c| self.categories.contains(c)))
            && (self.phases.is_empty() || self.phases.contains(&subject.phase))
            && any(&self.providers, subject.provider)
            && any(&self.models, subject.model)
            && any(&self.workloads, subject.workload)
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => text == pattern,
    }
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

    fn rule(when: Condition, action: Action) -> Rule {
        Rule { when, action, fallback_model: None }
    }

    #[test]
    fn without_rules_a_refusal_is_shown_to_the_user() {
        assert_eq!(Policy::default().decide(&REFUSAL), (Action::Surface, None));
    }

    #[test]
    fn the_first_rule_that_matches_in_every_part_decides() {
        let policy = Policy::new(vec![
            rule(Condition { phases: vec![Phase::MidStream], ..Condition::default() }, Action::Ignore),
            rule(
                Condition {
                    categories: vec![Category::Hate],
                    workloads: vec!["search".into()],
                    ..Condition::default()
                },
                Action::Ignore,
            ),
            Rule {
                when: Condition {
                    categories: vec![Category::Hate],
                    providers: vec!["anthropic".into()],
                    models: vec!["claude-opus-*".into()],
                    ..Condition::default()
                },
                action: Action::Reroute,
                fallback_model: Some("claude-haiku-4-5".into()),
            },
            rule(Condition::default(), Action::Escalate),
        ]);
        assert_eq!(policy.decide(&REFUSAL), (Action::Reroute, Some("claude-haiku-4-5")));
        let other = Subject { categories: &[Category::Bio], ..REFUSAL };
        assert_eq!(policy.decide(&other), (Action::Escalate, None));
    }
}
