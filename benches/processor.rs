//! What judging and counting cost by themselves, per span, beside copying the same bytes:
//!
//!     cargo bench --bench processor
//!
//! Requests have new ids each. They come from memory that is larger than the caches of a core, and once more (`cached`) one
//! by one as they are made, which shows what the instructions cost themselves.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement that goes wrong must stop, and its table is its output"
)]

#[path = "measure/mod.rs"]
mod measure;

use bytes::Bytes;
use measure::Options;
use measure::load::{LOADS, Load, messages};
use refusal_collector::config::model::{LabelLimits, RefusalProcessor};
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::splice::count;
use refusal_collector::payload::{Message, Payload, Permit};
use refusal_collector::processor::refusal::{Refusal, Rulebook};
use refusal_collector::telemetry::responses::Responses;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let options = Options::from_args();
    println!("{:<20} {:>10} {:>10} {:>10} {:>10}", "ns/span", "copy", "count", "process", "+ commit");
    for load in LOADS.iter().filter(|load| options.selects(load.name)) {
        let uncached = Rounds { rounds: 7, requests: ROUND_BYTES / (load.spans * (load.content + 600)) + 2 };
        for (what, rounds) in [("", uncached), ("cached", Rounds { rounds: 300, requests: 1 })] {
            println!(
                "{:<20} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {what}",
                load.name,
                per_span(load, rounds, copy),
                per_span(load, rounds, |message| _ = count(Signal::Traces, &message).expect("it is OTLP")),
                per_span(load, rounds, processed(false)),
                per_span(load, rounds, processed(true)),
            );
        }
    }
}

/// As much as the requests of one round take, if they are not to come from a cache.
const ROUND_BYTES: usize = 64 << 20;

/// How often so many requests are made and then looked at.
#[derive(Clone, Copy)]
struct Rounds {
    rounds: usize,
    requests: usize,
}

/// The quickest round over new requests, which is the one that was disturbed least.
fn per_span(load: &Load, Rounds { rounds, requests }: Rounds, mut run: impl FnMut(Bytes)) -> f64 {
    let mut messages = messages(*load);
    let mut round = || {
        let round: Vec<Bytes> = messages.by_ref().take(requests).collect();
        let started = Instant::now();
        round.into_iter().for_each(&mut run);
        started.elapsed()
    };
    let quickest = (0..rounds).map(|_| round()).min().unwrap_or(Duration::ZERO);
    quickest.as_secs_f64() * 1e9 / (requests * load.spans) as f64
}

fn copy(message: Bytes) {
    let mut copy = Vec::with_capacity(message.len());
    copy.extend_from_slice(&message);
    black_box(copy);
}

fn processed(commits: bool) -> impl FnMut(Bytes) {
    let config = RefusalProcessor::default();
    let rulebook = Rulebook::new(&config).expect("the vocabulary is sound");
    let refusal = Refusal::new(&config, rulebook, None);
    let responses = Responses::new(LabelLimits::default());
    move |message| {
        let payload = Payload {
            signal: Signal::Traces,
            message: Message::Bare(message),
            arrived: None,
            items: 0,
            permit: Arc::new(Permit::default()),
            caller: Default::default(),
        };
        let mut tally = responses.tally();
        black_box(refusal.process(payload, &mut tally).expect("it is OTLP"));
        if commits {
            black_box(responses.commit(tally));
        }
    }
}
