//! Strings: their escapes, and as much of them as is wanted.

use super::{Expect, MAX_KEY, State, Text, Tokenizer, Visitor, Want};
use memchr::memchr2;

/// What becomes of a string's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    Key,
    Nothing,
    Start(usize),
    Pieces,
}

/// Where in an escape sequence a string is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    None,
    Backslash,
    Hex { left: u8, value: u32 },
}

impl Tokenizer {
    pub(super) fn begin_text<V: Visitor>(&mut self, quote: u8, visitor: &mut V) {
        let taking = match self.expect {
            Expect::Key => Taking::Key,
            Expect::Value => match visitor.begin_string() {
                Want::Skip => Taking::Nothing,
                Want::Start(limit) => Taking::Start(limit),
                Want::Pieces => Taking::Pieces,
            },
            Expect::Colon | Expect::Comma => return self.broken(visitor),
        };
        self.kept.clear();
        self.more = false;
        self.state = State::Text { quote, taking, escape: Escape::None };
    }

    /// Reads a string up to its end or its next escape.
    pub(super) fn text<V: Visitor>(
        &mut self,
        bytes: &[u8],
        quote: u8,
        taking: Taking,
        visitor: &mut V,
    ) -> usize {
        let found = memchr2(quote, b'\\', bytes);
        let run = bytes.get(..found.unwrap_or(bytes.len())).unwrap_or_default();
        if !run.is_empty() {
            self.take(run, taking, visitor);
        }
        let Some(at) = found else { return bytes.len() };
        if bytes.get(at) == Some(&quote) {
            self.end_text(taking, true, visitor);
        } else {
            self.state = State::Text { quote, taking, escape: Escape::Backslash };
        }
        at + 1
    }

    /// Reads one byte of an escape sequence.
    pub(super) fn escape<V: Visitor>(
        &mut self,
        bytes: &[u8],
        quote: u8,
        taking: Taking,
        escape: Escape,
        visitor: &mut V,
    ) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        let next = match escape {
            Escape::None => Escape::None,
            // Only the byte after the backslash could be a quote that ends nothing.
            Escape::Backslash if taking == Taking::Nothing => Escape::None,
            Escape::Backslash => match byte {
                b'u' => Escape::Hex { left: 4, value: 0 },
                b'x' => Escape::Hex { left: 2, value: 0 },
                b'U' => Escape::Hex { left: 8, value: 0 },
                _ => {
                    let decoded = match byte {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 8,
                        b'f' => 12,
                        other => other,
                    };
                    self.take(&[decoded], taking, visitor);
                    Escape::None
                }
            },
            Escape::Hex { left, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    // Not an escape after all; the byte is read again as text.
                    self.state = State::Text { quote, taking, escape: Escape::None };
                    return 0;
                };
                let value = (value << 4) | digit;
                if left > 1 {
                    Escape::Hex { left: left - 1, value }
                } else {
                    self.take_code_point(value, taking, visitor);
                    Escape::None
                }
            }
        };
        self.state = State::Text { quote, taking, escape: next };
        1
    }

    fn take_code_point<V: Visitor>(&mut self, value: u32, taking: Taking, visitor: &mut V) {
        let high = self.high_surrogate.take();
        let value = match (high, value) {
            (_, 0xd800..=0xdbff) => {
                self.high_surrogate = u16::try_from(value).ok();
                return;
            }
            (Some(high), 0xdc00..=0xdfff) => 0x10000 + ((u32::from(high) - 0xd800) << 10) + (value - 0xdc00),
            (_, value) => value,
        };
        let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut encoded = [0; 4];
        self.take(character.encode_utf8(&mut encoded).as_bytes(), taking, visitor);
    }

    /// Takes decoded bytes of a string.
    fn take<V: Visitor>(&mut self, bytes: &[u8], taking: Taking, visitor: &mut V) {
        let limit = match taking {
            Taking::Nothing => return,
            Taking::Pieces => return visitor.piece(bytes),
            Taking::Key => MAX_KEY,
            Taking::Start(limit) => limit,
        };
        let room = limit.saturating_sub(self.kept.len());
        self.more |= bytes.len() > room;
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    pub(super) fn end_text<V: Visitor>(&mut self, taking: Taking, closed: bool, visitor: &mut V) {
        self.high_surrogate = None;
        match taking {
            Taking::Key => {
                self.state = State::Structure;
                self.expect = Expect::Colon;
                if closed {
                    visitor.key(if self.more { b"" } else { &self.kept });
                }
                return;
            }
            Taking::Nothing => {}
            Taking::Start(_) => visitor.string(Text { start: &self.kept, more: self.more, closed }),
            Taking::Pieces => visitor.end_pieces(closed),
        }
        self.after_value();
    }
}
