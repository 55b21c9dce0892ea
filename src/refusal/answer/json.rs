//! An incremental tokenizer for JSON and for what instrumentations print in its place.
//!
//! It takes chunks that may be split anywhere, calls a [`Visitor`] as soon as something is known, keeps at most
//! [`MAX_KEY`] bytes of a key and as much of a string as the visitor asks for, and never recurses. Beside JSON it
//! reads Python reprs (`None`, single quotes, tuples, `Name(key=value)`, `<Enum.NAME: 'value'>`), trailing commas,
//! and several values in a row. What breaks the grammar otherwise is not repaired: a text whose quotes were not
//! escaped must not turn its content into structure.

mod string;
mod word;

use memchr::memchr2;
use std::borrow::Cow;
use string::{Escape, Taking};
use word::is_word;

/// How deep containers are looked into; what is deeper is skipped.
pub const MAX_DEPTH: u32 = 64;

/// What is kept of a key, in bytes. A longer key is given as an empty one: it cannot be known.
pub const MAX_KEY: usize = 128;

/// The two kinds of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Keys and values.
    Object,
    /// Values.
    Array,
}

/// What a visitor wants of a string value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it is skipped, and [`Visitor::string`] is not called.
    Skip,
    /// Its first bytes, at most so many.
    Start(usize),
    /// All of it, decoded, in pieces: it holds a text that is read in turn.
    Pieces,
}

/// A string value, or the start of one.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The first bytes, as many as were wanted. May end within a character when `more` or not `closed`.
    pub start: &'a [u8],
    /// There was more than was wanted.
    pub more: bool,
    /// The closing quote was there; else the input ended within the string.
    pub closed: bool,
}

impl<'a> Text<'a> {
    /// A whole string.
    pub fn whole(text: &'a str, limit: usize) -> Self {
        let start = text.as_bytes().get(..limit).unwrap_or(text.as_bytes());
        Text { start, more: text.len() > start.len(), closed: true }
    }

    /// Whether no byte of it was seen.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// The kept start as text, without a character that was cut in two.
    pub fn start_str(&self) -> Cow<'a, str> {
        match std::str::from_utf8(self.start) {
            Ok(text) => Cow::Borrowed(text),
            Err(error) if error.error_len().is_none() => {
                String::from_utf8_lossy(self.start.get(..error.valid_up_to()).unwrap_or_default())
            }
            Err(_) => String::from_utf8_lossy(self.start),
        }
    }

    /// The text as a word; `None` when its end was not there, because half a word says something else.
    pub fn word(&self) -> Option<Cow<'a, str>> {
        self.closed.then(|| self.start_str())
    }
}

/// Who is told what the text holds.
pub trait Visitor {
    /// A container begins. With `false` it is skipped as a whole, and its [`Visitor::end`] is not called.
    fn begin(&mut self, container: Container) -> bool;
    /// A container ends; with `closed` false it was cut off.
    fn end(&mut self, closed: bool);
    /// The key of the value that comes next; empty when it is not known.
    fn key(&mut self, key: &[u8]);
    /// A string value begins.
    fn begin_string(&mut self) -> Want;
    /// What was wanted of the string, at its end.
    fn string(&mut self, text: Text<'_>);
    /// A piece of a string that was wanted in pieces.
    fn piece(&mut self, piece: &[u8]);
    /// The end of a string that was wanted in pieces.
    fn end_pieces(&mut self, closed: bool);
    /// A number, as it stood there.
    fn number(&mut self, number: &str);
    /// `true` or `false`.
    fn boolean(&mut self, value: bool);
    /// `null`, or what stands for it.
    fn null(&mut self);
}

/// The state between chunks.
#[derive(Default)]
pub struct Tokenizer {
    state: State,
    expect: Expect,
    /// One bit a level, the innermost lowest: set for objects.
    objects: u64,
    depth: u32,
    /// The start of the current key, string, word or enum repr.
    kept: Vec<u8>,
    /// More was there than is kept.
    more: bool,
    /// The first half of a surrogate pair.
    high_surrogate: Option<u16>,
    prose: bool,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// Between tokens.
    #[default]
    Structure,
    /// In a string that ends with `quote`.
    Text { quote: u8, taking: Taking, escape: Escape },
    /// In a number or a bare word.
    Word,
    /// In `<Enum.NAME: 'value'>`.
    Angle,
    /// In a container that nobody wants, so many levels in.
    Skip { levels: u64, quote: Option<u8>, escaped: bool },
    /// The grammar was broken: nothing more is believed. `inside` a container, what was in it is lost.
    Broken { inside: bool },
}

/// What comes next between tokens.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Value,
    Key,
    Colon,
    Comma,
}

impl Tokenizer {
    /// A tokenizer that looks for values within prose: between them, everything but `{` and `[` is passed over.
    pub fn in_prose() -> Self {
        Tokenizer { prose: true, ..Tokenizer::default() }
    }

    /// Reads the next bytes.
    pub fn feed<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Structure => self.structure(rest, visitor),
                State::Text { quote, taking, escape: Escape::None } => {
                    self.text(rest, quote, taking, visitor)
                }
                State::Text { quote, taking, escape } => self.escape(rest, quote, taking, escape, visitor),
                State::Word => self.word(rest, visitor),
                State::Angle => self.angle(rest, visitor),
                State::Skip { levels, quote, escaped } => self.skip(rest, levels, quote, escaped),
                State::Broken { .. } => return,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Ends the input, or one text of several, and is ready for the next. Tells whether it ended with its values.
    pub fn finish<V: Visitor>(&mut self, visitor: &mut V) -> bool {
        let whole = match self.state {
            State::Structure | State::Word => self.depth == 0,
            State::Text { taking, .. } => {
                self.end_text(taking, false, visitor);
                false
            }
            State::Broken { inside } => !inside,
            State::Angle | State::Skip { .. } => false,
        };
        self.unwind(visitor);
        *self = Tokenizer { kept: std::mem::take(&mut self.kept), prose: self.prose, ..Tokenizer::default() };
        self.kept.clear();
        whole
    }

    /// Ends all containers that are open.
    fn unwind<V: Visitor>(&mut self, visitor: &mut V) {
        while self.depth > 0 {
            self.depth -= 1;
            visitor.end(false);
        }
        self.objects = 0;
    }

    fn broken<V: Visitor>(&mut self, visitor: &mut V) {
        let inside = self.depth > 0;
        self.unwind(visitor);
        self.expect = Expect::Value;
        // In prose, a bracket may be just that.
        self.state = if self.prose { State::Structure } else { State::Broken { inside } };
    }

    /// Reads tokens that are one byte long and the first byte of others.
    fn structure<V: Visitor>(&mut self, bytes: &[u8], visitor: &mut V) -> usize {
        let mut used = 0;
        for &byte in bytes {
            used += 1;
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ if self.prose && self.depth == 0 && !matches!(byte, b'{' | b'[') => {}
                b'"' | b'\'' => self.begin_text(byte, visitor),
                b'{' => self.begin(Container::Object, visitor),
                b'[' | b'(' => self.begin(Container::Array, visitor),
                b'}' | b']' | b')' => self.end(byte, visitor),
                b':' | b'=' if self.expect == Expect::Colon => self.expect = Expect::Value,
                b',' => self.comma(visitor),
                // The record separator of JSON text sequences (RFC 7464) and a byte order mark.
                0x1e | 0xef | 0xbb | 0xbf if self.depth == 0 => {}
                b'<' if self.value_may_begin(visitor) => self.begin_word(State::Angle),
                _ if is_word(byte) && self.word_may_begin() => {
                    self.begin_word(State::Word);
                    return used - 1;
                }
                _ => self.broken(visitor),
            }
            if !matches!(self.state, State::Structure) {
                break;
            }
        }
        used
    }

    /// Whether a value may begin here. In a call's repr (`Name(1, 2)`) it may also where a key is expected.
    fn value_may_begin<V: Visitor>(&mut self, visitor: &mut V) -> bool {
        match self.expect {
            Expect::Value => true,
            Expect::Key => {
                visitor.key(b"");
                self.expect = Expect::Value;
                true
            }
            Expect::Colon | Expect::Comma => false,
        }
    }

    fn word_may_begin(&self) -> bool {
        matches!(self.expect, Expect::Value | Expect::Key)
    }

    fn begin<V: Visitor>(&mut self, container: Container, visitor: &mut V) {
        if !self.value_may_begin(visitor) {
            return self.broken(visitor);
        }
        if self.depth >= MAX_DEPTH || !visitor.begin(container) {
            self.state = State::Skip { levels: 1, quote: None, escaped: false };
            return;
        }
        self.depth += 1;
        self.objects = (self.objects << 1) | u64::from(container == Container::Object);
        self.expect = match container {
            Container::Object => Expect::Key,
            Container::Array => Expect::Value,
        };
    }

    fn end<V: Visitor>(&mut self, closer: u8, visitor: &mut V) {
        let object = self.objects & 1 == 1;
        let fits = match closer {
            b'}' => object,
            b']' => !object,
            _ => true,
        };
        // A value must have come after a key and its colon.
        let dangling = object && self.expect == Expect::Value;
        if self.depth == 0 || !fits || dangling {
            return self.broken(visitor);
        }
        self.depth -= 1;
        self.objects >>= 1;
        visitor.end(true);
        self.after_value();
    }

    fn comma<V: Visitor>(&mut self, visitor: &mut V) {
        let object = self.depth > 0 && self.objects & 1 == 1;
        match self.expect {
            Expect::Comma if object => self.expect = Expect::Key,
            Expect::Comma => self.expect = Expect::Value,
            // A Python set, or a call's positional argument: what was taken for a key was a value.
            Expect::Colon => self.expect = Expect::Key,
            // Between values in a row.
            Expect::Value if self.depth == 0 => {}
            Expect::Value | Expect::Key => self.broken(visitor),
        }
    }

    fn after_value(&mut self) {
        self.state = State::Structure;
        self.expect = if self.depth == 0 { Expect::Value } else { Expect::Comma };
    }

    /// Passes over a container.
    fn skip(&mut self, bytes: &[u8], levels: u64, quote: Option<u8>, escaped: bool) -> usize {
        if escaped {
            self.state = State::Skip { levels, quote, escaped: false };
            return 1;
        }
        if let Some(quote) = quote {
            let Some(at) = memchr2(quote, b'\\', bytes) else { return bytes.len() };
            let closed = bytes.get(at) == Some(&quote);
            self.state = State::Skip { levels, quote: (!closed).then_some(quote), escaped: !closed };
            return at + 1;
        }
        let mut levels = levels;
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'"' | b'\'' => {
                    self.state = State::Skip { levels, quote: Some(byte), escaped: false };
                    return at + 1;
                }
                b'{' | b'[' | b'(' => levels = levels.saturating_add(1),
                b'}' | b']' | b')' if levels <= 1 => {
                    self.after_value();
                    return at + 1;
                }
                b'}' | b']' | b')' => levels -= 1,
                _ => {}
            }
        }
        self.state = State::Skip { levels, quote: None, escaped: false };
        bytes.len()
    }
}

#[cfg(test)]
mod tests;
