//! Queues on disk that nobody sends from any more: their exporter or signal has left the configuration.

use super::cursor::{self, Found};
use super::record::{self, Header};
use super::recovery;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A queue that nobody sends from.
#[derive(Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Where it is.
    pub directory: PathBuf,
    /// Records that have yet to be sent, as far as they can be understood.
    pub records: u64,
    /// The spans, log records or data points in them.
    pub items: u64,
    /// What its files take.
    pub bytes: u64,
}

/// The queues in a storage's directory that hold something and are not among those in use. Nothing is changed; what cannot
/// be read is passed over.
pub fn orphans(storage: &Path, in_use: &BTreeSet<PathBuf>) -> Vec<Orphan> {
    let exporters = directories(storage);
    let queues = exporters.iter().flat_map(|exporter| directories(exporter));
    let unused = queues.filter(|queue| !in_use.contains(queue));
    unused.filter_map(|queue| look(&queue).ok()).filter(|orphan| orphan.records > 0).collect()
}

fn directories(within: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    let mut directories: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    directories.sort();
    directories
}

fn look(queue: &Path) -> io::Result<Orphan> {
    let left = match cursor::read(queue)? {
        Found::Cursor(cursor) => cursor.left,
        Found::Nothing | Found::Damaged => 0,
    };
    let mut orphan = Orphan { directory: queue.to_owned(), records: 0, items: 0, bytes: 0 };
    for path in recovery::segments(queue)?.into_values() {
        let file = File::open(&path)?;
        let len = file.metadata()?.len();
        orphan.bytes = orphan.bytes.saturating_add(len);
        let (mut offset, mut bytes) = (0, [0; record::LEN]);
        while len.saturating_sub(offset) >= record::LEN as u64 {
            file.read_exact_at(&mut bytes, offset)?;
            let Some(header) = Header::decode(&bytes) else { break };
            if header.sequence >= left {
                orphan.records = orphan.records.saturating_add(1);
                orphan.items = orphan.items.saturating_add(u64::from(header.items));
            }
            offset = offset.saturating_add(header.record_len());
        }
    }
    Ok(orphan)
}
