//! The labels of the refusal counters, and what is given up of them when the series budget is used up.

use crate::refusal::verdict::{Category, Class};
use crate::telemetry::RefusalLabels;
use crate::telemetry::label::{Label, OTHER};
use crate::telemetry::series::{LabelSet, LabelValues};
use crate::telemetry::tally::Count;
use smallvec::{SmallVec, smallvec};

const PROVIDER: &str = "gen_ai.provider.name";
const MODEL: &str = "gen_ai.request.model";
const WORKLOAD: &str = "llm.workload";
const CATEGORY: &str = "llm.refusal.category";
const INSTRUMENTATION: &str = "llm.instrumentation";

/// The labels whose values come from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// `gen_ai.provider.name`.
    Provider,
    /// `gen_ai.request.model`.
    Model,
    /// `llm.workload`.
    Workload,
    /// `llm.stop_reason.value`.
    Value,
    /// `llm.instrumentation`.
    Instrumentation,
}

impl Free {
    pub const ALL: [Free; 5] =
        [Free::Provider, Free::Model, Free::Workload, Free::Value, Free::Instrumentation];

    pub fn attribute(self) -> &'static str {
        match self {
            Free::Provider => PROVIDER,
            Free::Model => MODEL,
            Free::Workload => WORKLOAD,
            Free::Value => "llm.stop_reason.value",
            Free::Instrumentation => INSTRUMENTATION,
        }
    }
}

/// Labels that can be made coarser.
pub trait Fold: LabelSet {
    /// How many eighths of the budget may be in use with this series: detail ends before everything ends, and
    /// `llm.responses`, which is born ten at a time, leaves room to the events.
    fn eighths(&self, others: &Others) -> usize {
        if self.has_detail(others) { 7 } else { 8 }
    }

    /// Whether the first label to be given up is still there.
    fn has_detail(&self, others: &Others) -> bool;

    /// All series that are born with this one, which is the first.
    fn births(&self) -> SmallVec<[Self; 10]> {
        smallvec![self.clone()]
    }

    /// The same in coarser labels, and which free label was given up; `None` when there is nothing left to give up.
    /// Value, provider, class and category never are.
    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)>;
}

/// What stands for the labels that were given up.
#[derive(Debug)]
pub struct Others {
    pub model: Label,
    pub workload: Label,
}

impl Others {
    /// `place` without its model, then without its workload.
    fn fold(&self, place: &Place) -> Option<(Place, Option<Free>)> {
        if place.model != self.model {
            return Some((Place { model: self.model.clone(), ..place.clone() }, Some(Free::Model)));
        }
        let workload = self.fold_workload(&place.workload)?;
        Some((Place { workload, ..place.clone() }, Some(Free::Workload)))
    }

    fn fold_workload(&self, workload: &Label) -> Option<Label> {
        (*workload != self.workload).then(|| self.workload.clone())
    }
}

/// Where responses come from and who asked for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub provider: Label,
    pub model: Label,
    pub workload: Label,
}

impl Place {
    fn values(&self) -> [&str; 3] {
        [self.provider.as_str(), self.model.as_str(), self.workload.as_str()]
    }

    fn and<const N: usize>(&self, more: [&'static str; N]) -> LabelValues<'_> {
        self.values().into_iter().chain(more).collect()
    }
}

/// `llm.responses`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResponseLabels {
    pub place: Place,
    pub class: Class,
}

impl LabelSet for ResponseLabels {
    const NAMES: &'static [&'static str] = &[PROVIDER, MODEL, WORKLOAD, "llm.stop_reason.class"];

    fn values(&self) -> LabelValues<'_> {
        self.place.and([self.class.as_str()])
    }
}

impl Fold for ResponseLabels {
    fn eighths(&self, others: &Others) -> usize {
        if self.has_detail(others) { 4 } else { 6 }
    }

    fn has_detail(&self, others: &Others) -> bool {
        self.place.model != others.model
    }

    /// All classes, so that a later refusal is an increase and not a birth.
    fn births(&self) -> SmallVec<[Self; 10]> {
        let others = Class::ALL.iter().copied().filter(|class| *class != self.class);
        let classes = std::iter::once(self.class).chain(others);
        classes.map(|class| ResponseLabels { place: self.place.clone(), class }).collect()
    }

    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)> {
        let (place, label) = others.fold(&self.place)?;
        Some((ResponseLabels { place, class: self.class }, label))
    }
}

/// `llm.refusals`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefusalSeries {
    pub place: Place,
    pub category: Category,
    /// All labels of the refusal; none when actor, phase, delivery and action were given up.
    pub detail: Option<RefusalLabels>,
}

impl LabelSet for RefusalSeries {
    const NAMES: &'static [&'static str] = &[
        PROVIDER,
        MODEL,
        WORKLOAD,
        CATEGORY,
        "llm.refusal.actor",
        "llm.refusal.phase",
        "llm.refusal.delivery",
        "llm.refusal.action",
    ];

    fn values(&self) -> LabelValues<'_> {
        let detail = match self.detail {
            None => [OTHER; 4],
            Some(RefusalLabels { actor, phase, delivery, action, .. }) => {
                [actor.as_str(), phase.as_str(), delivery.as_str(), action.as_str()]
            }
        };
        let [actor, phase, delivery, action] = detail;
        self.place.and([self.category.as_str(), actor, phase, delivery, action])
    }
}

impl Fold for RefusalSeries {
    fn has_detail(&self, others: &Others) -> bool {
        self.place.model != others.model
    }

    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)> {
        if let Some((place, label)) = others.fold(&self.place) {
            return Some((RefusalSeries { place, ..self.clone() }, label));
        }
        self.detail.map(|_| (RefusalSeries { detail: None, ..self.clone() }, None))
    }
}

/// `llm.refusal.recoveries`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecoveryLabels {
    pub place: Place,
    pub category: Category,
}

impl LabelSet for RecoveryLabels {
    const NAMES: &'static [&'static str] = &[PROVIDER, MODEL, WORKLOAD, CATEGORY];

    fn values(&self) -> LabelValues<'_> {
        self.place.and([self.category.as_str()])
    }
}

impl Fold for RecoveryLabels {
    fn has_detail(&self, others: &Others) -> bool {
        self.place.model != others.model
    }

    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)> {
        let (place, label) = others.fold(&self.place)?;
        Some((RecoveryLabels { place, category: self.category }, label))
    }
}

/// `gen_ai.token.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    Input,
    Output,
}

impl TokenType {
    /// The tokens of this type.
    pub fn of(self, count: &Count) -> u64 {
        match self {
            TokenType::Input => count.input_tokens,
            TokenType::Output => count.output_tokens,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            TokenType::Input => "input",
            TokenType::Output => "output",
        }
    }
}

/// `llm.refusal.discarded_tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DiscardedLabels {
    pub place: Place,
    pub category: Category,
    pub token_type: TokenType,
}

impl LabelSet for DiscardedLabels {
    const NAMES: &'static [&'static str] = &[PROVIDER, MODEL, WORKLOAD, CATEGORY, "gen_ai.token.type"];

    fn values(&self) -> LabelValues<'_> {
        self.place.and([self.category.as_str(), self.token_type.as_str()])
    }
}

impl Fold for DiscardedLabels {
    fn has_detail(&self, others: &Others) -> bool {
        self.place.model != others.model
    }

    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)> {
        let (place, label) = others.fold(&self.place)?;
        Some((DiscardedLabels { place, ..self.clone() }, label))
    }
}

/// `llm.stop_reason.unknown` and when each value was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownLabels {
    pub provider: Label,
    pub workload: Label,
    pub value: Label,
}

impl LabelSet for UnknownLabels {
    const NAMES: &'static [&'static str] = &[PROVIDER, WORKLOAD, "llm.stop_reason.value"];

    fn values(&self) -> LabelValues<'_> {
        LabelValues::from_slice(&[self.provider.as_str(), self.workload.as_str(), self.value.as_str()])
    }
}

impl Fold for UnknownLabels {
    fn has_detail(&self, others: &Others) -> bool {
        self.workload != others.workload
    }

    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)> {
        let workload = others.fold_workload(&self.workload)?;
        Some((UnknownLabels { workload, ..self.clone() }, Some(Free::Workload)))
    }
}

/// `llm.stop_reason.missing`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MissingLabels {
    pub provider: Label,
    pub workload: Label,
    pub instrumentation: Label,
}

impl LabelSet for MissingLabels {
    const NAMES: &'static [&'static str] = &[PROVIDER, WORKLOAD, INSTRUMENTATION];

    fn values(&self) -> LabelValues<'_> {
        let values = [&self.provider, &self.workload, &self.instrumentation];
        values.into_iter().map(Label::as_str).collect()
    }
}

impl Fold for MissingLabels {
    fn has_detail(&self, others: &Others) -> bool {
        self.workload != others.workload
    }

    fn folded(&self, others: &Others) -> Option<(Self, Option<Free>)> {
        let workload = others.fold_workload(&self.workload)?;
        Some((MissingLabels { workload, ..self.clone() }, Some(Free::Workload)))
    }
}

/// `llm.refusal.blind_emitter_responses`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlindLabels {
    pub instrumentation: Label,
}

impl LabelSet for BlindLabels {
    const NAMES: &'static [&'static str] = &[INSTRUMENTATION];

    fn values(&self) -> LabelValues<'_> {
        LabelValues::from_slice(&[self.instrumentation.as_str()])
    }
}

impl Fold for BlindLabels {
    fn has_detail(&self, _others: &Others) -> bool {
        false
    }

    fn folded(&self, _others: &Others) -> Option<(Self, Option<Free>)> {
        None
    }
}
