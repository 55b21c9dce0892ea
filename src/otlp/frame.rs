//! A new request in the gRPC frame in which it can leave without another copy.

use crate::otlp::pool::{POOL, Pooled};
use crate::payload::{GRPC_PREFIX, Message};

/// A message being written behind the prefix of an uncompressed gRPC frame.
pub(super) struct FrameBuffer {
    loan: Pooled,
}

impl FrameBuffer {
    /// Room for a message of `len` bytes; it grows when more are written.
    pub(super) fn new(len: usize) -> Self {
        let mut loan = POOL.take(GRPC_PREFIX.saturating_add(len));
        loan.buffer.extend_from_slice(&[0; GRPC_PREFIX]);
        FrameBuffer { loan }
    }

    /// Where the message is appended to.
    pub(super) fn message(&mut self) -> &mut Vec<u8> {
        &mut self.loan.buffer
    }

    /// The message; its buffer is used again when the last clone is gone.
    pub(super) fn finish(mut self) -> Message {
        let len = u32::try_from(self.loan.buffer.len().saturating_sub(GRPC_PREFIX));
        match (len, self.loan.buffer.first_chunk_mut::<GRPC_PREFIX>()) {
            (Ok(len), Some([compressed, length @ ..])) => {
                *compressed = 0;
                *length = len.to_be_bytes();
                Message::Framed(self.loan.freeze())
            }
            // What is longer than a prefix can say cannot leave by gRPC at all.
            _ => Message::Bare(self.loan.freeze().slice(GRPC_PREFIX..)),
        }
    }
}
