//! Evidence and vocabulary give a verdict.
//!
//! Order of trust: what the application itself says; a policy value anywhere, however much it is contradicted; then the
//! vendor's own words, finish reasons, and the finish reasons of messages. Words that nobody lists are `unknown`, a
//! response without any word is `missing`; neither is ever taken for an ordinary end.

mod case;
mod failure;
mod hint;
mod provider;
mod reading;
mod refusal;

use crate::refusal::answer::Answer;
use crate::refusal::dialects::{self, AgentEvent, Meaning, Meanings, Role, ScopeKind};
use crate::refusal::evidence::{Evidence, PLACES, Place, PlaceKind, start};
use crate::refusal::policy::Policy;
use crate::refusal::verdict::{Category, Class, MAX_VALUE_BYTES, Recovered, Refusal, Verdict};
use crate::refusal::vocabulary::{Provider, Vocabulary};
use case::{Case, Trust};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::RefCell;

/// What an item or an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgment<'a> {
    /// How the response ended.
    pub verdict: Verdict<'a>,
    /// What decided.
    pub rule: Rule,
    /// `gen_ai.provider.name`: the canonical name where the provider is known, else what the telemetry says; may be
    /// empty.
    pub provider: Cow<'a, str>,
    /// The vendor's id of the response, where it stands only inside of an answer.
    pub response_id: Option<Box<str>>,
}

/// The rule by which a verdict was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The application said so (`llm.refusal.*`).
    Application,
    /// The vendor's own stop word.
    VendorStop,
    /// A finish reason.
    FinishReason,
    /// The stop word of an answer that a library wrote out again.
    Answer,
    /// The finish reason of a message.
    MessageFinishReason,
    /// The model declined in words, which stand where refusals stand.
    RefusalText,
    /// A guardrail of the customer's intervened.
    Guardrail,
    /// A filter fired, or a category is named.
    FilterFired,
    /// An event that stands for a refusal.
    RefusalEvent,
    /// An error that is known to be a refusal, or a limit.
    ErrorSignature,
    /// An error, and nothing says how the response would have ended.
    Error,
    /// Nothing says how the response ended.
    Nothing,
}

impl Rule {
    /// A sentence for people.
    pub fn describe(self) -> &'static str {
        match self {
            Rule::Application => "the application itself says so",
            Rule::VendorStop => "the vendor's own stop word",
            Rule::FinishReason => "a finish reason",
            Rule::Answer => "the stop word of an answer that a library wrote out again",
            Rule::MessageFinishReason => "the finish reason of a message",
            Rule::RefusalText => "the answer holds a refusal in words",
            Rule::Guardrail => "a guardrail intervened",
            Rule::FilterFired => "a filter fired",
            Rule::RefusalEvent => "the event stands for a refusal",
            Rule::ErrorSignature => "the error is a known signature",
            Rule::Error => "an error, and no stop reason",
            Rule::Nothing => "no stop reason anywhere",
        }
    }
}

/// Judges the items of one request.
#[derive(Debug)]
pub struct Judge<'a> {
    vocabulary: &'a Vocabulary,
    policy: &'a Policy,
    memo: RefCell<provider::Memo<'a>>,
}

impl<'a> Judge<'a> {
    /// A judge by this vocabulary and policy.
    pub fn new(vocabulary: &'a Vocabulary, policy: &'a Policy) -> Self {
        Judge { vocabulary, policy, memo: RefCell::default() }
    }

    /// Judges an item; `None` when it turns out to be no response: an agent's item that does not say how a call ended,
    /// or an HTTP call to something else.
    ///
    /// `workload` is `llm.workload`, for policy.
    pub fn judge(&self, evidence: &Evidence<'a>, workload: &str) -> Option<Judgment<'a>> {
        let provider = self.memo.borrow_mut().of(evidence, self.vocabulary);
        let mut case = Case::new(self.vocabulary, provider);
        let has_failed = evidence.has_failed();
        gather(&mut case, evidence, has_failed);
        let application = Application::of(evidence);
        if has_failed && !case.is_policy() && application.is_none() {
            failure::weigh(&mut case, evidence);
        }
        let (class, rule) = case.class(application.is_some(), has_failed);
        if !is_response(class, &case, evidence) {
            return None;
        }
        let name = provider_name(provider, evidence);
        let refusal = (class == Class::Refusal).then(|| {
            refusal::describe(&case, rule, evidence, application.as_ref(), self.policy, (name, workload))
        });
        let recovered = match class {
            Class::Refusal => None,
            _ => recovered(&mut case, evidence),
        };
        let verdict = Verdict { class, value: case.take_value(class), refusal, recovered };
        let response_id = case.response_id.take();
        Some(Judgment { verdict, rule, provider: Cow::Borrowed(name), response_id })
    }
}

/// Gathers all that speaks for one verdict or another, errors aside.
fn gather<'a>(case: &mut Case<'a>, evidence: &Evidence<'a>, has_failed: bool) {
    evidence.for_each_stop(|meaning, key, word| {
        if !(word == "error" && evidence.scope_kind() == ScopeKind::GenAiUtil && !has_failed) {
            case.sight_word(meaning, key, word);
        }
    });
    if let Some(word) = evidence.text(Meaning::Value) {
        case.sight_word(Meaning::VendorStop, b"llm.stop_reason.value", word);
    }
    if let Some(event) = evidence.agent_event() {
        agent_event(case, event, evidence);
    }
    if evidence.seen().any_of(PLACES) || evidence.has_more() {
        look(case, evidence);
    }
}

/// Judges one item, as [`Judge::judge`] does.
pub fn judge<'a>(
    evidence: &Evidence<'a>,
    vocabulary: &'a Vocabulary,
    policy: &'a Policy,
    workload: &str,
) -> Option<Judgment<'a>> {
    Judge::new(vocabulary, policy).judge(evidence, workload)
}

/// `gen_ai.provider.name` of an item that is not judged: the canonical name where the provider is known, else what the
/// telemetry says; may be empty.
pub fn provider_of<'a>(evidence: &Evidence<'a>, vocabulary: &'a Vocabulary) -> &'a str {
    provider_name(provider::of(evidence, vocabulary), evidence)
}

fn provider_name<'a>(provider: Option<Provider<'a>>, evidence: &Evidence<'a>) -> &'a str {
    match provider {
        Some(provider) => provider.name,
        None => evidence.providers().next().unwrap_or_default(),
    }
}

/// `llm.refusal.*` that an application has set.
struct Application<'a> {
    category: Option<Category>,
    categories: Vec<Category>,
    vendor_category: Option<&'a str>,
}

impl<'a> Application<'a> {
    /// What the application says, if it says that this was a refusal.
    fn of(evidence: &Evidence<'a>) -> Option<Self> {
        if !evidence.seen().any_of(REFUSED) || evidence.truth(Meaning::Recovered) == Some(true) {
            return None;
        }
        let category = evidence.text(Meaning::Category);
        Some(Application {
            category: category.map(|name| Category::from_name(name).unwrap_or(Category::Unknown)),
            categories: evidence.categories(),
            vendor_category: evidence.text(Meaning::VendorCategory),
        })
    }
}

/// Whether an item that was judged `class` stands for a response at all.
fn is_response(class: Class, case: &Case<'_>, evidence: &Evidence<'_>) -> bool {
    match (evidence.role(), class) {
        (Role::Leaf, _) => true,
        (Role::Other, _) => false,
        (_, Class::Refusal | Class::Unknown) => true,
        // An agent's item with an error stands around the call that failed.
        (Role::Wrapper, Class::Error | Class::Missing) => case.ending.is_some(),
        (Role::Unsure, Class::Missing) => {
            evidence.is_span() && evidence.seen().has(Meaning::OutputTokens) && evidence.tokens().1.is_some()
        }
        (Role::Unsure, Class::Error) => case.ending.is_some() || case.provider.is_some() && case.is_answer,
        (Role::Wrapper | Role::Unsure, _) => true,
    }
}

/// What the events of coding agents say by their mere names.
fn agent_event<'a>(case: &mut Case<'a>, event: AgentEvent, evidence: &Evidence<'a>) {
    match event {
        AgentEvent::Refusal if evidence.truth(Meaning::FallbackHop) == Some(true) => {
            case.hop = true;
        }
        AgentEvent::Refusal => {
            case.refusal_event = true;
            case.sight_word(Meaning::VendorStop, b"event.name", "refusal");
            match evidence.text(Meaning::AgentCategory) {
                Some(word) => case.name_category(word),
                None => case.category_null = evidence.truth(Meaning::HasCategory) == Some(false),
            }
        }
        // `response.completed`, `response.failed`, `response.incomplete`; earlier events of a stream are none.
        AgentEvent::Stream => {
            let kind = evidence.text(Meaning::EventKind).and_then(|kind| kind.strip_prefix("response."));
            if let Some(status @ ("completed" | "failed" | "incomplete")) = kind {
                case.sight_status("event.kind", status);
            }
        }
        AgentEvent::Response | AgentEvent::Request | AgentEvent::Error | AgentEvent::Other => {}
    }
}

/// Reads the places where pieces of the answer stand, as far as the words under keys of their own leave something open.
fn look<'a>(case: &mut Case<'a>, evidence: &Evidence<'a>) {
    // An agent's item repeats what stands on the calls within it: its short keys are enough.
    let is_wrapper = evidence.role() == Role::Wrapper;
    let mut passed_over: SmallVec<[Place<'a>; 2]> = SmallVec::new();
    evidence.for_each_place(|place| match place.kind {
        PlaceKind::Reason => case.sight_words(place.name, place.value),
        _ if is_wrapper => {}
        PlaceKind::Text => case.see_text(place.value),
        PlaceKind::PartType => case.see_part_type(place.value),
        PlaceKind::Guardrail(side) => case.name_policies(side, place.value),
        PlaceKind::Messages
        | PlaceKind::Body
        | PlaceKind::Verbatim
        | PlaceKind::Chunk
        | PlaceKind::Details
        | PlaceKind::Field(_) => {
            if evidence.scope_kind() == ScopeKind::TraceloopLangChain
                && dialects::is_refusal_as_text(place.raw)
            {
                case.refusal_text.get_or_insert(Cow::Borrowed(place.name));
            }
            if hint::is_worth_reading(&place, case) {
                read(case, &place, evidence.http_status());
            } else if place.kind != PlaceKind::Chunk {
                passed_over.push(place);
            }
        }
    });
    // What came later may have opened again what was settled.
    if case.is_open() || case.is_policy() || case.fired.is_some() {
        passed_over.iter().for_each(|place| read(case, place, evidence.http_status()));
    }
}

fn read<'a>(case: &mut Case<'a>, place: &Place<'a>, http_status: Option<u16>) {
    let trust = match place.kind {
        PlaceKind::Verbatim | PlaceKind::Chunk | PlaceKind::Field(_) => Trust::Vendor,
        PlaceKind::Messages => Trust::Message,
        PlaceKind::Body | PlaceKind::Details => Trust::Answer,
        PlaceKind::Guardrail(_) | PlaceKind::Reason | PlaceKind::Text | PlaceKind::PartType => Trust::Reason,
    };
    match reading::answer(place, http_status) {
        Some(answer) => {
            case.is_verbatim |= place.kind == PlaceKind::Verbatim && !answer.incomplete;
            case.take_answer(answer, place.name, trust);
        }
        None if place.kind == PlaceKind::Body => case.see_text(place.value),
        None => {}
    }
}

/// The decline that a fallback made good, if there was one.
fn recovered<'a>(case: &mut Case<'a>, evidence: &Evidence<'a>) -> Option<Recovered<'a>> {
    let application = evidence.truth(Meaning::Recovered) == Some(true);
    let fallback = case.fallback.take();
    if fallback.is_none() && !application && !case.hop {
        return None;
    }
    let fallback = fallback.unwrap_or_default();
    let told = evidence.text(Meaning::Category).and_then(Category::from_name);
    let category = match &fallback.category {
        _ if told.is_some() => told.unwrap_or(Category::Unknown),
        Some(Some(word)) => case.category_of(word),
        Some(None) => Category::Unspecified,
        None => Category::Missing,
    };
    let by = evidence.text(Meaning::RecoveredBy).map(Cow::Borrowed);
    Some(Recovered {
        by: by.or_else(|| fallback.to.map(|model| Cow::Owned(model.into()))),
        category,
        vendor_category: fallback.category.flatten().map(|word| Cow::Owned(word.into())),
    })
}

/// Cuts a word to the bound of `llm.stop_reason.value`.
fn bounded(word: Cow<'_, str>) -> Cow<'_, str> {
    match word {
        Cow::Borrowed(word) => Cow::Borrowed(start(word, MAX_VALUE_BYTES)),
        Cow::Owned(mut word) => {
            word.truncate(start(&word, MAX_VALUE_BYTES).len());
            Cow::Owned(word)
        }
    }
}

/// Judges an answer by itself, as it came from a vendor.
pub fn judge_answer<'a>(
    answer: Answer,
    call: &Call<'a>,
    vocabulary: &'a Vocabulary,
    policy: &'a Policy,
) -> Judgment<'a> {
    let provider = provider::of_call(call, &answer, vocabulary);
    let mut case = Case::new(vocabulary, provider);
    case.is_verbatim = !answer.incomplete;
    let was_cut = answer.incomplete && call.streamed;
    case.take_answer(answer, call.source, Trust::Vendor);
    let has_failed = call.http_status.is_some_and(|status| status >= 400) || case.error.is_some() || was_cut;
    if has_failed && !case.is_policy() {
        failure::weigh_answer(&mut case, call.http_status);
    }
    let (class, rule) = case.class(false, has_failed);
    let name = provider.map_or(call.provider, |provider| provider.name);
    let refusal =
        (class == Class::Refusal).then(|| refusal::describe_answer(&case, rule, call, policy, name));
    let fallback = case.fallback.take().filter(|_| class != Class::Refusal);
    let recovered = fallback.map(|fallback| Recovered {
        by: fallback.to.map(|model| Cow::Owned(model.into())),
        category: match &fallback.category {
            Some(Some(word)) => case.category_of(word),
            Some(None) | None => Category::Unspecified,
        },
        vendor_category: fallback.category.flatten().map(|word| Cow::Owned(word.into())),
    });
    let verdict = Verdict { class, value: case.take_value(class), refusal, recovered };
    Judgment { verdict, rule, provider: Cow::Borrowed(name), response_id: case.response_id.take() }
}

/// What policy says of a refusal that was judged before its workload was known.
pub fn decide_again(
    refusal: Refusal<'static>,
    policy: &Policy,
    subject: (&str, &str, &str),
) -> Refusal<'static> {
    let (provider, model, workload) = subject;
    let mut decided: Refusal<'_> = refusal;
    refusal::decide(&mut decided, policy, provider, model, workload);
    decided.into_owned()
}

/// What is known of the call that an answer came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// Where the answer was seen, for `llm.refusal.signal`.
    pub source: &'a str,
    /// The provider, where it is known; else empty.
    pub provider: &'a str,
    /// The host that answered, where it is known; else empty.
    pub host: &'a str,
    /// The model that was asked for, where it is known; else empty.
    pub model: &'a str,
    /// `llm.workload`, for policy; may be empty.
    pub workload: &'a str,
    /// The HTTP status.
    pub http_status: Option<u16>,
    /// Whether the answer was streamed.
    pub streamed: bool,
}

/// What an application sets when its request was refused.
const REFUSED: Meanings = Meanings::of(&[
    Meaning::Category,
    Meaning::Categories,
    Meaning::VendorCategory,
    Meaning::Actor,
    Meaning::Side,
    Meaning::Phase,
    Meaning::Delivery,
    Meaning::Signal,
]);

#[cfg(test)]
mod tests;
