//! How fast a queue or the budget empties, so that senders can be told when to come back.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The pace of what left last. Not an average over time: a queue that was idle and now empties quickly is quick.
#[derive(Debug)]
pub struct DrainRate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What left since `since`, in order.
    slots: VecDeque<Slot>,
    since: Instant,
    /// When the last of those may come who were given a turn.
    last_turn: Instant,
}

/// What left in one moment.
#[derive(Debug)]
struct Slot {
    at: Instant,
    units: u64,
}

impl DrainRate {
    /// Nothing has left yet.
    pub fn new(now: Instant) -> Self {
        let slots = VecDeque::with_capacity(SLOTS + 1);
        DrainRate { state: Mutex::new(State { slots, since: now, last_turn: now }) }
    }

    /// So many units left.
    pub fn left(&self, units: u32, now: Instant) {
        let mut state = self.state.lock();
        let State { slots, since, .. } = &mut *state;
        match slots.back_mut().filter(|slot| now.saturating_duration_since(slot.at) < SLOT) {
            Some(slot) => slot.units = slot.units.saturating_add(units.into()),
            None => slots.push_back(Slot { at: now, units: units.into() }),
        }
        if slots.len() > SLOTS {
            *since = slots.pop_front().map_or(now, |slot| slot.at);
        }
    }

    /// When so many more units will have left, as far as the recent past tells: between a tenth of a second and five
    /// seconds. Many SDKs give up on a request after ten.
    pub fn time_for(&self, units: usize, now: Instant) -> Duration {
        let state = self.state.lock();
        state.pace(units, now).max(state.standstill(now)).clamp(SHORTEST, LONGEST)
    }

    /// The same for a sender of `units` who lacks `missing` of them, behind all those who were given a turn before and have
    /// not had it: a crowd that is pushed back comes again one after the other, no faster than there will be room. A crowd
    /// that is too large for that is spread over the second half of the longest wait.
    pub fn turn(&self, units: usize, missing: usize, now: Instant) -> Duration {
        let mut state = self.state.lock();
        let before = state.last_turn.saturating_duration_since(now);
        let next = before.saturating_add(state.pace(units, now));
        state.last_turn = now + if next > LONGEST { LONGEST / 2 } else { next };
        let turn = before.saturating_add(state.pace(missing, now));
        turn.max(state.standstill(now)).clamp(SHORTEST, LONGEST)
    }
}

impl State {
    /// How long so many units take to leave.
    fn pace(&self, units: usize, now: Instant) -> Duration {
        let left = self.slots.iter().fold(0u64, |sum, slot| sum.saturating_add(slot.units));
        let took = now.saturating_duration_since(self.since).as_secs_f64();
        Duration::try_from_secs_f64(took * units as f64 / left as f64).unwrap_or(LONGEST)
    }

    /// For how long nothing has left: it may take so long once more.
    fn standstill(&self, now: Instant) -> Duration {
        self.slots.back().map_or(LONGEST, |last| now.saturating_duration_since(last.at))
    }
}

/// What leaves within it leaves at once: requests that were merged, for example.
const SLOT: Duration = Duration::from_millis(10);

/// How many moments are remembered.
const SLOTS: usize = 16;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_steady_drain_tells_when_there_is_room() {
        let start = Instant::now();
        let rate = DrainRate::new(start);
        for n in 0..600 {
            rate.left(10, at(start, n * 100));
        }
        let wait = rate.time_for(200, at(start, 60_000)).as_secs_f64();
        assert!((1.8..2.2).contains(&wait), "{wait}");
    }

    #[test]
    fn a_burst_after_a_quiet_time_is_quick_and_one_batch_is_no_burst() {
        let start = Instant::now();
        let rate = DrainRate::new(start);
        rate.left(1, at(start, 1000));
        for n in 0..200 {
            rate.left(1, at(start, 60_000 + n));
        }
        let wait = rate.time_for(2000, at(start, 60_200)).as_secs_f64();
        assert!((1.8..2.3).contains(&wait), "1 unit a millisecond: {wait}");

        let merged = DrainRate::new(start);
        for batch in 1..=5 {
            (0..100).for_each(|_| merged.left(1, at(start, batch * 1000)));
        }
        let wait = merged.time_for(200, at(start, 5000)).as_secs_f64();
        assert!((1.9..2.1).contains(&wait), "100 units a second: {wait}");
    }

    #[test]
    fn a_queue_that_stands_still_asks_for_the_longest_wait_and_a_quick_one_for_the_shortest() {
        let start = Instant::now();
        let rate = DrainRate::new(start);
        assert_eq!(rate.time_for(1, start), LONGEST);
        assert_eq!(rate.time_for(0, start), LONGEST);
        rate.left(1_000_000, start);
        assert_eq!(rate.time_for(1, start), SHORTEST);
        assert_eq!(rate.time_for(1, at(start, 3000)), Duration::from_secs(3));
        assert_eq!(rate.time_for(1, at(start, 300_000)), LONGEST);
    }

    #[test]
    fn a_crowd_comes_again_one_after_the_other_and_turns_pass() {
        let start = Instant::now();
        let rate = DrainRate::new(start);
        (1..=100).for_each(|n| rate.left(1, at(start, n * 10)));
        let now = at(start, 1000);
        let turns: Vec<f64> = (0..1000).map(|_| rate.turn(1, 1, now).as_secs_f64()).collect();
        assert_eq!(turns[0], SHORTEST.as_secs_f64());
        assert!((turns[99] - 1.0).abs() < 0.1 && (turns[399] - 4.0).abs() < 0.4, "{turns:?}");
        assert!(turns[500..].iter().all(|turn| (2.5..=5.0).contains(turn)), "{turns:?}");
        assert!((turns[600] - turns[650]).abs() > 0.1, "they are spread");
        rate.left(1, now + LONGEST);
        let later = rate.turn(1, 1, now + LONGEST).as_secs_f64();
        assert!(later < 0.5, "{later}");
    }
}
