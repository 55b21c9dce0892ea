//! The collector as a whole: started from the ends to the middle, stopped from the front to the back.

use super::budget;
use super::intake::{Intake, Route, Routes};
use super::own_logs::Carriers;
use super::tap::Outlet;
use crate::admin::api::{self, Api};
use crate::admin::health::{Health, HealthServer, Stage};
use crate::config::Errors;
use crate::config::model::{
    ComponentId, Config, Extension, LabelLimits, Pipeline, Processor, Receiver, RefusalApi,
};
use crate::exporter::{self, Drained, Exporter};
use crate::net::BindError;
use crate::otlp::{self, Signal};
use crate::payload::Budget;
use crate::processor::refusal::{Refusal, Rulebook, RulebookError};
use crate::receiver::{self, Bound, Feed, TapFeed};
use crate::report::metrics::Pushes;
use crate::tap::Tap;
use crate::telemetry::events::{Events, WatchLimits};
use crate::telemetry::http::Pages;
use crate::telemetry::own::Own;
use crate::telemetry::own_logs::OwnLogs;
use crate::telemetry::registry::Registry;
use crate::telemetry::responses::Responses;
use crate::telemetry::server;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A collector at work.
#[derive(Debug)]
pub struct Collector {
    receivers: receiver::Running,
    outlets: Vec<Outlet>,
    carriers: Carriers,
    exporters: Vec<Exporter>,
    refusals: BTreeMap<ComponentId, Arc<Refusal>>,
    registry: Registry,
    own: Own,
    health: Health,
    metrics_pages: Vec<Pages>,
    pushes: Pushes,
    health_servers: Vec<HealthServer>,
    apis: Vec<Api>,
    shutdown_timeout: Duration,
}

/// Why a collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no threads or signals.
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
    /// A processor has nothing to judge by.
    #[error("processor {processor}: {source}")]
    Rulebook {
        /// Which.
        processor: ComponentId,
        /// Why.
        source: Box<RulebookError>,
    },
    /// An exporter cannot be set up.
    #[error("exporter {exporter}: {source}")]
    Exporter {
        /// Which.
        exporter: ComponentId,
        /// Why.
        source: Box<exporter::StartError>,
    },
    /// `/metrics` cannot be served.
    #[error("service.telemetry.metrics: {0}")]
    Metrics(BindError),
    /// Metrics cannot be sent.
    #[error("service.telemetry.metrics: {endpoint}: {source}")]
    Push {
        /// Where to.
        endpoint: String,
        /// Why.
        source: Box<exporter::StartError>,
    },
    /// An extension cannot listen.
    #[error("extension {extension}: {source}")]
    Extension {
        /// Which.
        extension: ComponentId,
        /// Why.
        source: BindError,
    },
    /// A receiver cannot listen.
    #[error(transparent)]
    Receiver(#[from] Box<receiver::StartError>),
}

/// What became of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Items that had been accepted and were not delivered, over all exporters.
    pub lost: u64,
}

impl Ended {
    /// The process ends before the queues are drained.
    pub(super) fn at_once(own: &Own) -> Self {
        let exporters = own.snapshot().exporters;
        let in_memory = exporters.iter().filter(|e| !e.is_durable);
        let undelivered = in_memory.map(|e| e.queued.items.saturating_add(e.in_flight.items));
        Ended { lost: undelivered.sum() }
    }
}

impl Collector {
    /// Starts everything that the pipelines of `config` name; on an error nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let own = Own::new();
        let budget = Budget::new(budget::of(&config));
        own.show_budget(budget.clone());
        otlp::pool::keep_idle(budget.capacity() / IDLE_SHARE);
        let limits = label_limits(&config);
        let responses = Arc::new(Responses::new(limits));

        let (own_logs, own_outlets) = OwnLogs::new(logs_exporters(&config), limits.waiting_events);
        if own_logs.is_empty() && !config.processors.is_empty() {
            tracing::info!("there is no logs pipeline, so refusal events do not become log records");
        }
        let watch = refusal_apis(&config).map(|(_, api)| api::watch_limits(api)).next();
        let watch = watch.unwrap_or(WatchLimits { watchers: 0, buffer: 1 });
        let events = Arc::new(Events::new(limits.unknown_values, watch, own_logs));
        let registry = Registry::new(own.clone(), responses.clone()).with_events(events.clone());
        let health = Health::new();
        let health_servers = start_health_servers(&config, &health).await?;
        let telemetry = &config.service.telemetry;
        let metrics_pages =
            server::serve(telemetry.metrics.pulled(), &registry).await.map_err(StartError::Metrics)?;
        let apis = start_apis(&config, &events).await?;

        let exporters = start_exporters(&config, &own)?;
        exporter::warn_of_orphans(&config);
        let taps = open_taps(&config, &own);
        let refusals = start_refusals(&config, &taps)?;
        let route = |pipeline: &Pipeline| Route {
            refusal: pipeline.processors.iter().find_map(|id| refusals.get(id)).cloned(),
            exporters: pipeline.exporters.iter().filter_map(|id| exporters.get(id)).cloned().collect(),
        };
        let (mut feeds, mut tap_feeds, mut outlets) = (Vec::new(), Vec::new(), Vec::new());
        for (id, component) in &config.receivers {
            let pipelines = || config.service.pipelines.values().filter(|p| p.receivers.contains(id));
            let routes: Vec<_> = pipelines().map(|pipeline| (pipeline.signal, route(pipeline))).collect();
            if routes.is_empty() {
                continue;
            }
            let judge = routes.iter().find_map(|(_, route)| route.refusal.clone());
            let (responses, events) = (responses.clone(), events.clone());
            let budget = budget.clone();
            let intake = Intake::new(Routes {
                routes,
                responses: responses.clone(),
                events: events.clone(),
                budget: budget.clone(),
            });
            let receiver = id.clone();
            match component {
                Receiver::Otlp(otlp) => {
                    feeds.push(Feed { receiver, config: otlp.clone(), consumer: intake });
                }
                Receiver::ExtProc(ext_proc) => {
                    let (Some(tap), Some(judge)) = (taps.get(id).cloned(), judge) else { continue };
                    let outlet = Outlet::new(ext_proc, tap, judge.clone(), responses, events, intake, budget);
                    outlets.push(outlet.clone());
                    let observer = move |exchange| outlet.observe(exchange);
                    let vocabulary = judge.vocabulary();
                    tap_feeds.push(TapFeed { receiver, config: ext_proc.clone(), vocabulary, observer });
                }
            }
        }
        let wait = config.service.admission.wait;
        let receivers = receiver::start(feeds, tap_feeds, &config.extensions, &budget, wait, &own)
            .await
            .map_err(Box::new)?;
        let pushes = Pushes::start(telemetry, &registry)
            .map_err(|(endpoint, source)| StartError::Push { endpoint, source: Box::new(source) })?;
        outlets.iter().for_each(Outlet::start);
        let exporters: Vec<_> = exporters.into_values().collect();
        let carriers = Carriers::start(own_outlets, &exporters, &budget);
        health.enter(Stage::Accepting);
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        tracing::info!(
            budget_mib = budget.capacity() >> 20,
            workers,
            "everything is ready: requests are taken"
        );
        Ok(Collector {
            receivers,
            outlets,
            carriers,
            exporters,
            refusals,
            registry,
            own,
            health,
            metrics_pages,
            pushes,
            health_servers,
            apis,
            shutdown_timeout: config.service.shutdown_timeout,
        })
    }

    /// Where the receivers listen.
    pub fn ports(&self) -> &[Bound] {
        self.receivers.ports()
    }

    /// Where `/metrics` is served.
    pub fn metrics_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.metrics_pages.iter().flat_map(|pages| pages.addresses().iter().copied())
    }

    /// Where health is served.
    pub fn health_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.health_servers.iter().flat_map(|server| server.pages().addresses().iter().copied())
    }

    /// Where the refusal API is served.
    pub fn api_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.apis.iter().flat_map(|api| api.addresses().iter().copied())
    }

    /// All that it counts.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The accounts of its receivers and exporters.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Takes over the vocabularies and policies of a configuration that was read again. One that has errors changes
    /// nothing.
    pub(super) fn take_over(&self, reloaded: Result<Config, Errors>) {
        let rulebooks = reloaded.map_err(|errors| errors.to_string()).and_then(|config| {
            let rulebooks = self.refusals.keys().filter_map(|id| match config.processors.get(id) {
                Some(Processor::Refusal(refusal)) => Some(Rulebook::new(refusal).map(|new| (id, new))),
                _ => None,
            });
            rulebooks.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
        });
        match rulebooks {
            Ok(rulebooks) => {
                for (id, rulebook) in rulebooks {
                    if let Some(refusal) = self.refusals.get(id) {
                        refusal.exchange(rulebook);
                        tracing::info!(processor = %id, "vocabulary and policy have been read again");
                    }
                }
            }
            Err(errors) => {
                tracing::error!(%errors, "vocabulary and policy stay as they were: the configuration has errors")
            }
        }
    }

    /// Takes nothing more, answers what has begun, and delivers what is queued, within `service.shutdown_timeout`.
    pub async fn shutdown(self) -> Ended {
        let deadline = Instant::now() + self.shutdown_timeout;
        self.health.enter(Stage::Draining);
        // A client that never finishes its request must not take the time in which the queues are emptied.
        let cut = self.receivers.shutdown(Instant::now() + self.shutdown_timeout / RECEIVERS_SHARE).await;
        if cut > 0 {
            tracing::warn!(cut, "connections and requests were cut off at the end of the grace time");
        }
        let told = join_all(self.outlets.iter().map(Outlet::shutdown));
        if timeout_at(deadline, told).await.is_err() {
            tracing::warn!("what taps have seen could not be told in the grace time");
        }
        // Nothing is judged any more: what there is to tell goes into the queues before they are emptied.
        let left = deadline.saturating_duration_since(Instant::now());
        self.carriers.finish(Instant::now() + left / CARRIERS_SHARE).await;
        let drained = join_all(self.exporters.iter().map(|exporter| exporter.shutdown(deadline))).await;
        let lost = drained.iter().map(Drained::items).sum();
        match lost {
            0 => match drained.iter().map(|drained| drained.kept).sum::<u64>() {
                0 => tracing::info!("stopped: everything that was accepted has been delivered"),
                kept => {
                    tracing::info!(kept, "stopped: items that could not be delivered in time are on disk")
                }
            },
            lost => tracing::error!(lost, "stopped: items that were accepted could not be delivered in time"),
        }
        self.pushes.shutdown().await;
        // Probes and scrapes are answered to the very end.
        join_all(self.apis.into_iter().map(Api::shutdown)).await;
        join_all(self.metrics_pages.into_iter().map(Pages::shutdown)).await;
        join_all(self.health_servers.into_iter().map(HealthServer::shutdown)).await;
        Ended { lost }
    }
}

/// Idle buffers are so much smaller than the memory budget.
const IDLE_SHARE: usize = 8;

/// Of the grace time, receivers get at most this part; exporters get the rest.
const RECEIVERS_SHARE: u32 = 3;

/// Of the rest, log records of the collector's own may wait so long for room in the queues.
const CARRIERS_SHARE: u32 = 4;

async fn start_health_servers(config: &Config, health: &Health) -> Result<Vec<HealthServer>, StartError> {
    let mut servers = Vec::new();
    for id in &config.service.extensions {
        let Some(Extension::HealthCheck(extension)) = config.extensions.get(id) else { continue };
        let server = HealthServer::serve(extension, health).await;
        servers.push(server.map_err(|source| StartError::Extension { extension: id.clone(), source })?);
    }
    Ok(servers)
}

async fn start_apis(config: &Config, events: &Arc<Events>) -> Result<Vec<Api>, StartError> {
    let mut apis = Vec::new();
    for (id, api) in refusal_apis(config) {
        let api = Api::serve(api, events.clone()).await;
        apis.push(api.map_err(|source| StartError::Extension { extension: id.clone(), source })?);
    }
    Ok(apis)
}

/// Those that run. They share all that they show, so the first one's limits hold for all.
fn refusal_apis(config: &Config) -> impl Iterator<Item = (&ComponentId, &RefusalApi)> {
    config.service.extensions.iter().filter_map(|id| match config.extensions.get(id) {
        Some(Extension::RefusalApi(api)) => Some((id, api)),
        _ => None,
    })
}

/// The exporters of all logs pipelines, each once.
fn logs_exporters(config: &Config) -> BTreeSet<ComponentId> {
    let logs = config.service.pipelines.values().filter(|pipeline| pipeline.signal == Signal::Logs);
    logs.flat_map(|pipeline| &pipeline.exporters).cloned().collect()
}

fn start_exporters(config: &Config, own: &Own) -> Result<BTreeMap<ComponentId, Exporter>, StartError> {
    let is_used = |id: &&ComponentId| config.service.pipelines.values().any(|p| p.exporters.contains(id));
    let start = |id: &ComponentId| match Exporter::start(id, config, own) {
        Ok(exporter) => Ok((id.clone(), exporter)),
        Err(source) => Err(StartError::Exporter { exporter: id.clone(), source: Box::new(source) }),
    };
    config.exporters.keys().filter(is_used).map(start).collect()
}

fn open_taps(config: &Config, own: &Own) -> BTreeMap<ComponentId, Arc<Tap>> {
    let open = |(id, receiver): (&ComponentId, &Receiver)| match receiver {
        Receiver::ExtProc(tap) => {
            Some((id.clone(), Arc::new(Tap::new(tap.wait, tap.max_waiting_records, own.tap(id)))))
        }
        Receiver::Otlp(_) => None,
    };
    let is_used = |id: &ComponentId| config.service.pipelines.values().any(|p| p.receivers.contains(id));
    config.receivers.iter().filter(|(id, _)| is_used(id)).filter_map(open).collect()
}

fn start_refusals(
    config: &Config,
    taps: &BTreeMap<ComponentId, Arc<Tap>>,
) -> Result<BTreeMap<ComponentId, Arc<Refusal>>, StartError> {
    let own_resource = std::env::var("OTEL_RESOURCE_ATTRIBUTES").ok();
    let mut refusals = BTreeMap::new();
    for (id, processor) in &config.processors {
        let Processor::Refusal(refusal) = processor else { continue };
        let rulebook = Rulebook::new(refusal)
            .map_err(|source| StartError::Rulebook { processor: id.clone(), source: Box::new(source) })?;
        let refusal = Refusal::new(refusal, rulebook, own_resource.as_deref());
        let refusal = refusal.with_taps(taps.values().cloned().collect());
        refusals.insert(id.clone(), Arc::new(refusal));
    }
    Ok(refusals)
}

/// There is one registry per process: of several `refusal` processors the first that a pipeline names says how large it
/// may grow.
fn label_limits(config: &Config) -> LabelLimits {
    let mut named = config.service.pipelines.values().flat_map(|pipeline| &pipeline.processors);
    let limits = named.find_map(|id| match config.processors.get(id) {
        Some(Processor::Refusal(refusal)) => Some(refusal.limits),
        _ => None,
    });
    limits.unwrap_or_default()
}
