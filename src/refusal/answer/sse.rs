//! The line form of server-sent events: `event:` and `data:` lines, split anywhere.

use memchr::memchr2;

/// What the lines of an event stream say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A piece of an event's data.
    Data(&'a [u8]),
    /// The end of a line of data.
    EndOfData,
    /// The event is named `error`.
    ErrorEvent,
    /// The event ends.
    EndOfEvent,
}

/// The fields that a line may begin with.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];

/// The length of the longest of them.
pub const LONGEST_FIELD: usize = 5;

/// The state between chunks.
#[derive(Default)]
pub struct Lines {
    line: Line,
    /// The field's name so far, or the start of the event's name.
    name: Name,
    after_return: bool,
}

#[derive(Clone, Copy, Default)]
enum Line {
    #[default]
    Field,
    /// After the colon: one space is not part of the value.
    DataStart,
    Data,
    EventStart,
    Event,
    Other,
}

/// A short name; a longer one is known to be none of ours.
#[derive(Clone, Copy, Default)]
struct Name {
    bytes: [u8; 6],
    length: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    fn is(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.length) == Some(name)
    }
}

/// Whether a text that begins so is an event stream: `None` while it may become one.
pub fn is_event_stream(start: &[u8]) -> Option<bool> {
    if start.first() == Some(&b':') {
        return Some(true);
    }
    for field in FIELDS {
        if let Some(rest) = start.strip_prefix(field) {
            return rest.first().map(|&byte| byte == b':');
        }
        if field.starts_with(start) {
            return None;
        }
    }
    Some(false)
}

impl Lines {
    /// Reads the next bytes.
    pub fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && byte == b'\n' {
                rest = after;
                continue;
            }
            match self.line {
                Line::DataStart | Line::EventStart => {
                    self.line = if matches!(self.line, Line::DataStart) { Line::Data } else { Line::Event };
                    if byte == b' ' {
                        rest = after;
                    }
                }
                Line::Data | Line::Other => {
                    let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    let (run, more) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    if matches!(self.line, Line::Data) && !run.is_empty() {
                        emit(Piece::Data(run));
                    }
                    rest = more;
                    if let Some((&end, after)) = more.split_first() {
                        self.end_line(end, &mut emit);
                        rest = after;
                    }
                }
                Line::Field | Line::Event => {
                    match byte {
                        b'\n' | b'\r' => self.end_line(byte, &mut emit),
                        b':' if matches!(self.line, Line::Field) => {
                            self.line = if self.name.is(b"data") {
                                Line::DataStart
                            } else if self.name.is(b"event") {
                                Line::EventStart
                            } else {
                                Line::Other
                            };
                            self.name = Name::default();
                        }
                        _ => self.name.push(byte),
                    }
                    rest = after;
                }
            }
        }
    }

    fn end_line(&mut self, byte: u8, emit: &mut impl FnMut(Piece<'_>)) {
        self.after_return = byte == b'\r';
        let name = std::mem::take(&mut self.name);
        match std::mem::take(&mut self.line) {
            Line::Field if name.length == 0 => emit(Piece::EndOfEvent),
            Line::Data | Line::DataStart => emit(Piece::EndOfData),
            Line::Event if name.is(b"error") => emit(Piece::ErrorEvent),
            Line::Field | Line::Event | Line::EventStart | Line::Other => {}
        }
    }
}
