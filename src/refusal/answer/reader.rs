//! Reads the bytes of a vendor answer: finds out how they are framed, and has the framing's content tokenized.

use super::Answer;
use super::extract::{Extractor, Number, Wanted};
use super::json::{Container, Text, Tokenizer, Visitor, Want};
use super::sse::{self, Lines, Piece};
use std::fmt;

/// Texts within texts: the outermost, and two that are entered where answers are known to be wrapped so.
const LAYERS: usize = 3;

/// Reads one vendor answer in chunks of any size and keeps only how it ended.
///
/// The answer may be JSON, several JSON texts in a row, server-sent events, or what an instrumentation printed in
/// their place. Chunks may be split anywhere; the split never changes the [`Answer`]. The state is bounded, whatever
/// the answer's size.
#[derive(Default)]
pub struct Reader {
    layers: [Layer; LAYERS],
    extractor: Extractor,
    cut: bool,
}

impl Reader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Reader::default()
    }

    /// A reader of an error's text: prose that may hold the vendor's JSON or a Python repr of it, as in
    /// `Error code: 400 - {'error': {...}}`.
    pub fn of_error() -> Self {
        let mut reader = Reader::default();
        reader.extractor.error_expected = true;
        reader.layers = [Layer::in_prose(), Layer::default(), Layer::default()];
        reader
    }

    /// A reader of a value that stood under `key` in an answer, for whoever has it apart: `stop_details`,
    /// `content_filter_results`, `promptFeedback`, ...
    pub fn under(key: &str) -> Self {
        let mut reader = Reader::default();
        reader.extractor.begin_object();
        reader.extractor.key(key);
        reader
    }

    /// Tells the HTTP status that the answer came with.
    pub fn http_status(&mut self, status: u16) {
        self.extractor.http_status(status);
    }

    /// Reads the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        if let Some((outer, below)) = self.layers.split_first_mut() {
            outer.feed(chunk, &mut Under { extractor: &mut self.extractor, below, cut: &mut self.cut });
        }
    }

    /// Ends the answer.
    pub fn finish(mut self) -> Answer {
        if let Some((outer, below)) = self.layers.split_first_mut() {
            let mut under = Under { extractor: &mut self.extractor, below, cut: &mut self.cut };
            let whole = outer.finish(&mut under);
            self.cut |= !whole;
        }
        self.extractor.finish_text(self.cut)
    }
}

/// Says nothing of what was read: the state holds pieces of the answer.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// Reads a text that stands as a whole within a value that is being walked.
pub(super) fn read_nested(text: &[u8], extractor: &mut Extractor) {
    let mut layer = Layer::default();
    let mut under = Under { extractor, below: &mut [], cut: &mut false };
    layer.feed(text, &mut under);
    layer.finish(&mut under);
}

/// One text, framed somehow.
#[derive(Default)]
struct Layer {
    framing: Framing,
    tokenizer: Tokenizer,
}

#[derive(Default)]
enum Framing {
    /// Not known yet; the bytes so far.
    #[default]
    Unknown,
    /// May become an event stream; the bytes so far.
    Undecided(Vec<u8>),
    Json,
    Events(Lines),
}

impl Layer {
    fn in_prose() -> Self {
        Layer { framing: Framing::Json, tokenizer: Tokenizer::in_prose() }
    }

    fn feed(&mut self, chunk: &[u8], under: &mut Under<'_>) {
        match &mut self.framing {
            Framing::Json => self.tokenizer.feed(chunk, under),
            Framing::Events(lines) => {
                let tokenizer = &mut self.tokenizer;
                lines.feed(chunk, |piece| match piece {
                    Piece::Data(data) => tokenizer.feed(data, under),
                    Piece::EndOfData => tokenizer.feed(b"\n", under),
                    Piece::ErrorEvent => under.extractor.error_event = true,
                    Piece::EndOfEvent => {
                        let whole = tokenizer.finish(under);
                        *under.cut |= !whole;
                        under.extractor.error_event = false;
                    }
                });
            }
            Framing::Unknown => {
                let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf);
                if let Some(start) = chunk.iter().position(|byte| !blank(byte)) {
                    self.framing = Framing::Undecided(Vec::new());
                    self.feed(chunk.get(start..).unwrap_or_default(), under);
                }
            }
            Framing::Undecided(start) => {
                let mut start = std::mem::take(start);
                start.extend_from_slice(chunk);
                match sse::is_event_stream(&start) {
                    None => {
                        self.framing = Framing::Undecided(start);
                        return;
                    }
                    Some(true) => {
                        under.extractor.stream = true;
                        self.framing = Framing::Events(Lines::default());
                    }
                    Some(false) => self.framing = Framing::Json,
                }
                self.feed(&start, under);
            }
        }
    }

    /// Ends the text. Tells whether its JSON ended with it.
    fn finish(&mut self, under: &mut Under<'_>) -> bool {
        if let Framing::Undecided(start) = &mut self.framing {
            let start = std::mem::take(start);
            self.tokenizer.feed(&start, under);
        }
        self.framing = Framing::Unknown;
        self.tokenizer.finish(under)
    }
}

/// The extractor, and the layers that texts within this text go to.
struct Under<'a> {
    extractor: &'a mut Extractor,
    below: &'a mut [Layer],
    cut: &'a mut bool,
}

impl Visitor for Under<'_> {
    fn begin(&mut self, container: Container) -> bool {
        self.extractor.begin_container(container)
    }

    fn end(&mut self, closed: bool) {
        self.extractor.end_container(closed);
    }

    fn key(&mut self, key: &[u8]) {
        self.extractor.set_key(key);
    }

    fn begin_string(&mut self) -> Want {
        match self.extractor.want() {
            Wanted::Json if self.below.is_empty() => Want::Skip,
            Wanted::Base64 => Want::Skip,
            wanted => wanted.into(),
        }
    }

    fn string(&mut self, text: Text<'_>) {
        self.extractor.set_string(text);
    }

    fn piece(&mut self, piece: &[u8]) {
        if let Some((first, below)) = self.below.split_first_mut() {
            first.feed(piece, &mut Under { extractor: self.extractor, below, cut: self.cut });
        }
    }

    fn end_pieces(&mut self, closed: bool) {
        if let Some((first, below)) = self.below.split_first_mut() {
            let whole = first.finish(&mut Under { extractor: self.extractor, below, cut: self.cut });
            *self.cut |= closed && !whole;
        }
    }

    fn number(&mut self, number: &str) {
        if let Some(number) = Number::parse(number) {
            self.extractor.set_number(number);
        }
    }

    fn boolean(&mut self, value: bool) {
        self.extractor.set_boolean(value);
    }

    fn null(&mut self) {
        self.extractor.set_null();
    }
}
