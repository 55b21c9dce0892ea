//! A new request in the gRPC frame in which it can leave without another copy.

use crate::otlp::pool::{POOL, Pooled};
use crate::payload::{GRPC_PREFIX, Message};

/// A message being written behind the prefix of an uncompressed gRPC frame.
pub(super) struct FrameBuffer {
    loan: Pooled,
    framed: bool,
}

impl FrameBuffer {
    /// Room for a message of `len` bytes; exactly so many have to be written.
    pub(super) fn new(len: usize) -> Self {
        let mut loan = POOL.take(GRPC_PREFIX.saturating_add(len));
        // What is longer than a prefix can say cannot leave by gRPC at all, and stays bare.
        let prefix = u32::try_from(len).ok();
        if let Some(len) = prefix {
            loan.buffer.push(0); // not compressed
            loan.buffer.extend_from_slice(&len.to_be_bytes());
        }
        FrameBuffer { loan, framed: prefix.is_some() }
    }

    /// Where the message is written to.
    pub(super) fn message(&mut self) -> &mut Vec<u8> {
        &mut self.loan.buffer
    }

    /// The message; its buffer is used again when the last clone is gone.
    pub(super) fn finish(self) -> Message {
        let bytes = self.loan.freeze();
        if self.framed { Message::Framed(bytes) } else { Message::Bare(bytes) }
    }
}
