//! `llm.refusal.*`: why, who, what, when, and what it cost.

use super::case::Case;
use super::{Application, Call, Rule, failure};
use crate::refusal::answer::{CategorySource, Content};
use crate::refusal::dialects::Meaning;
use crate::refusal::evidence::Evidence;
use crate::refusal::policy::{Policy, Subject};
use crate::refusal::verdict::{Action, Actor, Billing, Category, Class, Delivery, Phase, Refusal, Side};
use std::borrow::Cow;

/// Describes the refusal that an item tells of. `place` is provider and workload, for policy.
pub(super) fn describe<'a>(
    case: &Case<'a>,
    rule: Rule,
    evidence: &Evidence<'a>,
    application: Option<&Application<'a>>,
    policy: &'a Policy,
    (provider, workload): (&str, &str),
) -> Refusal<'a> {
    let around = Around {
        streamed: evidence.is_streamed(),
        output_tokens: evidence.tokens().1.or(case.output_tokens),
        http_status: evidence.http_status(),
        is_wire: false,
    };
    let mut refusal = describe_case(case, rule, &around);
    if let Some(application) = application {
        apply(&mut refusal, application);
    }
    refusal.actor = evidence.named(Meaning::Actor, Actor::from_name).unwrap_or(refusal.actor);
    refusal.side = evidence.named(Meaning::Side, Side::from_name).unwrap_or(refusal.side);
    refusal.phase = evidence.named(Meaning::Phase, Phase::from_name).unwrap_or(refusal.phase);
    refusal.delivery = evidence.named(Meaning::Delivery, Delivery::from_name).unwrap_or(refusal.delivery);
    finish(&mut refusal, case);
    refusal.billing = evidence.named(Meaning::Billing, Billing::from_name).unwrap_or(refusal.billing);
    refusal.discard_output = evidence.truth(Meaning::DiscardOutput).or(refusal.discard_output);
    decide(&mut refusal, policy, provider, evidence.model(), workload);
    refusal.action = evidence.named(Meaning::Action, Action::from_name).unwrap_or(refusal.action);
    refusal
}

/// Describes the refusal that an answer by itself tells of.
pub(super) fn describe_answer<'a>(
    case: &Case<'a>,
    rule: Rule,
    call: &Call<'a>,
    policy: &'a Policy,
    provider: &str,
) -> Refusal<'a> {
    let around = Around {
        streamed: Some(call.streamed),
        output_tokens: case.output_tokens,
        http_status: call.http_status,
        is_wire: true,
    };
    let mut refusal = describe_case(case, rule, &around);
    finish(&mut refusal, case);
    decide(&mut refusal, policy, provider, call.model, call.workload);
    refusal
}

/// What is known of the call beside the answer.
struct Around {
    streamed: Option<bool>,
    output_tokens: Option<u64>,
    http_status: Option<u16>,
    /// The answer itself was seen, else what a library tells of it.
    is_wire: bool,
}

fn describe_case<'a>(case: &Case<'a>, rule: Rule, around: &Around) -> Refusal<'a> {
    let categories = Categories::of(case, rule);
    let delivery = match rule {
        Rule::ErrorSignature => Delivery::Error,
        _ if around.http_status.is_some_and(|status| status >= 400) => Delivery::Error,
        // What stands only in the text of an exception came to the caller as one.
        _ if case.ending.as_ref().is_some_and(|ending| failure::is_sentence(ending.key)) => Delivery::Error,
        _ => Delivery::Success,
    };
    Refusal {
        category: categories.primary,
        vendor_category: categories.word,
        actor: actor(case, rule, categories.actor),
        side: side(case, rule),
        phase: phase(case, rule, delivery, around),
        categories: categories.all,
        delivery,
        billing: Billing::Unknown,
        discard_output: None,
        signal: signal(case, rule),
        action: Action::Surface,
        fallback_model: None,
    }
}

/// What follows from the rest: billing, and whether streamed output is to be thrown away.
fn finish(refusal: &mut Refusal<'_>, case: &Case<'_>) {
    let rules = case.vocabulary.billing(case.vendor(), refusal.actor);
    refusal.billing = match (refusal.delivery, refusal.phase) {
        (Delivery::Error, _) => rules.error,
        (Delivery::Success, Phase::BeforeOutput) => rules.before_output,
        (Delivery::Success, Phase::MidStream) => rules.mid_stream,
        (Delivery::Success, Phase::AfterOutput) => rules.after_output,
        (Delivery::Success, Phase::Unknown) => Billing::Unknown,
    };
    refusal.discard_output = match refusal.phase {
        // A refusal in words is the answer: there is nothing else to show.
        Phase::MidStream => Some(refusal.actor != Actor::Model),
        Phase::BeforeOutput | Phase::AfterOutput => Some(false),
        Phase::Unknown => None,
    };
    refusal.fallback_model = case.recommended_model.as_deref().map(|model| Cow::Owned(model.to_owned()));
}

pub(super) fn decide<'a>(
    refusal: &mut Refusal<'a>,
    policy: &'a Policy,
    provider: &str,
    model: &str,
    workload: &str,
) {
    let primary = [refusal.category];
    let categories = if refusal.categories.is_empty() { &primary[..] } else { &refusal.categories };
    let subject = Subject { categories, provider, model, workload, phase: refusal.phase };
    let (action, fallback_model) = policy.decide(&subject);
    refusal.action = action;
    if let Some(model) = fallback_model {
        refusal.fallback_model = Some(Cow::Borrowed(model));
    }
}

fn apply<'a>(refusal: &mut Refusal<'a>, application: &Application<'a>) {
    if let Some(category) = application.category {
        refusal.category = category;
        refusal.categories.clear();
    }
    if !application.categories.is_empty() {
        refusal.categories.clone_from(&application.categories);
        if application.category.is_none()
            && let Some(first) = application.categories.first()
        {
            refusal.category = *first;
        }
    }
    if let Some(word) = application.vendor_category {
        refusal.vendor_category = Some(Cow::Borrowed(word));
    }
}

struct Categories<'a> {
    primary: Category,
    /// All, when more than one.
    all: Vec<Category>,
    word: Option<Cow<'a, str>>,
    /// Who declines for it, when only one can.
    actor: Option<Actor>,
}

impl<'a> Categories<'a> {
    fn of(case: &Case<'a>, rule: Rule) -> Self {
        let mut named: Vec<(Category, &str, Option<Actor>)> = Vec::new();
        for word in &case.categories {
            let meaning = case.vocabulary.category_meaning(case.vendor(), &word.word);
            let category = meaning.map_or(Category::Unknown, |meaning| meaning.category);
            named.push((category, &word.word, meaning.and_then(|meaning| meaning.actor)));
        }
        // An unknown word first, because it alerts; then the heaviest, as the vocabulary orders them.
        let first = named.iter().min_by_key(|(category, ..)| (*category != Category::Unknown, *category));
        let Some((primary, word, actor)) = first.copied() else { return Categories::unnamed(case, rule) };
        let mut all: Vec<Category> = named.iter().map(|(category, ..)| *category).collect();
        all.sort_by_key(|category| (*category != primary, *category));
        all.dedup();
        if all.len() < 2 {
            all.clear();
        }
        Categories { primary, all, word: Some(Cow::Owned(word.to_owned())), actor }
    }

    /// No word for the category stands anywhere by itself.
    fn unnamed(case: &Case<'a>, rule: Rule) -> Self {
        let none = |primary| Categories { primary, all: Vec::new(), word: None, actor: None };
        if rule == Rule::ErrorSignature {
            let category = case.failure.as_ref().and_then(|(meaning, _)| meaning.category);
            let named = case.failure.as_ref().is_some_and(|(meaning, _)| meaning.names_category);
            let word = case.failure_word.as_deref().map(|word| Cow::Owned(word.to_owned()));
            return match category {
                Some(category) => Categories { word, ..none(category) },
                None if named && !case.is_verbatim => none(Category::Missing),
                None => none(Category::Unspecified),
            };
        }
        if rule == Rule::RefusalText || case.category_null {
            return none(Category::Unspecified);
        }
        let refusing = case.ending.as_ref().filter(|ending| ending.class == Class::Refusal);
        let Some(ending) = refusing else { return none(absent(case, None)) };
        match ending.stop.and_then(|stop| stop.category) {
            Some(category) => Categories { word: Some(ending.word.clone()), ..none(category) },
            None if case.is_verbatim => none(Category::Unspecified),
            None => match ending.stop.and_then(|stop| stop.names_category) {
                Some(false) => none(Category::Unspecified),
                _ => none(absent(case, Some(&ending.word))),
            },
        }
    }
}

/// What it means that no category arrived.
fn absent(case: &Case<'_>, word: Option<&str>) -> Category {
    match case.vendor() {
        Some(vendor) if case.vocabulary.names_categories(vendor, word) => Category::Missing,
        Some(_) | None => Category::Unspecified,
    }
}

fn actor(case: &Case<'_>, rule: Rule, by_category: Option<Actor>) -> Actor {
    if rule == Rule::RefusalText {
        return Actor::Model;
    }
    if case.guardrail {
        return Actor::CustomerGuardrail;
    }
    if rule == Rule::ErrorSignature {
        let by_error = case.failure.as_ref().map(|(meaning, _)| meaning.actor);
        return by_category.or(by_error).unwrap_or(Actor::Unknown);
    }
    let stop =
        case.ending.as_ref().and_then(|ending| ending.stop).filter(|stop| stop.class == Class::Refusal);
    let categorized =
        stop.and_then(|stop| stop.actor_when_categorized).filter(|_| !case.categories.is_empty());
    by_category.or(categorized).or_else(|| stop.and_then(|stop| stop.actor)).unwrap_or(Actor::Unknown)
}

fn side(case: &Case<'_>, rule: Rule) -> Side {
    let by_category = case.categories.iter().map(|word| word.side).find(|side| *side != Side::Unknown);
    let by_category = by_category.or(case.side);
    let by_stop = || {
        let ending = case.ending.as_ref().filter(|ending| ending.class == Class::Refusal)?;
        ending.stop?.side
    };
    let by_error = || case.failure.as_ref().map(|(meaning, _)| meaning.side);
    match rule {
        Rule::ErrorSignature => by_category.or_else(by_error),
        Rule::RefusalText => Some(Side::Unknown),
        _ => by_category.or_else(by_stop),
    }
    .unwrap_or(Side::Unknown)
}

/// Before output means without content: a vendor may bill a token for a refusal that said nothing, so tokens tell only
/// when there were none.
fn phase(case: &Case<'_>, rule: Rule, delivery: Delivery, around: &Around) -> Phase {
    let refusing = case.ending.as_ref().filter(|ending| ending.class == Class::Refusal);
    if rule == Rule::ErrorSignature {
        let told = case.failure.as_ref().map_or(Phase::Unknown, |(meaning, _)| meaning.phase);
        return match (told, case.content) {
            (Phase::Unknown, Content::Some) => Phase::MidStream,
            (Phase::Unknown, _) if around.http_status.is_some_and(|s| (400..500).contains(&s)) => {
                Phase::BeforeOutput
            }
            (told, _) => told,
        };
    }
    if let Some(phase) = refusing.and_then(|ending| ending.stop).and_then(|stop| stop.phase) {
        return phase;
    }
    let by_guardrail = case.categories.iter().find(|word| word.source == CategorySource::GuardrailTrace);
    match (by_guardrail.map(|word| word.side), around.streamed) {
        (Some(Side::Input), _) => return Phase::BeforeOutput,
        (Some(Side::Output), Some(true)) => return Phase::MidStream,
        (Some(Side::Output), _) => return Phase::AfterOutput,
        _ => {}
    }
    if rule == Rule::RefusalText {
        // Who reads the wire sees the refusal being streamed; libraries tell it as a whole.
        let is_streamed = around.is_wire && around.streamed == Some(true);
        return if is_streamed || case.refusal_beside_content {
            Phase::MidStream
        } else {
            Phase::BeforeOutput
        };
    }
    let stop = refusing.and_then(|ending| ending.stop);
    // The text that a guardrail puts in the place of the answer is content, too.
    let is_replaced = case.guardrail || stop.is_some_and(|stop| stop.actor == Some(Actor::CustomerGuardrail));
    match case.content {
        Content::Some if is_replaced => Phase::Unknown,
        // Vercel's word for a refusal in words as well, whose text it gives as any other text.
        Content::Some
            if refusing.is_some_and(|ending| ending.word == "content-filter") && case.speaks_openai() =>
        {
            Phase::Unknown
        }
        Content::Some => Phase::MidStream,
        // Libraries drop the text of streams that ended badly, but not its tokens.
        Content::Empty if !case.is_verbatim && around.output_tokens.is_some_and(|tokens| tokens > 1) => {
            Phase::Unknown
        }
        Content::Empty => Phase::BeforeOutput,
        Content::Unknown if around.output_tokens == Some(0) => Phase::BeforeOutput,
        Content::Unknown if delivery == Delivery::Error => Phase::BeforeOutput,
        Content::Unknown => Phase::Unknown,
    }
}

fn signal<'a>(case: &Case<'a>, rule: Rule) -> Cow<'a, str> {
    let by_ending = || case.ending.as_ref().map(|ending| ending.signal());
    match rule {
        Rule::Application => Some(Cow::Borrowed("llm.refusal.category")),
        Rule::RefusalText => case.refusal_text.clone(),
        Rule::FilterFired => case.fired.clone(),
        Rule::RefusalEvent => Some(Cow::Borrowed("event.name")),
        Rule::ErrorSignature => case.failure.as_ref().map(|(_, key)| key.clone()),
        Rule::Guardrail => Some(case.fired.clone().unwrap_or(Cow::Borrowed("guardrailAction"))),
        Rule::VendorStop
        | Rule::FinishReason
        | Rule::Answer
        | Rule::MessageFinishReason
        | Rule::Error
        | Rule::Nothing => by_ending(),
    }
    .unwrap_or_default()
}
