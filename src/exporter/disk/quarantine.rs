//! Bytes that cannot be understood are kept for whoever wants to look at them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const NAME: &str = "quarantine";
const CHUNK: usize = 256 << 10;

/// What was damaged.
#[derive(Debug)]
pub struct Damage {
    /// Where the bytes are now.
    pub kept: PathBuf,
    /// What it was.
    pub what: &'static str,
    /// How many records, as far as that can be known; at least one.
    pub records: u64,
    /// What was in them, as far as headers tell.
    pub items: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Whether an earlier process found it already.
    pub is_known: bool,
    /// Why the bytes could not be put there.
    pub error: Option<io::Error>,
}

/// The directory for the bytes, made when there is something to put into it.
pub fn directory(queue: &Path) -> io::Result<PathBuf> {
    let path = queue.join(NAME);
    DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    Ok(path)
}

/// Where a part of a segment goes.
pub fn path(queue: &Path, segment: u64, offset: u64) -> PathBuf {
    queue.join(NAME).join(format!("{segment:020}-{offset}.damaged"))
}

/// Copies a part of a segment to `path`; `false` if it is there already.
pub fn keep(queue: &Path, path: &Path, segment: &File, range: Range<u64>) -> io::Result<bool> {
    directory(queue)?;
    let length = range.end.saturating_sub(range.start);
    let mut file = match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let is_whole = path.metadata().is_ok_and(|there| there.len() == length);
            if is_whole {
                return Ok(false);
            }
            // Of a process that came to an end while it wrote this.
            OpenOptions::new().truncate(true).write(true).open(path)?
        }
        Err(error) => return Err(error),
    };
    let mut buffer = vec![0; CHUNK];
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(CHUNK).min(CHUNK);
        let chunk = buffer.get_mut(..left).unwrap_or_default();
        segment.read_exact_at(chunk, offset)?;
        file.write_all(chunk)?;
        offset += left as u64;
    }
    Ok(true)
}
