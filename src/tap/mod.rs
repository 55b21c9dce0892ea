//! The tap: vendor answers as they were seen on the wire, and which telemetry speaks of the same calls.
//!
//! An [`Exchange`] is what was seen of one call; judged, it is a [`Record`]. Records wait in a [`Tap`] for the spans of
//! their calls, which join them by the rules of `table`; a span never waits. What waited in vain is counted by itself,
//! and told by `unmatched`.

mod kin;
mod record;
mod table;
mod unmatched;

pub use kin::Kin;
pub use record::{Exchange, Parent, Record, Times};
pub use table::{Joined, Tap, Waiting};
pub use unmatched::Form;
