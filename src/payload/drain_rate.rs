//! How fast a queue or the budget empties, so that senders can be told when to come back.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// An average over the last ten seconds or so, in which older events count less and less.
#[derive(Debug)]
pub struct DrainRate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    as_of: Instant,
    per_second: f64,
}

impl DrainRate {
    /// Nothing has left yet.
    pub fn new(now: Instant) -> Self {
        DrainRate { state: Mutex::new(State { as_of: now, per_second: 0.0 }) }
    }

    /// So many units left.
    pub fn left(&self, units: u32, now: Instant) {
        let mut state = self.state.lock();
        state.age(now);
        state.per_second += f64::from(units) / MEMORY.as_secs_f64();
    }

    /// When so many more units will have left, as far as the recent past tells: between a tenth of a second and five
    /// seconds. Many SDKs give up on a request after ten.
    pub fn time_for(&self, units: usize, now: Instant) -> Duration {
        let mut state = self.state.lock();
        state.age(now);
        Duration::try_from_secs_f64(units as f64 / state.per_second)
            .unwrap_or(LONGEST)
            .clamp(SHORTEST, LONGEST)
    }
}

impl State {
    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.as_of);
        self.per_second *= (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.as_of = self.as_of.max(now);
    }
}

const MEMORY: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_drain_tells_when_there_is_room() {
        let start = Instant::now();
        let rate = DrainRate::new(start);
        let at = |millis| start + Duration::from_millis(millis);
        for n in 0..600 {
            rate.left(10, at(n * 100));
        }
        let wait = rate.time_for(200, at(60_000)).as_secs_f64();
        assert!((1.8..2.2).contains(&wait), "{wait}");
    }

    #[test]
    fn a_queue_that_stands_still_asks_for_the_longest_wait_and_a_quick_one_for_the_shortest() {
        let start = Instant::now();
        let rate = DrainRate::new(start);
        assert_eq!(rate.time_for(1, start), LONGEST);
        assert_eq!(rate.time_for(0, start), LONGEST);
        rate.left(1_000_000, start);
        assert_eq!(rate.time_for(1, start), SHORTEST);
        assert_eq!(rate.time_for(1, start + Duration::from_secs(300)), LONGEST);
    }
}
