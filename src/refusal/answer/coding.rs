//! Content codings of HTTP: gzip, deflate, br and zstd, undone piece by piece, with a bound on every window and on what
//! may come out.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use std::fmt;
use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952, of one or several members.
    Gzip,
    /// RFC 1950; some servers send RFC 1951 bare under the same name.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, of one or several frames.
    Zstd,
}

impl Coding {
    /// Reads `content-encoding`. `None` stands for plain text; an error for a coding, or a stack of codings, that is
    /// not read here.
    pub fn of_header(value: &[u8]) -> Result<Option<Coding>, UnknownCoding> {
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            _ if is("") || is("identity") => Ok(None),
            _ if is("gzip") || is("x-gzip") => Ok(Some(Coding::Gzip)),
            _ if is("deflate") => Ok(Some(Coding::Deflate)),
            _ if is("br") => Ok(Some(Coding::Brotli)),
            _ if is("zstd") => Ok(Some(Coding::Zstd)),
            _ => Err(UnknownCoding),
        }
    }

    /// The token in `content-encoding`.
    pub fn token(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}

/// A content coding that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content coding is none of gzip, deflate, br and zstd")]
pub struct UnknownCoding;

/// How far a decoder goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest window in bytes. br has up to 16 MiB, zstd any; deflate always has 32 KiB.
    pub window: usize,
    /// How many bytes may come out.
    pub output: u64,
}

impl Default for Bounds {
    /// Windows of 8 MiB, which is all that zstd may use in HTTP (RFC 9659), and 256 MiB of text.
    fn default() -> Self {
        Bounds { window: 8 << 20, output: 256 << 20 }
    }
}

/// Why no more of a body can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It is not what it was said to be, or damaged.
    #[error("not valid in its content coding")]
    Invalid,
    /// It needs a larger window than is allowed.
    #[error("its window is larger than allowed")]
    Window,
    /// There is no memory left for its window.
    #[error("no memory is left for its window")]
    Memory,
    /// More came out than is allowed.
    #[error("it is longer than allowed")]
    TooLong,
}

/// Undoes one coding, in pieces of any size. What came before a cut has been given out, and what came before a fault, but
/// for the last blocks that zstd had not checked yet and what of the faulty piece Brotli had not given out.
pub struct Decoder {
    bounds: Bounds,
    given: u64,
    state: State,
}

enum State {
    /// zlib or bare deflate: the first byte tells, the second confirms.
    DeflateStart(Option<u8>),
    Deflate(Box<Decompress>),
    Gzip(Box<Decompress>),
    /// Behind a whole member; another may follow, or zeros.
    GzipEnd(Box<Decompress>),
    BrotliStart,
    Brotli(Box<Brotli>),
    /// The start of a frame, as long as its header is not whole.
    ZstdStart(Vec<u8>),
    Zstd(Box<Zstd<'static>>),
    End,
    Failed(Undecodable),
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

impl Decoder {
    /// A decoder that has seen nothing, and has allocated nothing.
    pub fn new(coding: Coding, bounds: Bounds) -> Self {
        let state = match coding {
            Coding::Gzip => State::GzipEnd(Box::new(Decompress::new_gzip(15))),
            Coding::Deflate => State::DeflateStart(None),
            Coding::Brotli => State::BrotliStart,
            Coding::Zstd => State::ZstdStart(Vec::new()),
        };
        Decoder { bounds, given: 0, state }
    }

    /// Reads the next bytes. `has_room` is asked for the memory of a window before that is allocated; `give` gets the
    /// decoded bytes, in pieces. After an error nothing more is read.
    pub fn feed(
        &mut self,
        input: &[u8],
        mut has_room: impl FnMut(usize) -> bool,
        mut give: impl FnMut(&[u8]),
    ) -> Result<(), Undecodable> {
        let fed = self.feed_all(input, &mut has_room, &mut give);
        if let Err(fault) = fed {
            self.state = State::Failed(fault);
        }
        fed
    }

    /// Whether the body ended here, as its coding has it.
    pub fn is_whole(&self) -> bool {
        match &self.state {
            State::End | State::GzipEnd(_) => true,
            State::ZstdStart(start) => start.is_empty(),
            _ => false,
        }
    }

    fn feed_all(
        &mut self,
        input: &[u8],
        has_room: &mut dyn FnMut(usize) -> bool,
        give: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Undecodable> {
        let mut rest = input;
        while !rest.is_empty() {
            let Some(kept) = self.begin(&mut rest, has_room)? else { return Ok(()) };
            self.decode(&mut kept.as_slice(), give)?;
            self.decode(&mut rest, give)?;
        }
        Ok(())
    }

    /// Decodes up to the end of `input`, or of the member, frame or stream.
    fn decode(&mut self, input: &mut &[u8], give: &mut dyn FnMut(&[u8])) -> Result<(), Undecodable> {
        let mut output = [0; OUTPUT];
        loop {
            let Step { consumed, produced, then } = self.state.step(input, &mut output);
            *input = input.get(consumed..).unwrap_or_default();
            let allowed =
                usize::try_from(self.bounds.output.saturating_sub(self.given)).unwrap_or(usize::MAX);
            let given = produced.min(allowed);
            self.given = self.given.saturating_add(given as u64);
            if given > 0 {
                give(output.get(..given).unwrap_or_default());
            }
            if given < produced {
                return Err(Undecodable::TooLong);
            }
            match then {
                Then::More => {}
                Then::End => {
                    self.state = std::mem::replace(&mut self.state, State::End).ended();
                    return Ok(());
                }
                Then::Fault => return Err(Undecodable::Invalid),
            }
            // Output that did not fit comes without further input.
            if input.is_empty() && produced < OUTPUT {
                return Ok(());
            }
            if consumed == 0 && produced == 0 {
                return Err(Undecodable::Invalid);
            }
        }
    }

    /// Gets ready to read what comes next; `None` when more is needed for that. What had been kept is given back.
    fn begin(
        &mut self,
        rest: &mut &[u8],
        has_room: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<u8>>, Undecodable> {
        let mut room = |window: Option<usize>, beside: usize| match window {
            Some(window) if window > self.bounds.window => Err(Undecodable::Window),
            Some(window) if !has_room(window.saturating_add(beside)) => Err(Undecodable::Memory),
            Some(_) => Ok(()),
            None => Err(Undecodable::Window),
        };
        let first = rest.first().copied().unwrap_or_default();
        match &mut self.state {
            State::Failed(fault) => return Err(*fault),
            // What follows the end means nothing to anybody.
            State::End => {
                *rest = &[];
                return Ok(None);
            }
            State::GzipEnd(inflate) => {
                // The padding of tapes.
                while let [0, after @ ..] = *rest {
                    *rest = after;
                }
                if rest.is_empty() {
                    return Ok(None);
                }
                room(Some(DEFLATE_WINDOW), DEFLATE_BESIDE)?;
                self.state = State::Gzip(std::mem::replace(inflate, Box::new(Decompress::new_gzip(15))));
            }
            State::DeflateStart(start) => {
                let Some(start) = *start else {
                    *start = Some(first);
                    *rest = rest.get(1..).unwrap_or_default();
                    return if rest.is_empty() { Ok(None) } else { self.begin(rest, has_room) };
                };
                room(Some(DEFLATE_WINDOW), DEFLATE_BESIDE)?;
                let is_zlib = start & 0x0f == 8 && u16::from_be_bytes([start, first]) % 31 == 0;
                self.state = State::Deflate(Box::new(Decompress::new(is_zlib)));
                return Ok(Some(vec![start]));
            }
            State::BrotliStart => {
                room(brotli_window(first), BROTLI_BESIDE)?;
                let alloc = StandardAlloc::default;
                self.state = State::Brotli(Box::new(BrotliState::new(alloc(), alloc(), alloc())));
            }
            State::ZstdStart(start) => {
                let window = loop {
                    if let Some(window) = zstd_window(start)? {
                        break window;
                    }
                    let Some((first, after)) = rest.split_first() else { return Ok(None) };
                    start.push(*first);
                    *rest = after;
                };
                room(usize::try_from(window).ok(), ZSTD_BESIDE)?;
                let start = std::mem::take(start);
                self.state = State::Zstd(Box::new(new_zstd(self.bounds.window)?));
                return Ok(Some(start));
            }
            State::Deflate(_) | State::Gzip(_) | State::Brotli(_) | State::Zstd(_) => {}
        }
        Ok(Some(Vec::new()))
    }
}

/// Says nothing of what was read: the windows hold the answer.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("given", &self.given).finish_non_exhaustive()
    }
}

struct Step {
    consumed: usize,
    produced: usize,
    then: Then,
}

/// What follows the bytes that were produced.
enum Then {
    More,
    /// The end of a member, frame or stream.
    End,
    Fault,
}

impl State {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        match self {
            State::Deflate(inflate) | State::Gzip(inflate) => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let then = match inflate.decompress(input, output, FlushDecompress::None) {
                    Ok(Status::StreamEnd) => Then::End,
                    Ok(Status::Ok | Status::BufError) => Then::More,
                    Err(_) => Then::Fault,
                };
                let consumed = usize::try_from(inflate.total_in() - read).unwrap_or(0);
                let produced = usize::try_from(inflate.total_out() - written).unwrap_or(0);
                Step { consumed, produced, then }
            }
            State::Brotli(brotli) => {
                let (mut left, mut consumed) = (input.len(), 0);
                let (mut free, mut produced, mut total) = (output.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut consumed,
                    input,
                    &mut free,
                    &mut produced,
                    output,
                    &mut total,
                    brotli,
                );
                let then = match result {
                    BrotliResult::ResultFailure => Then::Fault,
                    BrotliResult::ResultSuccess => Then::End,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Then::More,
                };
                Step { consumed, produced, then }
            }
            State::Zstd(zstd) => {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(output);
                let then = match zstd.run(&mut from, &mut to) {
                    Ok(0) => Then::End,
                    Ok(_) => Then::More,
                    Err(_) => Then::Fault,
                };
                Step { consumed: from.pos(), produced: to.pos(), then }
            }
            _ => Step { consumed: 0, produced: 0, then: Then::More },
        }
    }

    /// What comes after a member, frame or stream.
    fn ended(self) -> State {
        match self {
            State::Gzip(mut inflate) => {
                inflate.reset(true);
                State::GzipEnd(inflate)
            }
            State::Zstd(_) => State::ZstdStart(Vec::new()),
            _ => State::End,
        }
    }
}

fn new_zstd(window: usize) -> Result<Zstd<'static>, Undecodable> {
    // Both fail only when there is no memory for the decoder.
    let mut zstd = Zstd::new().map_err(|_| Undecodable::Memory)?;
    let log = usize::BITS.saturating_sub(window.saturating_sub(1).leading_zeros()).max(10);
    zstd.set_parameter(DParameter::WindowLogMax(log)).map_err(|_| Undecodable::Memory)?;
    Ok(zstd)
}

/// The window by the first byte of a stream, RFC 7932, 9.1; none for what only its "large window" extension has.
fn brotli_window(first: u8) -> Option<usize> {
    let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, 1) => return None,
        (_, 0, n) => 8 + u32::from(n),
        (_, n, _) => 17 + u32::from(n),
    };
    Some(1 << bits)
}

/// The window that a frame asks for, RFC 8878, 3.1.1.1; the whole content if it has none of its own, and nothing for a
/// skippable frame. `None` as long as that is not told.
fn zstd_window(frame: &[u8]) -> Result<Option<u64>, Undecodable> {
    let begins = |magic: [u8; 4]| frame.iter().zip(magic).all(|(is, magic)| *is == magic);
    let is_skippable =
        frame.first().is_some_and(|first| begins([*first, 0x2a, 0x4d, 0x18]) && first & 0xf0 == 0x50);
    if !is_skippable && !begins([0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(Undecodable::Invalid);
    }
    let [_, _, _, _, descriptor, rest @ ..] = frame else { return Ok(None) };
    if is_skippable {
        return Ok(Some(0));
    }
    if descriptor & 0x20 == 0 {
        let of = |window: &u8| {
            let base = 1u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        };
        return Ok(rest.first().map(of));
    }
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or(0);
    let length = 1usize << (descriptor >> 6);
    let Some(content) = rest.get(dictionary..dictionary + length) else { return Ok(None) };
    let content = content.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Ok(Some(if length == 2 { content + 256 } else { content }))
}

/// What is decoded at a time.
const OUTPUT: usize = 4 << 10;

const DEFLATE_WINDOW: usize = 32 << 10;
/// What an inflater has beside its window.
const DEFLATE_BESIDE: usize = 16 << 10;
/// Tables of Huffman codes and the state itself.
const BROTLI_BESIDE: usize = 128 << 10;
/// Blocks of up to 128 KiB, and the state itself.
const ZSTD_BESIDE: usize = 384 << 10;

#[cfg(test)]
mod tests;
