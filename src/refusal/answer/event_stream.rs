//! The binary framing of AWS event streams (`application/vnd.amazon.eventstream`), split anywhere.
//!
//! A message is a prelude (total length, length of headers, CRC-32 of both), headers, a payload and a CRC-32 of it all;
//! see <https://smithy.io/2.0/aws/amazon-eventstream.html>. Only the prelude's checksum is verified: a wrong length
//! would make the rest unreadable, while the payload came through TLS.

use flate2::Crc;

/// What the messages of an event stream say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A message begins.
    Begin {
        /// `:event-type`, `:exception-type` or `:error-code`.
        name: &'a str,
        /// The message is an exception or an error.
        error: bool,
    },
    /// A piece of its payload.
    Payload(&'a [u8]),
    /// The message ends.
    End,
}

/// The length of a prelude.
const PRELUDE: usize = 12;

/// The length of what is not headers and payload: the prelude and the checksum at the end.
const OVERHEAD: u64 = 16;

/// What is kept of a header's name and of a value that is a name; no known one is longer.
const MAX_NAME: usize = 64;

/// The state between chunks.
#[derive(Default)]
pub struct Frames {
    state: State,
    /// The prelude so far, the current header's name, or the length of its value.
    kept: Vec<u8>,
    /// `:event-type` and its like.
    name: Vec<u8>,
    /// The value that is being read is kept in `name`.
    naming: bool,
    error: bool,
    headers_left: u64,
    payload_left: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Prelude,
    HeaderNameLength,
    HeaderName {
        left: u8,
    },
    HeaderType,
    HeaderValueLength,
    HeaderValue {
        left: u64,
    },
    Payload,
    Checksum {
        left: u8,
    },
    /// The framing was broken: nothing more can be read.
    Broken,
}

impl Frames {
    /// Reads the next bytes.
    pub fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Payload => {
                    let length = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(rest.len());
                    let (payload, more) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    emit(Piece::Payload(payload));
                    self.payload_left -= payload.len() as u64;
                    self.end_payload(&mut emit);
                    rest = more;
                }
                State::Broken => return,
                _ => {
                    self.byte(byte, &mut emit);
                    rest = after;
                }
            }
        }
    }

    /// Ends the input; tells whether it ended with a message.
    pub fn finish(&mut self, mut emit: impl FnMut(Piece<'_>)) -> bool {
        let whole = self.state == State::Prelude && self.kept.is_empty();
        if self.state == State::Payload {
            emit(Piece::End);
        }
        *self = Frames::default();
        whole
    }

    fn byte(&mut self, byte: u8, emit: &mut impl FnMut(Piece<'_>)) {
        match self.state {
            State::Prelude => {
                self.kept.push(byte);
                if self.kept.len() == PRELUDE {
                    self.begin_message(emit);
                }
                return;
            }
            State::Checksum { left } => {
                self.state = if left > 1 { State::Checksum { left: left - 1 } } else { State::Prelude };
                return;
            }
            State::HeaderNameLength => {
                self.kept.clear();
                self.state = if byte == 0 { State::HeaderType } else { State::HeaderName { left: byte } };
            }
            State::HeaderName { left } => {
                if self.kept.len() < MAX_NAME {
                    self.kept.push(byte);
                }
                self.state = if left > 1 { State::HeaderName { left: left - 1 } } else { State::HeaderType };
            }
            State::HeaderType => self.begin_value(byte),
            State::HeaderValueLength => {
                self.kept.push(byte);
                if let [high, low] = *self.kept.as_slice() {
                    self.state = State::HeaderValue { left: u64::from(u16::from_be_bytes([high, low])) };
                }
            }
            State::HeaderValue { left } => {
                if self.naming && self.name.len() < MAX_NAME {
                    self.name.push(byte);
                }
                self.state = State::HeaderValue { left: left.saturating_sub(1) };
            }
            State::Payload | State::Broken => return,
        }
        if self.state == (State::HeaderValue { left: 0 }) {
            self.state = State::HeaderNameLength;
        }
        self.headers_left = self.headers_left.saturating_sub(1);
        if self.headers_left == 0 {
            // A header that reaches over the end of the headers.
            let whole = self.state == State::HeaderNameLength;
            if whole { self.begin_payload(emit) } else { self.state = State::Broken }
        }
    }

    fn begin_message(&mut self, emit: &mut impl FnMut(Piece<'_>)) {
        let mut numbers = self
            .kept
            .chunks_exact(4)
            .map(|chunk| chunk.iter().fold(0u32, |number, &byte| (number << 8) | u32::from(byte)));
        let (total, headers, checksum) =
            (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let mut crc = Crc::new();
        crc.update(self.kept.get(..8).unwrap_or_default());
        let payload = u64::from(total).checked_sub(u64::from(headers) + OVERHEAD);
        self.kept.clear();
        self.name.clear();
        self.error = false;
        match payload {
            Some(payload) if crc.sum() == checksum => {
                self.headers_left = u64::from(headers);
                self.payload_left = payload;
                self.state = State::HeaderNameLength;
                if headers == 0 {
                    self.begin_payload(emit);
                }
            }
            _ => self.state = State::Broken,
        }
    }

    /// The header's type tells the length of its value.
    fn begin_value(&mut self, kind: u8) {
        self.naming = matches!(self.kept.as_slice(), b":event-type" | b":exception-type" | b":error-code");
        if self.naming {
            self.error = self.kept != b":event-type";
            self.name.clear();
        }
        self.kept.clear();
        self.state = match kind {
            0 | 1 => State::HeaderValue { left: 0 },
            2 => State::HeaderValue { left: 1 },
            3 => State::HeaderValue { left: 2 },
            4 => State::HeaderValue { left: 4 },
            5 | 8 => State::HeaderValue { left: 8 },
            6 | 7 => State::HeaderValueLength,
            9 => State::HeaderValue { left: 16 },
            _ => State::Broken,
        };
    }

    fn begin_payload(&mut self, emit: &mut impl FnMut(Piece<'_>)) {
        self.kept.clear();
        self.state = State::Payload;
        emit(Piece::Begin { name: std::str::from_utf8(&self.name).unwrap_or_default(), error: self.error });
        self.end_payload(emit);
    }

    fn end_payload(&mut self, emit: &mut impl FnMut(Piece<'_>)) {
        if self.payload_left == 0 {
            self.state = State::Checksum { left: 4 };
            emit(Piece::End);
        }
    }
}

/// Decodes base64 that is split anywhere; what is not of its alphabet is passed over.
#[derive(Clone, Copy, Default)]
pub struct Base64 {
    bits: u32,
    count: u8,
}

impl Base64 {
    /// Decodes the next bytes, in pieces of at most 768.
    pub fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        for run in bytes.chunks(1024) {
            let mut decoded = [0u8; 768];
            let mut length = 0;
            for &byte in run {
                let Some(value) = sextet(byte) else { continue };
                self.bits = (self.bits << 6) | u32::from(value);
                self.count += 6;
                if self.count >= 8 {
                    self.count -= 8;
                    if let Some(place) = decoded.get_mut(length) {
                        *place = (self.bits >> self.count) as u8;
                        length += 1;
                    }
                }
            }
            emit(decoded.get(..length).unwrap_or_default());
        }
    }
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as AWS frames it.
    pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(name.len() as u8);
            block.extend_from_slice(name.as_bytes());
            block.push(7);
            block.extend_from_slice(&(value.len() as u16).to_be_bytes());
            block.extend_from_slice(value.as_bytes());
        }
        let checksum = |bytes: &[u8]| {
            let mut crc = Crc::new();
            crc.update(bytes);
            crc.sum().to_be_bytes()
        };
        let mut message = ((block.len() + payload.len() + 16) as u32).to_be_bytes().to_vec();
        message.extend_from_slice(&(block.len() as u32).to_be_bytes());
        let prelude = checksum(&message);
        message.extend_from_slice(&prelude);
        message.extend_from_slice(&block);
        message.extend_from_slice(payload);
        let end = checksum(&message);
        message.extend_from_slice(&end);
        message
    }

    fn read(frames: &mut Frames, bytes: &[u8], chunk: usize) -> (Vec<String>, bool) {
        let mut said: Vec<String> = Vec::new();
        let mut payload = Vec::new();
        for chunk in bytes.chunks(chunk) {
            frames.feed(chunk, |piece| match piece {
                Piece::Begin { name, error } => said.push(format!("{name} {error}")),
                Piece::Payload(bytes) => payload.extend_from_slice(bytes),
                Piece::End => said.push(String::from_utf8(std::mem::take(&mut payload)).unwrap()),
            });
        }
        let whole = frames.finish(|_| {});
        (said, whole)
    }

    #[test]
    fn messages_are_read_however_they_are_split() {
        let mut bytes = message(&[(":message-type", "event"), (":event-type", "messageStop")], b"{\"a\":1}");
        bytes.extend(message(
            &[(":message-type", "exception"), (":exception-type", "throttlingException")],
            b"",
        ));
        bytes.extend(message(&[], b"x"));
        let expected = ["messageStop false", "{\"a\":1}", "throttlingException true", "", " false", "x"]
            .map(String::from);
        for chunk in 1..bytes.len() {
            let (said, whole) = read(&mut Frames::default(), &bytes, chunk);
            assert_eq!(said, expected);
            assert!(whole);
        }
    }

    #[test]
    fn a_broken_frame_ends_the_reading() {
        let good = message(&[(":event-type", "chunk")], b"{}");
        for at in 0..PRELUDE {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let (said, whole) = read(&mut Frames::default(), &bad, 3);
            assert!(said.is_empty() && !whole, "byte {at}: {said:?}");
        }
        assert!(!read(&mut Frames::default(), &good[..good.len() - 1], 7).1);
    }

    #[test]
    fn a_header_that_reaches_over_the_headers_is_broken() {
        let mut bytes = message(&[(":event-type", "chunk")], b"{}");
        // The length of the value.
        bytes[PRELUDE + 1 + 11 + 2] += 1;
        assert!(read(&mut Frames::default(), &bytes, 5).0.is_empty());
    }

    #[test]
    fn base64_is_decoded_however_it_is_split() {
        for (encoded, decoded) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar"), ("Zm9v\nYmE", "fooba")]
        {
            for chunk in 1..9 {
                let mut decoder = Base64::default();
                let mut out = Vec::new();
                for chunk in encoded.as_bytes().chunks(chunk) {
                    decoder.feed(chunk, |bytes| out.extend_from_slice(bytes));
                }
                assert_eq!(out, decoded.as_bytes());
            }
        }
    }
}
