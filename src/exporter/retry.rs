//! How long to wait before the next attempt.

use crate::config::model::Retry;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits between the attempts to send one request: each longer than the one before, scattered so that workers and
/// replicas do not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    interval: Duration,
    randomization_factor: f64,
    multiplier: f64,
    max_interval: Duration,
    random: RandomState,
    attempt: u64,
}

impl Backoff {
    /// The waits of a request that has not been tried yet.
    pub fn new(retry: &Retry) -> Self {
        Backoff {
            interval: retry.initial_interval,
            randomization_factor: finite_or(retry.randomization_factor, 0.0).clamp(0.0, 1.0),
            multiplier: finite_or(retry.multiplier, 1.0).max(1.0),
            max_interval: retry.max_interval.max(retry.initial_interval),
            random: RandomState::new(),
            attempt: 0,
        }
    }

    /// The next wait. The backend knows best when it has room again: a delay that it asked for is kept to, only scattered
    /// upwards.
    pub fn next_wait(&mut self, asked: Option<Duration>) -> Duration {
        if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
            return scaled(asked.max(SHORTEST_ASKED), 1.0 + SCATTER_ASKED * self.random());
        }
        let wait = scaled(self.interval, 1.0 + self.randomization_factor * (2.0 * self.random() - 1.0));
        self.interval = scaled(self.interval, self.multiplier).min(self.max_interval);
        wait
    }

    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        self.attempt = self.attempt.wrapping_add(1);
        self.random.hash_one(self.attempt) as f64 / u64::MAX as f64
    }
}

/// Less than this a backend cannot ask for.
const SHORTEST_ASKED: Duration = Duration::from_millis(100);

/// The share by which a delay that the backend asked for is exceeded at most.
const SCATTER_ASKED: f64 = 0.1;

fn finite_or(number: f64, default: f64) -> f64 {
    if number.is_finite() { number } else { default }
}

/// `Duration::mul_f64` that ends at the longest duration instead of in a panic.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_up_to_the_longest() {
        let retry = Retry {
            initial_interval: SECOND,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: 5 * SECOND,
            ..Retry::default()
        };
        let mut backoff = Backoff::new(&retry);
        let waits: Vec<u64> = (0..5).map(|_| backoff.next_wait(None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn waits_are_scattered_around_the_interval() {
        let retry = Retry { multiplier: 1.0, initial_interval: 10 * SECOND, ..Retry::default() };
        let waits: Vec<Duration> = (0..200).map(|_| Backoff::new(&retry).next_wait(None)).collect();
        assert!(waits.iter().all(|wait| (5 * SECOND..=15 * SECOND).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait < 8 * SECOND) && waits.iter().any(|wait| *wait > 12 * SECOND));
    }

    #[test]
    fn a_delay_that_the_backend_asks_for_is_kept_to() {
        for _ in 0..100 {
            let mut backoff = Backoff::new(&Retry::default());
            let wait = backoff.next_wait(Some(60 * SECOND));
            assert!((60 * SECOND..=66 * SECOND).contains(&wait), "{wait:?}");
        }
    }

    #[test]
    fn a_delay_of_next_to_nothing_is_no_invitation_to_hammer() {
        let mut backoff = Backoff::new(&Retry::default());
        assert!(backoff.next_wait(Some(Duration::from_micros(1))) >= SHORTEST_ASKED);
        let without = Retry { randomization_factor: 0.0, ..Retry::default() };
        assert_eq!(Backoff::new(&without).next_wait(Some(Duration::ZERO)), without.initial_interval);
    }

    #[test]
    fn senseless_numbers_are_harmless() {
        let retry = Retry {
            initial_interval: Duration::MAX,
            randomization_factor: f64::NAN,
            multiplier: f64::INFINITY,
            max_interval: Duration::ZERO,
            ..Retry::default()
        };
        let mut backoff = Backoff::new(&retry);
        for asked in [None, Some(Duration::MAX), Some(Duration::ZERO)] {
            backoff.next_wait(asked);
        }
    }
}
