//! Whatever an answer holds, reading it takes bounded memory. One test alone, because it measures the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use refusal_collector::refusal::answer::{Answer, Reader};

/// What the process has ever occupied, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Feeds each of `readers` with `head`, then `piece` so many times.
fn feed(readers: usize, head: &str, piece: &str, times: usize) -> Vec<Reader> {
    let mut all: Vec<_> = (0..readers).map(|_| Reader::new()).collect();
    for reader in &mut all {
        reader.feed(head.as_bytes());
        for _ in 0..times {
            reader.feed(piece.as_bytes());
        }
    }
    all
}

#[test]
fn hostile_answers_are_read_in_bounded_memory() {
    const READERS: usize = 400;
    const STATE: usize = 16 * 1024;
    let long = "x".repeat(1 << 20);
    let word = "w".repeat(300);
    let opened = format!(
        "{{\"id\":\"{word}\",\"model\":\"{word}\",\"code\":\"{word}\",\"status\":\"{word}\",\"message\":\"{word}{word}\",\"x\":"
    );

    let before = peak();
    // 16 MiB in one string, in one number, in one key, after one backslash.
    for head in [
        "{\"text\":\"",
        "{\"content\":\"",
        "{\"a\":1",
        "{\"",
        "data: {\"delta\":\"",
        "\"",
        "{\"error\":\"",
        "<",
    ] {
        drop(feed(1, head, &long, 16));
    }
    // Hundreds of thousands of keys, levels, values and events.
    for (head, piece) in [
        ("{", "\"k\":1,"),
        ("", "["),
        ("", "{\"a\":"),
        ("[", "1,"),
        ("", "data: {\"a\":1}\n\n"),
        ("", "{\"a\":1}\n"),
    ] {
        drop(feed(1, head, piece, 200_000));
    }
    let streamed = peak() - before;
    assert!(streamed < 2 << 20, "{streamed} bytes more for one answer at a time");

    // Many at once, each with as much state as can be made.
    let before = peak();
    let mut all = feed(READERS, "", &opened, 150);
    for (n, reader) in all.iter_mut().enumerate() {
        for i in 0..40 {
            reader.feed(
                format!(
                    "{{\"stop_reason\":\"{word}{n}{i}\",\"stop_details\":{{\"category\":\"{i}{word}\"}}}},"
                )
                .as_bytes(),
            );
        }
    }
    let mut lists = feed(READERS, "[", "", 0);
    for (n, reader) in lists.iter_mut().enumerate() {
        for i in 0..40 {
            reader.feed(
                format!(
                    "{{\"stop_reason\":\"{i}{n}{word}\",\"stop_details\":{{\"category\":\"{i}{word}\"}}}},"
                )
                .as_bytes(),
            );
        }
        reader.feed(b"\"{\\\"error\\\":{\\\"message\\\":\\\"");
        reader.feed(long.get(..1000).unwrap().as_bytes());
    }
    let state = (peak() - before) / (2 * READERS);
    assert!(state <= STATE, "{state} bytes a reader");

    let answers: Vec<Answer> = lists.into_iter().map(Reader::finish).collect();
    assert!(answers.iter().all(|answer| answer.stops.len() == 8 && answer.categories.len() == 16));
}
