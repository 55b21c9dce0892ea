//! All metrics of the process.

use crate::telemetry::events::Events;
use crate::telemetry::metric::Sink;
use crate::telemetry::own::Own;
use crate::telemetry::responses::Responses;
use crate::telemetry::text::{Form, Text};
use std::sync::Arc;

/// All metrics of the process: one per process, cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    own: Own,
    responses: Arc<Responses>,
    events: Arc<Events>,
}

impl Registry {
    /// The metrics of these accounts and counters.
    pub fn new(own: Own, responses: Arc<Responses>) -> Self {
        Registry { own, responses, events: Arc::default() }
    }

    /// With the metrics of these events, too.
    pub fn with_events(self, events: Arc<Events>) -> Self {
        Registry { events, ..self }
    }

    /// Gives all metrics to `sink`.
    pub fn collect(&self, sink: &mut impl Sink) {
        self.responses.collect(sink);
        self.events.collect(sink);
        self.own.collect(sink);
    }

    /// All metrics as text.
    pub fn text(&self, form: Form, with_created: bool) -> String {
        let mut text = Text::new(form, with_created);
        self.collect(&mut text);
        text.finish()
    }
}
