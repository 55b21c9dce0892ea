//! The body of a request: one message, sent without being copied.

use super::compress::Encoded;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body of one piece, or of none.
#[derive(Debug, Default)]
pub struct Body {
    piece: Option<Piece>,
}

impl Body {
    /// The message alone, as HTTP wants it.
    pub fn bare(message: &Encoded) -> Self {
        Body {
            piece: Some(Piece { prefix: [0; PREFIX], prefix_from: PREFIX, message: message.bytes.clone() }),
        }
    }

    /// The message behind a gRPC prefix. Both leave in one DATA frame: a frame of five bytes would cost the receiver a copy
    /// of the whole message.
    pub fn framed(message: &Encoded) -> Self {
        let length = u32::try_from(message.bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let [a, b, c, d] = length;
        let prefix = [u8::from(message.encoding.is_some()), a, b, c, d];
        Body { piece: Some(Piece { prefix, prefix_from: 0, message: message.bytes.clone() }) }
    }
}

impl http_body::Body for Body {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        Poll::Ready(self.piece.take().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.piece.as_ref().map_or(0, |piece| piece.remaining() as u64))
    }
}

const PREFIX: usize = crate::payload::GRPC_PREFIX;

/// What is left of a gRPC prefix, then of the message.
#[derive(Debug)]
pub struct Piece {
    prefix: [u8; PREFIX],
    prefix_from: usize,
    message: Bytes,
}

impl Piece {
    fn prefix(&self) -> &[u8] {
        self.prefix.get(self.prefix_from..).unwrap_or_default()
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.prefix().len() + self.message.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.prefix().is_empty() { &self.message } else { self.prefix() }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let chunks = [self.prefix(), &self.message];
        let filled = into.iter_mut().zip(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
        filled.map(|(slot, chunk)| *slot = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix().len());
        self.prefix_from += of_prefix;
        self.message.advance(count - of_prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Encoding;
    use http_body::Body as _;
    use http_body_util::BodyExt;

    fn message(encoding: Option<Encoding>) -> Encoded {
        Encoded { encoding, bytes: Bytes::from_static(b"message") }
    }

    #[tokio::test]
    async fn a_framed_body_is_a_grpc_frame_that_says_whether_it_is_compressed() {
        for (encoding, flag) in [(None, 0), (Some(Encoding::Gzip), 1)] {
            let body = Body::framed(&message(encoding));
            assert_eq!(body.size_hint().exact(), Some(12));
            let mut expected = vec![flag, 0, 0, 0, 7];
            expected.extend(b"message");
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }

    #[tokio::test]
    async fn a_bare_body_is_the_message() {
        let mut body = Body::bare(&message(None));
        assert_eq!(body.size_hint().exact(), Some(7));
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().chunk(), b"message");
        assert!(body.is_end_stream());
    }

    #[test]
    fn a_piece_can_be_taken_in_steps_of_any_size() {
        let whole = b"\0\0\0\0\x07message";
        for step in 1..=whole.len() {
            let mut piece = Body::framed(&message(None)).piece.unwrap();
            let mut taken = Vec::new();
            while piece.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = piece.chunks_vectored(&mut slices);
                let vectored: Vec<u8> =
                    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                assert_eq!(vectored, whole[taken.len()..]);
                let step = step.min(piece.remaining());
                taken.extend_from_slice(&piece.copy_to_bytes(step));
            }
            assert_eq!(taken, whole);
        }
    }
}
