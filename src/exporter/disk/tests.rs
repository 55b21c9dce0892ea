//! The rules of recovery, the bound, and what happens when the disk does not take a record.

use super::cursor::Cursor;
use super::log::{AppendError, Limits, Log, Position, ReadError};
use super::quarantine::Damage;
use super::record::{self, Header};
use crate::otlp::Signal;
use crate::payload::{Message, Payload, Permit};
use crate::telemetry::spans::Caller;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) const LIMITS: Limits = Limits { segment: 1000, total: 10_000, fsync: false };

/// A request of so many bytes, which tell its name, with as many items.
pub(super) fn request(name: u8, length: usize) -> Payload {
    Payload {
        signal: Signal::Traces,
        message: Message::Bare(vec![name; length].into()),
        arrived: None,
        items: length,
        permit: Arc::new(Permit::default()),
        caller: Caller::default(),
    }
}

pub(super) struct Opened {
    pub log: Log,
    pub waiting: Vec<Position>,
    pub damages: Vec<Damage>,
}

pub(super) fn open(directory: &Path, limits: Limits) -> Opened {
    let (log, waiting, damages) = Log::open(directory, limits, Duration::ZERO).unwrap();
    Opened { log, waiting, damages }
}

impl Opened {
    fn append(&self, name: u8, length: usize) -> Position {
        self.log.append(&[request(name, length)]).remove(0).unwrap()
    }

    /// What waits: names, in order.
    fn names(&self) -> Vec<u8> {
        self.waiting.iter().map(|position| self.log.read(position, position.buffer()).unwrap()[0]).collect()
    }

    fn lost(&self) -> Vec<(&'static str, u64, u64, u64)> {
        self.damages.iter().map(|d| (d.what, d.records, d.items, d.bytes)).collect()
    }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    segments.sort();
    segments
}

fn size(directory: &Path) -> u64 {
    segments(directory).iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

const HEADER: u64 = record::LEN as u64;

#[test]
fn what_was_not_acknowledged_is_there_again_in_order_and_byte_by_byte() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let positions: Vec<_> = (0..20).map(|name| queue.append(name, 300)).collect();
    for left in [0, 1, 2, 3, 7, 12] {
        queue.log.leave(&positions[left]);
    }
    queue.log.maintain().unwrap();
    drop(queue);
    let queue = open(directory.path(), LIMITS);
    let is_there = |name: &u8| ![0, 1, 2, 3].contains(name);
    let mut expected: Vec<u8> = (0..20).filter(is_there).collect();
    // What left out of order may come again, unless it stood alone with others that left.
    let names = queue.names();
    expected.retain(|name| names.contains(name) || ![7, 12].contains(name));
    assert_eq!(names, expected);
    for position in &queue.waiting {
        let bytes = queue.log.read(position, position.buffer()).unwrap();
        assert_eq!((bytes.len(), position.header.items), (300, 300));
    }
    assert!(queue.damages.is_empty());
}

#[test]
fn rule_1_without_a_cursor_everything_that_is_found_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let first = queue.append(0, 10);
    queue.append(1, 10);
    queue.log.leave(&first);
    queue.log.maintain().unwrap();
    drop(queue);
    assert_eq!(open(directory.path(), LIMITS).names(), [1]);
    fs::remove_file(directory.path().join("cursor")).unwrap();
    let queue = open(directory.path(), LIMITS);
    assert_eq!((queue.names(), queue.damages.len()), (vec![0, 1], 0));
}

#[test]
fn rule_2_a_cursor_that_cannot_be_read_is_set_aside_and_everything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let first = queue.append(0, 10);
    queue.append(1, 10);
    queue.log.leave(&first);
    drop(queue);
    fs::write(directory.path().join("cursor"), "nonsense").unwrap();
    let queue = open(directory.path(), LIMITS);
    assert_eq!((queue.names(), queue.damages.len()), (vec![0, 1], 1));
    assert_eq!(fs::read(directory.path().join("quarantine/cursor.damaged")).unwrap(), b"nonsense");
}

#[test]
fn rule_3_a_torn_tail_is_set_aside_and_the_segment_ends_before_it() {
    for cut in [1, 99, 100, 101, 139] {
        let directory = tempfile::tempdir().unwrap();
        let queue = open(directory.path(), LIMITS);
        queue.append(0, 100);
        queue.append(1, 100);
        drop(queue);
        let path = &segments(directory.path())[0];
        let torn = 2 * (HEADER + 100) - cut;
        OpenOptions::new().write(true).open(path).unwrap().set_len(torn).unwrap();

        let queue = open(directory.path(), LIMITS);
        let items = if cut <= 100 { 100 } else { 0 };
        assert_eq!(queue.names(), [0], "{cut}");
        assert_eq!(queue.lost(), [("the end of a segment", 1, items, HEADER + 100 - cut)]);
        assert_eq!(fs::read(&queue.damages[0].kept).unwrap().len() as u64, HEADER + 100 - cut);
        assert_eq!(path.metadata().unwrap().len(), HEADER + 100);
        // It is over with that.
        let next = queue.append(2, 100);
        assert!(next.header.sequence >= 1);
        drop(queue);
        let queue = open(directory.path(), LIMITS);
        assert_eq!((queue.names(), queue.damages.len()), (vec![0, 2], 0));
    }
}

#[test]
fn rule_4_what_follows_a_damaged_header_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    for name in 0..5 {
        queue.append(name, 100);
    }
    drop(queue);
    let path = &segments(directory.path())[0];
    overwrite(path, HEADER + 100 + 10, &[0xff; 4]);
    overwrite(path, 2 * (HEADER + 100), b"RCQ\x02");
    for again in [false, true] {
        let queue = open(directory.path(), LIMITS);
        assert_eq!(queue.names(), [0, 3, 4]);
        assert_eq!(queue.lost(), [("a record with a damaged header", 2, 0, 2 * (HEADER + 100))]);
        assert_eq!(queue.damages[0].is_known, again, "what is found again counts once");
        let kept = fs::read(&queue.damages[0].kept).unwrap();
        assert_eq!((kept[HEADER as usize], kept[kept.len() - 1]), (1, 2), "the very bytes are kept");
    }
}

#[test]
fn rule_4_a_record_inside_of_a_request_is_not_taken_for_one_with_an_impossible_number() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let forged =
        Header { sequence: 1 << 60, stored: 4, checksum: 0, items: 9, message: 4, encoding: None }.encode();
    let mut hostile = request(0, 0);
    hostile.message = Message::Bare([&[7; 50][..], &forged, &[7; 50]].concat().into());
    queue.log.append(&[hostile]).remove(0).unwrap();
    queue.append(1, 10);
    drop(queue);
    overwrite(&segments(directory.path())[0], 20, &[0xff]);
    let queue = open(directory.path(), LIMITS);
    assert_eq!(queue.names(), [1]);
}

#[test]
fn rule_5_a_damaged_request_is_found_when_it_is_read_and_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let (first, second) = (queue.append(0, 100), queue.append(1, 100));
    overwrite(&segments(directory.path())[0], HEADER + 50, b"?");
    assert!(matches!(queue.log.read(&first, first.buffer()), Err(ReadError::Checksum)));
    assert_eq!(queue.log.read(&second, second.buffer()).unwrap(), [1; 100]);
    let kept = fs::read(queue.log.set_aside(&first).unwrap()).unwrap();
    assert_eq!((kept.len(), kept[HEADER as usize + 50]), (140, b'?'));
    // Doing it again does no harm.
    queue.log.set_aside(&first).unwrap();
}

#[test]
fn rule_6_segments_without_anything_to_send_are_removed_and_foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let positions: Vec<_> = (0..10).map(|name| queue.append(name, 400)).collect();
    positions.iter().take(9).for_each(|position| queue.log.leave(position));
    fs::write(directory.path().join("1.segment"), "mine").unwrap();
    fs::write(directory.path().join("notes"), "mine").unwrap();
    // As after a kill: the cursor is written, but no segment is removed.
    super::cursor::write(directory.path(), Cursor { left: 9, free: 10 }, false).unwrap();
    assert_eq!(segments(directory.path()).len(), 6);
    drop(queue);
    let queue = open(directory.path(), LIMITS);
    assert_eq!(queue.names(), [9]);
    assert_eq!(segments(directory.path()).len(), 2);
    assert_eq!(fs::read(directory.path().join("1.segment")).unwrap(), b"mine");
}

#[test]
fn rule_7_what_cannot_be_set_aside_stays_and_is_looked_at_again() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    queue.append(0, 100);
    drop(queue);
    let path = &segments(directory.path())[0];
    OpenOptions::new().write(true).open(path).unwrap().set_len(77).unwrap();
    // There can be no directory of that name now.
    fs::write(directory.path().join("quarantine"), "").unwrap();
    let queue = open(directory.path(), LIMITS);
    assert!(queue.damages[0].error.is_some() && queue.waiting.is_empty());
    assert_eq!(path.metadata().unwrap().len(), 77);
    queue.append(1, 100);
    drop(queue);
    fs::remove_file(directory.path().join("quarantine")).unwrap();
    let queue = open(directory.path(), LIMITS);
    assert_eq!((queue.names(), queue.damages.len()), (vec![1], 1));
    assert!(queue.damages[0].error.is_none() && !path.exists());
}

#[test]
fn a_second_one_who_opens_the_same_queue_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), LIMITS);
    let error = Log::open(directory.path(), LIMITS, Duration::from_millis(30)).unwrap_err();
    assert!(error.to_string().contains("is used by another process"), "{error}");
    drop(queue);
    open(directory.path(), LIMITS);
}

#[test]
fn the_size_is_bounded_and_shrinks_again() {
    for fsync in [false, true] {
        let limits = Limits { fsync, ..LIMITS };
        let directory = tempfile::tempdir().unwrap();
        let queue = open(directory.path(), limits);
        for _ in 0..3 {
            let mut positions = Vec::new();
            let error = loop {
                match queue.log.append(&[request(1, 200)]).remove(0) {
                    Ok(position) => positions.push(position),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, AppendError::Full { limit: 10_000, .. }), "{error}");
            assert_eq!(size(directory.path()), queue.log.size());
            assert!((9_760..=10_000).contains(&queue.log.size()), "{}", queue.log.size());
            // One segment is free when all its records have left, without anybody tidying up.
            positions.drain(..4).for_each(|position| queue.log.leave(&position));
            positions.push(queue.append(2, 200));
            assert!(size(directory.path()) < 9_760);
            positions.iter().for_each(|position| queue.log.leave(position));
            queue.log.maintain().unwrap();
            assert!(size(directory.path()) < 1000, "{}", size(directory.path()));
        }
        let error = queue.log.append(&[request(1, 9_961)]).remove(0).unwrap_err();
        assert!(matches!(error, AppendError::TooLarge { size: 10_001, .. }), "{error}");
        queue.append(3, 9_960);
        assert_eq!(queue.log.size(), 10_000, "it takes all the room, in a segment for itself");
    }
}

#[test]
fn an_empty_queue_takes_no_room_worth_telling() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { segment: 1 << 20, total: 10 << 20, fsync: false };
    let queue = open(directory.path(), limits);
    let position = queue.append(0, 400_000);
    queue.log.maintain().unwrap();
    assert_eq!(segments(directory.path()).len(), 1);
    queue.log.leave(&position);
    queue.log.maintain().unwrap();
    assert_eq!(segments(directory.path()), [] as [PathBuf; 0]);
    queue.append(1, 10);
    drop(queue);
    assert_eq!(open(directory.path(), limits).names(), [1]);
}

#[test]
fn a_disk_that_fails_takes_nothing_and_works_again_when_it_works() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue");
    fs::create_dir(&path).unwrap();
    let queue = open(&path, LIMITS);
    let away = directory.path().join("away");
    fs::rename(&path, &away).unwrap();
    let error = queue.log.append(&[request(0, 100)]).remove(0).unwrap_err();
    assert!(matches!(error, AppendError::Io(_)), "{error}");
    assert_eq!(queue.log.size(), 0, "nothing is reserved for what was refused");
    fs::rename(&away, &path).unwrap();
    assert_eq!(queue.append(1, 100).header.sequence, 0);
    queue.log.maintain().unwrap();
    drop(queue);
    assert_eq!(open(&path, LIMITS).names(), [1]);
}

#[test]
fn what_is_written_together_is_in_order_and_each_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let queue = open(directory.path(), Limits { fsync: true, ..LIMITS });
    let requests = [request(0, 700), request(1, 20_000), request(2, 700), request(3, 0), request(4, 9)];
    let results = queue.log.append(&requests);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true, true]);
    drop((results, queue));
    let queue = open(directory.path(), LIMITS);
    let lengths: Vec<_> = queue.waiting.iter().map(|position| position.header.stored).collect();
    assert_eq!(lengths, [700, 700, 0, 9]);
}
