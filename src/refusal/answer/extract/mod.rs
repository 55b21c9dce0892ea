//! Turns the structure of a vendor answer into facts, whoever reads the structure: the tokenizer, or a walk over a
//! structured value.

mod facts;
mod kind;
mod role;
mod value;

use super::json::{Container, MAX_DEPTH, Text};
use super::key::Key;
use super::{Answer, Fallback, Findings, Shape, StopWord};
use crate::refusal::verdict::Side;
use role::Role;

/// How deep nested texts may stack containers on those around them.
const MAX_FRAMES: usize = 2 * MAX_DEPTH as usize;

/// The limit on a word that is kept: stop words, categories, ids, models, codes; in bytes.
pub const MAX_WORD: usize = 256;

/// The limit on the start of an error's message, in bytes.
pub const MAX_MESSAGE: usize = 512;

/// Enough of a text to see whether it is one, or the stars of whoever masked it; in bytes.
const TEXT_START: usize = 16;

/// How many containers may have words waiting for what else is in them.
const MAX_WAITING: usize = 4;

/// What is known of a container that is open.
mod flag {
    /// It is an answer, so its `id` and `model` count.
    pub const ANSWER: u16 = 1;
    /// It is a Responses answer, so its `status` counts.
    pub const RESPONSE: u16 = 1 << 1;
    /// It is an answer of one of OpenAI's APIs.
    pub const OPENAI: u16 = 1 << 2;
    /// It says that it is an error, so its own `code` and `message` count.
    pub const ERROR: u16 = 1 << 3;
    /// It is a message of the assistant.
    pub const ASSISTANT: u16 = 1 << 4;
    /// It is a message of somebody else, so its content is not the answer's.
    pub const FOREIGN: u16 = 1 << 5;
    /// It is a part with a type.
    pub const TYPED: u16 = 1 << 6;
    /// It is of type `refusal`.
    pub const REFUSAL: u16 = 1 << 7;
    /// It is of type `fallback`, or of `fallback_message`.
    pub const FALLBACK: u16 = 1 << 8;
    /// It has text, and what kind of text is not known yet.
    pub const TEXT: u16 = 1 << 9;
    /// Its category was seen.
    pub const CATEGORY: u16 = 1 << 10;
    /// It is of type `message`.
    pub const MESSAGE: u16 = 1 << 11;
    /// It has a `stop_reason`.
    pub const STOP_REASON: u16 = 1 << 12;
    /// Its text is arguments of a tool call.
    pub const TOOL: u16 = 1 << 13;
    /// Its text is neither content nor a refusal.
    pub const ASIDE: u16 = 1 << 14;
    /// It stands in nothing else.
    pub const ROOT: u16 = 1 << 15;
}

/// Collects facts from the events of a walk over a vendor answer.
///
/// The walk may be over a text or over a structured value: call [`Extractor::begin_object`], [`Extractor::key`],
/// [`Extractor::string`], … in the order of the value, and [`Extractor::finish`] at its end. Any walk that is
/// balanced is accepted; one that is not ends as a value that was cut off.
#[derive(Default)]
pub struct Extractor {
    answer: Answer,
    frames: Vec<Frame>,
    /// Levels into a container that nobody looks into, in a walk that does not leave it out.
    skipped: u64,
    /// The text is known to be an error's.
    pub(super) error_expected: bool,
    /// The event that is being read is named `error`.
    pub(super) error_event: bool,
    /// How many frames have words that wait.
    waiting: usize,
    /// The current key as it is spelled, where that matters.
    spelled: Vec<u8>,
    entry: Entry,
    fallback: Option<Box<Fallback>>,
    iteration_from: Option<Box<str>>,
    /// A word that says that there is no stop word yet.
    placeholder: Option<StopWord>,
    /// The status of the last message item, for when nothing better is told.
    item_status: Option<Box<str>>,
    http_status: Option<u16>,
    /// Content was there, but somebody had replaced it.
    masked: bool,
    /// How many texts within texts are being read, of those that are there as a whole.
    pub(super) nested: u8,
    /// Something that only a stream has was there.
    pub(super) stream: bool,
    /// The end of a stream was there.
    pub(super) ended: bool,
    /// What the current top-level value said.
    value: ValueFacts,
    /// How many top-level values held candidates.
    candidate_values: u32,
    /// Some value said `stop_details: null` without a stop word beside it.
    null_elsewhere: bool,
}

/// What one top-level value of several said.
#[derive(Clone, Copy, Default)]
struct ValueFacts {
    stopped: bool,
    category_null: bool,
    candidates: bool,
}

/// A container that is open.
struct Frame {
    role: Role,
    array: bool,
    key: Key,
    flags: u16,
    /// Words that count only if the container turns out to be an answer or an error.
    waiting: Option<Box<Waiting>>,
}

/// Words of a container that is not known yet.
#[derive(Default)]
struct Waiting {
    id: Option<Box<str>>,
    model: Option<Box<str>>,
    status: Option<Box<str>>,
    code: Option<Box<str>>,
    kind: Option<Box<str>>,
    message: Option<Box<str>>,
}

/// An entry of a list of findings: rating, filter, guardrail finding, iteration. They do not stand in one another,
/// but for the filters within an element of `content_filters`, which use other fields.
#[derive(Default)]
struct Entry {
    /// The guardrail policy.
    policy: Box<[u8]>,
    /// The list within that policy.
    list: Box<[u8]>,
    word: Option<Box<str>>,
    fired: Option<bool>,
    side: Option<Side>,
    /// How many categories there were when an element of `content_filters` began.
    mark: usize,
}

impl Extractor {
    /// An extractor that has seen nothing.
    pub fn new() -> Self {
        Extractor::default()
    }

    /// Tells the HTTP status that the answer came with. With 400 and above, a body without `error` is read as one.
    pub fn http_status(&mut self, status: u16) {
        self.http_status = Some(status);
        self.error_expected |= status >= 400;
    }

    /// An object begins.
    pub fn begin_object(&mut self) {
        self.begin_balanced(Container::Object);
    }

    /// An array begins.
    pub fn begin_array(&mut self) {
        self.begin_balanced(Container::Array);
    }

    /// The innermost object or array ends.
    pub fn end(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
        } else {
            self.end_container(true);
        }
    }

    /// The key of the value that comes next.
    pub fn key(&mut self, key: &str) {
        if self.skipped == 0 {
            self.set_key(key.as_bytes());
        }
    }

    /// A string.
    pub fn string(&mut self, text: &str) {
        if self.skipped > 0 {
            return;
        }
        match self.want() {
            Wanted::Nothing => {}
            Wanted::Start(limit) => self.set_string(Text::whole(text, limit)),
            Wanted::Json => super::reader::read_nested(text.as_bytes(), self),
            Wanted::Base64 => {}
        }
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        if self.skipped == 0 {
            self.set_number(Number::Integer(value));
        }
    }

    /// A number with a fraction.
    pub fn float(&mut self, value: f64) {
        if self.skipped == 0 {
            self.set_number(Number::Float(value));
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) {
        if self.skipped == 0 {
            self.set_boolean(value);
        }
    }

    /// A value that is not there.
    pub fn null(&mut self) {
        if self.skipped == 0 {
            self.set_null();
        }
    }

    /// Ends the walk. What is still open was cut off.
    pub fn finish(mut self) -> Answer {
        let mut cut = self.skipped > 0;
        while !self.frames.is_empty() {
            cut = true;
            self.end_container(false);
        }
        self.conclude(cut)
    }

    /// Ends the walk over a text; `cut` when the text ended before its values did.
    pub(super) fn finish_text(mut self, cut: bool) -> Answer {
        while !self.frames.is_empty() {
            self.end_container(!cut);
        }
        self.conclude(cut)
    }

    fn begin_balanced(&mut self, container: Container) {
        if self.skipped > 0 || !self.begin_container(container) {
            self.skipped = self.skipped.saturating_add(1);
        }
    }

    /// A container begins; with `false` it is not looked into and its end is not told.
    pub(super) fn begin_container(&mut self, container: Container) -> bool {
        let array = container == Container::Array;
        let Some(role) = self.role_of_next(container) else { return false };
        if role == Role::ToolCalls && !array {
            self.found_tool_call();
            return false;
        }
        if self.frames.len() >= MAX_FRAMES {
            return false;
        }
        let inherited = self.frames.last().map_or(flag::ROOT, |frame| frame.flags & flag::FOREIGN);
        self.frames.push(Frame { role, array, key: Key::Unknown, flags: inherited, waiting: None });
        if !array {
            self.begin_entry(role);
        }
        true
    }

    /// A value is told apart that stood under `key` in an answer, as its `id` or `status` may.
    pub(super) fn begin_part(&mut self, key: &str) {
        if self.begin_container(Container::Object) {
            self.flag(flag::ANSWER | flag::RESPONSE);
            self.set_key(key.as_bytes());
        }
    }

    /// An event begins whose name stands outside of its JSON.
    pub(super) fn begin_event(&mut self, name: &str, error: bool) {
        if !self.begin_container(Container::Object) {
            return;
        }
        if error {
            self.flag(flag::ERROR);
            self.wait(|waiting| waiting.kind = Some(name.into()));
            self.set_key(b"error");
        } else {
            self.set_key(name.as_bytes());
        }
    }

    /// The role of a container that begins here, with the marks that its mere presence leaves.
    fn role_of_next(&mut self, container: Container) -> Option<Role> {
        let Some(frame) = self.frames.last() else { return Some(Role::Open) };
        let (role, key) = (frame.role, frame.key);
        if frame.array {
            if role == Role::ToolCalls {
                self.found_tool_call();
            }
            return role.of_element();
        }
        let next = role.of_value(key, &self.spelled, container, frame.flags);
        match (role, key) {
            (_, Key::Choices) if next == Some(Role::Choice) => {
                let output = self.frames.iter().rev().nth(1).is_some_and(|frame| frame.key == Key::Output);
                self.found_shape(if output { Shape::DashScope } else { Shape::OpenAiChat });
            }
            (_, Key::Candidates) if next == Some(Role::Candidate) => self.value.candidates = true,
            (Role::Part | Role::Open, Key::Media) => self.found_content(),
            (Role::Filters(_), _) => self.entry.word = Some(facts::bounded(&self.spelled)),
            (Role::Guardrail(_), _) if matches!(next, Some(Role::Policy(_))) => {
                self.entry.policy = self.spelled.as_slice().into();
            }
            (Role::Policy(_), _) => self.entry.list = self.spelled.as_slice().into(),
            (Role::ErrorMetadata, Key::Patterns) => self.found_findings(Findings::Patterns),
            (Role::ErrorMetadata, Key::Reasons) => self.found_findings(Findings::Reasons),
            _ => {}
        }
        next
    }

    /// Resets what is collected of an entry when one begins.
    fn begin_entry(&mut self, role: Role) {
        match role {
            Role::Rating(_) | Role::Iteration => self.entry = Entry::default(),
            Role::ContentFilter => {
                self.entry = Entry { mark: self.answer.categories.len(), ..Entry::default() };
            }
            Role::Finding(_) => {
                self.entry.word = None;
                self.entry.fired = None;
            }
            Role::Part => self.fallback = None,
            _ => {}
        }
    }

    /// A container ends; with `closed` false it was cut off.
    pub(super) fn end_container(&mut self, closed: bool) {
        let Some(frame) = self.frames.pop() else { return };
        if frame.array {
            if closed && matches!(frame.role, Role::Part | Role::Item) {
                self.found_place();
            }
        } else {
            self.end_object(frame, closed);
        }
        let between_values = match self.frames.last() {
            None => true,
            Some(parent) => (parent.array && self.frames.len() == 1) || parent.key == Key::Body,
        };
        if between_values {
            self.end_value();
        }
    }

    fn end_object(&mut self, mut frame: Frame, closed: bool) {
        let has = |flag: u16| frame.flags & flag != 0;
        match frame.role {
            Role::Open | Role::Choice | Role::Candidate => {
                if closed && has(flag::TEXT) && !has(flag::TYPED) {
                    self.found_content();
                }
                if closed && frame.role == Role::Candidate {
                    self.found_place();
                }
                if let Some(waiting) = frame.waiting.take() {
                    self.waiting = self.waiting.saturating_sub(1);
                    self.settle(*waiting, frame.flags);
                }
            }
            Role::Part => {
                if closed && has(flag::TEXT) && !has(flag::REFUSAL) {
                    self.found_content();
                }
                if has(flag::FALLBACK) {
                    self.found_fallback_part();
                }
            }
            // Who leaves a null out of what it prints leaves this one out.
            Role::StopDetails if closed && !has(flag::CATEGORY) => self.value.category_null = true,
            Role::Finding(side) => self.found_finding(side, closed),
            Role::ContentFilter => self.found_content_filter(closed),
            Role::Iteration => self.found_iteration(has(flag::FALLBACK), has(flag::MESSAGE)),
            _ => {}
        }
    }

    /// Ends one of several values in a row.
    fn end_value(&mut self) {
        let value = std::mem::take(&mut self.value);
        if value.stopped {
            self.answer.category_null = value.category_null;
        } else {
            self.null_elsewhere |= value.category_null;
        }
        self.candidate_values = self.candidate_values.saturating_add(u32::from(value.candidates));
    }
}

/// What is wanted of the string that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Start(usize),
    /// It holds JSON or a stream of events.
    Json,
    /// It holds the same in base64.
    Base64,
}

/// A number, as exactly as it is known.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    /// Reads a number as JSON and Python write them.
    pub(super) fn parse(text: &str) -> Option<Number> {
        text.parse().map(Number::Integer).or_else(|_| text.parse().map(Number::Float)).ok()
    }

    /// The value as a count.
    fn count(self) -> Option<u64> {
        match self {
            Number::Integer(value) => u64::try_from(value).ok(),
            Number::Float(value) if (0.0..=9.0e15).contains(&value) => Some(value as u64),
            Number::Float(_) => None,
        }
    }
}
