//! What vendors' words mean: data, one YAML file per vendor, embedded and extended by configuration.
//!
//! A word is looked up exactly in its vendor's own words, then in OpenAI's and Anthropic's (behind a gateway the
//! provider is the backend, while the value speaks the client's API), then in the words of emitters; then in the same
//! order by known form. A word that is found nowhere is [`Lookup::Unknown`]: nothing is guessed.

pub mod data;
mod embedded;
mod emitter;
mod example;
mod extension;
mod form;
mod provider;
mod signature;
mod table;
mod words;

#[cfg(test)]
mod tests;

pub use emitter::Emitter;
pub use example::Outcome;
pub use extension::{Change, Extension};
pub use provider::Provider;
pub use table::Table;

use crate::refusal::answer::{ErrorFacts, Shape, StopField};
use crate::refusal::verdict::{Actor, Billing, Category, Class, Phase, Side};
use data::{BillingEntry, Condition, EmittersFile, ErrorEntry, Facts, StopEntry, VendorFile};
use emitter::Emitters;
use form::Forms;
use provider::Providers;
use signature::{Matcher, Signature, Told};
use std::sync::Arc;
use words::{Merged, Words};

/// The words of all vendors, indexed for lookup. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    vendors: Vec<VendorIndex>,
    providers: Providers,
    forms: Forms,
    emitted: Words,
    emitted_errors: Vec<Signature>,
    not_refusals: Vec<Matcher>,
    absent: Vec<String>,
    openai: Vendor,
    anthropic: Vendor,
    emitters: Emitters,
    data: Arc<Data>,
}

/// What a vocabulary is made of.
#[derive(Clone, Debug)]
struct Data {
    vendors: Vec<VendorFile>,
    emitters: EmittersFile,
    /// What an extension says of everybody's words.
    anybody: Vec<Facts>,
}

/// A vendor of a [`Vocabulary`]: what its file is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vendor(pub u16);

impl Vendor {
    fn at(index: usize) -> Self {
        Vendor(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

/// What a lookup of a stop word gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The vocabulary lists the word.
    Known(Stop),
    /// The word says that no value came (an empty string, `null`, `None`): as good as no value at all.
    Absent,
    /// The vocabulary does not list the word.
    Unknown,
}

/// What the vocabulary says of a stop word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its class; never `unknown` or `missing`.
    pub class: Class,
    /// The category that the word itself names (`RECITATION` is `copyright`); `None` means: look elsewhere.
    pub category: Option<Category>,
    /// Who declines with this word; `None` means: not told by the word.
    pub actor: Option<Actor>,
    /// Who declines with this word when the vendor named a category with it.
    pub actor_when_categorized: Option<Actor>,
    /// What is declined with this word.
    pub side: Option<Side>,
    /// When it is declined with this word; `None` means: content tells.
    pub phase: Option<Phase>,
    /// Whether the vendor names a category beside this word; `None` means: as the vendor usually does.
    pub names_category: Option<bool>,
    /// Whether the emitter that uses this word is known to fold unknown words into it (Vercel's `other`).
    pub lossy: bool,
}

/// What the vocabulary says of a category word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CategoryMeaning {
    /// Its category; never `unknown` or `missing`.
    pub category: Category,
    /// Who declines for it, when only one can (Azure's `custom_blocklists` are the customer's).
    pub actor: Option<Actor>,
}

/// What the vocabulary says of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorMeaning {
    /// `refusal`, `length` or `error`.
    pub class: Class,
    /// The category that the signature or a word of the sentence names; `unknown` when that word is not listed.
    pub category: Option<Category>,
    /// Who declines so.
    pub actor: Actor,
    /// What is declined.
    pub side: Side,
    /// When.
    pub phase: Phase,
}

/// How a vendor charges for refusals, by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingRules {
    /// Declined before any output.
    pub before_output: Billing,
    /// Declined in the middle of a stream.
    pub mid_stream: Billing,
    /// Declined after the whole answer.
    pub after_output: Billing,
    /// Delivered as an error.
    pub error: Billing,
}

/// Why data files or an extension do not make a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// The text is no YAML, or not of the shape of a data file.
    #[error("{file}{}: {reason}", Position(.position))]
    Syntax {
        /// Where the text comes from.
        file: String,
        /// Line and column, where they are known; both from 1.
        position: Option<(u64, u64)>,
        /// What is wrong.
        reason: String,
    },
    /// A stop word is given a class that only a lookup may have.
    #[error(
        "{vendor}: stop.{field} `{word}` cannot be `{class}`: that is what words outside the vocabulary are"
    )]
    Class {
        /// The vendor.
        vendor: String,
        /// The field.
        field: &'static str,
        /// The word.
        word: String,
        /// The class.
        class: Class,
    },
    /// A category word is given a category that only a lookup may have.
    #[error(
        "{vendor}: {place} `{word}` cannot be `{category}`: that is what words outside the vocabulary are"
    )]
    Category {
        /// The vendor.
        vendor: String,
        /// The part of the file.
        place: &'static str,
        /// The word.
        word: String,
        /// The category.
        category: Category,
    },
    /// An error is given a class that errors do not have.
    #[error("{vendor}: errors[{index}] cannot be `{class}`: an error is `refusal`, `length` or `error`")]
    ErrorClass {
        /// The vendor.
        vendor: String,
        /// Which of its errors.
        index: usize,
        /// The class.
        class: Class,
    },
    /// A condition asks for nothing.
    #[error(
        "{vendor}: {place}[{index}] would hold of every error: give a word, code, kind, status or message"
    )]
    EmptyCondition {
        /// The vendor.
        vendor: String,
        /// The part of the file.
        place: &'static str,
        /// Which of its entries.
        index: usize,
    },
    /// A word is longer than any that is looked up.
    #[error("{vendor}: {place} `{}…` is longer than {limit} bytes", .word.chars().take(32).collect::<String>())]
    TooLong {
        /// The vendor.
        vendor: String,
        /// The part of the file.
        place: &'static str,
        /// The word.
        word: String,
        /// The longest allowed.
        limit: usize,
    },
    /// Two vendors claim one provider key.
    #[error("{vendor}: the provider key `{key}` belongs to `{owner}`")]
    ProviderTaken {
        /// The vendor.
        vendor: String,
        /// The key.
        key: String,
        /// Whose it is.
        owner: String,
    },
    /// An extension speaks of a vendor that is not known, and does not say how telemetry names it.
    #[error(
        "no vendor `{vendor}`{}; a new one needs `identity.providers`",
        .nearest.as_ref().map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
    )]
    UnknownVendor {
        /// The name that was given.
        vendor: String,
        /// The known name that is most like it.
        nearest: Option<String>,
    },
    /// The data lacks a vendor that lookups need.
    #[error("no file for the vendor `{0}`")]
    NoVendor(&'static str),
}

impl VocabularyError {
    /// The vendor that it is about, as it is called where the mistake stands.
    pub fn vendor(&self) -> Option<&str> {
        match self {
            VocabularyError::Class { vendor, .. }
            | VocabularyError::Category { vendor, .. }
            | VocabularyError::ErrorClass { vendor, .. }
            | VocabularyError::EmptyCondition { vendor, .. }
            | VocabularyError::TooLong { vendor, .. }
            | VocabularyError::ProviderTaken { vendor, .. }
            | VocabularyError::UnknownVendor { vendor, .. } => Some(vendor),
            VocabularyError::Syntax { .. } | VocabularyError::NoVendor(_) => None,
        }
    }
}

struct Position<'e>(&'e Option<(u64, u64)>);

impl std::fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |(line, column)| write!(f, ":{line}:{column}"))
    }
}

/// One vendor, indexed.
#[derive(Clone, Debug)]
struct VendorIndex {
    words: Words,
    errors: Vec<Signature>,
    not_refusals: Vec<Matcher>,
    billing: Vec<BillingEntry>,
    gateway: bool,
    imitates_openai: bool,
    names_categories: bool,
}

impl Vocabulary {
    /// The vocabulary that is compiled in. It is tested at build time, so this fails only in a broken build.
    pub fn embedded() -> Result<Self, VocabularyError> {
        Self::build(Data {
            vendors: embedded::vendors()?,
            emitters: embedded::emitters()?,
            anybody: Vec::new(),
        })
    }

    /// The vendor that a provider key means: the values of `gen_ai.provider.name`, `gen_ai.system`, `llm.provider`,
    /// `llm.system`, in any case, with the emitters' own spellings (`anthropic.messages`, `az.ai.openai`, `google`).
    pub fn vendor_of_provider(&self, provider: &str) -> Option<Vendor> {
        self.provider_of_key(provider).map(|provider| provider.vendor)
    }

    /// The vendor behind a host name (`server.address`, the host of a URL).
    pub fn vendor_of_host(&self, host: &str) -> Option<Vendor> {
        self.provider_of_host(host).map(|provider| provider.vendor)
    }

    /// The vendor whose model this is, as far as its name tells: the platform if that shows (`us.anthropic.claude-…`
    /// is Bedrock's, `azure/…` Azure's), else the maker (`claude-*`, `gpt-*`, `anthropic/claude-…`).
    pub fn vendor_of_model(&self, model: &str) -> Option<Vendor> {
        self.provider_of_model(model).map(|provider| provider.vendor)
    }

    /// The vendor whose answers have this shape.
    pub fn vendor_of_shape(&self, shape: Shape) -> Option<Vendor> {
        self.providers.by_shape(shape)
    }

    /// As [`Self::vendor_of_provider`], with the canonical name that the key stands for.
    pub fn provider_of_key(&self, key: &str) -> Option<Provider<'_>> {
        self.providers.by_key(key)
    }

    /// As [`Self::vendor_of_host`], with the canonical name of what answers there.
    pub fn provider_of_host(&self, host: &str) -> Option<Provider<'_>> {
        self.providers.by_host(host)
    }

    /// As [`Self::vendor_of_model`], with the canonical name.
    pub fn provider_of_model(&self, model: &str) -> Option<Provider<'_>> {
        self.providers.by_model(model)
    }

    /// The canonical `gen_ai.provider.name` of a vendor.
    pub fn provider_name(&self, vendor: Vendor) -> &str {
        self.providers.name_of(vendor).unwrap_or("")
    }

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
    /// known there too, unless it would make the answer complete.
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

    /// The emitter with this scope name, if it is one whose losses are known. One look for all spans of a scope will do.
    pub fn emitter(&self, scope_name: &str) -> Option<&Emitter> {
        self.emitters.of_scope(scope_name)
    }

    /// All emitters whose losses are known.
    pub fn emitters(&self) -> &[Emitter] {
        self.emitters.all()
    }

    /// The data of all vendors.
    pub fn vendors(&self) -> &[VendorFile] {
        &self.data.vendors
    }

    /// The data on emitters.
    pub fn emitter_data(&self) -> &EmittersFile {
        &self.data.emitters
    }

    /// The vendor with this name (what its file is called).
    pub fn vendor_named(&self, name: &str) -> Option<Vendor> {
        let index = self.vendors().iter().position(|file| file.vendor == name)?;
        Some(Vendor::at(index))
    }

    /// The name of a vendor (what its file is called).
    pub fn vendor_name(&self, vendor: Vendor) -> &str {
        self.vendors().get(usize::from(vendor.0)).map_or("", |file| &file.vendor)
    }

    fn build(data: Data) -> Result<Self, VocabularyError> {
        let forms = Forms::new(&data.emitters.enum_names);
        let mut providers = Providers::default();
        let mut vendors = Vec::with_capacity(data.vendors.len());
        for (index, file) in data.vendors.iter().enumerate() {
            providers.add(Vendor::at(index), &file.identity).map_err(|taken| {
                VocabularyError::ProviderTaken {
                    vendor: file.vendor.clone(),
                    key: taken.key,
                    owner: data
                        .vendors
                        .get(usize::from(taken.owner.0))
                        .map_or_else(String::new, |v| v.vendor.clone()),
                }
            })?;
            vendors.push(VendorIndex::new(file, &forms)?);
        }
        let named = |name: &'static str| {
            let index = data.vendors.iter().position(|file| file.vendor == name);
            index.map(Vendor::at).ok_or(VocabularyError::NoVendor(name))
        };
        let (openai, anthropic) = (named("openai")?, named("anthropic")?);
        let emitters = &data.emitters;
        let emitted = [emitters.as_facts()];
        let mut merged = Merged::default();
        for facts in emitted.iter().chain(&data.anybody) {
            check(extension::ANYBODY, facts)?;
            merged.add(facts);
        }
        // What an extension says comes last in the data and first in a search.
        let anybody = || data.anybody.iter().rev();
        let errors = anybody().flat_map(|facts| &facts.errors).chain(&emitters.errors);
        let not_refusals = anybody().flat_map(|facts| &facts.not_refusals).chain(&emitters.not_refusals);
        Ok(Vocabulary {
            emitted: Words::new(&merged, &forms),
            emitted_errors: errors.map(Signature::new).collect(),
            not_refusals: not_refusals.map(Matcher::new).collect(),
            absent: emitters.absent.iter().filter_map(|word| forms.fold(word)).collect(),
            emitters: Emitters::new(&emitters.emitters),
            openai,
            anthropic,
            vendors,
            providers,
            forms,
            data: Arc::new(data),
        })
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
        (agreed && (anybody || first.class != Class::Complete)).then_some(first)
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

impl VendorIndex {
    fn new(file: &VendorFile, forms: &Forms) -> Result<Self, VocabularyError> {
        let mut merged = Merged::default();
        for facts in &file.surfaces {
            check(&file.vendor, facts)?;
            merged.add(facts);
        }
        let latest_first = || file.surfaces.iter().rev();
        Ok(VendorIndex {
            words: Words::new(&merged, forms),
            errors: latest_first().flat_map(|facts| &facts.errors).map(Signature::new).collect(),
            not_refusals: latest_first().flat_map(|facts| &facts.not_refusals).map(Matcher::new).collect(),
            billing: file.surfaces.iter().flat_map(|facts| facts.billing.iter().cloned()).collect(),
            gateway: file.identity.gateway,
            imitates_openai: file.identity.imitates_openai,
            names_categories: file.identity.names_categories,
        })
    }
}

impl Stop {
    fn from_entry(entry: &StopEntry) -> Self {
        Stop {
            class: entry.class,
            category: entry.category,
            actor: entry.actor,
            actor_when_categorized: entry.actor_when_categorized,
            side: entry.side,
            phase: entry.phase,
            names_category: entry.names_category,
            lossy: entry.lossy,
        }
    }
}

impl BillingRules {
    const UNKNOWN: BillingRules = BillingRules {
        before_output: Billing::Unknown,
        mid_stream: Billing::Unknown,
        after_output: Billing::Unknown,
        error: Billing::Unknown,
    };

    fn from_entry(entry: &BillingEntry) -> Self {
        BillingRules {
            before_output: entry.before_output,
            mid_stream: entry.mid_stream,
            after_output: entry.after_output,
            error: entry.error,
        }
    }
}

/// Refuses facts that would make a vocabulary quiet or slow.
fn check(vendor: &str, facts: &Facts) -> Result<(), VocabularyError> {
    let short = |place: &'static str, word: &str| {
        if word.len() <= form::MAX_WORD_BYTES {
            return Ok(());
        }
        let limit = form::MAX_WORD_BYTES;
        Err(VocabularyError::TooLong { vendor: vendor.to_owned(), place, word: word.to_owned(), limit })
    };
    let speakable = |place: &'static str, word: &str, category: Option<Category>| match category {
        Some(category @ (Category::Unknown | Category::Missing)) => Err(VocabularyError::Category {
            vendor: vendor.to_owned(),
            place,
            word: word.to_owned(),
            category,
        }),
        _ => Ok(()),
    };
    for (field, words) in &facts.stop {
        for (word, entry) in words {
            short("stop word", word)?;
            speakable("stop word", word, entry.category)?;
            if matches!(entry.class, Class::Unknown | Class::Missing) {
                return Err(VocabularyError::Class {
                    vendor: vendor.to_owned(),
                    field: field.as_str(),
                    word: word.clone(),
                    class: entry.class,
                });
            }
        }
    }
    for (word, entry) in &facts.categories {
        short("category word", word)?;
        speakable("category word", word, Some(entry.category))?;
    }
    let vendor = || vendor.to_owned();
    for (index, entry) in facts.errors.iter().enumerate() {
        speakable("error", &index.to_string(), entry.category)?;
        if !matches!(entry.class, Class::Refusal | Class::Length | Class::Error) {
            return Err(VocabularyError::ErrorClass { vendor: vendor(), index, class: entry.class });
        }
        if entry.when.is_empty() || entry.when.has_empty_part() {
            return Err(VocabularyError::EmptyCondition { vendor: vendor(), place: "errors", index });
        }
    }
    let holds_always = |condition: &Condition| condition.is_empty() || condition.has_empty_part();
    match facts.not_refusals.iter().position(holds_always) {
        Some(index) => {
            Err(VocabularyError::EmptyCondition { vendor: vendor(), place: "not_refusals", index })
        }
        None => Ok(()),
    }
}
