//! Hours of load on a collector of its own process, with queues on disk, backends that fail in every way, and SIGKILL every
//! few minutes. In the end everything that was acknowledged is at both backends, or was refused by them for good and counted.
//!
//! `scripts/soak` runs it; `SOAK_SECONDS` says how long. In the first half the collector is killed, in the second it runs on,
//! so that memory that is never given back would show.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(clippy::print_stdout, reason = "it tells what it measures")]

#[path = "support/backend.rs"]
mod backend;
#[path = "soak_support/ledger.rs"]
mod ledger;
#[path = "soak_support/load.rs"]
mod load;
#[path = "support/process.rs"]
mod process;
#[path = "support/random.rs"]
mod random;
#[path = "soak_support/weather.rs"]
mod weather;

use backend::Backend;
use ledger::{Ledger, SIGNALS};
use load::Load;
use process::{Account, Collector};
use random::Random;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use weather::Weather;

/// In the order of the backends.
const EXPORTERS: [&str; 2] = ["otlp_grpc", "otlp_http"];
/// How long before a kill the backends refuse nothing for good, so that the last scrape knows of all that they refused.
const CALM_BEFORE_A_KILL: Duration = Duration::from_secs(2);
/// How long everything that is queued may take to leave when the backends are well.
const DRAIN: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes hours: scripts/soak"]
async fn nothing_acknowledged_is_lost() {
    let time = Duration::from_secs(std::env::var("SOAK_SECONDS").map_or(7200, |time| time.parse().unwrap()));
    let directory = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let (weather, forecast) = watch::channel(Weather::Stormy);
    let mut addresses = Vec::new();
    let mut backends = Vec::new();
    for exporter in 0..EXPORTERS.len() {
        let backend = Backend::start().await;
        addresses.push(backend.address.to_string());
        backends.push(tokio::spawn(weather::over(backend, exporter, ledger.clone(), forecast.clone())));
    }
    let collector = start(directory.path(), &addresses);
    let load = Load::start(&collector, &ledger);
    let mut soak = Soak { start: Instant::now(), collector, past: Accounts::default(), kills: 0, peak: 0 };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let kill_every = (time / 12).clamp(Duration::from_secs(10), Duration::from_secs(180));
    let line_every = (time / 6).clamp(Duration::from_secs(5), Duration::from_secs(60));
    let (mut next_kill, mut next_line) = (kill_every, line_every);

    while soak.start.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        soak.look();
        if soak.start.elapsed() > next_kill && next_kill < time / 2 {
            weather.send_replace(Weather::Mild);
            tokio::time::sleep(CALM_BEFORE_A_KILL).await;
            soak.kill();
            soak.collector = start(directory.path(), &addresses);
            load.turn_to(&soak.collector);
            weather.send_replace(Weather::Stormy);
            // Half as long to one and a half times as long.
            next_kill = soak.start.elapsed() + kill_every * (50 + random.below(101) as u32) / 100;
        }
        if soak.start.elapsed() >= next_line {
            soak.tell(&load, &ledger);
            next_line += line_every;
        }
    }

    weather.send_replace(Weather::Fine);
    load.stop().await;
    let deadline = Instant::now() + DRAIN;
    while !soak.look().all().all(Account::is_settled) {
        assert!(Instant::now() < deadline, "not everything leaves: {:#?}", soak.look());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    soak.tell(&load, &ledger);
    let accounts = soak.past.and(&soak.look());
    soak.collector.signal("TERM");
    assert_eq!(soak.collector.ended().code(), Some(0), "{}", soak.collector.log());
    weather.send_replace(Weather::Over);
    for backend in backends {
        backend.await.unwrap();
    }
    println!(
        "\nended after {} s and {} kills, peak of memory {} MiB",
        soak.seconds(),
        soak.kills,
        soak.peak >> 20
    );
    let mut is_lost = false;
    for (exporter, name) in EXPORTERS.into_iter().enumerate() {
        for (signal, of) in SIGNALS.into_iter().enumerate() {
            let (account, found) = (accounts.0[exporter][signal], ledger.found(exporter, signal));
            let Account { accepted, restored, exported, rejected, dropped, .. } = account;
            let left = account.queued + account.in_flight;
            println!(
                "{name} {of}: accepted {accepted} + restored {restored} = exported {exported} + rejected {rejected} + \
                 dropped {dropped} + left by a kill {left}; {found}"
            );
            assert!(account.balances(), "{account:?}");
            assert_eq!(account.dropped, account.quarantined, "only what a kill cut off may be dropped");
            assert!(found.refused_for_good <= account.rejected, "something was refused and is not counted");
            assert!(found.acknowledged >= time.as_secs() * 10, "that was no load");
            is_lost |= found.lost > 0;
        }
    }
    assert!(!is_lost, "something that was acknowledged is lost");
    println!("nothing acknowledged lost");
}

fn start(directory: &Path, backends: &[String]) -> Collector {
    let storage = format!("{{directory: '{}'}}", directory.display());
    let delivery = "timeout: 1s, sending_queue: {storage: file_storage, queue_size: 200},
        retry_on_failure: {initial_interval: 50ms, max_interval: 1s, max_elapsed_time: 0s}";
    let exporters = format!(
        "{{otlp_grpc: {{endpoint: 'http://{}', {delivery}}}, otlp_http: {{endpoint: 'http://{}', {delivery}}}}}",
        backends[0], backends[1]
    );
    let pipeline = "{receivers: [otlp], processors: [refusal], exporters: [otlp_grpc, otlp_http]}";
    let pipelines = format!("{{traces: {pipeline}, logs: {pipeline}}}");
    Collector::start_stored(&storage, &exporters, &pipelines, "shutdown_timeout: 10s")
}

/// The collector that runs now, and what those before it have counted.
struct Soak {
    start: Instant,
    collector: Collector,
    past: Accounts,
    kills: u32,
    /// Resident bytes.
    peak: usize,
}

impl Soak {
    /// The accounts of the collector, each of which balances.
    fn look(&mut self) -> Accounts {
        if let Some(status) = self.collector.exited() {
            panic!("the collector ended with {status}:\n{}", self.collector.log());
        }
        self.peak = self.peak.max(memory(self.collector.pid()));
        let accounts = Accounts::of(&self.collector.scrape());
        for account in accounts.all() {
            assert!(account.balances(), "{account:?}");
        }
        accounts
    }

    fn kill(&mut self) {
        let accounts = self.look();
        self.collector.signal("KILL");
        self.collector.ended();
        self.past = self.past.and(&accounts);
        self.kills += 1;
    }

    fn tell(&mut self, load: &Load, ledger: &Ledger) {
        let accounts = self.look();
        let sum = self.past.and(&accounts).sum();
        let now = accounts.sum();
        let (pushed_back, unanswered) = load.counts();
        println!(
            "{:>5} s  RSS {:>3} MiB  killed {:>2}  acknowledged {:>9}  pushed back {:>6}  unanswered {:>4}  |  accepted {:>9}  \
             restored {:>7}  exported {:>9}  rejected {:>6}  queued {:>6}  in flight {:>4}",
            self.seconds(),
            memory(self.collector.pid()) >> 20,
            self.kills,
            ledger.acknowledged(),
            pushed_back,
            unanswered,
            sum.accepted,
            sum.restored,
            sum.exported,
            sum.rejected,
            now.queued,
            now.in_flight,
        );
    }

    fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}

/// Of each exporter and signal.
#[derive(Clone, Copy, Debug, Default)]
struct Accounts([[Account; 2]; 2]);

impl Accounts {
    fn of(scrape: &str) -> Self {
        Accounts(EXPORTERS.map(|exporter| {
            SIGNALS.map(|signal| {
                let labels = [format!("exporter=\"{exporter}\""), format!("data_type=\"{signal}\"")];
                Account::of(scrape, &labels.each_ref().map(String::as_str))
            })
        }))
    }

    fn all(&self) -> impl Iterator<Item = &Account> {
        self.0.iter().flatten()
    }

    fn sum(&self) -> Account {
        self.all().fold(Account::default(), |sum, account| add(&sum, account))
    }

    fn and(self, other: &Accounts) -> Self {
        let mut sum = self;
        for (account, other) in sum.0.iter_mut().flatten().zip(other.all()) {
            *account = add(account, other);
        }
        sum
    }
}

fn add(one: &Account, other: &Account) -> Account {
    Account {
        accepted: one.accepted + other.accepted,
        restored: one.restored + other.restored,
        exported: one.exported + other.exported,
        rejected: one.rejected + other.rejected,
        dropped: one.dropped + other.dropped,
        quarantined: one.quarantined + other.quarantined,
        queued: one.queued + other.queued,
        in_flight: one.in_flight + other.in_flight,
    }
}

fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or_default() * 1024
}
