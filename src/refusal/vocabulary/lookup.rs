//! The lookups themselves.

use super::data::ErrorEntry;
use super::index::VendorIndex;
use super::signature::{self, Told};
use super::words::Words;
use super::{BillingRules, CategoryMeaning, ErrorMeaning, Lookup, Stop, Vendor, Vocabulary};
use crate::refusal::answer::{ErrorFacts, StopField};
use crate::refusal::verdict::{Actor, Category, Class, Phase, Side};

impl Vocabulary {
    /// What `word` in `field` means, if the vocabulary lists it. See [`Self::lookup`].
    pub fn stop(&self, vendor: Option<Vendor>, field: StopField, word: &str) -> Option<Stop> {
        match self.lookup(vendor, field, word) {
            Lookup::Known(stop) => Some(stop),
            Lookup::Absent | Lookup::Unknown => None,
        }
    }

    /// What `word` in `field` means: first in the vendor's own words, then OpenAI's and Anthropic's, then the words of
    /// emitters; exactly first, then by known form (case, enum name, dash, quotes).
    ///
    /// Without a vendor, and for gateways, which pass on anybody's words, a word that other vendors list with one
    /// meaning has it. What clients call `openai` may be any server that imitates it, so a word of those servers is
    /// known there too, unless it would make the answer an ordinary one.
    ///
    /// An exact word of the vendor costs one hash and no allocation.
    pub fn lookup(&self, vendor: Option<Vendor>, field: StopField, word: &str) -> Lookup {
        let own = self.index(vendor);
        if let Some(stop) = own.and_then(|own| own.words.exact(field, word)) {
            return Lookup::Known(stop);
        }
        if let Some(stop) = self.common().find_map(|words| words.exact(field, word)) {
            return Lookup::Known(self.borrowed(own, stop));
        }
        let Some(folded) = self.forms.fold(word) else { return Lookup::Unknown };
        if let Some(stop) = own.and_then(|own| own.words.folded(field, &folded)) {
            return Lookup::Known(stop);
        }
        if let Some(stop) = self.common().find_map(|words| words.folded(field, &folded)) {
            return Lookup::Known(self.borrowed(own, stop));
        }
        let absent = self.absent.contains(&folded);
        if absent && field != StopField::GuardrailAction {
            return Lookup::Absent;
        }
        match self.elsewhere(vendor, field, &folded) {
            Some(stop) => Lookup::Known(self.borrowed(own, stop)),
            None if absent => Lookup::Absent,
            None => Lookup::Unknown,
        }
    }

    /// What a vendor's category word means. `None`: the word is unknown.
    pub fn category(&self, vendor: Option<Vendor>, word: &str) -> Option<Category> {
        self.category_meaning(vendor, word).map(|meaning| meaning.category)
    }

    /// What a vendor's category word means, exactly first, then by known form; first in the vendor's own words, then in
    /// everybody's, because clients and gateways name the wrong vendor. Guardrail policies are asked for as
    /// `topicPolicy:DENY`; `contentPolicy:X` means `X`.
    pub fn category_meaning(&self, vendor: Option<Vendor>, word: &str) -> Option<CategoryMeaning> {
        let own = self.index(vendor);
        if let Some(meaning) = own.and_then(|own| own.words.category(word)) {
            return Some(meaning);
        }
        let folded = self.forms.fold(word)?;
        if let Some(meaning) = own.and_then(|own| own.words.folded_category(&folded)) {
            return Some(meaning);
        }
        let all = || std::iter::once(&self.emitted).chain(self.vendors.iter().map(|vendor| &vendor.words));
        let known = |word: &str| all().find_map(|words| words.category(word));
        let known_form = |folded: &str| all().find_map(|words| words.folded_category(folded));
        known(word).or_else(|| known_form(&folded)).or_else(|| {
            let (policy, rest) = word.split_once(':')?;
            if policy.eq_ignore_ascii_case("contentPolicy") {
                return known_form(&self.forms.fold(rest)?);
            }
            known_form(&self.forms.fold(&format!("{policy}:*"))?)
        })
    }

    /// Whether the vendor's API has a field for the category of such a refusal at all; if so, a category that did not
    /// arrive is `missing`, else `unspecified`. `word` is the stop word, when there was one; a word that is not the
    /// vendor's own (a gateway's `content_filter` for Claude's `refusal`) hides one that may have had a category.
    pub fn names_categories(&self, vendor: Vendor, word: Option<&str>) -> bool {
        let Some(own) = self.index(Some(vendor)) else { return false };
        let Some(word) = word else { return own.names_categories };
        let fields = [StopField::StopReason, StopField::BlockReason, StopField::GuardrailAction];
        let folded = self.forms.fold(word);
        let of_word = fields.into_iter().find_map(|field| {
            own.words.exact(field, word).or_else(|| own.words.folded(field, folded.as_deref()?))
        });
        match of_word {
            Some(stop) => stop.names_category.unwrap_or(own.names_categories),
            None if own.names_categories => true,
            None => self
                .stop(Some(vendor), StopField::StopReason, word)
                .and_then(|stop| stop.names_category)
                .unwrap_or(false),
        }
    }

    /// What an error means; `None`: it is no refusal, only an error. The vendor's own signatures come first, then
    /// those of others that are distinct enough, then the names that emitters give.
    pub fn error(&self, vendor: Option<Vendor>, facts: &ErrorFacts) -> Option<ErrorMeaning> {
        let message = facts.message.as_deref().unwrap_or("");
        let told = Told::new(facts);
        self.signatures(vendor, &told).find_map(|entry| self.meaning_of(vendor, entry, message))
    }

    /// The vendor's own word for the category that the sentence of an error names (`SAFETY_CHECK_TYPE_CYBER`).
    pub fn error_category_word<'f>(&self, vendor: Option<Vendor>, facts: &'f ErrorFacts) -> Option<&'f str> {
        let message = facts.message.as_deref()?;
        let told = Told::new(facts);
        self.signatures(vendor, &told).find_map(|entry| {
            let beginning = entry.category_word.as_deref()?;
            signature::word_starting_with(message, beginning)
        })
    }

    /// How the vendor charges for refusals by `actor`.
    pub fn billing(&self, vendor: Option<Vendor>, actor: Actor) -> BillingRules {
        let rules = self.index(vendor).map_or(&[][..], |vendor| &vendor.billing);
        let by = |who: Option<Actor>| rules.iter().rev().find(move |rule| rule.actor == who);
        by(Some(actor)).or_else(|| by(None)).map_or(BillingRules::UNKNOWN, BillingRules::from_entry)
    }

    fn index(&self, vendor: Option<Vendor>) -> Option<&VendorIndex> {
        self.vendors.get(usize::from(vendor?.0))
    }

    /// Whose words may stand in anybody's telemetry.
    fn common(&self) -> impl Iterator<Item = &Words> {
        let of = |vendor| self.index(Some(vendor)).map(|vendor| &vendor.words);
        of(self.openai).into_iter().chain(of(self.anthropic)).chain(std::iter::once(&self.emitted))
    }

    /// A meaning from another's words: class and category hold, but who declined, and what, the word tells only of its
    /// own vendor.
    fn borrowed(&self, own: Option<&VendorIndex>, stop: Stop) -> Stop {
        match own {
            Some(own) if !own.gateway => Stop { actor: None, side: None, phase: None, ..stop },
            _ => stop,
        }
    }

    /// The meaning that all vendors give the word who list it.
    fn elsewhere(&self, vendor: Option<Vendor>, field: StopField, folded: &str) -> Option<Stop> {
        let own = self.index(vendor);
        let anybody = own.is_none_or(|own| own.gateway);
        let imitators = vendor == Some(self.openai);
        if !anybody && !imitators {
            return None;
        }
        let listed = self.vendors.iter().filter(|other| anybody || other.imitates_openai);
        let mut meanings = listed.filter_map(|other| other.words.folded(field, folded));
        let first = meanings.next()?;
        let agreed = meanings.all(|other| other.class == first.class);
        let is_ordinary = match first.class {
            Class::Complete | Class::ToolUse | Class::StopSequence | Class::Pause => true,
            Class::Length | Class::Refusal | Class::Error | Class::Other => false,
            Class::Unknown | Class::Missing => true,
        };
        (agreed && (anybody || !is_ordinary)).then_some(first)
    }

    /// The errors of the data that hold, most telling first; none if it is known not to be a refusal.
    fn signatures<'v>(
        &'v self,
        vendor: Option<Vendor>,
        told: &Told<'_>,
    ) -> impl Iterator<Item = &'v ErrorEntry> {
        let own = self.index(vendor);
        let excluded = || {
            let mut conditions = self.not_refusals.iter().chain(own.iter().flat_map(|own| &own.not_refusals));
            conditions.any(|condition| condition.holds(told))
        };
        let meant = !told.is_empty() && !excluded();
        let of_own = own.into_iter().flat_map(|own| &own.errors);
        let of_all =
            self.vendors.iter().flat_map(|vendor| &vendor.errors).filter(|error| error.entry.anywhere);
        let all = of_own.chain(of_all).chain(&self.emitted_errors);
        let holding =
            all.filter(move |signature| signature.when.holds(told)).map(|signature| &signature.entry);
        meant.then_some(holding).into_iter().flatten()
    }

    fn meaning_of(&self, vendor: Option<Vendor>, entry: &ErrorEntry, message: &str) -> Option<ErrorMeaning> {
        let mut meaning = ErrorMeaning {
            class: entry.class,
            category: entry.category,
            actor: entry.actor.unwrap_or(Actor::Unknown),
            side: entry.side.unwrap_or(Side::Unknown),
            phase: entry.phase.unwrap_or(Phase::Unknown),
            names_category: entry.names_category,
        };
        if let Some(place) = &entry.stop_word {
            let word = signature::word_after(message, &place.after)?;
            let stop =
                self.stop(vendor, place.field.0, word).or_else(|| self.stop(None, place.field.0, word))?;
            if stop.class != Class::Refusal {
                return None;
            }
            meaning.category = stop.category.or(meaning.category);
            meaning.actor = stop.actor.unwrap_or(meaning.actor);
            meaning.side = stop.side.unwrap_or(meaning.side);
        }
        if let Some(beginning) = &entry.category_word
            && let Some(word) = signature::word_starting_with(message, beginning)
        {
            meaning.category = Some(self.category(vendor, word).unwrap_or(Category::Unknown));
        }
        Some(meaning)
    }
}
