//! How many threads do the work: what the configuration says, else as many as there are CPUs and memory for.

use super::budget;
use crate::config::Config;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// How many threads a collector of `config` works with.
pub(super) fn of(config: &Config) -> usize {
    let cpus = available_parallelism().map_or(1, NonZeroUsize::get);
    config.service.workers.unwrap_or_else(|| choose(cpus, budget::of(config)))
}

/// What each of them may keep of memory that is free grows with the requests, and is in nobody's budget: with 64 MiB, 16
/// threads left no room for the program's own pages, so that it came to a standstill, and with 64 it was killed.
const BUDGET_OF_EACH: usize = 8 << 20;

fn choose(cpus: usize, budget: usize) -> usize {
    cpus.min(budget / BUDGET_OF_EACH).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_container_on_a_large_machine_has_few_workers() {
        assert_eq!(choose(64, 18 << 20), 2);
        assert_eq!(choose(64, 1 << 20), 1);
        assert_eq!(choose(8, budget::DEFAULT), 8);
        assert_eq!(choose(1, budget::DEFAULT), 1);
    }

    #[test]
    fn the_configuration_decides() {
        let mut config = Config::default();
        config.service.workers = Some(3);
        assert_eq!(of(&config), 3);
    }
}
