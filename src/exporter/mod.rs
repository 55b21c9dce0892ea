//! Exporters: where requests leave the collector.
//!
//! A request is first given room in the queues of all exporters that it goes to, then put into all of them: it is taken
//! everywhere or nowhere. What happens behind a queue, and what becomes of a request that a backend does not take, is
//! described in `docs/exporters.md`; every item of it ends in the account of [`crate::telemetry::own`].

mod answer;
mod batch;
mod body;
mod compress;
pub(crate) mod connect;
mod debug;
mod direct;
pub mod disk;
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
mod reserve;
mod retry;
mod sender;
mod tls;

pub use compress::NoSuchLevel;
pub use connect::EndpointError;
pub use direct::{Direct, TOLD_AGAIN_AFTER, Undelivered};
pub use disk::OpenError;
pub use headers::HeaderError;
pub use tls::TlsError;

use crate::config::model::{
    self, ComponentId, Compression, Config, Extension, FileStorage, Processor, QueueBatch, Retry,
    SendingQueue, Sizer,
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
use reserve::Reserve;
use sender::Sender;
use std::collections::BTreeSet;
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
    /// The extension for a queue on disk is not there.
    #[error("sending_queue.storage: there is no extension {0} of the kind file_storage")]
    NoStorage(ComponentId),
    /// A queue on disk that cannot be opened.
    #[error("sending_queue.storage: {0}")]
    Storage(#[from] OpenError),
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
        let storage = match &queue.storage {
            Some(storage) if queue.enabled => Some(file_storage(config, storage)?),
            _ => None,
        };
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
            let disk = match storage {
                Some(storage) => Some(shared.restore(storage, signal)?),
                None => None,
            };
            shared.lane_with(signal, disk).begin();
        }
        Ok(Exporter { shared: Arc::new(shared) })
    }

    /// What it is called in the configuration.
    pub fn id(&self) -> &ComponentId {
        &self.shared.id
    }

    /// Whether [`Self::push_back`] is to be asked about a request of so many bytes: cheap, for every request.
    pub fn may_lack_room(&self, signal: Signal, bytes: usize) -> bool {
        let lane = self.shared.lanes.get(signal).get();
        lane.and_then(|lane| lane.queue.as_ref()).is_some_and(|queue| queue.may_lack_room(bytes))
    }

    /// Pushes a request back before anything is made of it, if [`Self::reserve`] would do so now.
    pub fn push_back(&self, payload: &Payload) -> Result<(), Refused> {
        match &self.shared.lane(payload.signal).queue {
            Some(queue) => queue.push_back(payload),
            None => Ok(()),
        }
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

    /// Sends what is in the queues, with retries, until they are empty or `deadline` has come. What is left then stays on
    /// disk, if the queues are there, else it is given up; says how much that was. From the call on nothing more is taken.
    pub async fn shutdown(&self, deadline: Instant) -> Drained {
        self.shared.life.end_at(deadline);
        let PerSignal { traces, logs, metrics } = PerSignal::new(|signal| self.shared.lane(signal));
        let (traces, logs, metrics) =
            tokio::join!(traces.drain(deadline), logs.drain(deadline), metrics.drain(deadline));
        let kept = [traces, logs, metrics].iter().fold(0, |sum, left| left.kept.items.saturating_add(sum));
        Drained { traces: traces.lost, logs: logs.lost, metrics: metrics.lost, kept }
    }
}

impl Shared {
    /// Opens the queue on disk, with what is in it.
    fn restore(&self, storage: &FileStorage, signal: Signal) -> Result<disk::Restored, OpenError> {
        let place = disk::Place { storage: storage.clone(), exporter: self.id.clone(), signal };
        disk::Store::open(place, &self.own.exporter(&self.id, signal))
    }

    /// The way of a signal. That of a signal which no pipeline has is opened, in memory, when it is first asked for.
    fn lane(&self, signal: Signal) -> Arc<Lane> {
        self.lane_with(signal, None)
    }

    fn lane_with(&self, signal: Signal, disk: Option<disk::Restored>) -> Arc<Lane> {
        self.lanes
            .get(signal)
            .get_or_init(|| {
                let account = self.own.exporter(&self.id, signal);
                let batch = *self.batch.get(signal);
                let budget = self.own.budget();
                let largest_batch =
                    budget.as_ref().map_or(usize::MAX, |b| b.capacity() / LARGEST_BATCH_SHARE);
                let queue = || {
                    Queue::new(self.id.clone(), &self.queue, (batch, largest_batch), account.clone(), disk)
                };
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
                    reserve: Reserve::new(budget),
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

    fn is_on_disk(&self) -> bool {
        self.lane.queue.as_ref().is_some_and(|queue| queue.is_on_disk())
    }

    /// Puts the request in, alone. A future that is dropped before its end has not taken the request, but for an attempt of
    /// an exporter that waits for its backend.
    pub async fn commit(self, payload: Payload) -> Result<(), Refused> {
        commit_all(vec![(self, payload)]).await
    }

    async fn keep(self, payload: Payload) -> Result<Kept, Refused> {
        let request = self.lane.keep(payload).await?;
        Ok(Kept { lane: self.lane, place: self.place, request })
    }

    async fn deliver(self, payload: Payload) -> Result<(), Refused> {
        self.lane.deliver_now(self.place, payload).await
    }
}

/// A request that lies beside a queue, in memory or on disk. Dropped, it is forgotten.
struct Kept {
    lane: Arc<Lane>,
    place: Option<queue::Place>,
    request: queue::Request,
}

impl Kept {
    fn put(self) -> Result<(), Refused> {
        match self.place {
            Some(place) => self.lane.put(place, self.request),
            None => Ok(()),
        }
    }
}

/// Commits requests to all exporters in which they have reservations. What may fail comes before what is promised:
///
/// 1. Queues on disk write theirs down. If one of the disks does not take it, the request is refused, and those that were
///    written are forgotten.
/// 2. Exporters that wait for their backends send, all at once. If one of them fails, the same.
/// 3. The request is put into all queues at once, which fails only when the grace time of the shutdown is over.
///
/// The last step waits for nothing, so that a future which is dropped has the request in every queue or in none. A backend
/// of the second step may have it by then; and a process that is killed between the first step and the last finds what was
/// written when it starts again. Both are what *at least once* allows: the sender was not told, and sends it again.
pub async fn commit_all(requests: Vec<(Reservation, Payload)>) -> Result<(), Refused> {
    let (slow, queued): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|(reservation, _)| reservation.waits_for_backend());
    let mut kept = Vec::with_capacity(queued.len());
    let (on_disk, in_memory): (Vec<_>, Vec<_>) =
        queued.into_iter().partition(|(reservation, _)| reservation.is_on_disk());
    kept.extend(
        try_join_all(on_disk.into_iter().map(|(reservation, payload)| reservation.keep(payload))).await?,
    );
    try_join_all(slow.into_iter().map(|(reservation, payload)| reservation.deliver(payload))).await?;
    for (Reservation { lane, place }, payload) in in_memory {
        kept.push(Kept { lane, place, request: queue::Request::Memory(payload) });
    }
    kept.into_iter().try_for_each(Kept::put)
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
    /// Items that were not delivered and are not lost: they are on disk.
    pub kept: u64,
}

impl Drained {
    /// The items of all signals that are lost.
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
            Protocol::OtlpGrpc(backend) => backend.address(),
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

/// Merged requests are so much smaller than the budget, as the largest that arrive.
const LARGEST_BATCH_SHARE: usize = 3;

/// `timeout` of an exporter: 0 means that an attempt may take for ever.
fn per_attempt(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

/// Warns of queues on disk that hold requests for exporters and signals which the configuration does not have.
pub fn warn_of_orphans(config: &Config) {
    for id in &config.service.extensions {
        let Some(Extension::FileStorage(storage)) = config.extensions.get(id) else { continue };
        let mut in_use = BTreeSet::new();
        for (exporter, signal) in
            config.exporters.keys().flat_map(|id| Signal::ALL.map(|signal| (id, signal)))
        {
            let queue = config.exporters.get(exporter).and_then(model::Exporter::queue);
            let is_stored = queue.is_some_and(|queue| queue.enabled && queue.storage.as_ref() == Some(id));
            if is_stored && pipelines(config, exporter, signal).next().is_some() {
                in_use.insert(disk::path(&storage.directory, exporter, signal));
            }
        }
        for disk::Orphan { directory, records, items, bytes } in disk::orphans(&storage.directory, &in_use) {
            tracing::warn!(
                directory = %directory.display(), records, items, bytes,
                "a queue on disk belongs to no exporter and signal of the configuration, and is not sent: bring its \
                 exporter back to send it, or remove the directory"
            );
        }
    }
}

fn file_storage<'a>(config: &'a Config, id: &ComponentId) -> Result<&'a FileStorage, StartError> {
    match config.extensions.get(id) {
        Some(Extension::FileStorage(storage)) => Ok(storage),
        _ => Err(StartError::NoStorage(id.clone())),
    }
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
