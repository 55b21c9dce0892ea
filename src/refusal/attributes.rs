//! The verdict as attributes: written on items, and read back from items that another collector has judged.

use crate::otlp::encode::AttributeWriter;
use crate::refusal::dialects::{Meaning, Meanings};
use crate::refusal::evidence::Evidence;
use crate::refusal::verdict::{
    Action, Actor, Billing, Category, Class, Delivery, Phase, Recovered, Refusal, Side, Verdict,
};
use std::borrow::Cow;

impl Verdict<'_> {
    /// Appends the attributes of this verdict to `out`, as elements of the repeated field `field` of the item that
    /// `evidence` was read from. What stands there already is not repeated.
    pub fn append(&self, evidence: &Evidence<'_>, out: &mut Vec<u8>, field: u32) {
        self.append_beside(evidence.seen(), out, field);
    }

    /// Appends all attributes of this verdict, for an item that has none of them.
    pub fn append_all(&self, out: &mut Vec<u8>, field: u32) {
        self.append_beside(Meanings::default(), out, field);
    }

    fn append_beside(&self, present: Meanings, out: &mut Vec<u8>, field: u32) {
        let mut attributes = Attributes { writer: AttributeWriter::new(out, field), present };
        attributes.string(Meaning::Class, "llm.stop_reason.class", self.class.as_str());
        attributes.text(Meaning::Value, "llm.stop_reason.value", self.value.as_ref());
        if let Some(refusal) = &self.refusal {
            attributes.refusal(refusal);
        }
        if let Some(recovered) = &self.recovered {
            attributes.recovered(recovered);
        }
    }

    /// The verdict that another collector has written on an item; `None` when there is none, or when it is of a
    /// vocabulary that this program does not know.
    pub fn written_on<'a>(evidence: &Evidence<'a>) -> Option<Verdict<'a>> {
        let class = evidence.text(Meaning::Class).and_then(Class::from_name)?;
        let text = |meaning| evidence.text(meaning).map(Cow::Borrowed);
        let category = evidence.text(Meaning::Category).and_then(Category::from_name);
        let category = category.unwrap_or(Category::Unspecified);
        let recovered = evidence.truth(Meaning::Recovered) == Some(true);
        Some(Verdict {
            class,
            value: text(Meaning::Value),
            refusal: (class == Class::Refusal).then(|| Refusal {
                category,
                categories: evidence.categories(),
                vendor_category: text(Meaning::VendorCategory),
                actor: evidence.named(Meaning::Actor, Actor::from_name).unwrap_or(Actor::Unknown),
                side: evidence.named(Meaning::Side, Side::from_name).unwrap_or(Side::Unknown),
                phase: evidence.named(Meaning::Phase, Phase::from_name).unwrap_or(Phase::Unknown),
                delivery: evidence.named(Meaning::Delivery, Delivery::from_name).unwrap_or(Delivery::Success),
                billing: evidence.named(Meaning::Billing, Billing::from_name).unwrap_or(Billing::Unknown),
                discard_output: evidence.truth(Meaning::DiscardOutput),
                signal: text(Meaning::Signal).unwrap_or_default(),
                action: evidence.named(Meaning::Action, Action::from_name).unwrap_or(Action::Surface),
                fallback_model: text(Meaning::FallbackModel),
            }),
            recovered: recovered.then(|| Recovered {
                by: text(Meaning::RecoveredBy),
                category,
                vendor_category: text(Meaning::VendorCategory),
            }),
        })
    }
}

struct Attributes<'o> {
    writer: AttributeWriter<'o>,
    present: Meanings,
}

impl Attributes<'_> {
    fn refusal(&mut self, refusal: &Refusal<'_>) {
        self.string(Meaning::Category, "llm.refusal.category", refusal.category.as_str());
        if !refusal.categories.is_empty() && !self.present.has(Meaning::Categories) {
            let names = refusal.categories.iter().map(|category| category.as_str());
            self.writer.strings("llm.refusal.categories", names);
        }
        self.text(Meaning::VendorCategory, "llm.refusal.vendor_category", refusal.vendor_category.as_ref());
        self.string(Meaning::Actor, "llm.refusal.actor", refusal.actor.as_str());
        self.string(Meaning::Side, "llm.refusal.side", refusal.side.as_str());
        self.string(Meaning::Phase, "llm.refusal.phase", refusal.phase.as_str());
        self.string(Meaning::Delivery, "llm.refusal.delivery", refusal.delivery.as_str());
        self.string(Meaning::Billing, "llm.refusal.billing", refusal.billing.as_str());
        if let Some(discard) = refusal.discard_output {
            self.bool(Meaning::DiscardOutput, "llm.refusal.discard_output", discard);
        }
        self.string(Meaning::Signal, "llm.refusal.signal", &refusal.signal);
        self.string(Meaning::Action, "llm.refusal.action", refusal.action.as_str());
        self.text(Meaning::FallbackModel, "llm.refusal.fallback_model", refusal.fallback_model.as_ref());
    }

    /// The category of the decline stands beside the recovery: the decline is not hidden.
    fn recovered(&mut self, recovered: &Recovered<'_>) {
        self.string(Meaning::Category, "llm.refusal.category", recovered.category.as_str());
        self.text(Meaning::VendorCategory, "llm.refusal.vendor_category", recovered.vendor_category.as_ref());
        self.bool(Meaning::Recovered, "llm.refusal.recovered", true);
        self.text(Meaning::RecoveredBy, "llm.refusal.recovered_by", recovered.by.as_ref());
    }

    #[inline]
    fn string(&mut self, meaning: Meaning, key: &str, value: &str) {
        if !self.present.has(meaning) {
            self.writer.string(key, value);
        }
    }

    #[inline]
    fn text(&mut self, meaning: Meaning, key: &str, value: Option<&Cow<'_, str>>) {
        if let Some(value) = value {
            self.string(meaning, key, value);
        }
    }

    fn bool(&mut self, meaning: Meaning, key: &str, value: bool) {
        if !self.present.has(meaning) {
            self.writer.bool(key, value);
        }
    }
}
