//! A collector under test, as a process of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running collector. Dropped, it is killed.
pub struct Program {
    process: Child,
    /// Where it takes the load.
    pub address: String,
    /// From its start until it accepted connections there.
    pub start: Duration,
}

impl Program {
    pub async fn start(command: &mut Command, address: String) -> Self {
        let started = Instant::now();
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the collector starts");
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "{command:?} does not listen at {address}");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        Program { process, address, start: started.elapsed() }
    }

    /// User and system time so far, in seconds.
    pub fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> =
            stat.rsplit(')').next().map(|s| s.split_whitespace().collect()).unwrap_or_default();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number of ticks");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// A field of `/proc/PID/status`, in MiB.
    pub fn status(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(field)).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("the collector runs")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

/// The sum of all series of `metric` at `address`, waited for until it is `expected` or has not moved for three seconds.
pub async fn counted(address: &str, metric: &str, expected: u64) -> u64 {
    let (mut last, mut moved) = (0, Instant::now());
    while last != expected && moved.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = sum(&scrape(address), metric);
        if now != last {
            (last, moved) = (now, Instant::now());
        }
    }
    last
}

fn scrape(address: &str) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let request = format!("GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn sum(scrape: &str, metric: &str) -> u64 {
    let series =
        scrape.lines().filter_map(|line| line.strip_prefix(metric)).filter(|rest| rest.starts_with('{'));
    let values = series.filter_map(|rest| {
        // Behind the labels; an exemplar may follow.
        let value = rest.rsplit_once("} ")?.1;
        let value =
            rest.split_once(" # ").map_or(value, |(series, _)| series.rsplit(' ').next().unwrap_or(""));
        value.split(' ').next()?.parse::<f64>().ok()
    });
    values.sum::<f64>() as u64
}
