//! `RefusalService.Watch`.

use crate::proto::v1 as proto;
use crate::proto::v1::refusal_service_server::RefusalService;
use crate::proto::v1::watch_response;
use crate::refusal::event::Numbered;
use crate::refusal::pattern::Pattern;
use crate::telemetry::events::{CannotWatch, Filter, Sight, Watch, Watchers};
use futures_util::stream::{BoxStream, StreamExt, unfold};
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[derive(Clone, Debug)]
pub(super) struct Service {
    watchers: Arc<Watchers>,
}

impl Service {
    pub(super) fn new(watchers: Arc<Watchers>) -> Self {
        Service { watchers }
    }
}

#[tonic::async_trait]
impl RefusalService for Service {
    type WatchStream = BoxStream<'static, Result<proto::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = self.watchers.watch(filter(request.into_inner())?).map_err(|error| match error {
            CannotWatch::TooMany(_) => Status::resource_exhausted(format!(
                "{error}; extensions.refusal_api.max_watchers bounds their number"
            )),
            CannotWatch::ShuttingDown => Status::unavailable(error.to_string()),
        })?;
        Ok(Response::new(unfold(watch, next).boxed()))
    }
}

async fn next(mut watch: Watch) -> Option<(Result<proto::WatchResponse, Status>, Watch)> {
    let message = match watch.next().await? {
        Sight::Event(event) => watch_response::Message::Event(Arc::unwrap_or_clone(event)),
        Sight::Missed(events) => watch_response::Message::Missed(proto::Missed { events }),
    };
    Some((Ok(proto::WatchResponse { message: Some(message) }), watch))
}

fn filter(request: proto::WatchRequest) -> Result<Filter, Status> {
    let parts =
        [request.workloads.len(), request.providers.len(), request.classes.len(), request.categories.len()];
    if parts.iter().any(|len| *len > MOST_WORDS) {
        return Err(Status::invalid_argument(format!("a filter has at most {MOST_WORDS} words of a kind")));
    }
    let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
    Ok(Filter {
        workloads: patterns(&request.workloads),
        providers: patterns(&request.providers),
        classes: known("class", &request.classes)?,
        categories: known("category", &request.categories)?,
    })
}

fn known<T: Numbered>(what: &str, numbers: &[i32]) -> Result<Vec<T>, Status> {
    let known = |number: &i32| {
        T::of_number(*number).ok_or_else(|| Status::invalid_argument(format!("there is no {what} {number}")))
    };
    numbers.iter().map(known).collect()
}

/// Bounds what comparing with a filter costs.
const MOST_WORDS: usize = 64;
