//! Bytes that are broken, or not protobuf at all: they are refused or passed, never changed and never a panic.

use crate::splice::{entropy, signal};
use crate::tree::{Entropy, encode};
use crate::witness::{Witness, mark};
use proptest::prelude::*;
use prost::encoding::decode_varint;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::batch::Split;
use refusal_collector::otlp::splice::{count, splice};
use refusal_collector::payload::Message;
use std::num::NonZeroUsize;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_request_is_refused_or_passes_with_nothing_but_marks_added(
        signal in signal(),
        entropy in entropy(),
        damage in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut request = encode(&Entropy(&entropy).request(signal));
        damage_by(&mut Entropy(&damage), &mut request);
        refused_or_passed(signal, &request);
    }

    #[test]
    fn noise_is_refused_or_passes_with_nothing_but_marks_added(
        signal in signal(),
        // Small numbers are what tags and lengths are made of.
        noise in proptest::collection::vec(prop_oneof![0..32u8, any::<u8>()], 0..200),
    ) {
        refused_or_passed(signal, &noise);
    }
}

#[test]
fn every_cut_of_a_request_is_refused_or_passes() {
    for signal in Signal::ALL {
        for seed in 0..20u8 {
            let entropy: Vec<u8> =
                (0..600u32).map(|n| (n * n * 31 + n * 7) as u8 ^ seed.wrapping_mul(67)).collect();
            let request = encode(&Entropy(&entropy).request(signal));
            for cut in 0..request.len().min(2000) {
                refused_or_passed(signal, &request[..cut]);
            }
        }
    }
}

fn damage_by(entropy: &mut Entropy<'_>, request: &mut Vec<u8>) {
    while !entropy.0.is_empty() && !request.is_empty() {
        let at = entropy.below(request.len());
        let to = (at + entropy.below(20)).min(request.len());
        match entropy.below(5) {
            0 => request[at] ^= 1 << entropy.below(8),
            1 => request[at] = entropy.below(256) as u8,
            2 => request.truncate(at),
            3 => drop(request.drain(at..to)),
            _ => {
                let copied = request[at..to].to_vec();
                request.splice(at..at, copied);
            }
        }
    }
}

/// Everything that is done with requests, and what has to hold whatever they are.
fn refused_or_passed(signal: Signal, request: &[u8]) {
    let counted = count(signal, request);
    let mut witness = Witness::new(signal);
    let spliced = splice(signal, request, &mut witness);
    if let Ok(outcome) = &spliced {
        assert_eq!(counted, Ok(outcome.items), "who looks closer finds the same items");
    }
    if let Ok(Some(rewritten)) = spliced.map(|outcome| outcome.rewritten) {
        let mut appended = witness.sightings.iter().map(|sighting| {
            let mut appended = Vec::new();
            mark(signal, sighting, &mut appended);
            appended
        });
        assert!(same_but_for(&mut appended, request, rewritten.as_slice(), &[1, 2, 2]));
    }
    for max_items in [1, 3] {
        let max_items = NonZeroUsize::new(max_items).unwrap();
        let split = Split::new(signal, Message::Bare(request.to_vec().into()), max_items);
        let parts: Result<Vec<_>, _> = split.and_then(Iterator::collect);
        let Ok(items) = counted else { continue };
        let parts = parts.expect("what can be counted can be split");
        assert_eq!(parts.iter().map(|part| part.items).sum::<usize>(), items);
        if signal != Signal::Metrics {
            let of_parts: Vec<_> = parts.iter().flat_map(|part| raw_items(part.message.as_slice())).collect();
            assert!(of_parts == raw_items(request));
        }
    }
}

/// Compares two messages field by field. Along `path` the lengths may differ when something was appended further down,
/// and at its end a message must be the other one with the next of `appended` behind it. Says whether they differ.
fn same_but_for(
    appended: &mut impl Iterator<Item = Vec<u8>>,
    mut came: &[u8],
    mut left: &[u8],
    path: &[u32],
) -> bool {
    let Some((number, below)) = path.split_first() else {
        let appended = appended.next().unwrap();
        assert!(left == [came, &appended].concat());
        return !appended.is_empty();
    };
    let mut differ = false;
    while !came.is_empty() {
        let (tag, payload, whole) = next_field(came);
        let (other_tag, other_payload, other_whole) = next_field(left);
        assert_eq!(tag, other_tag);
        let differs =
            tag == u64::from(*number) << 3 | 2 && same_but_for(appended, payload, other_payload, below);
        assert!(differs || whole == other_whole);
        differ |= differs;
        (came, left) = (&came[whole.len()..], &left[other_whole.len()..]);
    }
    assert!(left.is_empty());
    differ
}

/// The bytes of all spans or log records, in order.
pub fn raw_items(request: &[u8]) -> Vec<&[u8]> {
    [1, 2, 2].iter().fold(vec![request], |messages, number| {
        let mut inner = Vec::new();
        for mut message in messages {
            while !message.is_empty() {
                let (tag, payload, whole) = next_field(message);
                if tag == number << 3 | 2 {
                    inner.push(payload);
                }
                message = &message[whole.len()..];
            }
        }
        inner
    })
}

/// The tag and payload of the first field, and all of its bytes.
fn next_field(message: &[u8]) -> (u64, &[u8], &[u8]) {
    let mut rest = message;
    let tag = decode_varint(&mut rest).unwrap();
    let len = match tag & 7 {
        0 => 1 + rest.iter().position(|byte| *byte < 0x80).unwrap(),
        1 => 8,
        2 => decode_varint(&mut rest).unwrap() as usize,
        _ => 4,
    };
    let whole = message.len() - rest.len() + len;
    (tag, &rest[..len], &message[..whole])
}
