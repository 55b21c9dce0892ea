//! The log against a model of it: whatever happens, what was written and has not left is there again.

use super::log::{AppendError, Log, Position};
use super::tests::{LIMITS, Opened, open, request};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    /// One of those that wait, from the front on.
    Leave(usize),
    Maintain,
    /// The process is killed; so many bytes at the end of the last segment never came to the disk.
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(0..600_usize, 1..4).prop_map(Step::Append),
        4 => (0..4_usize).prop_map(Step::Leave),
        1 => Just(Step::Maintain),
        1 => prop_oneof![Just(0), 0..900_u64].prop_map(Step::Crash),
    ]
}

/// What must be there.
#[derive(Default)]
struct Model {
    /// Every record that was ever written and that the disk has not lost, by its number.
    written: BTreeMap<u64, Written>,
}

struct Written {
    name: u8,
    length: usize,
    has_left: bool,
    end: (u64, u64),
}

struct Run<'a> {
    directory: &'a Path,
    opened: Option<Opened>,
    waiting: Vec<Position>,
    model: Model,
    names: u8,
}

impl Run<'_> {
    fn log(&self) -> &Log {
        &self.opened.as_ref().unwrap().log
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(lengths) => self.append(&lengths),
            Step::Leave(index) if index < self.waiting.len() => {
                let position = self.waiting.remove(index);
                self.log().leave(&position);
                self.model.written.get_mut(&position.header.sequence).unwrap().has_left = true;
            }
            Step::Leave(_) => {}
            Step::Maintain => self.log().maintain().unwrap(),
            Step::Crash(lost) => self.crash(lost),
        }
        assert!(self.log().size() <= LIMITS.total);
    }

    fn append(&mut self, lengths: &[usize]) {
        self.names = self.names.wrapping_add(1);
        let requests: Vec<_> = lengths.iter().map(|length| request(self.names, *length)).collect();
        for (result, length) in self.log().append(&requests).into_iter().zip(lengths) {
            let position = match result {
                Ok(position) => position,
                Err(AppendError::Full { size, .. }) => {
                    assert!(size + 40 + *length as u64 > LIMITS.total);
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let end = (position.segment, position.offset + position.header.record_len());
            let written = Written { name: self.names, length: *length, has_left: false, end };
            let earlier = self.model.written.insert(position.header.sequence, written);
            assert!(earlier.is_none(), "no number comes twice");
            self.waiting.push(position);
        }
    }

    fn crash(&mut self, lost: u64) {
        self.opened = None;
        let is_torn = self.tear(lost);
        let opened = open(self.directory, LIMITS);
        assert_eq!(!opened.damages.is_empty(), is_torn, "{:?}", opened.damages);
        let numbers: Vec<u64> = opened.waiting.iter().map(|position| position.header.sequence).collect();
        assert!(numbers.is_sorted());
        for (number, written) in &self.model.written {
            assert!(written.has_left || numbers.contains(number), "record {number} is lost");
        }
        for position in &opened.waiting {
            let written = self.model.written.get_mut(&position.header.sequence);
            let written = written.expect("what was never written is not found");
            assert_eq!(
                opened.log.read(position, position.buffer()).unwrap(),
                vec![written.name; written.length]
            );
            written.has_left = false;
        }
        self.waiting = opened.waiting.clone();
        self.opened = Some(opened);
    }

    /// Whether a record was torn, not only cut off.
    fn tear(&mut self, lost: u64) -> bool {
        let paths = fs::read_dir(self.directory).unwrap().map(|entry| entry.unwrap().path());
        let last = paths.filter(|path| path.extension().is_some_and(|e| e == "segment")).max();
        let Some(path) = last else { return false };
        let segment: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let length = path.metadata().unwrap().len().saturating_sub(lost);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        self.model.written.retain(|_, written| written.end.0 != segment || written.end.1 <= length);
        let ends = self.model.written.values().map(|written| written.end);
        length > 0 && !ends.filter(|end| end.0 == segment).any(|end| end.1 == length)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_and_has_not_left_survives_every_crash(steps in vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let opened = Some(open(directory.path(), LIMITS));
        let model = Model::default();
        let mut run = Run { directory: directory.path(), opened, waiting: Vec::new(), model, names: 0 };
        for step in steps {
            run.step(step);
        }
        run.crash(0);
    }

    #[test]
    fn whatever_stands_in_the_files_opening_them_is_not_fatal(
        records in vec(0..300_usize, 1..8),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path(), LIMITS);
        for length in &records {
            opened.log.append(&[request(1, *length)]).remove(0).unwrap();
        }
        drop(opened);
        for entry in fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            for (index, byte) in &damage {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            fs::write(&path, bytes).unwrap();
        }
        let opened = open(directory.path(), LIMITS);
        let sound = opened.waiting.iter().filter(|position| opened.log.read(position, position.buffer()).is_ok()).count() as u64;
        let damaged = opened.waiting.len() as u64 - sound;
        let told: u64 = opened.damages.iter().map(|damage| damage.records).sum();
        prop_assert!(sound + damaged + told >= 1);
        prop_assert!(sound as usize <= records.len());
        let next = opened.log.append(&[request(2, 10)]).remove(0).unwrap();
        prop_assert_eq!(opened.log.read(&next, next.buffer()).unwrap(), vec![2; 10]);
    }
}
