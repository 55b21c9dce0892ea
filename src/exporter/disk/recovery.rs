//! What an earlier process left: reads the segments of a queue and sets aside what cannot be understood.

use super::cursor::{self, Cursor, Found};
use super::lock::OpenError;
use super::log::{Position, Segment};
use super::quarantine::{self, Damage};
use super::record::{self, Header};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The segments, by their first sequence number.
    pub segments: BTreeMap<u64, Segment>,
    /// What has yet to leave, in order.
    pub waiting: Vec<Position>,
    /// The first sequence number that is free.
    pub next: u64,
    /// What was damaged.
    pub damages: Vec<Damage>,
}

/// Reads the queue in `directory`, which is locked.
pub fn recover(directory: &Path) -> Result<Recovered, OpenError> {
    let mut recovered = Recovered::default();
    let Cursor { left: cursor, free } = recovered.cursor(directory)?;
    let mut next = 0;
    for (first, path) in segments(directory).map_err(OpenError::at(directory))? {
        let failed = || OpenError::at(&path);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed())?;
        let len = file.metadata().map_err(failed())?.len();
        next = first.max(next);
        let mut scan = Scan { directory, first, file: Arc::new(file), len, offset: 0, next, cursor, live: 0 };
        scan.run(&mut recovered).map_err(failed())?;
        next = scan.next;
        recovered.segments.insert(first, Segment { path, len: scan.len, live: scan.live });
    }
    recovered.next = next.max(cursor).max(free);
    Ok(recovered)
}

/// `<first sequence number>.segment`.
pub fn name(first: u64) -> String {
    format!("{first:020}.{EXTENSION}")
}

const EXTENSION: &str = "segment";

/// The segments in a directory, by their first sequence number.
pub fn segments(directory: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let named = number.filter(|first| path.file_name() == Some(name(*first).as_ref()));
        segments.extend(named.map(|first| (first, path)));
    }
    Ok(segments)
}

impl Recovered {
    fn cursor(&mut self, directory: &Path) -> Result<Cursor, OpenError> {
        match cursor::read(directory).map_err(OpenError::at(directory))? {
            Found::Nothing => Ok(Cursor::default()),
            Found::Cursor(cursor) => Ok(cursor),
            Found::Damaged => {
                let kept = directory.join("quarantine").join("cursor.damaged");
                let error =
                    quarantine::directory(directory).and_then(|_| cursor::set_aside(directory, &kept)).err();
                let what = "the cursor; everything that is on disk is sent again";
                self.damages.push(Damage {
                    kept,
                    what,
                    records: 0,
                    items: 0,
                    bytes: 0,
                    is_known: false,
                    error,
                });
                Ok(Cursor::default())
            }
        }
    }
}

/// On the way through a segment.
struct Scan<'a> {
    directory: &'a Path,
    first: u64,
    file: Arc<File>,
    len: u64,
    offset: u64,
    /// The least sequence number that the next record can have.
    next: u64,
    cursor: u64,
    live: u64,
}

impl Scan<'_> {
    fn run(&mut self, recovered: &mut Recovered) -> io::Result<()> {
        while self.offset < self.len {
            match self.header_at(self.offset)? {
                Some(header) if self.is_possible(&header, 0) => self.record(header, recovered),
                _ => self.lost(recovered)?,
            }
        }
        Ok(())
    }

    fn record(&mut self, header: Header, recovered: &mut Recovered) {
        let end = self.offset.saturating_add(header.record_len());
        if end > self.len {
            self.next = header.sequence + 1;
            let items = if header.sequence < self.cursor { 0 } else { u64::from(header.items) };
            self.tail(1, items, recovered);
            return;
        }
        if header.sequence >= self.cursor {
            let (file, segment, offset) = (self.file.clone(), self.first, self.offset);
            recovered.waiting.push(Position { header, segment, file, offset });
            self.live += 1;
        }
        self.next = header.sequence + 1;
        self.offset = end;
    }

    /// There should be a header, and there is none.
    fn lost(&mut self, recovered: &mut Recovered) -> io::Result<()> {
        match self.next_header()? {
            None => self.tail(1, 0, recovered),
            Some((offset, header)) => {
                let records = header.sequence.saturating_sub(self.next).max(1);
                let range = self.offset..offset;
                if !self.set_aside("a record with a damaged header", range, records, 0, recovered) {
                    self.live += 1; // Its segment stays.
                }
                self.offset = offset;
                self.next = header.sequence;
            }
        }
        Ok(())
    }

    /// The rest of the segment is of no use.
    fn tail(&mut self, records: u64, items: u64, recovered: &mut Recovered) {
        let range = self.offset..self.len;
        let is_kept = self.set_aside("the end of a segment", range, records, items, recovered);
        if is_kept && self.file.set_len(self.offset).is_ok() {
            self.len = self.offset;
        } else if !is_kept {
            self.live += 1;
        }
        self.offset = self.len;
    }

    fn set_aside(
        &self,
        what: &'static str,
        range: Range<u64>,
        records: u64,
        items: u64,
        recovered: &mut Recovered,
    ) -> bool {
        let kept = quarantine::path(self.directory, self.first, range.start);
        let bytes = range.end - range.start;
        let result = quarantine::keep(self.directory, &kept, &self.file, range);
        let is_known = matches!(result, Ok(false));
        let error = result.err();
        let is_kept = error.is_none();
        recovered.damages.push(Damage { kept, what, records, items, bytes, is_known, error });
        is_kept
    }

    /// Within a segment numbers ascend by one, and so many bytes cannot have held more than so many records.
    fn is_possible(&self, header: &Header, skipped: u64) -> bool {
        let most = self.next.saturating_add(skipped / record::LEN as u64);
        (self.next..=most).contains(&header.sequence)
    }

    fn header_at(&self, offset: u64) -> io::Result<Option<Header>> {
        if self.len.saturating_sub(offset) < record::LEN as u64 {
            return Ok(None);
        }
        let mut bytes = [0; record::LEN];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Header::decode(&bytes))
    }

    fn next_header(&self) -> io::Result<Option<(u64, Header)>> {
        let mut buffer = vec![0; CHUNK];
        let mut start = self.offset.saturating_add(1);
        while self.len.saturating_sub(start) >= record::LEN as u64 {
            let left = usize::try_from(self.len - start).unwrap_or(CHUNK).min(CHUNK);
            let chunk = buffer.get_mut(..left).unwrap_or_default();
            self.file.read_exact_at(chunk, start)?;
            for found in memchr::memmem::find_iter(chunk, &record::MAGIC) {
                let offset = start + found as u64;
                if let Some(header) = self.header_at(offset)?
                    && self.is_possible(&header, offset - self.offset)
                {
                    return Ok(Some((offset, header)));
                }
            }
            // A magic number may stand across the border.
            start += (left - (record::MAGIC.len() - 1)) as u64;
        }
        Ok(None)
    }
}

const CHUNK: usize = 1 << 20;
