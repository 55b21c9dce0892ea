//! The tap: Envoy's External Processing API, by which it sends a copy of each vendor answer.
//!
//! What this promises, so that no call is ever held up: the reader of a stream waits for nothing but its stream, reads
//! whatever comes, ends the stream with the end of the answer, and at once over a limit; a fault ends one stream only.
//! Replies are expected only by an Envoy that is not in observability mode; it gets them too.
//!
//! A call passes `frames` (gRPC, in bounded memory), `session` (what the messages mean) with `call` (what the
//! headers tell), and leaves as an [`Exchange`].

mod call;
mod frames;
mod messages;
mod session;

use crate::config::model::ExtProcReceiver;
use crate::payload::{Budget, GRPC_PREFIX, Permit};
use crate::receiver::activity::Answering;
use crate::receiver::auth::Authenticator;
use crate::receiver::connection::{Ending, Handle};
use crate::receiver::grpc;
use crate::receiver::respond::{self, Body, Error};
use crate::refusal::vocabulary::Vocabulary;
use crate::tap::Exchange;
use crate::telemetry::own::{StreamEnd, TapMetrics};
use bytes::{BufMut, Bytes, BytesMut};
use frames::{Frames, Unreadable};
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use messages::ProcessingResponse;
use prost::Message;
use session::{Mode, Next, Session};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whoever is told what was seen of each call. Must not block.
pub trait Observe: Fn(Exchange) + Clone + Send + Sync + 'static {}

impl<F: Fn(Exchange) + Clone + Send + Sync + 'static> Observe for F {}

/// Answers `envoy.service.ext_proc.v3.ExternalProcessor`.
pub struct ExtProc<O> {
    shared: Arc<Shared<O>>,
}

impl<O> Clone for ExtProc<O> {
    fn clone(&self) -> Self {
        ExtProc { shared: self.shared.clone() }
    }
}

struct Shared<O> {
    settings: Arc<Settings>,
    observer: O,
    authenticator: Option<Authenticator>,
    streams: Arc<Semaphore>,
    ending: Ending,
    /// Whether it was said that Envoy waits for replies.
    has_warned: AtomicBool,
}

/// What all streams of a receiver share.
#[derive(Debug)]
pub struct Settings {
    /// From route names and hosts to providers.
    providers: HashMap<String, String>,
    /// The header that names the workload.
    workload_header: Option<String>,
    /// The largest window of a content coding, in bytes.
    max_window: usize,
    /// How many bytes of an answer are read once it is decoded.
    max_answer: u64,
    /// The memory of readers and windows.
    state: Budget,
    vocabulary: Vocabulary,
    metrics: Arc<TapMetrics>,
}

/// The service's only method.
const PATH: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// What a reader of answers takes at most, in bytes; windows of content codings are beside it.
const READER: u32 = 16 << 10;

/// How many replies wait for Envoy to read them.
const REPLIES: usize = 16;

impl<O: Observe> ExtProc<O> {
    /// A tap as configured, that tells `observer` what it sees.
    pub fn new(
        config: &ExtProcReceiver,
        vocabulary: Vocabulary,
        metrics: Arc<TapMetrics>,
        observer: O,
        authenticator: Option<Authenticator>,
        ending: Ending,
    ) -> Self {
        let settings = Settings {
            providers: config.providers.clone().into_iter().collect(),
            workload_header: config.workload_header.as_deref().map(str::to_ascii_lowercase),
            max_window: config.max_window,
            max_answer: config.max_answer_size as u64,
            state: Budget::new(config.max_state),
            vocabulary,
            metrics,
        };
        let streams = Arc::new(Semaphore::new(config.max_open_streams.min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            settings: Arc::new(settings),
            observer,
            authenticator,
            streams,
            ending,
            has_warned: AtomicBool::new(false),
        };
        ExtProc { shared: Arc::new(shared) }
    }

    async fn begin(&self, request: Request<Incoming>, answering: Answering) -> Result<Response<Body>, Error> {
        let shared = &self.shared;
        let (head, body) = request.into_parts();
        grpc::check(&head)?;
        if head.uri.path() != PATH {
            return Err(Error::NotFound);
        }
        if let Some(authenticator) = &shared.authenticator {
            authenticator.check(&head.headers).await?;
        }
        let place = shared.streams.clone().try_acquire_owned();
        let (Ok(place), Some(permit)) = (place, shared.settings.state.try_acquire(READER)) else {
            // Envoy lets the call go on without a copy.
            shared.settings.metrics.refused();
            return Ok(respond::grpc_end());
        };
        let (replies, replied) = mpsc::channel(REPLIES);
        let copying = Copying { shared: shared.clone(), _place: place, _answering: answering };
        shared.ending.tasks.spawn(copying.copy(Frames::new(body), permit, replies));
        Ok(respond::grpc_stream(replied))
    }
}

impl<O: Observe> Handle for ExtProc<O> {
    // A call to a model must not wait for senders of telemetry.
    const KEEPS_MEMORY: bool = true;

    async fn handle(&self, request: Request<Incoming>, answering: Answering) -> Response<Body> {
        self.begin(request, answering).await.unwrap_or_else(|error| respond::grpc_error(&error))
    }
}

/// One stream that is being read.
struct Copying<O> {
    shared: Arc<Shared<O>>,
    _place: OwnedSemaphorePermit,
    _answering: Answering,
}

impl<O: Observe> Copying<O> {
    /// Reads a stream to its end. The stream is closed when this returns and all replies are sent.
    async fn copy(self, frames: Frames<Incoming>, permit: Permit, replies: Sender<Bytes>) {
        let metrics = self.shared.settings.metrics.clone();
        metrics.opened();
        // The stream is open until it has been counted.
        let _open = replies.clone();
        let ended = AssertUnwindSafe(self.read(frames, permit, replies)).catch_unwind().await;
        metrics.closed(ended.unwrap_or(StreamEnd::Panic));
    }

    async fn read(&self, mut frames: Frames<Incoming>, permit: Permit, replies: Sender<Bytes>) -> StreamEnd {
        let mut session = Session::new(self.shared.settings.clone(), permit);
        let end = loop {
            let piece = tokio::select! {
                piece = frames.next() => piece,
                () = self.shared.ending.stop.cancelled(), if session.mode() != Some(Mode::FullDuplex) => {
                    break StreamEnd::Shutdown;
                }
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => break StreamEnd::Cut,
                Err(Unreadable::TooLong) => break StreamEnd::Limit,
                Err(Unreadable::Compressed | Unreadable::Malformed) => break StreamEnd::Malformed,
            };
            let is_first = session.mode().is_none();
            let (reply, next) = session.take(piece);
            if is_first {
                self.note_mode(session.mode());
            }
            if let Some(reply) = reply
                && send(&replies, &reply, session.mode()).await.is_err()
            {
                break StreamEnd::Cut;
            }
            if let Next::End(end) = next {
                break end;
            }
        };
        let (end, exchange) = session.finish(end);
        if let Some(exchange) = exchange {
            (self.shared.observer)(exchange);
        }
        end
    }

    fn note_mode(&self, mode: Option<Mode>) {
        if mode == Some(Mode::Observing) {
            return;
        }
        self.shared.settings.metrics.answering();
        if !self.shared.has_warned.swap(true, Relaxed) {
            tracing::warn!(
                "Envoy waits for this collector in every call: set observability_mode: true in its ext_proc filter"
            );
        }
    }
}

/// Sends a reply. Only where the call would lose its body otherwise, this waits until Envoy has read others.
async fn send(replies: &Sender<Bytes>, reply: &ProcessingResponse, mode: Option<Mode>) -> Result<(), Gone> {
    let length = reply.encoded_len();
    let mut frame = BytesMut::with_capacity(GRPC_PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).map_err(|_| Gone)?);
    reply.encode(&mut frame).map_err(|_| Gone)?;
    match mode {
        Some(Mode::FullDuplex) => replies.send(frame.freeze()).await.map_err(|_| Gone),
        _ => replies.try_send(frame.freeze()).map_err(|_| Gone),
    }
}

/// Nobody reads the replies.
struct Gone;
