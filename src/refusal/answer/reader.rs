//! Reads the bytes of a vendor answer: finds out how they are framed, and has the framing's content tokenized.

use super::Answer;
use super::event_stream::{self, Base64, Frames};
use super::extract::{Extractor, Number, Wanted};
use super::json::{Container, Text, Tokenizer, Visitor, Want};
use super::sse::{self, Lines};
use std::fmt;

/// Texts within texts: the outermost, and two that are entered where answers are known to be wrapped so.
const LAYERS: usize = 3;

/// How many texts that are there as a whole are read within one another.
const MAX_NESTED: u8 = 2;

/// Reads one vendor answer in chunks of any size and keeps only how it ended.
///
/// The answer may be JSON, several JSON texts in a row, server-sent events, or what an instrumentation printed in
/// their place. Chunks may be split anywhere; the split never changes the [`Answer`]. The state is bounded, whatever
/// the answer's size: about 8 KiB for the most hostile ones.
///
/// ```
/// use refusal_collector::refusal::answer::Reader;
///
/// let mut reader = Reader::new();
/// reader.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"Su");
/// reader.feed(b"re\"},\"finish_reason\":\"content_filter\"}]}\n\ndata: [DO");
/// reader.feed(b"NE]\n\n");
/// let answer = reader.finish();
/// assert_eq!(&*answer.stops[0].word, "content_filter");
/// assert!(!answer.incomplete);
/// ```
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
        reader.extractor.begin_part(key);
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
    if extractor.nested >= MAX_NESTED {
        return;
    }
    extractor.nested += 1;
    let mut layer = Layer::default();
    let mut under = Under { extractor, below: &mut [], cut: &mut false };
    layer.feed(text, &mut under);
    layer.finish(&mut under);
    extractor.nested -= 1;
}

/// One text, framed somehow.
#[derive(Default)]
struct Layer {
    framing: Framing,
    tokenizer: Tokenizer,
    /// The text comes in base64.
    base64: Option<Base64>,
}

#[derive(Default)]
enum Framing {
    /// Nothing but blanks so far.
    #[default]
    Unknown,
    /// May become server-sent events: the bytes so far.
    Undecided {
        start: [u8; sse::LONGEST_FIELD + 1],
        length: usize,
    },
    Json,
    ServerSentEvents(Lines),
    AwsEventStream(Box<Frames>),
}

impl Layer {
    fn in_prose() -> Self {
        Layer { framing: Framing::Json, tokenizer: Tokenizer::in_prose(), base64: None }
    }

    fn feed(&mut self, chunk: &[u8], under: &mut Under<'_>) {
        match self.base64.take() {
            None => self.feed_text(chunk, under),
            Some(mut base64) => {
                base64.feed(chunk, |text| self.feed_text(text, under));
                self.base64 = Some(base64);
            }
        }
    }

    fn feed_text(&mut self, chunk: &[u8], under: &mut Under<'_>) {
        let tokenizer = &mut self.tokenizer;
        match &mut self.framing {
            Framing::Json => tokenizer.feed(chunk, under),
            Framing::ServerSentEvents(lines) => lines.feed(chunk, |piece| match piece {
                sse::Piece::Data(data) => tokenizer.feed(data, under),
                sse::Piece::EndOfData => tokenizer.feed(b"\n", under),
                sse::Piece::ErrorEvent => under.extractor.error_event = true,
                sse::Piece::EndOfEvent => under.end_event(tokenizer),
            }),
            Framing::AwsEventStream(frames) => frames.feed(chunk, |piece| match piece {
                event_stream::Piece::Begin { name, error } => under.extractor.begin_event(name, error),
                event_stream::Piece::Payload(payload) => tokenizer.feed(payload, under),
                event_stream::Piece::End => {
                    under.end_event(tokenizer);
                    under.extractor.end_container(true);
                }
            }),
            Framing::Unknown | Framing::Undecided { .. } => {
                let rest = self.decide(chunk, under);
                if !rest.is_empty() {
                    self.feed_text(rest, under);
                }
            }
        }
    }

    /// Finds out the framing from the first bytes; gives back those that are still to be read.
    fn decide<'c>(&mut self, chunk: &'c [u8], under: &mut Under<'_>) -> &'c [u8] {
        let mut rest = chunk;
        if let Framing::Unknown = self.framing {
            // Blanks, and a byte order mark.
            let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf);
            let Some(at) = chunk.iter().position(|byte| !blank(byte)) else { return &[] };
            rest = chunk.get(at..).unwrap_or_default();
            if rest.first() == Some(&0) {
                // The first byte of a length under 16 MiB.
                under.extractor.stream = true;
                self.framing = Framing::AwsEventStream(Box::default());
                return rest;
            }
            self.framing = Framing::Undecided { start: [0; sse::LONGEST_FIELD + 1], length: 0 };
        }
        while let (Framing::Undecided { start, length }, Some((&byte, after))) =
            (&mut self.framing, rest.split_first())
        {
            rest = after;
            if let Some(place) = start.get_mut(*length) {
                *place = byte;
                *length += 1;
            }
            let start = *start;
            let seen = start.get(..*length).unwrap_or_default();
            let Some(events) = sse::is_event_stream(seen) else { continue };
            under.extractor.stream |= events;
            self.framing = if events { Framing::ServerSentEvents(Lines::default()) } else { Framing::Json };
            self.feed_text(seen, under);
        }
        rest
    }

    /// Ends the text. Tells whether what was framed, and its JSON, ended with it.
    fn finish(&mut self, under: &mut Under<'_>) -> bool {
        let mut whole = true;
        match &mut self.framing {
            Framing::Undecided { start, length } => {
                let start = *start;
                let length = *length;
                self.tokenizer.feed(start.get(..length).unwrap_or_default(), under);
            }
            Framing::AwsEventStream(frames) => {
                let tokenizer = &mut self.tokenizer;
                whole = frames.finish(|_| {
                    under.end_event(tokenizer);
                    under.extractor.end_container(false);
                });
            }
            Framing::Unknown | Framing::Json | Framing::ServerSentEvents(_) => {}
        }
        self.framing = Framing::Unknown;
        self.base64 = None;
        whole & self.tokenizer.finish(under)
    }
}

/// The extractor, and the layers that texts within this text go to.
struct Under<'a> {
    extractor: &'a mut Extractor,
    below: &'a mut [Layer],
    cut: &'a mut bool,
}

impl Under<'_> {
    /// Ends one event's text. What is still open in it was cut off.
    fn end_event(&mut self, tokenizer: &mut Tokenizer) {
        let whole = tokenizer.finish(self);
        *self.cut |= !whole;
        self.extractor.error_event = false;
    }
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
            Wanted::Nothing => Want::Skip,
            Wanted::Start(limit) => Want::Start(limit),
            wanted @ (Wanted::Json | Wanted::Base64) => {
                let Some(layer) = self.below.first_mut() else { return Want::Skip };
                layer.base64 = (wanted == Wanted::Base64).then(Base64::default);
                Want::Pieces
            }
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
