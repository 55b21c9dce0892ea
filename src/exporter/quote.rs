//! What others say, made fit to be shown: one line, bounded, and without what it quotes of a request.
//!
//! Backends like to repeat the bytes that they do not understand. Message content must never reach a log or another
//! sender, so every stretch of a backend's words that also stands in the request is left out.

use ahash::AHashSet;

/// The most bytes that are kept of what a peer says.
const LONGEST: usize = 256;

/// A stretch of so many bytes that the request holds too is a quotation. Shorter ones are words that any two texts share.
const QUOTATION: usize = 12;

/// What stands for something left out.
const GAP: &str = "[…]";

/// At most 256 bytes of `text`, without line breaks and other control characters.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for c in text.trim().chars() {
        if line.len().saturating_add(c.len_utf8()) > LONGEST {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// `text` without the stretches of at least 12 bytes that stand in `request` too. Linear in both.
pub fn without_quotations(text: &str, request: &[u8]) -> String {
    let said: AHashSet<&[u8]> = text.as_bytes().windows(QUOTATION).collect();
    let quoted: AHashSet<&[u8]> = request.windows(QUOTATION).filter(|w| said.contains(w)).collect();
    if quoted.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut quoted_to = 0;
    for (at, c) in text.char_indices() {
        let following = text.as_bytes().get(at..at.saturating_add(QUOTATION));
        if following.is_some_and(|w| quoted.contains(w)) {
            if quoted_to <= at {
                out.push_str(GAP);
            }
            quoted_to = at.saturating_add(QUOTATION);
        }
        if quoted_to <= at {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use memchr::memmem;
    use proptest::prelude::*;

    #[test]
    fn what_a_peer_says_is_one_bounded_line() {
        assert_eq!(one_line(" a\r\nb\u{7}c \n"), "a  b c");
        let long = one_line(&"é".repeat(1000));
        assert!(long.len() <= LONGEST + '…'.len_utf8() && long.ends_with('…'));
    }

    #[test]
    fn a_quotation_is_left_out_and_the_rest_stays() {
        let request = b"\x0a\x05gen_ai\x12\x20the patient has a rare disease\x1a";
        let said = "cannot parse |the patient has a rare disease|, offset 7";
        assert_eq!(without_quotations(said, request), "cannot parse |[…]|, offset 7");
        assert_eq!(without_quotations("cannot parse it, offset 7", request), "cannot parse it, offset 7");
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_request_survives(
            request in "[a-fé ]{40,80}",
            (from, len) in (0usize..20, QUOTATION..20),
            before in "[a-f]{0,30}",
            after in "[a-f]{0,30}",
        ) {
            let quotation: String = request.chars().skip(from).take(len).collect();
            let shown = without_quotations(&format!("{before}{quotation}{after}"), request.as_bytes());
            for piece in shown.split(GAP) {
                for (at, _) in piece.char_indices() {
                    let Some(stretch) = piece.as_bytes().get(at..at + QUOTATION) else { break };
                    prop_assert!(memmem::find(request.as_bytes(), stretch).is_none(), "{shown:?} quotes {request:?}");
                }
            }
        }
    }
}
