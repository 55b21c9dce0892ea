use super::*;
use futures_util::FutureExt;
use std::io::Write;

const ALL: [Codec; 3] = [Codec::Gzip, Codec::Zstd, Codec::Zlib];
const MIB: usize = 1 << 20;

fn deflate(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let fast = flate2::Compression::fast();
    match codec {
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), fast);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Codec::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), fast);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        // A stream without a content size, as encoders write that do not know it.
        Codec::Zstd => zstd::encode_all(plain, 3).unwrap(),
    }
}

/// Text that compresses about as telemetry does.
fn text(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut n = 1u64;
    while out.len() < len {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        write!(out, "attribute-{} ", n >> 52).unwrap();
    }
    out.truncate(len);
    out
}

/// Inflates in one go, with what the permit holds afterwards.
fn run(codec: Codec, compressed: &[u8], limit: usize, budget: &Budget) -> Result<(Bytes, Permit), Failed> {
    let mut permit = Permit::default();
    let inflated = async { inflate(codec, compressed, limit, budget, &mut permit).await };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let inflated = runtime.block_on(inflated)?;
    Ok((inflated, permit))
}

fn roomy() -> Budget {
    Budget::new(256 * MIB)
}

#[test]
fn every_codec_gives_back_what_went_in_and_holds_a_permit_for_it() {
    for codec in ALL {
        for len in [0, 1, 4095, 4096, 4097, 100_000, 3 * MIB] {
            let (plain, budget) = (text(len), roomy());
            let (inflated, permit) = run(codec, &deflate(codec, &plain), 64 * MIB, &budget).unwrap();
            assert!(inflated == plain, "{codec}, {len} bytes");
            assert!(permit.bytes() >= len, "{codec}, {len} bytes");
            assert_eq!(budget.used(), permit.bytes(), "nothing else is held, {codec}, {len} bytes");
        }
    }
}

#[test]
fn a_gzip_body_that_says_its_length_takes_no_more_than_that() {
    let plain = text(300_000);
    let (_, permit) = run(Codec::Gzip, &deflate(Codec::Gzip, &plain), MIB, &roomy()).unwrap();
    assert_eq!(permit.bytes(), plain.len());
    let (_, permit) = run(Codec::Zstd, &zstd::bulk::compress(&plain, 3).unwrap(), MIB, &roomy()).unwrap();
    assert_eq!(permit.bytes(), plain.len());
}

#[test]
fn gzip_of_several_members_and_zstd_of_several_frames_are_read_to_the_end() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let mut compressed = Vec::new();
        for part in [&b"first"[..], b"", &text(100_000), b"last"] {
            compressed.extend(deflate(codec, part));
        }
        let (inflated, _) = run(codec, &compressed, MIB, &roomy()).unwrap();
        assert!(inflated == [&b"first"[..], &text(100_000), b"last"].concat(), "{codec}");
    }
}

#[test]
fn the_limit_is_exact() {
    for codec in ALL {
        for limit in [1, 4096, 100_000] {
            let exactly = run(codec, &deflate(codec, &text(limit)), limit, &roomy());
            assert_eq!(exactly.unwrap().0.len(), limit, "{codec}, {limit}");
            let over = run(codec, &deflate(codec, &text(limit + 1)), limit, &roomy());
            assert_eq!(over.unwrap_err(), Failed::TooLarge, "{codec}, {limit}");
        }
    }
}

#[test]
fn a_body_that_is_cut_off_anywhere_is_never_taken() {
    for codec in ALL {
        let compressed = deflate(codec, &text(2000));
        for end in 0..compressed.len() {
            let failed = run(codec, &compressed[..end], MIB, &roomy()).unwrap_err();
            assert_eq!(failed, Failed::Broken(Broken::Truncated), "{codec}, cut at {end}");
        }
    }
}

#[test]
fn a_damaged_body_never_panics_and_deflate_notices_by_its_checksum() {
    for codec in ALL {
        let plain = text(2000);
        let compressed = deflate(codec, &plain);
        for at in 0..compressed.len() {
            for bit in 0..8 {
                let mut damaged = compressed.clone();
                damaged[at] ^= 1 << bit;
                if let Ok((inflated, _)) = run(codec, &damaged, MIB, &roomy()) {
                    let may_differ = codec == Codec::Zstd; // no checksum unless the sender adds one
                    assert!(may_differ || inflated == plain, "{codec}, byte {at}, bit {bit}");
                }
            }
        }
    }
}

#[test]
fn what_follows_a_body_is_not_swallowed() {
    let mut zlib = deflate(Codec::Zlib, b"all");
    zlib.push(0);
    assert_eq!(run(Codec::Zlib, &zlib, MIB, &roomy()).unwrap_err(), Failed::Broken(Broken::Trailing));
    for codec in [Codec::Gzip, Codec::Zstd] {
        let mut compressed = deflate(codec, b"all");
        compressed.extend(b"more text");
        let failed = run(codec, &compressed, MIB, &roomy()).unwrap_err();
        assert_eq!(failed, Failed::Broken(Broken::Invalid), "{codec}");
    }
}

/// 1 GiB of zeros in as few bytes as the codec allows without making it.
fn bomb(codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Gzip => deflate(Codec::Gzip, &vec![0; MIB]).repeat(1024),
        Codec::Zstd => deflate(Codec::Zstd, &vec![0; MIB]).repeat(1024),
        Codec::Zlib => {
            // One stream whose blocks repeat; the checksum at its end is never reached.
            let mut encoder = flate2::Compress::new(flate2::Compression::fast(), true);
            let mut out = Vec::with_capacity(MIB);
            encoder.compress_vec(&[0; 256], &mut out, flate2::FlushCompress::Full).unwrap();
            let head = out.len();
            encoder.compress_vec(&vec![0; MIB], &mut out, flate2::FlushCompress::Full).unwrap();
            let block = out[head..].repeat(1024);
            out.truncate(head);
            out.extend(block);
            out
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit_and_within_the_budget() {
    for codec in ALL {
        let bomb = bomb(codec);
        assert!(bomb.len() < 16 * MIB, "{codec} bomb of {} bytes", bomb.len());
        let budget = roomy();
        assert_eq!(run(codec, &bomb, 4 * MIB, &budget).unwrap_err(), Failed::TooLarge, "{codec}");
        assert_eq!(budget.used(), 0);
        // A budget that has no room for the limit ends it earlier: nothing grows without a permit.
        let budget = Budget::new(6 * MIB);
        assert_eq!(run(codec, &bomb, 8 * MIB, &budget).unwrap_err(), Failed::OverBudget, "{codec}");
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn a_claim_of_a_length_is_not_believed() {
    let mut gzip = deflate(Codec::Gzip, b"small");
    let at = gzip.len() - 4;
    gzip[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(run(Codec::Gzip, &gzip, MIB, &roomy()).unwrap_err(), Failed::Broken(Broken::Invalid));
    assert_eq!(expected_len(Codec::Gzip, &gzip), gzip.len() * 4);
}

#[test]
fn a_zstd_window_beyond_the_bound_is_refused_by_name() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&text(100_000)).unwrap();
    let compressed = encoder.finish().unwrap();
    let failed = run(Codec::Zstd, &compressed, MIB, &roomy()).unwrap_err();
    assert_eq!(failed, Failed::Broken(Broken::Window(8 << 20)));
}

#[test]
fn a_zstd_window_takes_its_place_in_the_budget_while_it_is_there() {
    let plain = text(200_000);
    let streamed = deflate(Codec::Zstd, &plain); // level 3 has a window of 2 MiB
    let whole = zstd::bulk::compress(&plain, 3).unwrap();
    let tight = Budget::new(4 * MIB);
    let taken = tight.try_acquire((2 * MIB) as u32).unwrap();
    assert_eq!(run(Codec::Zstd, &streamed, MIB, &tight).unwrap_err(), Failed::OverBudget);
    assert!(run(Codec::Zstd, &whole, MIB, &tight).is_ok(), "one frame of known size needs no window");
    drop(taken);
    assert!(run(Codec::Zstd, &streamed, MIB, &tight).is_ok());
}

#[test]
fn a_long_inflation_lets_others_have_their_turn() {
    let compressed = deflate(Codec::Gzip, &text(8 * MIB));
    let budget = roomy();
    let mut permit = Permit::default();
    let unfinished = inflate(Codec::Gzip, &compressed, 64 * MIB, &budget, &mut permit).now_or_never();
    assert!(unfinished.is_none());
}

#[test]
fn random_bytes_never_panic() {
    let mut n = 7u64;
    for len in 0..2000 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (n >> 56) as u8
        })
        .take(len % 97)
        .collect();
        for (codec, magic) in [
            (Codec::Gzip, &[0x1f, 0x8b, 8, 0][..]),
            (Codec::Zlib, &[0x78, 1]),
            (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
        ] {
            let _ = run(codec, &bytes, MIB, &roomy());
            let _ = run(codec, &[magic, &bytes].concat(), MIB, &roomy());
        }
    }
}
