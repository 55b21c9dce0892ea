//! What the operating system says of this process.

use std::fs;

/// The processor time and memory that this process takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// User and system time since the start.
    pub cpu_seconds: f64,
    /// Memory that is in RAM.
    pub memory_rss_bytes: u64,
}

impl Process {
    /// Asks; `None` where there is no `/proc`.
    pub fn now() -> Option<Process> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        parse(&stat, &status)
    }
}

/// Linux counts time in hundredths of a second towards programs, whatever it does inside (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

fn parse(stat: &str, status: &str) -> Option<Process> {
    // The second field is the name in parentheses, which may hold anything; `utime` and `stime` are 14 and 15.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = rss.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let cpu_seconds = (user as f64 + system as f64) / TICKS_PER_SECOND;
    Some(Process { cpu_seconds, memory_rss_bytes: kib.saturating_mul(1024) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_name_with_blanks_and_parentheses() {
        let stat = "123 (a) (b c) S 1 123 123 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1000 500";
        let status = "Name:\ta\nVmPeak:\t  9999 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(parse(stat, status), Some(Process { cpu_seconds: 3.0, memory_rss_bytes: 2 << 20 }));
        assert_eq!(parse("", status), None);
        assert_eq!(parse(stat, ""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_takes_memory_and_time() {
        let process = Process::now().unwrap();
        assert!(process.memory_rss_bytes > 100_000);
        assert!(process.cpu_seconds >= 0.0);
    }
}
