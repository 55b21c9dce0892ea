//! `GET /api/v1/unknown`: the ledger of unknowns as JSON.

use crate::telemetry::events::{Events, Unknown};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// The newest first.
    unknown: Vec<Unknown>,
    /// Responses whose value is not listed, because the ledger is full.
    not_listed: u64,
}

pub(super) async fn list(State(events): State<Arc<Events>>) -> Json<Answer> {
    let ledger = events.ledger();
    Json(Answer { unknown: ledger.list(), not_listed: ledger.overflow() })
}
