//! How many bytes of requests may be in memory: what the configuration says, else half of what the container may use.

use crate::config::Config;
use crate::config::model::Processor;
use std::path::Path;

/// The budget in bytes: `service.admission.budget_mib`, else `memory_limiter`, else half of the cgroup's memory
/// limit, else [`DEFAULT`].
pub(super) fn of(config: &Config) -> usize {
    let cgroup = memory_limit(Path::new("/sys/fs/cgroup"));
    choose(config, cgroup)
}

/// Without a limit of the cgroup and without a word in the configuration.
pub(super) const DEFAULT: usize = 256 << 20;

fn choose(config: &Config, cgroup: Option<usize>) -> usize {
    if let Some(budget) = config.service.admission.budget {
        return budget;
    }
    let limiters = config.processors.values().filter_map(|processor| match processor {
        Processor::MemoryLimiter(limiter) => Some(limiter),
        Processor::Refusal(_) | Processor::Batch(_) => None,
    });
    let limits = limiters.filter_map(|limiter| {
        let share = limiter.limit_percentage.zip(cgroup).map(|(percent, all)| {
            let percent = usize::try_from(percent.min(100)).unwrap_or(100);
            (all / 100).saturating_mul(percent)
        });
        limiter.limit.or(share)
    });
    // The budget counts the bytes of requests, a limiter the whole process: what inflating and sending need besides
    // is about as much again.
    limits.min().or(cgroup).map_or(DEFAULT, |limit| limit / 2)
}

/// The memory limit of the cgroup that is mounted at `root`, version 2 or 1; `None` where there is none.
fn memory_limit(root: &Path) -> Option<usize> {
    let files = ["memory.max", "memory/memory.limit_in_bytes"];
    let limits = files.iter().filter_map(|file| std::fs::read_to_string(root.join(file)).ok());
    let limits = limits.filter_map(|text| text.trim().parse::<usize>().ok());
    // Version 1 says "none" with a number near 2^63.
    limits.filter(|limit| *limit < (1 << 50)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ComponentId;
    use crate::config::model::MemoryLimiter;

    #[test]
    fn the_configuration_wins_then_the_limiter_then_the_container() {
        let mut config = Config::default();
        assert_eq!(choose(&config, None), DEFAULT);
        assert_eq!(choose(&config, Some(64 << 20)), 32 << 20);

        let percent = MemoryLimiter { limit_percentage: Some(80), ..MemoryLimiter::default() };
        config.processors.insert(ComponentId::new("memory_limiter"), Processor::MemoryLimiter(percent));
        assert_eq!(choose(&config, Some(100 << 20)), (100 << 20) / 100 * 80 / 2);

        let fixed = MemoryLimiter { limit: Some(40 << 20), ..MemoryLimiter::default() };
        config.processors.insert(ComponentId::new("memory_limiter"), Processor::MemoryLimiter(fixed));
        assert_eq!(choose(&config, Some(100 << 20)), 20 << 20);

        config.service.admission.budget = Some(7 << 20);
        assert_eq!(choose(&config, Some(100 << 20)), 7 << 20);
    }

    #[test]
    fn both_versions_of_cgroups_are_read_and_no_limit_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(memory_limit(root.path()), None);
        std::fs::write(root.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(memory_limit(root.path()), None);
        std::fs::create_dir(root.path().join("memory")).unwrap();
        let v1 = root.path().join("memory/memory.limit_in_bytes");
        std::fs::write(&v1, "9223372036854771712\n").unwrap();
        assert_eq!(memory_limit(root.path()), None);
        std::fs::write(&v1, "67108864\n").unwrap();
        assert_eq!(memory_limit(root.path()), Some(64 << 20));
        std::fs::write(root.path().join("memory.max"), "33554432\n").unwrap();
        assert_eq!(memory_limit(root.path()), Some(32 << 20));
    }
}
