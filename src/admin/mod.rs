//! What operators look at: health, refusal events.

pub mod api;
pub mod health;
