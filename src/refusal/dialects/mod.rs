//! How each family of instrumentation libraries spells the end of an LLM response.
//!
//! A family is a file with a table, attribute key to [`Meaning`], and whatever words of its own need explaining. One
//! scanner ([`evidence`](super::evidence)) reads all tables at once: no span is asked which library wrote it, because
//! libraries copy each other's keys and several of them write to one span.

mod agentgateway;
mod agents;
mod anthropic_sdk;
mod azure_inference;
mod coding_agents;
mod contract;
mod haystack;
mod langchain;
mod langfuse;
mod langtrace;
mod litellm;
mod logfire;
mod mlflow;
mod obi;
mod openinference;
mod openllmetry;
mod otel_genai;
mod role;
mod scope;
mod vercel;
mod verdicts;

pub(crate) use coding_agents::{AgentEvent, bare as bare_key};
pub(crate) use contract::{nested_path, pattern};
pub(crate) use logfire::unfinished as logfire_unfinished;
pub(crate) use openllmetry::{guardrail_policy, is_refusal_as_text};
pub(crate) use role::{Role, is_named_like_a_call, role};
pub(crate) use scope::ScopeKind;

use std::sync::LazyLock;

/// What an attribute tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Meaning {
    /// The provider, by the current convention.
    Provider,
    /// The provider, by the older convention.
    System,
    /// The provider, by a library's own key.
    OtherProvider,
    /// Whose API the model speaks, where a library tells that apart from the provider.
    OtherSystem,
    /// The model that was asked for.
    RequestModel,
    /// A model, the library does not say which.
    ModelName,
    /// The model that answered.
    ResponseModel,
    /// The host that was called.
    ServerAddress,
    /// The URL that was called, or its base.
    Url,
    /// What kind of call the item stands for, as `gen_ai.operation.name` says it.
    Operation,
    /// What kind of call the item stands for, by a library's own key.
    SpanKind,
    /// The name of a log record's event, as an attribute.
    EventName,
    /// Whether the item is a real span, a log line or a placeholder (Logfire).
    ItemKind,
    /// The vendor's own stop word, known not to be translated.
    VendorStop,
    /// Stop words, perhaps translated.
    FinishReason,
    /// A key that ends like a stop word's, outside of any LLM namespace: counts on items that are known by other keys.
    ForeignStop,
    /// A field of the vendor's answer under `llm.<vendor>.`.
    RawField,
    /// A field of the vendor's answer, as JSON or flattened, under a namespace of an LLM vendor.
    ContractField,
    /// The same outside of any LLM namespace: counts on items that are known by other keys.
    ForeignField,
    /// Messages with parts and a finish reason each.
    Messages,
    /// A vendor's answer, parsed and written out again by a library: fields may have been lost on the way.
    Body,
    /// A vendor's answer as it came over the wire.
    VerbatimBody,
    /// Pieces of a vendor's answer beside the stop word.
    Details,
    /// What a guardrail found in the prompt, names by policy.
    InputGuardrail,
    /// What a guardrail found in the answer, names by policy.
    OutputGuardrail,
    /// Text of the answer.
    OutputText,
    /// The type of a part of the answer.
    OutputPartType,
    /// `error.type`.
    ErrorType,
    /// A vendor's error code.
    ErrorCode,
    /// A vendor's sentence.
    ErrorMessage,
    /// The HTTP status.
    HttpStatus,
    /// A level of severity that a library writes as text.
    Level,
    /// The vendor's id of the response.
    ResponseId,
    /// The vendor's id of the request.
    RequestId,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Whether the answer was streamed.
    Streaming,
    /// Something that only a streamed answer has.
    StreamTiming,
    /// The request's parameters as JSON.
    InvocationParameters,
    /// A coding agent's word for why the vendor refused.
    AgentCategory,
    /// Whether the vendor named a category, which the coding agent may have left out.
    HasCategory,
    /// Whether the refusal was only a hop to a fallback model.
    FallbackHop,
    /// The kind of a stream event that a log record stands for.
    EventKind,
    /// `llm.stop_reason.class`.
    Class,
    /// `llm.stop_reason.value`.
    Value,
    /// `llm.refusal.category`.
    Category,
    /// `llm.refusal.categories`.
    Categories,
    /// `llm.refusal.vendor_category`.
    VendorCategory,
    /// `llm.refusal.actor`.
    Actor,
    /// `llm.refusal.side`.
    Side,
    /// `llm.refusal.phase`.
    Phase,
    /// `llm.refusal.delivery`.
    Delivery,
    /// `llm.refusal.billing`.
    Billing,
    /// `llm.refusal.discard_output`.
    DiscardOutput,
    /// `llm.refusal.signal`.
    Signal,
    /// `llm.refusal.action`.
    Action,
    /// `llm.refusal.fallback_model`.
    FallbackModel,
    /// `llm.refusal.recovered`.
    Recovered,
    /// `llm.refusal.recovered_by`.
    RecoveredBy,
    /// Nothing: listed so that a usual key is not taken for one of the capture contract's.
    Nothing,
}

/// A set of meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meanings(u64);

/// The set has one bit for each.
const _: () = assert!((Meaning::Nothing as u8) < 64);

impl Meanings {
    /// The set of `meanings`.
    pub(crate) const fn of(meanings: &[Meaning]) -> Self {
        let mut set = 0;
        let mut rest = meanings;
        while let [first, others @ ..] = rest {
            set |= 1 << *first as u8;
            rest = others;
        }
        Meanings(set)
    }

    /// The meanings of both sets.
    pub(crate) const fn and(self, others: Meanings) -> Self {
        Meanings(self.0 | others.0)
    }

    /// All but `meaning`.
    pub(crate) const fn without(self, meaning: Meaning) -> Self {
        Meanings(self.0 & !(1 << meaning as u8))
    }

    pub(crate) fn insert(&mut self, meaning: Meaning) {
        self.0 |= 1 << meaning as u8;
    }

    pub(crate) fn has(self, meaning: Meaning) -> bool {
        self.0 & 1 << meaning as u8 != 0
    }

    pub(crate) fn any_of(self, others: Meanings) -> bool {
        self.0 & others.0 != 0
    }
}

/// The meanings by which an item is known to speak of an LLM call at all. An item with none of them is looked at no
/// further.
pub(crate) const MARKS: Meanings = Meanings::of(&[
    Meaning::Provider,
    Meaning::System,
    Meaning::OtherProvider,
    Meaning::OtherSystem,
    Meaning::RequestModel,
    Meaning::ResponseModel,
    Meaning::Operation,
    Meaning::SpanKind,
    Meaning::VendorStop,
    Meaning::FinishReason,
    Meaning::RawField,
    Meaning::ContractField,
    Meaning::Messages,
    Meaning::VerbatimBody,
    Meaning::Class,
    Meaning::Category,
    Meaning::Categories,
    Meaning::VendorCategory,
    Meaning::Actor,
    Meaning::Side,
    Meaning::Phase,
    Meaning::Signal,
    Meaning::Recovered,
]);

/// The same of log records, which may also be marked by the name of their event.
pub(crate) const LOG_MARKS: Meanings = MARKS.and(Meanings::of(&[Meaning::EventName]));

/// What one family of libraries writes.
type Table = &'static [(&'static str, Meaning)];

const TABLES: &[Table] = &[
    otel_genai::KEYS,
    anthropic_sdk::KEYS,
    openllmetry::KEYS,
    openinference::KEYS,
    vercel::KEYS,
    langchain::KEYS,
    langfuse::KEYS,
    langtrace::KEYS,
    mlflow::KEYS,
    haystack::KEYS,
    logfire::KEYS,
    litellm::KEYS,
    agents::KEYS,
    azure_inference::KEYS,
    obi::KEYS,
    agentgateway::KEYS,
    contract::KEYS,
    verdicts::KEYS,
];

/// What the attribute `key` tells, if it is one that some library writes.
#[inline]
pub(crate) fn meaning(keys: &Keys, key: &[u8]) -> Option<Meaning> {
    keys.find(key).or_else(|| pattern(key))
}

/// All tables in one, indexed.
pub(crate) struct Keys {
    /// By [`slot`], with the next free slot taken when one is occupied: 0 is free, else the place in `known`, from 1.
    slots: [u8; SLOTS],
    known: Vec<(&'static str, Meaning)>,
    /// By how keys start, as [`start_slot`] has it: the lengths of those that may have one of the [`MARKS`], a bit for
    /// each length modulo 64.
    mark_lengths: [u64; STARTS],
}

const SLOTS: usize = 1024;

const STARTS: usize = 512;

impl Keys {
    /// The index, made when it is first asked for.
    pub(crate) fn get() -> &'static Keys {
        static KEYS: LazyLock<Keys> = LazyLock::new(Keys::index);
        &KEYS
    }

    fn index() -> Keys {
        let mut keys = Keys { slots: [0; SLOTS], known: Vec::new(), mark_lengths: [0; STARTS] };
        for namespace in contract::namespaces() {
            keys.expect_mark(namespace, u64::MAX);
        }
        for (key, meaning) in TABLES.iter().copied().flatten() {
            if keys.find(key.as_bytes()).is_some() {
                continue;
            }
            keys.known.push((*key, *meaning));
            if LOG_MARKS.has(*meaning) {
                keys.expect_mark(key, 1 << (key.len() % 64));
            }
            let mut at = slot(key.as_bytes());
            while keys.slots.get(at).is_some_and(|occupied| *occupied != 0) {
                at = (at + 1) % SLOTS;
            }
            if let (Some(free), Ok(place)) = (keys.slots.get_mut(at), u8::try_from(keys.known.len())) {
                *free = place;
            }
        }
        keys
    }

    fn expect_mark(&mut self, start: &str, lengths: u64) {
        if let Some(known) = start_slot(start.as_bytes()).and_then(|slot| self.mark_lengths.get_mut(slot)) {
            *known |= lengths;
        }
    }

    /// Whether a key may have a meaning of [`LOG_MARKS`]; sometimes wrong when it says yes, never when it says no.
    ///
    /// This is asked of all attributes of all items that have nothing to do with LLMs: one load for each, where
    /// [`meaning`] hashes and compares.
    #[inline(always)]
    pub(crate) fn may_mark(&self, key: &[u8]) -> bool {
        let lengths = start_slot(key).and_then(|slot| self.mark_lengths.get(slot));
        lengths.is_some_and(|lengths| lengths >> (key.len() % 64) & 1 == 1)
    }

    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Meaning> {
        let mut at = slot(key);
        loop {
            let place = usize::from(*self.slots.get(at)?).checked_sub(1)?;
            let (known, meaning) = self.known.get(place)?;
            if known.as_bytes() == key {
                return Some(*meaning);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// Where in the index a key belongs: a hash of its length, its first and its last bytes, which tell nearly all apart.
#[inline(always)]
fn slot(key: &[u8]) -> usize {
    let (head, tail) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (0, key.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))),
    };
    let mixed = (tail ^ head.rotate_left(23) ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 54) as usize
}

/// Where the first three letters of a key lead to. The factor was searched for: with it no usual key of other items meets
/// one that marks.
#[inline(always)]
fn start_slot(key: &[u8]) -> Option<usize> {
    let [a, b, c] = *key.first_chunk()?;
    Some((u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x076c_e2ef) >> 23) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_marks_an_item_may_mark_it() {
        let keys = Keys::get();
        let marks = |meaning: Option<Meaning>| meaning.is_some_and(|meaning| LOG_MARKS.has(meaning));
        let in_tables = TABLES.iter().copied().flatten().map(|(key, _)| (*key).to_owned());
        let fields = ["stop_reason", "stop_details", "a.finish_reasons", "x.refusal.y", "0.content", "error"];
        let by_form = contract::namespaces().flat_map(|space| fields.map(|field| format!("{space}{field}")));
        let all: Vec<String> = in_tables.chain(by_form).collect();
        assert!(all.iter().filter(|key| marks(meaning(keys, key.as_bytes()))).count() > 100);
        for key in all {
            assert!(keys.may_mark(key.as_bytes()) || !marks(meaning(keys, key.as_bytes())), "{key}");
        }
    }

    #[test]
    fn usual_keys_of_other_items_are_told_apart_at_a_glance() {
        let usual = "http.request.method http.response.status_code http.route http.method http.url http.target \
            http.status_code http.scheme url.full url.path url.scheme url.query server.address server.port \
            client.address network.protocol.version network.peer.address net.peer.name net.host.port \
            user_agent.original thread.id thread.name code.function.name error.type exception.type \
            exception.message db.system db.system.name db.statement db.query.text db.operation.name db.namespace \
            messaging.system messaging.destination.name messaging.operation rpc.system rpc.service rpc.method \
            rpc.grpc.status_code peer.service session.id enduser.id k8s.pod.name faas.trigger graphql.document \
            component otel.status_code span.kind internal.span.format sampler.type";
        for key in usual.split_whitespace() {
            assert!(!Keys::get().may_mark(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn every_key_of_every_family_is_found_and_no_family_contradicts_another() {
        let keys = Keys::get();
        for (key, meaning) in TABLES.iter().copied().flatten() {
            assert_eq!(keys.find(key.as_bytes()), Some(*meaning), "{key}");
        }
        assert_eq!(keys.find(b"gen_ai.response.finish_reasonz"), None);
        assert_eq!(keys.find(b""), None);
    }

    #[test]
    fn the_index_has_room_for_short_probes() {
        let known = Keys::get().known.len();
        assert!(known * 4 < SLOTS && known < usize::from(u8::MAX), "{known} keys");
    }
}
