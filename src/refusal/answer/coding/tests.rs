use super::*;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn brotli(text: &[u8], window_bits: u32) -> Vec<u8> {
    let mut coded = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut coded, 4096, 5, window_bits);
    encoder.write_all(text).unwrap();
    drop(encoder);
    coded
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).unwrap()
}

fn decode(coding: Coding, coded: &[u8], chunk: usize) -> (Vec<u8>, Result<(), Undecodable>, bool) {
    let mut decoder = Decoder::new(coding, Bounds::default());
    let mut text = Vec::new();
    let mut outcome = Ok(());
    for chunk in coded.chunks(chunk) {
        outcome = decoder.feed(chunk, |_| true, |piece| text.extend_from_slice(piece));
    }
    (text, outcome, decoder.is_whole())
}

fn text() -> Vec<u8> {
    (0..3000u32)
        .flat_map(|n| format!("data: {{\"n\":{}}}\n\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

#[test]
fn every_coding_is_undone_however_it_is_split() {
    let text = text();
    let cases = [
        (Coding::Gzip, gzip(&text)),
        (Coding::Gzip, [gzip(&text[..100]), gzip(&text[100..]), vec![0; 3]].concat()),
        (Coding::Deflate, zlib(&text)),
        (Coding::Deflate, bare_deflate(&text)),
        (Coding::Brotli, brotli(&text, 22)),
        (Coding::Brotli, brotli(&text, 10)),
        (Coding::Zstd, zstd(&text)),
        (Coding::Zstd, [zstd(&text[..100]), zstd(&text[100..])].concat()),
    ];
    for (coding, coded) in cases {
        for chunk in [1, 2, 7, 1000, usize::MAX] {
            let (decoded, outcome, is_whole) = decode(coding, &coded, chunk.min(coded.len()));
            assert_eq!(outcome, Ok(()), "{coding:?} in chunks of {chunk}");
            assert!(decoded == text, "{coding:?} in chunks of {chunk}");
            assert!(is_whole, "{coding:?} in chunks of {chunk}");
            let cut = &coded[..coded.len() - 5];
            let (decoded, outcome, is_whole) = decode(coding, cut, chunk.min(cut.len()));
            assert_eq!(outcome, Ok(()), "{coding:?} cut");
            assert!(text.starts_with(&decoded) && !is_whole || coded.ends_with(&[0, 0, 0]), "{coding:?} cut");
        }
    }
}

/// What a server has flushed is there, so that a stream is read while it comes.
#[test]
fn what_was_flushed_is_given_out() {
    let text = text();
    let (first, second) = text.split_at(500);
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(first).unwrap();
    gzip.flush().unwrap();
    let gzipped = gzip.get_ref().clone();
    gzip.write_all(second).unwrap();

    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    brotli.write_all(first).unwrap();
    brotli.flush().unwrap();
    let brotlied = brotli.get_ref().clone();

    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    zstd.write_all(first).unwrap();
    zstd.flush().unwrap();
    let zstded = zstd.get_ref().clone();

    for (coding, coded) in [(Coding::Gzip, gzipped), (Coding::Brotli, brotlied), (Coding::Zstd, zstded)] {
        let (decoded, outcome, is_whole) = decode(coding, &coded, 11);
        assert_eq!((decoded.len(), outcome, is_whole), (500, Ok(()), false), "{coding:?}");
    }
}

#[test]
fn damage_is_seen_and_what_came_before_it_is_kept() {
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        let (_, outcome, is_whole) = decode(coding, b"{\"type\":\"message\"}", 3);
        assert_eq!((outcome, is_whole), (Err(Undecodable::Invalid), false), "{coding:?}");
    }
    let text = text();
    let mut coded = gzip(&text);
    let middle = coded.len() / 2;
    coded.truncate(middle);
    coded.extend_from_slice(&[0xff; 300]);
    let by_bytes = decode(Coding::Gzip, &coded, 1);
    assert!(by_bytes.0.len() > 1000 && by_bytes.0[..1000] == text[..1000] && !by_bytes.2);
    for chunk in [64, coded.len()] {
        assert!(decode(Coding::Gzip, &coded, chunk) == by_bytes, "in chunks of {chunk}");
    }
}

#[test]
fn windows_are_bounded_before_they_are_allocated() {
    let text = text();
    let wide = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    for (coding, coded) in [(Coding::Brotli, brotli(&text, 24)), (Coding::Zstd, wide)] {
        let mut asked = Vec::new();
        let mut decoder = Decoder::new(coding, Bounds::default());
        let mut has_room = |bytes| {
            asked.push(bytes);
            true
        };
        assert_eq!(decoder.feed(&coded, &mut has_room, |_| {}), Err(Undecodable::Window), "{coding:?}");
        assert_eq!(decoder.feed(b"x", &mut has_room, |_| {}), Err(Undecodable::Window));
        assert!(asked.is_empty());
    }
    for (coding, coded) in
        [(Coding::Gzip, gzip(&text)), (Coding::Brotli, brotli(&text, 22)), (Coding::Zstd, zstd(&text))]
    {
        let mut decoder = Decoder::new(coding, Bounds::default());
        assert_eq!(decoder.feed(&coded, |_| false, |_| {}), Err(Undecodable::Memory), "{coding:?}");
    }
}

#[test]
fn what_comes_out_is_bounded() {
    let bomb = vec![b'x'; 4 << 20];
    for (coding, coded) in
        [(Coding::Gzip, gzip(&bomb)), (Coding::Brotli, brotli(&bomb, 22)), (Coding::Zstd, zstd(&bomb))]
    {
        let mut decoder = Decoder::new(coding, Bounds { output: 1 << 20, ..Bounds::default() });
        let mut given = 0;
        let outcome = decoder.feed(&coded, |_| true, |piece| given += piece.len());
        assert_eq!(outcome, Err(Undecodable::TooLong), "{coding:?}");
        assert!(given <= 1 << 20);
    }
}

#[test]
fn headers_name_codings() {
    assert_eq!(Coding::of_header(b"GZIP"), Ok(Some(Coding::Gzip)));
    assert_eq!(Coding::of_header(b" br "), Ok(Some(Coding::Brotli)));
    assert_eq!(Coding::of_header(b"identity"), Ok(None));
    assert_eq!(Coding::of_header(b""), Ok(None));
    assert_eq!(Coding::of_header(b"gzip, br"), Err(UnknownCoding));
}
