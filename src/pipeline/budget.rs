//! How many bytes of requests may be in memory: what the configuration says, else three eighths of what the program itself
//! leaves of the memory that the process may use. What connections and those who wait hold beside that is a third as much:
//! together it is half. The other half is for what work in progress takes for a moment, and for memory that is free again
//! and that the allocator gives back to the operating system a second later.

use crate::config::Config;
use crate::config::model::Processor;
use std::path::Path;

/// The budget in bytes: `service.admission.budget_mib`, else by the limit of `memory_limiter` or of the cgroup, else
/// [`DEFAULT`].
pub(super) fn of(config: &Config) -> usize {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let cgroup = memory_limit(Path::new("/sys/fs/cgroup"), &own);
    choose(config, cgroup)
}

/// Without a limit of the cgroup and without a word in the configuration: about as with a limit of 1 GiB.
pub(super) const DEFAULT: usize = 384 << 20;

/// What the program takes before there are requests.
const PROGRAM: usize = 16 << 20;

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
    // A limiter counts the whole process too.
    limits.min().or(cgroup).map_or(DEFAULT, within)
}

/// The budget of a process that may use so many bytes.
fn within(limit: usize) -> usize {
    limit.saturating_sub(PROGRAM).max(limit / 4) / 8 * 3
}

/// The memory limit of the process: the smallest of its cgroup, which `/proc/self/cgroup` names, and of those around it.
/// In a container its own cgroup is what is mounted at `root`, version 2 or 1. `None` where there is no limit.
fn memory_limit(root: &Path, own: &str) -> Option<usize> {
    let files = own.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (mount, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().map(|path| mount.join(path).join(file)).collect()
    });
    let outermost = ["memory.max", "memory/memory.limit_in_bytes"].map(|file| root.join(file));
    let limits = files.chain(outermost).filter_map(|file| std::fs::read_to_string(file).ok());
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
        assert_eq!(choose(&config, Some(64 << 20)), 18 << 20);
        assert_eq!(choose(&config, Some(1 << 30)), 378 << 20);
        assert_eq!(choose(&config, Some(16 << 20)), 3 << 19, "too little, and not nothing");

        let percent = MemoryLimiter { limit_percentage: Some(80), ..MemoryLimiter::default() };
        config.processors.insert(ComponentId::new("memory_limiter"), Processor::MemoryLimiter(percent));
        assert_eq!(choose(&config, Some(100 << 20)), 24 << 20);

        let fixed = MemoryLimiter { limit: Some(40 << 20), ..MemoryLimiter::default() };
        config.processors.insert(ComponentId::new("memory_limiter"), Processor::MemoryLimiter(fixed));
        assert_eq!(choose(&config, Some(100 << 20)), 9 << 20);

        config.service.admission.budget = Some(7 << 20);
        assert_eq!(choose(&config, Some(100 << 20)), 7 << 20);
    }

    #[test]
    fn both_versions_of_cgroups_are_read_and_no_limit_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(memory_limit(root.path(), ""), None);
        std::fs::write(root.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(memory_limit(root.path(), ""), None);
        std::fs::create_dir(root.path().join("memory")).unwrap();
        let v1 = root.path().join("memory/memory.limit_in_bytes");
        std::fs::write(&v1, "9223372036854771712\n").unwrap();
        assert_eq!(memory_limit(root.path(), ""), None);
        std::fs::write(&v1, "67108864\n").unwrap();
        assert_eq!(memory_limit(root.path(), ""), Some(64 << 20));
        std::fs::write(root.path().join("memory.max"), "33554432\n").unwrap();
        assert_eq!(memory_limit(root.path(), ""), Some(32 << 20));
    }

    #[test]
    fn the_smallest_limit_around_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        std::fs::create_dir_all(slice.join("collector.service")).unwrap();
        std::fs::write(slice.join("memory.max"), "67108864\n").unwrap();
        std::fs::write(slice.join("collector.service/memory.max"), "134217728\n").unwrap();
        let own = "0::/system.slice/collector.service\n";
        assert_eq!(memory_limit(root.path(), own), Some(64 << 20));
        assert_eq!(memory_limit(root.path(), "0::/other.slice\n"), None);

        let v1 = root.path().join("memory/docker/1");
        std::fs::create_dir_all(&v1).unwrap();
        std::fs::write(v1.join("memory.limit_in_bytes"), "33554432\n").unwrap();
        assert_eq!(memory_limit(root.path(), "4:cpu,memory:/docker/1\n3:cpuset:/\n"), Some(32 << 20));
    }
}
