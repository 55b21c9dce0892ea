//! What the log says about deliveries, and what it never says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::{Answer, Backend};
use exporters::{Kind, Setup, spans};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use refusal_collector::payload::{Message, Payload};
use std::io;
use std::sync::{Arc, Mutex};
use tonic::Code;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects what is logged on this thread, which is all that a test's runtime has.
fn listen() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

const CANARY: &str = "the patient has a rare disease";

fn with_canary() -> Payload {
    let mut payload = spans(0..1);
    let mut request = ExportTraceServiceRequest::decode(payload.message.as_slice()).unwrap();
    request.resource_spans[0].scope_spans[0].spans[0].name = CANARY.to_owned();
    payload.message = Message::Bare(request.encode_to_vec().into());
    payload
}

#[tokio::test]
async fn what_a_backend_quotes_of_a_request_is_in_no_line() {
    let (log, _guard) = listen();
    let backend = Backend::start().await;
    let json = |status, text: String| {
        Answer::HttpWith(status, vec![("content-type", "application/json".into())], text.into_bytes())
    };
    let message = format!("cannot read |{CANARY}|");
    let said = || format!(r#"{{"code":3,"message":"{message}"}}"#);
    let partial = format!(r#"{{"partialSuccess":{{"rejectedSpans":1,"errorMessage":"{message}"}}}}"#);
    backend.script([json(503, said()), json(400, said()), json(200, partial)]);
    let mut setup = Setup::default();
    setup.retry.enabled = true;
    let running = setup.start(Kind::Http, backend.address);
    for _ in 0..2 {
        running.send(with_canary()).await.unwrap();
        running.settled().await;
    }
    backend.wait_for_requests(3).await;
    running.settled().await;

    let lines = log.text();
    let ours = lines.lines().filter(|line| line.contains("refusal_collector")).count();
    assert_eq!(ours, 3, "one line for each kind of event: {lines}");
    assert_eq!(lines.matches("cannot read |[…]|").count(), 3, "{lines}");
    assert!(!lines.contains(CANARY), "{lines}");
}

#[tokio::test]
async fn a_backend_that_is_down_does_not_flood_the_log() {
    let (log, _guard) = listen();
    let backend = Backend::start().await;
    backend.script(vec![Answer::Grpc(Code::Unavailable, "down"); 300]);
    let running = Setup::default().start(Kind::Grpc, backend.address);
    for n in 0..100 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    backend.wait_for_accepted(100).await;
    assert_eq!(running.settled().await.send_failed, 300);
    let lines = log.text();
    let warnings: Vec<&str> = lines.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    let which = format!("exporter=exporter signal=traces backend=http://{} items=1", backend.address);
    assert!(warnings[0].contains(&which), "{}", warnings[0]);
    assert!(warnings[0].contains("reason=gRPC status Unavailable: down"), "{}", warnings[0]);
    assert_eq!(lines.matches("the backend takes requests again").count(), 1);
}
