//! A vendor's answer: any bytes are read, and in whatever pieces they come, the answer is the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use refusal_collector::refusal::answer::{Answer, Reader};

fuzz_target!(|body: &[u8]| {
    is_the_same_in_pieces(body, Reader::new);
    is_the_same_in_pieces(body, Reader::of_error);
    is_the_same_in_pieces(body, || Reader::under("error"));
    assert_eq!(in_pieces(Reader::new(), [body].into_iter()), Answer::read(body));
});

fn is_the_same_in_pieces(body: &[u8], reader: impl Fn() -> Reader) {
    let whole = in_pieces(reader(), [body].into_iter());
    assert_eq!(in_pieces(reader(), body.chunks(1)), whole);
    let size = 2 + body.len() % 61;
    assert_eq!(in_pieces(reader(), body.chunks(size)), whole, "in pieces of {size}");
}

fn in_pieces<'b>(mut reader: Reader, pieces: impl Iterator<Item = &'b [u8]>) -> Answer {
    pieces.for_each(|piece| reader.feed(piece));
    reader.finish()
}
