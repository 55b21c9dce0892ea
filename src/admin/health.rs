//! `health_check`: whether this collector lives and takes requests, for probes and load balancers.
//!
//! | path | 200 when |
//! |---|---|
//! | `/`, `/ready`, and the configured `path` | requests are taken |
//! | `/live` | the event loop turns |
//! | `/startup` | the listeners are bound, once and for all |
//!
//! All else is 503. The body is the OpenTelemetry Collector's.

use crate::config::model::HealthCheck;
use crate::net::BindError;
use crate::telemetry::http::Pages;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often the event loop shows that it turns.
const BEAT: Duration = Duration::from_secs(1);

/// A loop that did not turn for so long is dead.
const SILENCE: Duration = Duration::from_secs(10);

/// How the collector is. Cloning is cheap; every clone is the same collector.
#[derive(Clone, Debug)]
pub struct Health {
    vitals: Arc<Mutex<Vitals>>,
}

#[derive(Debug)]
struct Vitals {
    stage: Stage,
    /// Since when requests are taken.
    up_since: Option<(SystemTime, Instant)>,
    last_beat: Instant,
}

/// The life of a collector, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not all listeners are bound.
    Starting,
    /// All listeners are bound, requests are not yet taken.
    Bound,
    /// Requests are taken.
    Accepting,
    /// No more requests are taken, what was accepted is delivered.
    Draining,
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

impl Health {
    /// Of a collector that is starting.
    pub fn new() -> Self {
        let vitals = Vitals { stage: Stage::Starting, up_since: None, last_beat: Instant::now() };
        Health { vitals: Arc::new(Mutex::new(vitals)) }
    }

    /// Another stage has begun. A stage that is over does not come back.
    pub fn enter(&self, stage: Stage) {
        let mut vitals = self.vitals.lock();
        vitals.stage = vitals.stage.max(stage);
        if vitals.stage == Stage::Accepting && vitals.up_since.is_none() {
            vitals.up_since = Some((SystemTime::now(), Instant::now()));
        }
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        self.vitals.lock().stage
    }

    /// The event loop turns.
    fn beat(&self, now: Instant) {
        self.vitals.lock().last_beat = now;
    }

    fn report(&self, question: Question, now: Instant) -> Report {
        let vitals = self.vitals.lock();
        let is_well = match question {
            Question::IsReady => vitals.stage == Stage::Accepting,
            Question::IsAlive => now.saturating_duration_since(vitals.last_beat) < SILENCE,
            Question::HasStarted => vitals.stage >= Stage::Bound,
        };
        Report { is_well, up_since: vitals.up_since.filter(|_| is_well), now }
    }
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    IsReady,
    IsAlive,
    HasStarted,
}

/// What it is told.
#[derive(Clone, Copy, Debug)]
struct Report {
    is_well: bool,
    up_since: Option<(SystemTime, Instant)>,
    now: Instant,
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let code = if self.is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let status = if self.is_well { "Server available" } else { "Server not available" };
        // Go's zero time, as the Collector says it.
        let (up_since, uptime) = match self.up_since {
            None => ("0001-01-01T00:00:00Z".to_owned(), String::new()),
            Some((date, since)) => (
                humantime::format_rfc3339_micros(date).to_string(),
                uptime(self.now.saturating_duration_since(since)),
            ),
        };
        let body = format!(r#"{{"status":"{status}","upSince":"{up_since}","uptime":"{uptime}"}}"#);
        (code, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
    }
}

/// As Go writes durations: `1h2m3.5s`.
fn uptime(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = format!("{}.{millis:03}", seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The probes' port, and the heartbeat that `/live` listens to.
#[derive(Debug)]
pub struct HealthServer {
    pages: Pages,
    _heartbeat: DropGuard,
}

impl HealthServer {
    /// Answers probes about `health`.
    pub async fn serve(config: &HealthCheck, health: &Health) -> Result<Self, BindError> {
        let probes = Probes { health: health.clone(), path: Arc::from(config.path.as_str()) };
        let router = Router::new().fallback(get(probe)).with_state(probes);
        let pages = Pages::serve(&config.endpoint, router).await?;
        let stop = CancellationToken::new();
        tokio::spawn(heartbeat(health.clone(), stop.clone()));
        Ok(HealthServer { pages, _heartbeat: stop.drop_guard() })
    }

    /// The pages, for their addresses.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Answers no more probes.
    pub async fn shutdown(self) {
        self.pages.shutdown().await;
    }
}

async fn heartbeat(health: Health, stop: CancellationToken) {
    let mut clock = tokio::time::interval(BEAT);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            tick = clock.tick() => health.beat(tick.into_std()),
            () = stop.cancelled() => return,
        }
    }
}

#[derive(Clone, Debug)]
struct Probes {
    health: Health,
    path: Arc<str>,
}

async fn probe(State(probes): State<Probes>, uri: Uri) -> Response {
    let question = match uri.path() {
        "/live" => Question::IsAlive,
        "/startup" => Question::HasStarted,
        path if path == &*probes.path || path == "/" || path == "/ready" => Question::IsReady,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    probes.health.report(question, Instant::now()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_well(health: &Health, question: Question) -> bool {
        health.report(question, Instant::now()).is_well
    }

    #[test]
    fn a_collector_is_ready_only_while_it_takes_requests() {
        let health = Health::new();
        let mut told = Vec::new();
        for stage in [Stage::Starting, Stage::Bound, Stage::Accepting, Stage::Draining] {
            health.enter(stage);
            told.push((is_well(&health, Question::IsReady), is_well(&health, Question::HasStarted)));
        }
        assert_eq!(told, [(false, false), (false, true), (true, true), (false, true)]);
    }

    #[test]
    fn draining_is_not_taken_back() {
        let health = Health::new();
        health.enter(Stage::Draining);
        health.enter(Stage::Accepting);
        assert_eq!(health.stage(), Stage::Draining);
    }

    #[test]
    fn a_loop_that_stands_still_is_dead_until_it_turns_again() {
        let health = Health::new();
        let now = Instant::now();
        health.beat(now);
        assert!(health.report(Question::IsAlive, now + Duration::from_secs(9)).is_well);
        assert!(!health.report(Question::IsAlive, now + Duration::from_secs(11)).is_well);
        health.beat(now + Duration::from_secs(12));
        assert!(health.report(Question::IsAlive, now + Duration::from_secs(13)).is_well);
    }

    #[test]
    fn uptime_is_written_as_go_writes_it() {
        assert_eq!(uptime(Duration::from_millis(49_013)), "49.013s");
        assert_eq!(uptime(Duration::from_secs(62)), "1m2.000s");
        assert_eq!(uptime(Duration::from_millis(3_600_500)), "1h0m0.500s");
    }
}
