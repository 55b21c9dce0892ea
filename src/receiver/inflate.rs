//! Decompression with a bound: the output grows only as far as the limit and only over bytes of the memory budget
//! that are held already, whatever the compressed body claims or does.

use crate::payload::{Budget, Encoding, Permit};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress};
use std::fmt;
use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe;

/// The compressions in which a request may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952, of one or several members.
    Gzip,
    /// RFC 8878, of one or several frames.
    Zstd,
    /// RFC 1950, which HTTP and gRPC call `deflate`.
    Zlib,
}

impl Codec {
    /// What `grpc-accept-encoding` says.
    pub const GRPC_NAMES: &'static str = "identity,gzip,zstd,deflate";
    /// What `accept-encoding` says.
    pub const HTTP_NAMES: &'static str = "identity, gzip, zstd, deflate, zlib";

    /// Reads the token of a `content-encoding` or `grpc-encoding`.
    pub fn from_token(token: &[u8]) -> Option<Codec> {
        let is = |name: &str| token.eq_ignore_ascii_case(name.as_bytes());
        match () {
            _ if is("gzip") || is("x-gzip") => Some(Codec::Gzip),
            _ if is("zstd") => Some(Codec::Zstd),
            _ if is("deflate") || is("zlib") => Some(Codec::Zlib),
            _ => None,
        }
    }

    /// As what a body can be passed on compressed, if that is known elsewhere.
    pub fn encoding(self) -> Option<Encoding> {
        match self {
            Codec::Gzip => Some(Encoding::Gzip),
            Codec::Zstd => Some(Encoding::Zstd),
            Codec::Zlib => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
            Codec::Zlib => "zlib",
        })
    }
}

/// Why nothing was inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It is not what it was said to be.
    Broken(Broken),
    /// It inflates to more than the limit.
    TooLarge,
    /// The memory budget has no room for it now.
    OverBudget,
}

/// What is wrong with a compressed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It ends too early.
    #[error("truncated")]
    Truncated,
    /// It is not in this format, or damaged.
    #[error("invalid or damaged")]
    Invalid,
    /// It needs a larger window than there is room for.
    #[error("its window is larger than {0} bytes")]
    Window(usize),
    /// Something follows it that does not belong to it.
    #[error("followed by something else")]
    Trailing,
}

/// Inflates `compressed` to at most `limit` bytes. What the output takes is added to `permit`, by bytes that are free
/// now: this never waits for the budget. Other tasks get their turn in between.
pub async fn inflate(
    codec: Codec,
    compressed: &[u8],
    limit: usize,
    budget: &Budget,
    permit: &mut Permit,
) -> Result<Bytes, Failed> {
    let _window = match codec {
        Codec::Zstd => take(budget, zstd_beside(compressed, limit, budget)?)?,
        Codec::Gzip | Codec::Zlib => Permit::default(),
    };
    let mut decoder = Decoder::new(codec)?;
    let mut output = Output::new(limit, budget);
    output.grow_to(expected_len(codec, compressed))?;
    let mut at = 0;
    let mut work = 0usize;
    loop {
        let input = compressed.get(at..).unwrap_or_default();
        let input = input.get(..decoder.input_step()).unwrap_or(input);
        let before = output.bytes.len();
        let step = decoder.step(input, &mut output.bytes)?;
        at = at.saturating_add(step.consumed);
        let produced = output.bytes.len().saturating_sub(before);
        let at_end = at >= compressed.len();
        match step.ended {
            true if at_end => break,
            true => decoder.next_part()?,
            false if step.consumed > 0 || produced > 0 => {}
            false if output.is_full() => output.grow()?,
            false if at_end => return Err(Failed::Broken(Broken::Truncated)),
            false => return Err(Failed::Broken(Broken::Invalid)),
        }
        work = work.saturating_add(step.consumed).saturating_add(produced).saturating_add(STEP_COST);
        if work > WORK_PER_TURN {
            work = 0;
            tokio::task::yield_now().await;
        }
    }
    let (bytes, more) = output.finish()?;
    permit.merge(more);
    Ok(bytes)
}

/// How much compressed input a decoder gets in one step: at most some milliseconds of work, also for a bomb.
const DEFLATE_STEP: usize = 16 << 10;
const ZSTD_STEP: usize = 64 << 10;

/// How many bytes are read and written before other tasks get their turn: about a millisecond.
const WORK_PER_TURN: usize = 1 << 20;

/// What a step costs beside its bytes, so that many empty parts count too.
const STEP_COST: usize = 4 << 10;

/// The least that the output grows by.
const SMALLEST: usize = 4 << 10;

/// The largest window of a zstd frame, 8 MiB: what RFC 8878 asks every decoder to support, and what levels up to 19
/// use. Half of a small budget may be less.
const ZSTD_WINDOW_LOG: u32 = 23;

/// What a zstd decoder allocates beside output and window: blocks of up to 128 KiB.
const ZSTD_BLOCKS: usize = 384 << 10;

/// Deflate cannot compress further than this, so that a larger claim is a lie.
const DEFLATE_RATIO: usize = 1032;

/// What the output is expected to be, by what the body claims where it claims something. Only a first guess: it is
/// held against the limit and the budget like everything else.
fn expected_len(codec: Codec, compressed: &[u8]) -> usize {
    let guess = compressed.len().saturating_mul(4);
    match codec {
        Codec::Gzip => {
            // The last four bytes are the length of the last member, modulo 2^32.
            let claim = compressed.last_chunk().map_or(0, |b| u32::from_le_bytes(*b) as usize);
            if claim <= compressed.len().saturating_mul(DEFLATE_RATIO) { claim } else { guess }
        }
        Codec::Zstd => match zstd_safe::get_frame_content_size(compressed) {
            Ok(Some(claim)) => usize::try_from(claim).unwrap_or(usize::MAX),
            _ => guess,
        },
        Codec::Zlib => guess,
    }
}

/// What a zstd decoder will allocate beside the output.
fn zstd_beside(compressed: &[u8], limit: usize, budget: &Budget) -> Result<usize, Failed> {
    let mut rest = compressed;
    let mut beside = 0;
    while let Some(window) = zstd_window(rest) {
        let bound = (1 << ZSTD_WINDOW_LOG).min(budget.capacity() / 2);
        let len = zstd_safe::find_frame_compressed_size(rest).unwrap_or(rest.len());
        // One frame of known size that the decoder sees at once is inflated in place.
        let is_in_place = len == compressed.len()
            && len <= ZSTD_STEP
            && matches!(zstd_safe::get_frame_content_size(rest), Ok(Some(n)) if n <= limit as u64);
        match usize::try_from(window) {
            _ if is_in_place => {}
            Ok(window) if window <= bound => beside = beside.max(window.saturating_add(ZSTD_BLOCKS)),
            _ => return Err(Failed::Broken(Broken::Window(bound))),
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(beside)
}

/// The window that a zstd frame asks for, RFC 8878, 3.1.1.1.2; the whole content if it has no window of its own. A
/// skippable frame asks for none.
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let (descriptor, window) = match frame {
        [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] => (descriptor, window),
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => return Some(0),
        _ => return None,
    };
    if descriptor & 0x20 != 0 {
        return zstd_safe::get_frame_content_size(frame).ok()?;
    }
    let base = 1u64 << (10 + (window >> 3));
    Some(base + base / 8 * u64::from(window & 7))
}

fn take(budget: &Budget, bytes: usize) -> Result<Permit, Failed> {
    let bytes = u32::try_from(bytes).map_err(|_| Failed::OverBudget)?;
    budget.try_acquire(bytes).ok_or(Failed::OverBudget)
}

/// The inflated bytes, whose capacity is always covered by a permit.
struct Output<'a> {
    bytes: Vec<u8>,
    limit: usize,
    budget: &'a Budget,
    permit: Permit,
}

impl<'a> Output<'a> {
    fn new(limit: usize, budget: &'a Budget) -> Self {
        Output { bytes: Vec::new(), limit, budget, permit: Permit::default() }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() == self.bytes.capacity()
    }

    fn grow(&mut self) -> Result<(), Failed> {
        if self.bytes.len() > self.limit {
            return Err(Failed::TooLarge);
        }
        self.grow_to(self.bytes.capacity().saturating_mul(2))
    }

    /// Makes room for `capacity` bytes, but never for more than one over the limit, by which it is seen.
    fn grow_to(&mut self, capacity: usize) -> Result<(), Failed> {
        let capacity = capacity.max(SMALLEST).min(self.limit.saturating_add(1));
        // The old and the new buffer are both there while the bytes move.
        let permit = take(self.budget, capacity)?;
        self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
        self.permit = permit;
        Ok(())
    }

    fn finish(self) -> Result<(Bytes, Permit), Failed> {
        match self.bytes.len() <= self.limit {
            true => Ok((self.bytes.into(), self.permit)),
            false => Err(Failed::TooLarge),
        }
    }
}

enum Decoder {
    Gzip(Decompress),
    Zlib(Decompress),
    Zstd(Zstd<'static>),
}

struct Step {
    consumed: usize,
    /// The decoder is at the end of a member, stream or frame.
    ended: bool,
}

impl Decoder {
    fn new(codec: Codec) -> Result<Self, Failed> {
        match codec {
            Codec::Gzip => Ok(Decoder::Gzip(Decompress::new_gzip(15))),
            Codec::Zlib => Ok(Decoder::Zlib(Decompress::new(true))),
            Codec::Zstd => {
                // Both fail only when there is no memory for the decoder.
                let mut zstd = Zstd::new().map_err(|_| Failed::OverBudget)?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG);
                zstd.set_parameter(window).map_err(|_| Failed::OverBudget)?;
                Ok(Decoder::Zstd(zstd))
            }
        }
    }

    fn input_step(&self) -> usize {
        match self {
            Decoder::Gzip(_) | Decoder::Zlib(_) => DEFLATE_STEP,
            Decoder::Zstd(_) => ZSTD_STEP,
        }
    }

    /// Reads from `input` and writes into the free capacity of `output`.
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Step, Failed> {
        match self {
            Decoder::Gzip(deflate) | Decoder::Zlib(deflate) => {
                let before = deflate.total_in();
                let status = deflate
                    .decompress_vec(input, output, FlushDecompress::None)
                    .map_err(|_| Failed::Broken(Broken::Invalid))?;
                let consumed = usize::try_from(deflate.total_in().saturating_sub(before)).unwrap_or(0);
                Ok(Step { consumed, ended: status == flate2::Status::StreamEnd })
            }
            Decoder::Zstd(zstd) => {
                let mut from = InBuffer::around(input);
                let at = output.len();
                let mut to = OutBuffer::around_pos(output, at);
                let hint = zstd.run(&mut from, &mut to).map_err(|_| Failed::Broken(Broken::Invalid))?;
                Ok(Step { consumed: from.pos(), ended: hint == 0 })
            }
        }
    }

    /// Gets ready for what follows the end of a member or frame.
    fn next_part(&mut self) -> Result<(), Failed> {
        match self {
            Decoder::Gzip(deflate) => {
                deflate.reset(true);
                Ok(())
            }
            Decoder::Zlib(_) => Err(Failed::Broken(Broken::Trailing)),
            Decoder::Zstd(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
