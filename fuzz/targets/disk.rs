//! The queue on disk after damage: a queue is written, its files are changed as the input says, and it is opened again.
//! Whatever was damaged, it opens; what it gives out was once put in, unchanged, in order and not twice; everything
//! before the damage is there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::FileStorage;
use refusal_collector::exporter::disk::{Place, Restored, Store};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Message, Payload, Permit};
use refusal_collector::telemetry::own::Own;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime starts"));

/// A record on disk is this and the request.
const HEADER: usize = 40;

fuzz_target!(|input: &[u8]| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(parent).expect("a directory");
    RUNTIME.block_on(check(directory.path(), input));
});

async fn check(directory: &Path, input: &[u8]) {
    let (sizes, damages) = input.split_at(input.len().min(6));
    let written: Vec<Vec<u8>> =
        sizes.iter().zip(b'a'..).map(|(size, name)| vec![name; usize::from(size % 64) + 1]).collect();
    let queue = open(directory);
    for content in &written {
        let mut ticket = queue.store.write(payload(content)).await.expect("the disk takes it");
        ticket.publish();
    }
    queue.store.close().await;
    drop(queue);

    let intact = damage(directory, damages);
    let mut sound = 0;
    let mut ends = written.iter().scan(0, |end, content| {
        *end += HEADER + content.len();
        Some(*end)
    });
    while ends.next().is_some_and(|end| end <= intact) {
        sound += 1;
    }

    let found = contents(&open(directory)).await;
    let mut rest = written.iter();
    for content in &found {
        assert!(rest.any(|one| one == content), "{content:?} was not put in, or not there");
    }
    assert!(found.starts_with(&written[..sound]), "{sound} requests before the damage, {found:?}");
    let again = contents(&open(directory)).await;
    assert_eq!(again, found, "opened a second time");
}

fn open(directory: &Path) -> Restored {
    let exporter = ComponentId::new("otlp_grpc");
    let storage = FileStorage { directory: directory.to_owned(), ..FileStorage::default() };
    let account = Own::new().exporter(&exporter, Signal::Traces);
    Store::open(Place { storage, exporter, signal: Signal::Traces }, &account)
        .expect("nothing that is found is fatal")
}

fn payload(content: &[u8]) -> Payload {
    let message = Message::Bare(content.to_vec().into());
    Payload {
        signal: Signal::Traces,
        message,
        arrived: None,
        items: 1,
        permit: Arc::new(Permit::default()),
        caller: Default::default(),
    }
}

async fn contents(queue: &Restored) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for ticket in &queue.tickets {
        if let Ok(payload) = ticket.read().await {
            contents.push(payload.message.as_slice().to_vec());
        }
    }
    contents
}

/// Changes the files; tells how many bytes at the start of the segment are as they were.
fn damage(directory: &Path, damages: &[u8]) -> usize {
    let queue = directory.join("otlp_grpc/traces");
    let segment = segment(&queue);
    let mut bytes = segment.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let mut intact = bytes.len();
    let mut steps = damages;
    while let Some(([what, at, value], rest)) = steps.split_first_chunk() {
        steps = rest;
        let at = (usize::from(*at) << 2 | usize::from(what >> 6)) % (bytes.len() + 1);
        match what % 8 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *value),
            2 => bytes.extend(std::iter::repeat_n(*value, at)),
            3 => {
                let copy = bytes[..at].to_vec();
                bytes.extend(copy);
                // What was there is as it was.
                continue;
            }
            4 => {
                let _ = fs::write(queue.join("cursor"), &damages[..at.min(damages.len())]);
                continue;
            }
            5 => {
                let _ = fs::remove_file(queue.join("cursor"));
                continue;
            }
            6 if at < bytes.len() => drop(bytes.drain(at..(at + usize::from(*value)).min(bytes.len()))),
            _ if at < bytes.len() => bytes[at] ^= value,
            _ => continue,
        }
        intact = intact.min(at);
    }
    if let Some(segment) = segment {
        fs::write(segment, bytes).expect("it was there");
    }
    intact
}

fn segment(queue: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(queue).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| path.extension().is_some_and(|extension| extension == "segment"))
}
