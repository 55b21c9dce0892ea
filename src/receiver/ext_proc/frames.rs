//! The gRPC frames of one stream. A frame of any length is read in bounded memory: of the one field that may be long,
//! the piece of a vendor's answer, the bytes are given out as they come.

use super::messages::{HttpBody, ProcessingRequest};
use crate::payload::GRPC_PREFIX;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use prost::Message;

/// The longest message that is collected as a whole: headers, and what stands around a body.
const MAX_COLLECTED: usize = 64 << 10;

/// The longest start of a message that holds a body: two tags, and two lengths of up to ten bytes.
const BODY_HEAD: usize = 22;

/// `ProcessingRequest.response_body` and `HttpBody.body`, as fields with a length.
const RESPONSE_BODY: u8 = 5 << 3 | 2;
const BODY: u8 = 1 << 3 | 2;

/// What comes in a stream.
pub enum Piece {
    /// A message.
    Message(Box<ProcessingRequest>),
    /// A piece of an answer's body, out of a message that has not ended.
    Body(Bytes),
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A compressed frame; Envoy sends none unless it is told to.
    #[error("a frame is compressed")]
    Compressed,
    /// No message of this API.
    #[error("a frame holds no message of external processing")]
    Malformed,
    /// More headers, or more around a body, than are collected.
    #[error("a message is too long")]
    TooLong,
}

/// Reads frames from a body.
pub struct Frames<B> {
    body: B,
    buffer: BytesMut,
    long: Option<Long>,
}

/// A message that is too long to be collected, in the middle of its body.
struct Long {
    /// Bytes of the body, of `HttpBody` behind it, and of the message behind that.
    body: usize,
    http_body: usize,
    message: usize,
}

impl<B> Frames<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    pub fn new(body: B) -> Self {
        Frames { body, buffer: BytesMut::new(), long: None }
    }

    /// The next piece; `None` at the end, whichever side made it.
    pub async fn next(&mut self) -> Result<Option<Piece>, Unreadable> {
        loop {
            if let Some(piece) = self.take()? {
                return Ok(Some(piece));
            }
            if !self.fill().await {
                return Ok(None);
            }
        }
    }

    /// Takes the next piece out of what has come.
    fn take(&mut self) -> Result<Option<Piece>, Unreadable> {
        if let Some(long) = &mut self.long {
            if long.body > 0 {
                let length = long.body.min(self.buffer.len());
                long.body -= length;
                return Ok((length > 0).then(|| Piece::Body(self.buffer.split_to(length).freeze())));
            }
            let (http_body, message) = (long.http_body, long.message);
            if self.buffer.len() < http_body + message {
                return Ok(None);
            }
            self.long = None;
            let http_body = decode::<HttpBody>(self.buffer.split_to(http_body).freeze())?;
            let message = decode::<ProcessingRequest>(self.buffer.split_to(message).freeze())?;
            let request = ProcessingRequest { response_body: Some(http_body), ..message };
            return Ok(Some(Piece::Message(Box::new(request))));
        }
        let Some([flag, length @ ..]) = self.buffer.first_chunk::<GRPC_PREFIX>().copied() else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(Unreadable::Compressed);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_COLLECTED {
            return self.begin_long(length);
        }
        if self.buffer.len() < GRPC_PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(GRPC_PREFIX);
        let message = self.buffer.split_to(length).freeze();
        Ok(Some(Piece::Message(Box::new(decode(message)?))))
    }

    /// Begins a message of `length` bytes, which must be a body.
    fn begin_long(&mut self, length: usize) -> Result<Option<Piece>, Unreadable> {
        if self.buffer.len() < GRPC_PREFIX + BODY_HEAD {
            return Ok(None);
        }
        self.buffer.advance(GRPC_PREFIX);
        let mut head = self.buffer.get(..BODY_HEAD).unwrap_or_default();
        let http_body = length_of(RESPONSE_BODY, &mut head);
        let outer = BODY_HEAD - head.len();
        let body = length_of(BODY, &mut head);
        let inner = BODY_HEAD - head.len() - outer;
        let (Some(http_body), Some(body)) = (http_body, body) else { return Err(Unreadable::TooLong) };
        let http_body_rest = http_body.checked_sub(inner.saturating_add(body));
        let message_rest = length.checked_sub(outer.saturating_add(http_body));
        let (Some(http_body), Some(message)) = (http_body_rest, message_rest) else {
            return Err(Unreadable::Malformed);
        };
        if http_body.saturating_add(message) > MAX_COLLECTED {
            return Err(Unreadable::TooLong);
        }
        self.buffer.advance(outer + inner);
        self.long = Some(Long { body, http_body, message });
        self.take()
    }

    /// Waits for more bytes; false at the end.
    async fn fill(&mut self) -> bool {
        while let Some(Ok(frame)) = self.body.frame().await {
            // Trailers of a request are the end of it.
            let Ok(data) = frame.into_data() else { return false };
            if data.is_empty() {
                continue;
            }
            if self.buffer.is_empty() {
                // What nobody else holds is taken over without a copy.
                self.buffer = BytesMut::from(data);
            } else {
                self.buffer.extend_from_slice(&data);
            }
            return true;
        }
        false
    }
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Unreadable> {
    M::decode(bytes).map_err(|_| Unreadable::Malformed)
}

/// The length of the field that begins here, if it is `field`.
fn length_of(field: u8, head: &mut &[u8]) -> Option<usize> {
    (head.try_get_u8().ok()? == field).then_some(())?;
    usize::try_from(prost::encoding::decode_varint(head).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    fn frame(message: &ProcessingRequest) -> Vec<u8> {
        let bytes = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        frame.extend_from_slice(&bytes);
        frame
    }

    fn body(length: usize, end_of_stream: bool) -> ProcessingRequest {
        let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let response_body = Some(HttpBody { body: body.into(), end_of_stream });
        ProcessingRequest { response_body, observability_mode: true, ..ProcessingRequest::default() }
    }

    /// The bodies that were read, and whether each message was the last and came in observability mode.
    async fn read(bytes: &[u8], chunk: usize) -> Result<Vec<(Vec<u8>, bool, bool)>, Unreadable> {
        let chunks: Vec<_> = bytes
            .chunks(chunk)
            .map(|chunk| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let mut frames = Frames::new(StreamBody::new(futures_util::stream::iter(chunks)));
        let (mut read, mut body) = (Vec::new(), Vec::new());
        while let Some(piece) = frames.next().await? {
            match piece {
                Piece::Body(piece) => body.extend_from_slice(&piece),
                Piece::Message(message) => {
                    let http_body = message.response_body.unwrap();
                    body.extend_from_slice(&http_body.body);
                    let body = std::mem::take(&mut body);
                    read.push((body, http_body.end_of_stream, message.observability_mode));
                }
            }
        }
        Ok(read)
    }

    #[tokio::test]
    async fn messages_of_any_length_are_read_however_they_are_split() {
        let lengths = [0, 1, 1000, MAX_COLLECTED - 10, MAX_COLLECTED + 1, 300_000, 3];
        let mut bytes = Vec::new();
        for (n, length) in lengths.into_iter().enumerate() {
            bytes.extend(frame(&body(length, n + 1 == lengths.len())));
        }
        for chunk in [1, 7, 16_384, 100_000, bytes.len()] {
            let read = read(&bytes, chunk).await.unwrap();
            assert_eq!(read.iter().map(|(body, ..)| body.len()).collect::<Vec<_>>(), lengths);
            assert!(read.iter().all(|(body, ..)| body.iter().enumerate().all(|(n, byte)| *byte == n as u8)));
            assert!(read.iter().all(|(.., observing)| *observing));
            assert_eq!(read.iter().filter(|(_, end, _)| *end).count(), 1);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_without_collecting_it() {
        assert_eq!(read(&[1, 0, 0, 0, 0], 9).await, Err(Unreadable::Compressed));
        assert_eq!(read(&[0, 0, 0, 0, 2, 0x2a, 9], 9).await, Err(Unreadable::Malformed));
        let mut headers = vec![0, 0x10, 0, 0, 0, 0x12];
        headers.extend([0xff; 40]);
        assert_eq!(read(&headers, 9).await, Err(Unreadable::TooLong));
        // A body that claims to be longer than its message.
        let mut lie =
            vec![0, 0, 2, 0, 0, RESPONSE_BODY, 0xff, 0xff, 0xff, 0x7f, BODY, 0xff, 0xff, 0xff, 0x7f];
        lie.extend([0; 40]);
        assert_eq!(read(&lie, 9).await, Err(Unreadable::Malformed));
        assert_eq!(read(&frame(&body(100, true))[..50], 9).await, Ok(Vec::new()));
    }
}
