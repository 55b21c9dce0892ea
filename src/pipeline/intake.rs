//! The way of a request from its receiver into the queues of its exporters: everywhere or nowhere.

use crate::exporter::{Exporter, commit_all};
use crate::otlp::{self, Signal};
use crate::payload::{Consume, Payload, Refused};
use crate::processor::refusal::{Processed, Refusal};
use crate::tap::Joined;
use crate::telemetry::events::Events;
use crate::telemetry::responses::Responses;
use crate::telemetry::spans;
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

    fn of(&self, signal: Signal) -> impl Iterator<Item = &Route> {
        self.routes.routes.iter().filter(move |(of, _)| *of == signal).map(|(_, route)| route)
    }
}

impl Consume for Intake {
    async fn consume(&self, payload: Payload) -> Result<usize, Refused> {
        let mut tally = self.routes.responses.tally().with_events(self.routes.events.wanted());
        let mut items = 0;
        let mut selftest = false;
        let mut destinations = Vec::new();
        let mut joined = Vec::new();
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
            if items == 0 {
                continue;
            }
            let payloads = route.exporters.iter().map(|exporter| (exporter, processed.payload.clone()));
            destinations.extend(payloads);
        }
        drop(payload);
        if selftest {
            // Asked for by `refusal-collector selftest`: it is counted, and of no use to any backend.
            destinations.clear();
        }
        // Requests that wait for room in several queues must not wait for each other: all ask in the same order.
        destinations.sort_by(|(one, _), (other, _)| one.id().cmp(other.id()));
        // Room in every queue first: a request that is pushed back reaches no exporter and leaves no trace.
        let mut requests = Vec::with_capacity(destinations.len());
        for (exporter, payload) in destinations {
            requests.push((exporter.reserve(&payload).await?, payload));
        }
        commit_all(requests).await?;
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

fn counted(mut payload: Payload) -> Result<Processed, Refused> {
    payload.items = otlp::splice::count(payload.signal, payload.message.as_slice())?;
    Ok(Processed { payload, selftest: false, joined: Vec::new() })
}
