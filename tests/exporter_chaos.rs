//! A backend that does whatever it likes. In the end every item is where the account says that it is.
//!
//! `CHAOS_SECONDS` makes it longer than the usual few seconds.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;
#[path = "support/random.rs"]
mod random;

use backend::{Answer, Backend};
use exporters::{BOTH, Kind, Running, Setup, span_names, spans};
use random::Random;
use refusal_collector::config::model::{QueueBatch, SendingQueue};
use refusal_collector::payload::Refused;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tonic::Code;

fn whatever(random: &mut Random, kind: Kind) -> Answer {
    let code = Code::from_i32(1 + random.below(16) as i32);
    let status = [301, 400, 401, 404, 413, 429, 500, 502, 503, 504][random.below(10) as usize];
    match random.below(14) {
        0 => Answer::Hang,
        1 => Answer::Reset,
        2 => Answer::Disconnect,
        3 => Answer::ReadSlowly(Duration::from_millis(random.below(5))),
        4 => Answer::Partial(random.below(12) as i64 - 1, "some"),
        5 => Answer::HttpWith(200, vec![("content-type", "text/html".into())], b"<html>".to_vec()),
        6 => Answer::After(Duration::from_millis(random.below(50))),
        7 | 8 => Answer::Http(status),
        9 if kind == Kind::Grpc => Answer::GrpcRetryInfo(code, Duration::from_millis(random.below(200))),
        10 if kind == Kind::Grpc => Answer::GrpcInTrailers(code, "no"),
        11 if kind == Kind::Grpc => Answer::Grpc(code, "no"),
        _ => Answer::Accept,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_ends_where_the_account_says() {
    let seconds = std::env::var("CHAOS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    for (seed, kind) in BOTH.into_iter().enumerate() {
        for batch in [None, Some(QueueBatch { min_size: 25, max_size: 40, ..QueueBatch::default() })] {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 + seed as u64);
            chaos(&mut random, kind, batch, Duration::from_secs(seconds)).await;
        }
    }
}

async fn chaos(random: &mut Random, kind: Kind, batch: Option<QueueBatch>, time: Duration) {
    let mut backend = Backend::start().await;
    let address = backend.address;
    let queue = SendingQueue { queue_size: 50, batch, ..SendingQueue::default() };
    let mut setup = Setup { queue, timeout: Duration::from_millis(100), ..Setup::default() };
    setup.retry.max_elapsed_time = Duration::from_secs(2);
    let running = setup.start(kind, address);
    let (start, mut sent, mut pushed_back) = (Instant::now(), 0, 0);
    let mut seen = Seen::default();
    while start.elapsed() < time {
        backend.script((0..8).map(|_| whatever(random, kind)));
        for _ in 0..random.below(8) {
            let count = random.below(10) as u32;
            match running.send(spans(sent..sent + count)).await {
                Ok(()) => sent += count,
                Err(Refused::QueueFull { .. }) => pushed_back += u64::from(count),
                Err(error) => panic!("{error}"),
            }
        }
        assert_balanced(&running);
        tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        if random.below(60) == 0 {
            seen.take(&backend);
            backend.stop().await;
            tokio::time::sleep(Duration::from_millis(random.below(100))).await;
            backend = Backend::start_at(address, None).await;
        }
    }
    running.exporter.shutdown(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    let account = running.settled().await;
    seen.take(&backend);

    assert!(sent > 100, "{sent} spans in {time:?}");
    assert_eq!(account.accepted, u64::from(sent), "each accepted item is counted, and no other");
    assert_eq!(account.enqueue_failed, pushed_back);
    assert_eq!(
        account.accepted,
        account.exported + account.rejected_total() + account.dropped_total(),
        "{account:#?}"
    );
    // What the backend says that it has is at least what the account says: an answer may have been lost on its way.
    let taken = seen.names.len() as u64;
    assert!(taken >= account.exported, "{taken} of {account:#?}");
    assert!(account.exported >= u64::from(sent) / 3, "hardly anything got through: {account:#?}");
}

fn assert_balanced(running: &Running) {
    for account in running.own.snapshot().exporters {
        assert!(account.balances(), "{account:#?}");
    }
}

/// The spans that backends on one address have had in their hands, so that they may have been taken.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, backend: &Backend) {
        for request in backend.requests() {
            if request.answer.accepts() || matches!(request.answer, Answer::Reset) {
                self.names.extend(span_names(&request.message()));
            }
        }
    }
}
