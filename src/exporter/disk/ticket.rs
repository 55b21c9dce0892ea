//! A request in the queue on disk, as memory knows it.

use super::log::{Position, ReadError};
use super::record::Header;
use super::store::Store;
use crate::payload::{Compressed, Encoding, Message, Payload};
use crate::telemetry::own::Amount;
use crate::telemetry::spans::Caller;
use bytes::Bytes;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// A request on disk. Dropped, it has left if it was never [published](Self::publish), and stays for the next process if it
/// was.
#[derive(Debug)]
pub struct Ticket {
    store: Arc<Store>,
    position: Position,
    when_dropped: WhenDropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenDropped {
    Leave,
    Stay,
}

/// A request that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was damaged, and is in quarantine.
    #[error("a record is damaged ({why}); it is kept in {}", kept.display())]
    SetAside {
        /// Where.
        kept: PathBuf,
        /// What was wrong with it.
        why: String,
    },
    /// It cannot be read now, or not be put into quarantine: it stays where it is.
    #[error("a record cannot be read ({why}); it stays where it is: {error}")]
    Stuck {
        /// What was wrong with it.
        why: String,
        /// What prevents that.
        error: io::Error,
    },
}

impl Ticket {
    /// Written, and not promised to anybody.
    pub(super) fn written(store: Arc<Store>, position: Position) -> Self {
        Ticket { store, position, when_dropped: WhenDropped::Leave }
    }

    /// Promised by an earlier process.
    pub(super) fn restored(store: Arc<Store>, position: Position) -> Self {
        Ticket { store, position, when_dropped: WhenDropped::Stay }
    }

    /// What it is in the account.
    pub fn amount(&self) -> Amount {
        let header = &self.position.header;
        Amount { requests: 1, items: u64::from(header.items), bytes: u64::from(header.message) }
    }

    /// Its sender is told that it was taken.
    pub fn publish(&mut self) {
        self.when_dropped = WhenDropped::Stay;
    }

    /// It is where it should go, or is given up.
    pub fn leave(mut self) {
        self.when_dropped = WhenDropped::Leave;
    }

    /// The bytes that it takes up once it is read: the message, and beside it what is stored if that is compressed.
    pub fn len_in_memory(&self) -> usize {
        let header = &self.position.header;
        let stored = header.encoding.map_or(0, |_| header.stored);
        usize::try_from(u64::from(header.message).saturating_add(u64::from(stored))).unwrap_or(usize::MAX)
    }

    /// How it is compressed, if it is.
    pub fn encoding(&self) -> Option<Encoding> {
        self.position.header.encoding
    }

    /// Reads the request. Whoever asks has its memory.
    pub async fn read(&self) -> Result<Payload, Unreadable> {
        let (store, position) = (self.store.clone(), self.position.clone());
        let buffers = Buffers::new(&position);
        let read = move || match read(&store, &position, buffers) {
            Ok(content) => Ok(content),
            Err(error) => Err(match store.log().set_aside(&position) {
                Ok(kept) => Unreadable::SetAside { kept, why: error.to_string() },
                Err(stuck) => Unreadable::Stuck { why: error.to_string(), error: stuck },
            }),
        };
        let content = tokio::task::spawn_blocking(read).await;
        let content = content.map_err(|error| Unreadable::Stuck {
            why: "the process is ending".to_owned(),
            error: io::Error::other(error),
        })?;
        let (message, arrived) = content?;
        Ok(Payload {
            signal: self.store.signal(),
            message: Message::Bare(message),
            arrived,
            items: usize::try_from(self.position.header.items).unwrap_or(usize::MAX),
            permit: Arc::default(),
            // A trace does not outlast the process, and a request may.
            caller: Caller::default(),
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.when_dropped == WhenDropped::Leave {
            self.store.leave(&self.position);
        }
    }
}

/// The memory for a request, made where it will be given back: allocators keep what another thread gives back for the
/// thread that made it, and threads for blocking work come and go.
struct Buffers {
    stored: Vec<u8>,
    message: Vec<u8>,
}

impl Buffers {
    fn new(position: &Position) -> Self {
        let Header { encoding, message, .. } = position.header;
        let len = usize::try_from(message).unwrap_or(usize::MAX).saturating_add(1);
        let message = encoding.map(|_| Vec::with_capacity(len)).unwrap_or_default();
        Buffers { stored: position.buffer(), message }
    }
}

fn read(
    store: &Store,
    position: &Position,
    buffers: Buffers,
) -> Result<(Bytes, Option<Compressed>), ReadError> {
    let bytes = Bytes::from(store.log().read(position, buffers.stored)?);
    let Some(encoding) = position.header.encoding else { return Ok((bytes, None)) };
    let message = inflate(encoding, &bytes, position.header.message, buffers.message)?;
    Ok((message.into(), Some(Compressed { encoding, bytes })))
}

fn inflate(encoding: Encoding, bytes: &[u8], length: u32, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
    let expected = usize::try_from(length).unwrap_or(usize::MAX);
    let most = u64::from(length) + 1;
    match encoding {
        Encoding::Gzip => flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut message)?,
        Encoding::Zstd => zstd::stream::read::Decoder::new(bytes)?.take(most).read_to_end(&mut message)?,
    };
    match message.len() == expected {
        true => Ok(message),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not inflate to its length")),
    }
}
