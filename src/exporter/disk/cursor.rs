//! How far everything has left: in memory record by record, on disk as one number.

use bytes::{Buf, BufMut};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

const NAME: &str = "cursor";
const TEMPORARY: &str = "cursor.new";
const MAGIC: [u8; 8] = *b"RCQCUR\0\x01";
const SUMMED: usize = 24;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Everything below this has left.
    pub left: u64,
    /// Everything from here on was free when this was written.
    pub free: u64,
}

/// What was found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A cursor.
    Cursor(Cursor),
    /// Something else.
    Damaged,
}

/// Reads the cursor in `directory`.
pub fn read(directory: &Path) -> io::Result<Found> {
    let bytes = match fs::read(directory.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    Ok(decode(&bytes).map_or(Found::Damaged, Found::Cursor))
}

/// Puts a damaged cursor out of the way.
pub fn set_aside(directory: &Path, into: &Path) -> io::Result<()> {
    fs::rename(directory.join(NAME), into)
}

/// Replaces the cursor in `directory`, as a whole or not at all.
pub fn write(directory: &Path, cursor: Cursor, fsync: bool) -> io::Result<()> {
    let temporary = directory.join(TEMPORARY);
    let mut file = File::create(&temporary)?;
    file.write_all(&encode(cursor))?;
    if fsync {
        file.sync_data()?;
    }
    fs::rename(&temporary, directory.join(NAME))
}

fn encode(cursor: Cursor) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.put_u64_le(cursor.left);
    bytes.put_u64_le(cursor.free);
    let checksum = crc32c::crc32c(&bytes);
    bytes.put_u32_le(checksum);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Cursor> {
    let (summed, mut checksum) = bytes.split_at_checked(SUMMED)?;
    let mut numbers = summed.strip_prefix(&MAGIC)?;
    let is_sound = checksum.len() == 4 && checksum.get_u32_le() == crc32c::crc32c(summed);
    is_sound.then(|| Cursor { left: numbers.get_u64_le(), free: numbers.get_u64_le() })
}

/// Which records have left, from the first on that has not.
#[derive(Debug, Default)]
pub struct Window {
    cursor: u64,
    /// Of the records from the cursor on.
    left: VecDeque<bool>,
}

impl Window {
    /// Everything below `next` has left, but for `waiting`, which ascends.
    pub fn new(waiting: impl IntoIterator<Item = u64>, next: u64) -> Self {
        let mut waiting = waiting.into_iter().peekable();
        let mut window = Window { cursor: waiting.peek().copied().unwrap_or(next), left: VecDeque::new() };
        for sequence in waiting {
            while window.next() < sequence {
                window.left.push_back(true);
            }
            window.left.push_back(false);
        }
        while window.next() < next {
            window.left.push_back(true);
        }
        window
    }

    /// Everything below this has left.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The sequence number that has not been given away yet.
    pub fn next(&self) -> u64 {
        self.cursor.saturating_add(self.left.len() as u64)
    }

    /// Gives away the next sequence number.
    pub fn give(&mut self) -> u64 {
        let next = self.next();
        self.left.push_back(false);
        next
    }

    /// The record has left.
    pub fn leave(&mut self, sequence: u64) {
        let index = sequence.checked_sub(self.cursor).and_then(|index| usize::try_from(index).ok());
        if let Some(left) = index.and_then(|index| self.left.get_mut(index)) {
            *left = true;
        }
        while self.left.front() == Some(&true) {
            self.left.pop_front();
            self.cursor = self.cursor.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stops_before_the_first_record_that_has_not_left() {
        let mut window = Window::new([3, 5], 8);
        assert_eq!((window.cursor(), window.next()), (3, 8));
        window.leave(5);
        assert_eq!(window.cursor(), 3);
        window.leave(3);
        assert_eq!((window.cursor(), window.next(), window.give()), (8, 8, 8));
        window.leave(8);
        window.leave(8);
        assert_eq!((window.cursor(), window.next()), (9, 9));
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), Found::Nothing);
        let cursor = Cursor { left: 77, free: 99 };
        write(directory.path(), cursor, true).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Found::Cursor(cursor));
        let bytes = encode(cursor);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!((decode(&damaged), decode(&bytes[..at])), (None, None));
        }
    }
}
