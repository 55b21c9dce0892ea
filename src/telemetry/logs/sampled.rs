//! Holds back what repeats, as `service.telemetry.logs.sampling` says.

use crate::config::model::Sampling;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// A filter of events by how often they came. Events are the same when they come from the same place in the program.
#[derive(Debug)]
pub struct Sampled {
    sampling: Option<Sampling>,
    seen: Mutex<HashMap<Identifier, Seen>>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    count: u64,
}

impl Sampled {
    /// Without `sampling` every event passes.
    pub fn new(sampling: Option<Sampling>) -> Self {
        Sampled { sampling: sampling.filter(|sampling| sampling.enabled), seen: Mutex::default() }
    }

    fn passes(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let Some(Sampling { tick, initial, thereafter, .. }) = self.sampling else { return true };
        // The exporter has a sampling of its own.
        if metadata.target() == DEBUG_EXPORTER {
            return true;
        }
        let mut seen = self.seen.lock();
        let of_place = seen.entry(metadata.callsite()).or_insert(Seen { since: now, count: 0 });
        if now.saturating_duration_since(of_place.since) >= tick {
            *of_place = Seen { since: now, count: 0 };
        }
        of_place.count = of_place.count.saturating_add(1);
        match of_place.count.checked_sub(initial) {
            None | Some(0) => true,
            Some(further) => further.checked_rem(thereafter) == Some(0),
        }
    }
}

const DEBUG_EXPORTER: &str = "refusal_collector::exporter::debug";

impl<S> Filter<S> for Sampled {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.passes(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tracing::callsite::Callsite;
    use tracing::{Level, metadata};

    struct Place;
    static PLACE: Place = Place;
    static METADATA: Metadata<'static> = metadata! {
        name: "event", target: "refusal_collector::x", level: Level::WARN,
        fields: &[], callsite: &PLACE, kind: metadata::Kind::EVENT
    };

    impl Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            &METADATA
        }
    }

    fn passed(sampling: Option<Sampling>, events: usize) -> Vec<usize> {
        let (sampled, now) = (Sampled::new(sampling), Instant::now());
        (1..=events).filter(|_| sampled.passes(&METADATA, now)).collect()
    }

    #[test]
    fn the_first_pass_then_every_nth_until_the_next_tick() {
        let sampling = Sampling { enabled: true, tick: Duration::from_secs(10), initial: 3, thereafter: 5 };
        assert_eq!(passed(Some(sampling), 14), [1, 2, 3, 8, 13]);
        assert_eq!(passed(Some(Sampling { thereafter: 0, ..sampling }), 14), [1, 2, 3]);
        assert_eq!(passed(Some(Sampling { enabled: false, ..sampling }), 14).len(), 14);
        assert_eq!(passed(None, 14).len(), 14);
        let (sampled, now) = (Sampled::new(Some(sampling)), Instant::now());
        let at = |seconds| sampled.passes(&METADATA, now + Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 3, 9, 10, 11].map(at), [true, true, true, false, false, true, true]);
    }
}
