//! Metrics that are sent at intervals, and once more at the end.

use super::resource;
use crate::config::model::{PeriodicReader, Telemetry};
use crate::exporter::{Direct, StartError, TOLD_AGAIN_AFTER, Undelivered};
use crate::otlp::Signal;
use crate::telemetry::logs::Gate;
use crate::telemetry::otlp::{Request, Requests, ResourceAttributes};
use crate::telemetry::registry::Registry;
use futures_util::future::join_all;
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// A request holds no more points than this: backends take 4 MiB at least, and a point has a few hundred bytes.
const MOST_POINTS: usize = 4096;

/// How long the last round may take, when all else has been delivered.
const LAST_ROUND: Duration = Duration::from_secs(2);

/// Metrics on their way to all periodic readers.
#[derive(Debug, Default)]
pub struct Pushes {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Pushes {
    /// Sends the metrics of `registry` from now on. The error comes with the endpoint that it is about.
    pub fn start(telemetry: &Telemetry, registry: &Registry) -> Result<Self, (String, StartError)> {
        let mut readers = Vec::new();
        for reader in telemetry.metrics.pushed() {
            let target = &reader.exporter.otlp;
            let direct =
                Direct::new(target, Signal::Metrics).map_err(|error| (target.endpoint.clone(), error))?;
            readers.push((reader, direct));
        }
        let stop = CancellationToken::new();
        let start = |(reader, direct): (&PeriodicReader, Direct)| {
            let push = Push {
                registry: registry.clone(),
                resource: resource::attributes(&telemetry.resource),
                direct,
                timeout: reader.timeout,
                failures: Gate::new(TOLD_AGAIN_AFTER),
            };
            tokio::spawn(push.run(reader.interval, stop.clone()))
        };
        let tasks = readers.into_iter().map(start).collect();
        Ok(Pushes { stop, tasks })
    }

    /// Sends everything once more and ends.
    pub async fn shutdown(self) {
        self.stop.cancel();
        join_all(self.tasks).await;
    }
}

struct Push {
    registry: Registry,
    resource: ResourceAttributes,
    direct: Direct,
    timeout: Duration,
    failures: Gate,
}

impl Push {
    async fn run(self, interval: Duration, stop: CancellationToken) {
        let mut clock = interval_at(Instant::now() + interval, interval);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let round = async {
                clock.tick().await;
                self.send(self.timeout).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = round => {}
            }
        }
        self.send(self.timeout.min(LAST_ROUND)).await;
    }

    async fn send(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        if let Err(error) = self.try_send(deadline).await
            && let Some(times) = self.failures.pass(1)
        {
            tracing::warn!(%error, times, "the collector's own metrics could not be sent");
        }
    }

    /// The numbers of all requests are of one moment.
    async fn try_send(&self, deadline: Instant) -> Result<(), Undelivered> {
        let (registry, resource) = (self.registry.clone(), self.resource.clone());
        // Thousands of series take milliseconds, in which no request should wait.
        let made = tokio::task::spawn_blocking(move || {
            let mut requests = Requests::new(&resource, SystemTime::now(), MOST_POINTS);
            registry.collect(&mut requests);
            requests.finish()
        });
        for Request { message, points } in made.await.unwrap_or_default() {
            self.direct.send(message, points, deadline).await?;
        }
        Ok(())
    }
}
