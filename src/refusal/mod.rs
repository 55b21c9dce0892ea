//! The heart: how did an LLM response end? Pure functions over borrowed evidence; no IO, no tokio.
//!
//! `dialects` reads what one span or log record tells (`evidence`), with [`answer`] for whole vendor answers that
//! stand in attributes; `judge` weighs that against the [`vocabulary`] and gives a [`verdict`]; `policy` says what
//! the caller should do about a refusal.

pub mod answer;
mod attributes;
mod dialects;
pub mod event;
pub mod evidence;
pub mod judge;
pub mod pattern;
pub mod policy;
pub mod verdict;
pub mod vocabulary;
