//! The collector as a whole: started from the ends to the middle, stopped from the front to the back.

use super::budget;
use super::intake::{Intake, Route, Routes};
use crate::config::model::{ComponentId, Config, LabelLimits, Pipeline, Processor, Receiver};
use crate::exporter::{self, Drained, Exporter};
use crate::payload::Budget;
use crate::processor::refusal::Refusal;
use crate::receiver::{self, Bound, Feed};
use crate::refusal::vocabulary::{Vocabulary, VocabularyError};
use crate::telemetry::own::Own;
use crate::telemetry::responses::Responses;
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A collector at work.
#[derive(Debug)]
pub struct Collector {
    receivers: receiver::Running,
    exporters: Vec<Exporter>,
    own: Own,
    shutdown_timeout: Duration,
}

/// Why a collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system gives no threads or signals.
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
    /// The vocabulary is broken.
    #[error("vocabulary: {0}")]
    Vocabulary(#[from] VocabularyError),
    /// An exporter cannot be set up.
    #[error("exporter {exporter}: {source}")]
    Exporter {
        /// Which.
        exporter: ComponentId,
        /// Why.
        source: exporter::StartError,
    },
    /// A receiver cannot listen.
    #[error(transparent)]
    Receiver(#[from] receiver::StartError),
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
        let undelivered = exporters.iter().map(|e| e.queued.items.saturating_add(e.in_flight.items));
        Ended { lost: undelivered.sum() }
    }
}

impl Collector {
    /// Starts everything that the pipelines of `config` name; on an error nothing is left running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let own = Own::new();
        let budget = Budget::new(budget::of(&config));
        own.show_budget(budget.clone());
        let responses = Arc::new(Responses::new(label_limits(&config)));

        let exporters = start_exporters(&config, &own)?;
        let refusals = start_refusals(&config)?;
        let route = |pipeline: &Pipeline| Route {
            refusal: pipeline.processors.iter().find_map(|id| refusals.get(id)).cloned(),
            exporters: pipeline.exporters.iter().filter_map(|id| exporters.get(id)).cloned().collect(),
        };
        let feeds = config.receivers.iter().filter_map(|(id, receiver)| {
            let Receiver::Otlp(otlp) = receiver;
            let pipelines = config.service.pipelines.values().filter(|p| p.receivers.contains(id));
            let routes: Vec<_> = pipelines.map(|pipeline| (pipeline.signal, route(pipeline))).collect();
            let consumer = Intake::new(Routes { routes, responses: responses.clone() });
            let is_used = config.service.pipelines.values().any(|p| p.receivers.contains(id));
            is_used.then(|| Feed { receiver: id.clone(), config: otlp.clone(), consumer })
        });
        let wait = config.service.admission.wait;
        let receivers = receiver::start(feeds.collect(), &config.extensions, &budget, wait, &own).await?;
        tracing::info!(budget_mib = budget.capacity() >> 20, "everything is ready: requests are taken");
        Ok(Collector {
            receivers,
            exporters: exporters.into_values().collect(),
            own,
            shutdown_timeout: config.service.shutdown_timeout,
        })
    }

    /// Where the receivers listen.
    pub fn ports(&self) -> &[Bound] {
        self.receivers.ports()
    }

    /// The accounts of its receivers and exporters.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Takes nothing more, answers what has begun, and delivers what is queued, within `service.shutdown_timeout`.
    pub async fn shutdown(self) -> Ended {
        let deadline = Instant::now() + self.shutdown_timeout;
        let cut = self.receivers.shutdown(deadline).await;
        if cut > 0 {
            tracing::warn!(cut, "connections and requests were cut off at the end of the grace time");
        }
        let drained = join_all(self.exporters.iter().map(|exporter| exporter.shutdown(deadline))).await;
        let lost = drained.iter().map(Drained::items).sum();
        match lost {
            0 => tracing::info!("stopped: everything that was accepted has been delivered"),
            lost => tracing::error!(lost, "stopped: items that were accepted could not be delivered in time"),
        }
        Ended { lost }
    }
}

fn start_exporters(config: &Config, own: &Own) -> Result<BTreeMap<ComponentId, Exporter>, StartError> {
    let is_used = |id: &&ComponentId| config.service.pipelines.values().any(|p| p.exporters.contains(id));
    let start = |id: &ComponentId| match Exporter::start(id, config, own) {
        Ok(exporter) => Ok((id.clone(), exporter)),
        Err(source) => Err(StartError::Exporter { exporter: id.clone(), source }),
    };
    config.exporters.keys().filter(is_used).map(start).collect()
}

fn start_refusals(config: &Config) -> Result<BTreeMap<ComponentId, Arc<Refusal>>, StartError> {
    let own_resource = std::env::var("OTEL_RESOURCE_ATTRIBUTES").ok();
    let mut refusals = BTreeMap::new();
    for (id, processor) in &config.processors {
        let Processor::Refusal(refusal) = processor else { continue };
        let vocabulary = Vocabulary::embedded()?.extended(&refusal.vocabulary)?;
        let vocabulary = Arc::new(ArcSwap::from_pointee(vocabulary));
        let refusal = Refusal::new(refusal, vocabulary, own_resource.as_deref());
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
