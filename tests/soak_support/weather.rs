//! What a backend does from one moment to the next.

use super::backend::{Answer, Backend};
use super::ledger::Ledger;
use super::random::Random;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::Code;

const LOOK: Duration = Duration::from_millis(20);

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything.
    Stormy,
    /// Everything but refusals for good.
    Mild,
    /// Everything is taken.
    Fine,
    /// Nobody sends any more.
    Over,
}

/// Lets a backend do what the weather is like until it is over, and notes in the ledger what it has answered.
pub async fn over(
    mut backend: Backend,
    exporter: usize,
    ledger: Arc<Ledger>,
    forecast: watch::Receiver<Weather>,
) {
    let mut random = Random(0x2545_f491_4f6c_dd1d + exporter as u64);
    let mut until = Instant::now();
    loop {
        let weather = *forecast.borrow();
        match weather {
            Weather::Stormy | Weather::Mild if Instant::now() < until => {}
            Weather::Stormy | Weather::Mild => {
                let spell = spell(&mut random, exporter == 0, weather == Weather::Mild);
                backend.always(spell.answer);
                until = Instant::now() + spell.time;
                if spell.is_away {
                    backend.leave_for(spell.time).await;
                }
            }
            Weather::Fine | Weather::Over => backend.always(Answer::Accept),
        }
        // A refusal for good lasts a moment only, whatever the weather becomes.
        tokio::time::sleep(LOOK).await;
        ledger.note(exporter, &backend.take_requests());
        if weather == Weather::Over {
            return;
        }
    }
}

struct Spell {
    answer: Answer,
    time: Duration,
    is_away: bool,
}

fn spell(random: &mut Random, is_grpc: bool, is_mild: bool) -> Spell {
    let (answer, time) = match random.below(24) {
        0 => return Spell { answer: Answer::Accept, time: milliseconds(random, 200, 12_000), is_away: true },
        1 => (Answer::Hang, milliseconds(random, 100, 3000)),
        2 => (Answer::Disconnect, milliseconds(random, 50, 1500)),
        3 => (Answer::Reset, milliseconds(random, 50, 1500)),
        4 => (Answer::ReadSlowly(milliseconds(random, 1, 100)), milliseconds(random, 500, 3000)),
        5 => (Answer::After(milliseconds(random, 1, 1200)), milliseconds(random, 500, 5000)),
        6 => (page(200), milliseconds(random, 50, 1500)),
        7 | 8 if is_grpc => (
            Answer::GrpcRetryInfo(Code::Unavailable, milliseconds(random, 10, 2000)),
            milliseconds(random, 50, 1500),
        ),
        7 if !is_grpc => {
            (Answer::Http([429, 502, 503, 504][random.below(4) as usize]), milliseconds(random, 50, 3000))
        }
        8 => {
            (Answer::HttpWith(503, vec![("retry-after", "1".into())], vec![]), milliseconds(random, 50, 1500))
        }
        9 if is_grpc => (Answer::Grpc(Code::ResourceExhausted, "later"), milliseconds(random, 50, 3000)),
        10 if is_grpc => (Answer::GrpcInTrailers(Code::Aborted, "later"), milliseconds(random, 50, 1500)),
        11 if !is_mild => (Answer::Partial(2, "two are bad"), milliseconds(random, 20, 200)),
        12 if !is_mild => (for_good(random, is_grpc), Duration::from_millis(40)),
        _ => (Answer::Accept, milliseconds(random, 200, 3000)),
    };
    Spell { answer, time, is_away: false }
}

fn milliseconds(random: &mut Random, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + random.below(to - from))
}

fn page(status: u16) -> Answer {
    Answer::HttpWith(status, vec![("content-type", "text/html".into())], b"<html>".to_vec())
}

fn for_good(random: &mut Random, is_grpc: bool) -> Answer {
    match (is_grpc, random.below(4) as usize) {
        (false, which) => Answer::Http([400, 401, 413, 500][which]),
        (true, 0) => Answer::Grpc(Code::InvalidArgument, "no"),
        (true, 1) => Answer::Grpc(Code::Internal, "no"),
        (true, 2) => Answer::Grpc(Code::PermissionDenied, "no"),
        (true, _) => Answer::GrpcInTrailers(Code::InvalidArgument, "no"),
    }
}
