//! Content codings of vendors' answers: the first byte says which, and the rest is decoded alike in whatever pieces it
//! comes, within the bounds. How much Brotli and zstd give out before a fault depends on the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use refusal_collector::refusal::answer::coding::{Bounds, Coding, Decoder, Undecodable};

const BOUNDS: Bounds = Bounds { window: 1 << 20, output: 1 << 16 };

fuzz_target!(|input: &[u8]| {
    let Some((coding, body)) = input.split_first() else { return };
    let coding = match coding % 4 {
        0 => Coding::Gzip,
        1 => Coding::Deflate,
        2 => Coding::Brotli,
        _ => Coding::Zstd,
    };
    let whole = decoded(coding, [body].into_iter());
    for size in [1, 2 + body.len() % 61] {
        let in_pieces = decoded(coding, body.chunks(size));
        if matches!(coding, Coding::Brotli | Coding::Zstd) && whole.1.is_err() {
            assert!(in_pieces.0.starts_with(&whole.0) || whole.0.starts_with(&in_pieces.0));
            assert!(in_pieces.1.is_err());
        } else {
            assert_eq!(in_pieces, whole, "in pieces of {size}");
        }
    }
});

/// What came out, how it ended, and whether it was whole then.
fn decoded<'b>(
    coding: Coding,
    pieces: impl Iterator<Item = &'b [u8]>,
) -> (Vec<u8>, Result<(), Undecodable>, bool) {
    let (mut decoder, mut out) = (Decoder::new(coding, BOUNDS), Vec::new());
    for piece in pieces {
        let fed = decoder.feed(piece, |_| true, |bytes| out.extend_from_slice(bytes));
        assert!(out.len() as u64 <= BOUNDS.output);
        if fed.is_err() {
            return (out, fed, false);
        }
    }
    (out, Ok(()), decoder.is_whole())
}
