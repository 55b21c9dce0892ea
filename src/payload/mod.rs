//! An export request on its way through the collector: its bytes, what they hold, and the share of the memory
//! budget that they occupy until they have left.

mod budget;
mod drain_rate;

pub use budget::{Budget, Permit};
pub use drain_rate::DrainRate;

use crate::config::ComponentId;
use crate::otlp::{Signal, wire::Malformed};
use crate::telemetry::spans::Caller;
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Flag and length in front of each gRPC message.
pub const GRPC_PREFIX: usize = 5;

/// One export request. Cloning is cheap: the bytes and the permit are shared, and the permit is given back when the
/// last clone is gone.
#[derive(Clone, Debug)]
pub struct Payload {
    /// What kind of request it is.
    pub signal: Signal,
    /// The request as uncompressed protobuf.
    pub message: Message,
    /// The compressed body that arrived, as long as `message` is still exactly what is in it: it can leave again
    /// as it came.
    pub arrived: Option<Compressed>,
    /// How many items (spans, log records, data points) it holds.
    pub items: usize,
    /// The bytes of the budget that are occupied until this request has left.
    pub permit: Arc<Permit>,
    /// The collector's own span in which it came, if that is recorded.
    pub caller: Caller,
}

impl Payload {
    /// The bytes that it takes up: the message, and the compressed body beside it.
    pub fn len_in_memory(&self) -> usize {
        let arrived = self.arrived.as_ref().map_or(0, |arrived| arrived.bytes.len());
        self.message.len().saturating_add(arrived)
    }
}

/// An uncompressed protobuf message, which may stand in a gRPC frame already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Only the message.
    Bare(Bytes),
    /// The 5 bytes of an uncompressed gRPC frame's prefix, then the message.
    Framed(Bytes),
}

impl Message {
    /// The protobuf message itself.
    pub fn protobuf(&self) -> Bytes {
        match self {
            Message::Bare(bytes) => bytes.clone(),
            Message::Framed(bytes) => bytes.slice(GRPC_PREFIX.min(bytes.len())..),
        }
    }

    /// The protobuf message itself, borrowed.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Message::Bare(bytes) => bytes,
            Message::Framed(bytes) => bytes.get(GRPC_PREFIX..).unwrap_or_default(),
        }
    }

    /// The length of the protobuf message in bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether the message has no bytes: a valid, empty request.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A body as a peer compressed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// How.
    pub encoding: Encoding,
    /// The compressed message, without any gRPC prefix.
    pub bytes: Bytes,
}

/// The compressions that can be passed on as they arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// RFC 1952; may have several members.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The token in `grpc-encoding` and `content-encoding`.
    pub fn token(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }
}

/// Whoever takes export requests from a receiver.
pub trait Consume: Clone + Send + Sync + 'static {
    /// Takes the request into every queue it goes to, or refuses it as a whole. `Ok` is a promise: the request is
    /// where the user chose to keep it. It tells how many items the request holds: receivers do not count them, so
    /// `payload.items` is 0 when it comes.
    ///
    /// The future is dropped when the sender hangs up; at each `await` the request must be either taken or not.
    fn consume(&self, payload: Payload) -> impl Future<Output = Result<usize, NotTaken>> + Send;

    /// Whether some pipeline takes this signal; a receiver does not offer the others.
    fn takes(&self, signal: Signal) -> bool;
}

/// A request that was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct NotTaken {
    /// Why.
    pub why: Refused,
    /// How many items it holds; 0 if it cannot be read.
    pub items: usize,
}

impl From<Malformed> for NotTaken {
    fn from(malformed: Malformed) -> Self {
        NotTaken { why: Refused::Malformed(malformed), items: 0 }
    }
}

/// Why a request was not taken. Each variant is a fact; what it means in gRPC and HTTP is `receiver::respond`'s matter.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The bytes are not an export request.
    #[error("malformed protobuf: {0}")]
    Malformed(#[from] Malformed),
    /// With what was added to it, the request has no room in the memory budget; the sender may come back.
    #[error("too many bytes of requests are in memory, try again")]
    OverBudget {
        /// When room is to be expected.
        retry_after: Duration,
    },
    /// A queue has no room; the sender may come back.
    #[error("the sending queue of exporter {exporter} is full")]
    QueueFull {
        /// Whose queue.
        exporter: ComponentId,
        /// When room is to be expected.
        retry_after: Duration,
    },
    /// The request is larger than the queue can ever hold.
    #[error(
        "the request of {size} {unit} is larger than the sending queue of exporter {exporter} ({capacity})"
    )]
    LargerThanQueue {
        /// Whose queue.
        exporter: ComponentId,
        /// What the request takes, in units of the queue's sizer.
        size: usize,
        /// What the queue holds at most.
        capacity: usize,
        /// `requests`, `items` or `bytes`.
        unit: &'static str,
    },
    /// A queue on disk could not take it now; the sender may come back.
    #[error("the sending queue of exporter {exporter} takes nothing: {reason}")]
    StorageUnavailable {
        /// Whose queue.
        exporter: ComponentId,
        /// When to come back.
        retry_after: Duration,
        /// What went wrong.
        reason: String,
    },
    /// An exporter without a sending queue could not deliver the request now; the sender may come back.
    #[error("exporter {exporter} cannot reach its backend: {reason}")]
    BackendUnavailable {
        /// Whose backend.
        exporter: ComponentId,
        /// When to come back: what the backend asked for, else the exporter's own next wait.
        retry_after: Duration,
        /// What went wrong, bounded, without anything of the request.
        reason: String,
    },
    /// The backend of an exporter without a sending queue refused the request for good.
    #[error("the backend of exporter {exporter} refused the request: {reason}")]
    BackendRefused {
        /// Whose backend.
        exporter: ComponentId,
        /// What the backend said, bounded, without anything of the request.
        reason: String,
    },
    /// The collector takes nothing more.
    #[error("the collector is shutting down")]
    ShuttingDown,
}
