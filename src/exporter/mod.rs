//! Exporters: where requests leave the collector.
//!
//! A request is first given room in the queues of all exporters that it goes to, then put into all of them: it is taken
//! everywhere or nowhere. What happens behind a queue, and what becomes of a request that a backend does not take, is
//! described in `docs/exporters.md`; every item of it ends in the account of [`crate::telemetry::own`].

mod answer;
mod batch;
mod body;
mod compress;
mod connect;
mod debug;
mod flight;
mod headers;
mod lane;
mod life;
mod log;
mod otlp_grpc;
mod otlp_http;
mod outcome;
mod per_signal;
mod queue;
mod quote;
mod rate;
mod retry;
mod sender;
mod tls;

pub use compress::NoSuchLevel;
pub use connect::EndpointError;
pub use headers::HeaderError;
pub use tls::TlsError;

use crate::config::model::{
    self, ComponentId, Compression, Config, Processor, QueueBatch, Retry, SendingQueue, Sizer,
};
use crate::otlp::Signal;
use crate::payload::{Payload, Refused};
use crate::telemetry::own::{Amount, Own};
use compress::{Encoded, Encoder};
use futures_util::future::try_join_all;
use lane::Lane;
use life::Life;
use log::Log;
use outcome::Outcome;
use per_signal::PerSignal;
use queue::Queue;
use sender::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// A running exporter. Cloning is cheap; all clones are the same exporter.
#[derive(Clone, Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: ComponentId,
    backend: Arc<Backend>,
    queue: SendingQueue,
    batch: PerSignal<Option<QueueBatch>>,
    retry: Retry,
    own: Own,
    life: Life,
    lanes: PerSignal<OnceLock<Arc<Lane>>>,
}

/// Why an exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has no such exporter.
    #[error("there is no such exporter")]
    Unknown,
    /// An address that cannot be used.
    #[error("{field} {value:?}: {source}")]
    Endpoint {
        /// The field of the configuration.
        field: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        source: EndpointError,
    },
    /// Headers or credentials that cannot be sent.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// TLS that cannot be set up.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// A level that the compression does not have.
    #[error("compression_params.level: {0}")]
    Level(#[from] NoSuchLevel),
    /// A queue on disk, which this exporter cannot have.
    #[error("sending_queue.storage: queues on disk are not supported; leave it out for a queue in memory")]
    Storage,
}

impl StartError {
    fn endpoint(field: &'static str, value: &str, source: EndpointError) -> Self {
        StartError::Endpoint { field, value: value.to_owned(), source }
    }
}

impl Exporter {
    /// Sets up the exporter `id` of the configuration for the pipelines that name it. It connects with the first request;
    /// `own` has accounts for it from now on.
    pub fn start(id: &ComponentId, config: &Config, own: &Own) -> Result<Self, StartError> {
        let exporter = config.exporters.get(id).ok_or(StartError::Unknown)?;
        let signals: Vec<Signal> = Signal::ALL
            .into_iter()
            .filter(|signal| pipelines(config, id, *signal).next().is_some())
            .collect();
        let (queue, retry) = match exporter {
            model::Exporter::OtlpGrpc(exporter) => (exporter.queue.clone(), exporter.retry),
            model::Exporter::OtlpHttp(exporter) => (exporter.queue.clone(), exporter.retry),
            // It cannot be slow, and it cannot fail.
            model::Exporter::Debug(_) => {
                (SendingQueue { enabled: false, ..SendingQueue::default() }, Retry::default())
            }
        };
        if queue.enabled && queue.storage.is_some() {
            return Err(StartError::Storage);
        }
        let shared = Shared {
            id: id.clone(),
            backend: Arc::new(Backend::new(id, exporter, config, &signals)?),
            batch: PerSignal::new(|signal| queue.batch.or_else(|| batch_processor(config, id, signal))),
            queue,
            retry,
            own: own.clone(),
            life: Life::new(),
            lanes: PerSignal::default(),
        };
        for signal in signals {
            shared.lane(signal);
        }
        Ok(Exporter { shared: Arc::new(shared) })
    }

    /// What it is called in the configuration.
    pub fn id(&self) -> &ComponentId {
        &self.shared.id
    }

    /// Sets room aside for a request. A full queue refuses it, or with `block_on_overflow` makes it wait; an exporter
    /// without a queue has no bound.
    pub async fn reserve(&self, payload: &Payload) -> Result<Reservation, Refused> {
        let lane = self.shared.lane(payload.signal);
        let place = match &lane.queue {
            Some(queue) => Some(queue.reserve(payload).await?),
            None => None,
        };
        Ok(Reservation { lane: lane.clone(), place })
    }

    /// Sends what is in the queues, with retries, until they are empty or `deadline` has come; then gives up what is left and
    /// says how much that was. From the call on nothing more is taken.
    pub async fn shutdown(&self, deadline: Instant) -> Drained {
        self.shared.life.end_at(deadline);
        let PerSignal { traces, logs, metrics } = PerSignal::new(|signal| self.shared.lane(signal));
        let (traces, logs, metrics) =
            tokio::join!(traces.drain(deadline), logs.drain(deadline), metrics.drain(deadline));
        Drained { traces, logs, metrics }
    }
}

impl Shared {
    /// The way of a signal; opened, with its account, when it is first asked for.
    fn lane(&self, signal: Signal) -> Arc<Lane> {
        self.lanes
            .get(signal)
            .get_or_init(|| {
                let account = self.own.exporter(&self.id, signal);
                let queue =
                    || Queue::new(self.id.clone(), &self.queue, *self.batch.get(signal), account.clone());
                Arc::new(Lane {
                    exporter: self.id.clone(),
                    queue: self.queue.enabled.then(queue),
                    wait_for_result: self.queue.wait_for_result,
                    sender: Sender {
                        backend: self.backend.clone(),
                        retry: self.retry,
                        account: account.clone(),
                        log: Log::new(self.id.clone(), signal, self.backend.address(signal)),
                        life: self.life.clone(),
                    },
                })
            })
            .clone()
    }
}

/// Room for one request. Dropped, it is free for others.
#[derive(Debug)]
pub struct Reservation {
    lane: Arc<Lane>,
    place: Option<queue::Place>,
}

impl Reservation {
    /// Whether the commit comes back only when the backend has answered: `sending_queue.enabled: false`, or
    /// `wait_for_result`.
    pub fn waits_for_backend(&self) -> bool {
        self.place.is_none() || self.lane.wait_for_result
    }

    /// Puts the request in. Unless it [waits for the backend](Self::waits_for_backend) this never has to wait, and fails only
    /// when the grace time of the shutdown is over. Else the result is what became of the request; a future that is dropped
    /// before takes an attempt of an exporter without a queue with it.
    pub async fn commit(self, payload: Payload) -> Result<(), Refused> {
        self.lane.commit(self.place, payload).await
    }
}

/// Commits requests to all exporters in which they have reservations. Those that wait for their backends come first, all
/// at once: when one of them fails, the request is refused before it is in any queue.
pub async fn commit_all(requests: Vec<(Reservation, Payload)>) -> Result<(), Refused> {
    let (slow, quick): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|(reservation, _)| reservation.waits_for_backend());
    try_join_all(slow.into_iter().map(|(reservation, payload)| reservation.commit(payload))).await?;
    for (reservation, payload) in quick {
        reservation.commit(payload).await?;
    }
    Ok(())
}

/// What was lost at the end of a shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Of the traces.
    pub traces: Amount,
    /// Of the logs.
    pub logs: Amount,
    /// Of the metrics.
    pub metrics: Amount,
}

impl Drained {
    /// The items of all signals.
    pub fn items(&self) -> u64 {
        [self.traces, self.logs, self.metrics].iter().fold(0, |sum, amount| sum.saturating_add(amount.items))
    }
}

/// Where to and in what form.
#[derive(Debug)]
struct Backend {
    encoder: Encoder,
    protocol: Protocol,
}

#[derive(Debug)]
enum Protocol {
    OtlpGrpc(otlp_grpc::OtlpGrpc),
    OtlpHttp(otlp_http::OtlpHttp),
    Debug(debug::Debug),
}

impl Backend {
    fn new(
        id: &ComponentId,
        exporter: &model::Exporter,
        config: &Config,
        signals: &[Signal],
    ) -> Result<Self, StartError> {
        Ok(match exporter {
            model::Exporter::OtlpGrpc(exporter) => Backend {
                encoder: Encoder::new(exporter.compression, exporter.compression_level)?,
                protocol: Protocol::OtlpGrpc(otlp_grpc::OtlpGrpc::new(exporter, config)?),
            },
            model::Exporter::OtlpHttp(exporter) => Backend {
                encoder: Encoder::new(exporter.compression, exporter.compression_level)?,
                protocol: Protocol::OtlpHttp(otlp_http::OtlpHttp::new(exporter, config, signals)?),
            },
            model::Exporter::Debug(exporter) => Backend {
                encoder: Encoder::new(Compression::None, None)?,
                protocol: Protocol::Debug(debug::Debug::new(id.clone(), exporter)),
            },
        })
    }

    /// Scheme, host and port.
    fn address(&self, signal: Signal) -> String {
        match &self.protocol {
            Protocol::OtlpGrpc(backend) => connect::address(backend.target()),
            Protocol::OtlpHttp(backend) => backend.url(signal).map(connect::address).unwrap_or_default(),
            Protocol::Debug(_) => String::new(),
        }
    }

    async fn attempt(&self, payload: &Payload, message: &Encoded) -> Outcome {
        match &self.protocol {
            Protocol::OtlpGrpc(backend) => backend.attempt(payload.signal, message).await,
            Protocol::OtlpHttp(backend) => backend.attempt(payload.signal, message).await,
            Protocol::Debug(log) => {
                log.write(payload);
                Outcome::Delivered
            }
        }
    }
}

/// `timeout` of an exporter: 0 means that an attempt may take for ever.
fn per_attempt(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

fn pipelines<'a>(
    config: &'a Config,
    id: &'a ComponentId,
    signal: Signal,
) -> impl Iterator<Item = &'a model::Pipeline> {
    config.service.pipelines.values().filter(move |p| p.signal == signal && p.exporters.contains(id))
}

/// What the `batch` processor of a pipeline wants: here it merges behind the queue, so that nothing that was accepted is
/// anywhere else.
fn batch_processor(config: &Config, id: &ComponentId, signal: Signal) -> Option<QueueBatch> {
    let mut processors = pipelines(config, id, signal).flat_map(|pipeline| &pipeline.processors);
    processors.find_map(|id| match config.processors.get(id) {
        Some(Processor::Batch(batch)) => Some(QueueBatch {
            flush_timeout: batch.timeout,
            min_size: batch.send_batch_size,
            max_size: batch.send_batch_max_size,
            sizer: Sizer::Items,
        }),
        _ => None,
    })
}
