//! The segments of a queue: appended to at one end, removed at the other. Everything here blocks on the disk.

use super::cursor::{self, Cursor, Window};
use super::lock::{Lock, OpenError};
use super::quarantine::{self, Damage};
use super::record::{self, Header};
use super::recovery::{self, Recovered};
use crate::payload::{Compressed, Payload};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How large it may become, and what acknowledged means.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A segment is closed at this size.
    pub segment: u64,
    /// All segments together.
    pub total: u64,
    /// Whether records are on the device before they are acknowledged.
    pub fsync: bool,
}

/// The log of a queue.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    limits: Limits,
    /// Held while the disk is written to; taken before the ledger.
    active: Mutex<Option<Active>>,
    ledger: Mutex<Ledger>,
    _lock: Lock,
}

/// The segment that grows.
#[derive(Debug)]
struct Active {
    first: u64,
    file: Arc<File>,
    len: u64,
}

#[derive(Debug)]
struct Ledger {
    segments: BTreeMap<u64, Segment>,
    window: Window,
    written_cursor: Option<Cursor>,
}

/// A file of records.
#[derive(Debug)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// How long.
    pub len: u64,
    /// How many of its records have yet to leave.
    pub live: u64,
}

/// Where a record is.
#[derive(Clone, Debug)]
pub struct Position {
    /// Its header.
    pub header: Header,
    /// The first sequence number of its segment.
    pub segment: u64,
    /// Its segment.
    pub file: Arc<File>,
    /// Where in it the header stands.
    pub offset: u64,
}

impl Position {
    /// Memory for what is stored there.
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.header.stored).unwrap_or(usize::MAX)]
    }
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no room; there will be when others have left.
    #[error("the queue on disk is full: its files take {size} of {limit} bytes")]
    Full {
        /// What is there.
        size: u64,
        /// What may be there.
        limit: u64,
    },
    /// There will never be room.
    #[error("the request takes {size} bytes on disk, more than the {limit} that all may take")]
    TooLarge {
        /// What it takes.
        size: u64,
        /// What all may take.
        limit: u64,
    },
    /// The operating system says no.
    #[error("writing failed: {0}")]
    Io(#[from] io::Error),
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not those that were written.
    #[error("the checksum is wrong")]
    Checksum,
}

impl Log {
    /// Opens the log in `directory`, which exists; waits up to `patience` for another process to let go of it.
    pub fn open(
        directory: &Path,
        limits: Limits,
        patience: Duration,
    ) -> Result<(Self, Vec<Position>, Vec<Damage>), OpenError> {
        let lock = Lock::take(directory, patience)?;
        let Recovered { segments, waiting, next, damages } = recovery::recover(directory)?;
        let window = Window::new(waiting.iter().map(|position| position.header.sequence), next);
        let log = Log {
            directory: directory.to_owned(),
            limits,
            active: Mutex::new(None),
            ledger: Mutex::new(Ledger { segments, window, written_cursor: None }),
            _lock: lock,
        };
        log.maintain().map_err(OpenError::at(directory))?;
        Ok((log, waiting, damages))
    }

    /// Appends requests, in this order; with `fsync` all of them are synced at once.
    pub fn append(&self, requests: &[Payload]) -> Vec<Result<Position, AppendError>> {
        let mut active = self.active.lock();
        let mut results: Vec<_> = requests.iter().map(|request| self.write(&mut active, request)).collect();
        if self.limits.fsync
            && let Err(error) = sync(&results)
        {
            // Nobody knows now what is on the device: this segment is not written to again.
            *active = None;
            for result in &mut results {
                let failed = Err(AppendError::Io(io::Error::new(error.kind(), error.to_string())));
                if let Ok(written) = std::mem::replace(result, failed) {
                    self.leave(&written);
                }
            }
        }
        results
    }

    /// The bytes of a record, read into its [`buffer`](Position::buffer).
    pub fn read(&self, position: &Position, mut bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let offset = position.offset.saturating_add(record::LEN as u64);
        position.file.read_exact_at(&mut bytes, offset)?;
        match crc32c::crc32c(&bytes) == position.header.checksum {
            true => Ok(bytes),
            false => Err(ReadError::Checksum),
        }
    }

    /// The record has left. To be said once.
    pub fn leave(&self, position: &Position) {
        let mut ledger = self.ledger.lock();
        ledger.window.leave(position.header.sequence);
        if let Some(segment) = ledger.segments.get_mut(&position.segment) {
            segment.live = segment.live.saturating_sub(1);
        }
    }

    /// Puts a record that cannot be read into quarantine; gives the file.
    pub fn set_aside(&self, position: &Position) -> io::Result<PathBuf> {
        let path = quarantine::path(&self.directory, position.segment, position.offset);
        let end = position.offset.saturating_add(position.header.record_len());
        quarantine::keep(&self.directory, &path, &position.file, position.offset..end)?;
        Ok(path)
    }

    /// Writes the cursor, and removes segments in which nothing waits.
    pub fn maintain(&self) -> io::Result<()> {
        let mut active = self.active.lock();
        self.shrink(&mut active, self.limits.segment.min(WORTH_REMOVING))
    }

    /// What all segments take, in bytes.
    pub fn size(&self) -> u64 {
        self.ledger.lock().size()
    }

    /// Removes segments in which nothing waits; the active one too, if it is at least so long.
    fn shrink(&self, active: &mut Option<Active>, worth: u64) -> io::Result<()> {
        let cursor = self.write_cursor();
        let mut ledger = self.ledger.lock();
        let in_use = active.as_ref().filter(|active| active.len < worth).map(|active| active.first);
        let is_done = |(first, segment): &(&u64, &Segment)| segment.live == 0 && Some(**first) != in_use;
        let done: Vec<u64> = ledger.segments.iter().filter(is_done).map(|(first, _)| *first).collect();
        for first in done {
            let Some(segment) = ledger.segments.get(&first) else { continue };
            match fs::remove_file(&segment.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            ledger.segments.remove(&first);
            active.take_if(|active| active.first == first);
        }
        cursor
    }

    fn write_cursor(&self) -> io::Result<()> {
        let (cursor, written) = {
            let ledger = self.ledger.lock();
            (Cursor { left: ledger.window.cursor(), free: ledger.window.next() }, ledger.written_cursor)
        };
        if written != Some(cursor) {
            cursor::write(&self.directory, cursor, self.limits.fsync)?;
            self.ledger.lock().written_cursor = Some(cursor);
        }
        Ok(())
    }

    fn write(&self, active: &mut Option<Active>, request: &Payload) -> Result<Position, AppendError> {
        let arrived = request.arrived.as_ref();
        let bytes = match arrived {
            Some(Compressed { bytes, .. }) => bytes.as_ref(),
            None => request.message.as_slice(),
        };
        let limit = self.limits.total;
        let size = bytes.len() as u64 + record::LEN as u64;
        let too_large = || AppendError::TooLarge { size, limit };
        if size > limit {
            return Err(too_large());
        }
        let header = Header {
            sequence: self.ledger.lock().window.next(),
            stored: u32::try_from(bytes.len()).map_err(|_| too_large())?,
            checksum: crc32c::crc32c(bytes),
            items: u32::try_from(request.items).map_err(|_| too_large())?,
            message: u32::try_from(request.message.len()).map_err(|_| too_large())?,
            encoding: arrived.map(|arrived| arrived.encoding),
        };
        self.make_room(active, size)?;
        let growing = self.segment_for(active, &header)?;
        let offset = growing.len;
        let written = growing.file.write_all_at(&header.encode(), offset);
        let written = written
            .and_then(|()| growing.file.write_all_at(bytes, offset.saturating_add(record::LEN as u64)));
        let (segment, file) = (growing.first, growing.file.clone());
        let mut ledger = self.ledger.lock();
        if let Err(error) = written {
            if file.set_len(offset).is_err() {
                // What stands there has taken the number.
                let sequence = ledger.window.give();
                ledger.window.leave(sequence);
                *active = None;
            }
            return Err(error.into());
        }
        growing.len = offset.saturating_add(size);
        ledger.window.give();
        if let Some(entry) = ledger.segments.get_mut(&segment) {
            entry.len = growing.len;
            entry.live = entry.live.saturating_add(1);
        }
        Ok(Position { header, segment, file, offset })
    }

    fn make_room(&self, active: &mut Option<Active>, needed: u64) -> Result<(), AppendError> {
        let limit = self.limits.total;
        if self.size().saturating_add(needed) <= limit {
            return Ok(());
        }
        // A cursor that cannot be written takes no room away.
        let _ = self.shrink(active, 0);
        let size = self.size();
        match size.saturating_add(needed) <= limit {
            true => Ok(()),
            false => Err(AppendError::Full { size, limit }),
        }
    }

    /// The segment that the record goes to.
    fn segment_for<'a>(
        &self,
        active: &'a mut Option<Active>,
        header: &Header,
    ) -> Result<&'a mut Active, AppendError> {
        let would_be = |active: &Active| active.len.saturating_add(header.record_len());
        active.take_if(|active| active.len > 0 && would_be(active) > self.limits.segment);
        match active {
            Some(active) => Ok(active),
            None => {
                let begun = self.begin(header.sequence)?;
                Ok(active.insert(begun))
            }
        }
    }

    fn begin(&self, first: u64) -> io::Result<Active> {
        let path = self.directory.join(recovery::name(first));
        let mut options = OpenOptions::new();
        // One that is there holds nothing: a number is given away with the first record.
        let file = options.create(true).truncate(true).read(true).write(true).mode(0o600).open(&path)?;
        if self.limits.fsync {
            File::open(&self.directory)?.sync_all()?;
        }
        self.ledger.lock().segments.insert(first, Segment { path, len: 0, live: 0 });
        Ok(Active { first, file: Arc::new(file), len: 0 })
    }
}

impl Ledger {
    fn size(&self) -> u64 {
        self.segments.values().map(|segment| segment.len).fold(0, u64::saturating_add)
    }
}

/// An empty queue keeps a file up to this size rather than making a new one for every request.
const WORTH_REMOVING: u64 = 256 << 10;

fn sync(written: &[Result<Position, AppendError>]) -> io::Result<()> {
    let mut synced = None;
    for position in written.iter().flatten() {
        if synced != Some(position.segment) {
            position.file.sync_data()?;
            synced = Some(position.segment);
        }
    }
    Ok(())
}
