//! The way of a request from its receiver into the queues of its exporters: everywhere or nowhere.

use crate::exporter::{Exporter, commit_all};
use crate::otlp::wire::Malformed;
use crate::otlp::{self, Signal};
use crate::payload::{Budget, Consume, NotTaken, Payload, Permit, Refused};
use crate::processor::refusal::{Processed, Refusal};
use crate::processor::workload::SELFTEST;
use crate::tap::Joined;
use crate::telemetry::events::Events;
use crate::telemetry::responses::Responses;
use crate::telemetry::spans;
use memchr::memmem;
use std::sync::Arc;

/// Takes the requests of one receiver. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    routes: Arc<Routes>,
}

/// What is connected to one receiver.
#[derive(Debug)]
pub(super) struct Routes {
    /// The pipelines that it feeds, with their signal.
    pub(super) routes: Vec<(Signal, Route)>,
    /// Where verdicts are counted.
    pub(super) responses: Arc<Responses>,
    /// Where refusal events go.
    pub(super) events: Arc<Events>,
    /// Where requests that grow find room.
    pub(super) budget: Budget,
}

/// One pipeline, as seen from its receivers.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// Its `refusal` processor, if it has one.
    pub(super) refusal: Option<Arc<Refusal>>,
    /// Where its requests go.
    pub(super) exporters: Vec<Exporter>,
}

impl Intake {
    pub(super) fn new(routes: Routes) -> Self {
        Intake { routes: Arc::new(routes) }
    }

    /// A collector that cannot keep up must not spend its time on requests that have no room anyway. Who comes through
    /// has to reserve room all the same.
    fn push_back(&self, payload: &Payload) -> Result<(), NotTaken> {
        let (signal, message) = (payload.signal, payload.message.as_slice());
        let exporters = || self.of(signal).flat_map(|route| &route.exporters);
        let may_lack_room = exporters().any(|exporter| exporter.may_lack_room(signal, message.len()));
        // A selftest needs no room: it is not exported.
        if !may_lack_room || memmem::find(message, SELFTEST.as_bytes()).is_some() {
            return Ok(());
        }
        let items = otlp::splice::count(signal, message)?;
        let payload = Payload { items, ..payload.clone() };
        if items == 0 {
            return Ok(());
        }
        exporters()
            .try_for_each(|exporter| exporter.push_back(&payload))
            .map_err(|why| NotTaken { why, items })
    }

    /// Verdicts make requests larger, and each pipeline makes a request of its own.
    fn grow(&self, permit: &Permit, bytes: usize) -> Result<(), Refused> {
        let missing = bytes.saturating_sub(permit.bytes());
        if missing > 0 {
            let budget = &self.routes.budget;
            let more = u32::try_from(missing).ok().and_then(|missing| budget.try_acquire(missing));
            permit.extend(more.ok_or_else(|| Refused::OverBudget { retry_after: budget.time_for(missing) })?);
        }
        Ok(())
    }

    fn of(&self, signal: Signal) -> impl Iterator<Item = &Route> {
        self.routes.routes.iter().filter(move |(of, _)| *of == signal).map(|(_, route)| route)
    }
}

impl Consume for Intake {
    async fn consume(&self, payload: Payload) -> Result<usize, NotTaken> {
        self.push_back(&payload)?;
        let mut tally = self.routes.responses.tally().with_events(self.routes.events.wanted());
        let mut items = 0;
        let mut selftest = false;
        let mut destinations = Vec::new();
        let mut joined = Vec::new();
        let permit = payload.permit.clone();
        let mut bytes = Bytes::default();
        for route in self.of(payload.signal) {
            let processed = match &route.refusal {
                Some(refusal) => {
                    spans::process("refusal").in_scope(|| refusal.process(payload.clone(), &mut tally))?
                }
                None => counted(payload.clone())?,
            };
            items = processed.payload.items;
            selftest |= processed.selftest;
            joined.extend(processed.joined);
            bytes.add(&payload, &processed.payload);
            if items == 0 {
                continue;
            }
            let payloads = route.exporters.iter().map(|exporter| (exporter, processed.payload.clone()));
            destinations.extend(payloads);
        }
        drop(payload);
        let not_taken = |why| NotTaken { why, items };
        self.grow(&permit, bytes.sum()).map_err(not_taken)?;
        if selftest {
            // Asked for by `refusal-collector selftest`: it is counted, and of no use to any backend.
            destinations.clear();
        }
        // Requests that wait for room in several queues must not wait for each other: all ask in the same order.
        destinations.sort_by(|(one, _), (other, _)| one.id().cmp(other.id()));
        // Room in every queue first: a request that is pushed back reaches no exporter and leaves no trace.
        let mut requests = Vec::with_capacity(destinations.len());
        for (exporter, payload) in destinations {
            requests.push((exporter.reserve(&payload).await.map_err(not_taken)?, payload));
        }
        commit_all(requests).await.map_err(not_taken)?;
        let counted = self.routes.responses.commit(tally);
        match selftest {
            true => self.routes.events.list(&counted),
            false => self.routes.events.publish(counted),
        }
        joined.iter().for_each(Joined::settle);
        Ok(items)
    }

    fn takes(&self, signal: Signal) -> bool {
        self.of(signal).next().is_some()
    }
}

/// What a request takes up in memory after the pipelines have made theirs of it.
#[derive(Default)]
struct Bytes {
    unchanged: usize,
    rewritten: usize,
}

impl Bytes {
    fn add(&mut self, arrived: &Payload, processed: &Payload) {
        let bytes = processed.len_in_memory();
        match std::ptr::eq(arrived.message.as_slice(), processed.message.as_slice()) {
            true => self.unchanged = bytes,
            false => self.rewritten = self.rewritten.saturating_add(bytes),
        }
    }

    fn sum(&self) -> usize {
        self.unchanged.saturating_add(self.rewritten)
    }
}

fn counted(mut payload: Payload) -> Result<Processed, Malformed> {
    payload.items = otlp::splice::count(payload.signal, payload.message.as_slice())?;
    Ok(Processed { payload, selftest: false, joined: Vec::new() })
}
