//! The way of what a tap has seen: judged, waiting for the span of its call, and where none comes, counted by itself and
//! told by log records or spans.

use super::intake::Intake;
use crate::config::model::{ExtProcReceiver, Unmatched};
use crate::payload::{Budget, Consume, Message, Payload};
use crate::processor::refusal::Refusal;
use crate::processor::workload::parse_resource_attributes;
use crate::refusal::event::Kinds;
use crate::tap::{Exchange, Form, Record, Tap, Waiting};
use crate::telemetry::events::Events;
use crate::telemetry::own::TapDrop;
use crate::telemetry::responses::Responses;
use crate::telemetry::spans::Caller;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What one tap sees goes here. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tap: Arc<Tap>,
    judge: Arc<Refusal>,
    responses: Arc<Responses>,
    events: Arc<Events>,
    intake: Intake,
    budget: Budget,
    form: Option<Form>,
    own_resource: Vec<(String, String)>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Records wait at least so long, so that the task does not wake for each one.
const TICK: Duration = Duration::from_millis(200);

/// How many records leave in one request.
const BATCH: usize = 512;

impl Outlet {
    /// Judges by `judge`, counts in `responses` and tells `events`; what no span has joined goes on through `intake`, covered by `budget`.
    pub(super) fn new(
        config: &ExtProcReceiver,
        tap: Arc<Tap>,
        judge: Arc<Refusal>,
        responses: Arc<Responses>,
        events: Arc<Events>,
        intake: Intake,
        budget: Budget,
    ) -> Self {
        let form = match config.unmatched {
            Unmatched::Log => Some(Form::Log),
            Unmatched::Span => Some(Form::Span),
            Unmatched::Count => None,
        };
        let own_resource = std::env::var("OTEL_RESOURCE_ATTRIBUTES").ok();
        let own_resource = own_resource.as_deref().map(parse_resource_attributes).unwrap_or_default();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared =
            Shared { tap, judge, responses, events, intake, budget, form, own_resource, stop, tasks };
        Outlet { shared: Arc::new(shared) }
    }

    /// Begins to tell of records whose time is over.
    pub(super) fn start(&self) {
        self.shared.tasks.spawn(self.shared.clone().run());
    }

    /// Takes what was seen of a call. Does not wait for anything.
    pub(super) fn observe(&self, exchange: Exchange) {
        let shared = &self.shared;
        let record = shared.judge.judge_exchange(exchange);
        if let Some(evicted) = shared.tap.insert(record)
            && let Some(_untold) = shared.count(&evicted)
        {
            shared.tap.metrics().dropped(TapDrop::Waiting);
        }
    }

    /// Waits no longer for spans: tells of all records, and ends.
    pub(super) async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        loop {
            let next = self.tap.next_deadline().unwrap_or_else(|| Instant::now() + TICK);
            let next = next.max(Instant::now() + TICK);
            tokio::select! {
                () = sleep_until(next) => self.tell(self.tap.take_expired(Instant::now())).await,
                () = self.stop.cancelled() => return self.tell(self.tap.take_all()).await,
            }
        }
    }

    /// Counts and tells of records whose time is over.
    async fn tell(&self, expired: Vec<Arc<Waiting>>) {
        let records: Vec<Record> = expired.iter().filter_map(|waiting| self.count(waiting)).collect();
        let Some(form) = self.form else { return };
        for records in records.chunks(BATCH) {
            let records: Vec<&Record> = records.iter().collect();
            let Some(request) = form.request(&records, &self.own_resource) else { continue };
            if !self.send(form, request).await {
                records.iter().for_each(|_| self.tap.metrics().dropped(TapDrop::Refused));
            }
        }
    }

    /// Counts a record that no span has joined; gives it back to be told of.
    fn count(&self, waiting: &Waiting) -> Option<Record> {
        if waiting.is_joined() {
            return None;
        }
        let mut record = waiting.record.clone();
        self.judge.decide(&mut record);
        let mut tally = self.responses.tally();
        let row = match self.judge.event_of(&record, self.events.wanted().kinds(Kinds::NONE)) {
            Some(event) => tally.add_with_event(&record.observation(), event),
            None => tally.add(&record.observation()),
        };
        tally.teach(row, || self.judge.lesson(&record.provider));
        self.events.publish(self.responses.commit(tally));
        self.tap.metrics().unmatched();
        Some(record)
    }

    async fn send(&self, form: Form, request: Vec<u8>) -> bool {
        let Some(permit) = u32::try_from(request.len()).ok().and_then(|len| self.budget.try_acquire(len))
        else {
            return false;
        };
        let payload = Payload {
            signal: form.signal(),
            message: Message::Bare(Bytes::from(request)),
            arrived: None,
            items: 0,
            permit: Arc::new(permit),
            caller: Caller::default(),
        };
        let sent = self.intake.consume(payload).await;
        sent.inspect_err(|error| tracing::warn!(%error, "what a tap has seen could not be told")).is_ok()
    }
}
