//! `extensions.refusal_api`: refusal events as they come, and the values that nobody knows.
//!
//! One port speaks gRPC (`refusal.v1.RefusalService`) and HTTP (`GET /api/v1/unknown`), both in the clear.

mod unknown;
mod watch;

use crate::config::model::RefusalApi;
use crate::net::BindError;
use crate::proto::v1::refusal_service_server::RefusalServiceServer;
use crate::telemetry::events::{Events, WatchLimits};
use crate::telemetry::http::{PageLimits, Pages};
use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use watch::Service;

/// The API at work.
#[derive(Debug)]
pub struct Api {
    pages: Pages,
    events: Arc<Events>,
}

impl Api {
    /// Serves what `events` has.
    pub async fn serve(config: &RefusalApi, events: Arc<Events>) -> Result<Self, BindError> {
        let service = RefusalServiceServer::new(Service::new(events.watchers().clone()))
            .max_decoding_message_size(LARGEST_REQUEST);
        let router = Router::new()
            .route("/api/v1/unknown", get(unknown::list))
            .with_state(events.clone())
            .route_service("/refusal.v1.RefusalService/{method}", service);
        // A watcher may stay for days. Those who are gone are found out by pings.
        let limits = PageLimits { age: Duration::MAX, streams: Some(MOST_STREAMS), ..PageLimits::default() };
        let pages = Pages::serve_within(limits, &config.endpoint, router).await?;
        Ok(Api { pages, events })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.pages.addresses()
    }

    /// Gives watchers what they have not got yet, and ends.
    pub async fn shutdown(self) {
        self.events.watchers().close();
        self.pages.shutdown().await;
    }
}

/// What `config` lets watchers take up.
pub fn watch_limits(config: &RefusalApi) -> WatchLimits {
    WatchLimits { watchers: config.max_watchers, buffer: config.watch_buffer }
}

/// Calls that one connection may have open.
const MOST_STREAMS: u32 = 32;

/// A filter is small.
const LARGEST_REQUEST: usize = 64 << 10;
