//! What operators look at: health.

pub mod health;
