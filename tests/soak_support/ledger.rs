//! What became of each item, by those who know: the senders that it was acknowledged, the backends that they took or refused it.

use super::backend::{Answer, Recorded};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use tonic::Code;

pub const SIGNALS: [&str; 2] = ["traces", "logs"];

const ACKNOWLEDGED: u8 = 1;
/// Of the first exporter's backend; the next one's is two bits higher.
const TAKEN: u8 = 2;
const REFUSED: u8 = 4;

/// Flags for each item of a signal, by its number.
#[derive(Default)]
pub struct Ledger {
    items: [Mutex<Vec<u8>>; 2],
}

/// What became of the items of a signal at one backend.
#[derive(Debug, Default)]
pub struct Found {
    pub acknowledged: u64,
    /// Acknowledged and at the backend.
    pub taken: u64,
    /// Acknowledged, and the backend told that it will never take them.
    pub refused_for_good: u64,
    /// Acknowledged and nowhere.
    pub lost: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { acknowledged, taken, refused_for_good, lost } = self;
        write!(
            formatter,
            "acknowledged {acknowledged} = taken {taken} + refused for good {refused_for_good} + lost {lost}"
        )
    }
}

impl Ledger {
    pub fn acknowledge(&self, signal: usize, items: Range<u32>) {
        self.set(signal, items, ACKNOWLEDGED);
    }

    /// Notes what a backend has answered.
    pub fn note(&self, exporter: usize, requests: &[Recorded]) {
        for request in requests {
            let signal = usize::from(!request.path.contains("trace"));
            let (refused, taken) = match &request.answer {
                // The head of an HTTP answer says it already.
                Answer::Reset if !request.is_grpc => (0, usize::MAX),
                Answer::Partial(rejected, _) => (*rejected as usize, usize::MAX),
                answer if answer.accepts() => (0, usize::MAX),
                answer if is_for_good(answer) => (usize::MAX, 0),
                _ => continue,
            };
            let items = items(signal, &request.message());
            let (refused, rest) = items.split_at(refused.min(items.len()));
            let taken = &rest[..taken.min(rest.len())];
            self.set(signal, refused.iter().copied(), REFUSED << (2 * exporter));
            self.set(signal, taken.iter().copied(), TAKEN << (2 * exporter));
        }
    }

    pub fn acknowledged(&self) -> usize {
        let count = |items: &Mutex<Vec<u8>>| {
            items.lock().unwrap().iter().filter(|flags| **flags & ACKNOWLEDGED != 0).count()
        };
        self.items.iter().map(count).sum()
    }

    pub fn found(&self, exporter: usize, signal: usize) -> Found {
        let mut found = Found::default();
        for flags in self.items[signal].lock().unwrap().iter().filter(|flags| **flags & ACKNOWLEDGED != 0) {
            found.acknowledged += 1;
            match flags >> (2 * exporter) {
                flags if flags & TAKEN != 0 => found.taken += 1,
                flags if flags & REFUSED != 0 => found.refused_for_good += 1,
                _ => found.lost += 1,
            }
        }
        found
    }

    fn set(&self, signal: usize, numbers: impl IntoIterator<Item = u32>, flag: u8) {
        let mut items = self.items[signal].lock().unwrap();
        for number in numbers {
            let number = number as usize;
            if items.len() <= number {
                items.resize(number + 1, 0);
            }
            items[number] |= flag;
        }
    }
}

/// Whether an exporter must not send this request again.
fn is_for_good(answer: &Answer) -> bool {
    match answer {
        Answer::Http(status) => matches!(status, 400 | 401 | 413 | 500),
        Answer::Grpc(code, _) | Answer::GrpcInTrailers(code, _) => {
            matches!(code, Code::InvalidArgument | Code::Internal | Code::PermissionDenied)
        }
        _ => false,
    }
}

/// The numbers of the items. The collector's own log records have none.
fn items(signal: usize, request: &[u8]) -> Vec<u32> {
    let names: Vec<String> = match SIGNALS[signal] {
        "traces" => {
            let request = ExportTraceServiceRequest::decode(request).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
        }
        _ => {
            let request = ExportLogsServiceRequest::decode(request).unwrap();
            let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| record.event_name).collect()
        }
    };
    names.iter().filter_map(|name| name.strip_prefix("item ")?.parse().ok()).collect()
}
