//! What a queue promises: its bound, all or nothing over several exporters, merging, and answers for those who wait.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::{Answer, Backend};
use exporters::{BOTH, Kind, Running, Setup, span_names, spans};
use refusal_collector::config::model::{
    Batch, ComponentId, Config, DebugExporter, Exporter as ExporterConfig, OtlpGrpcExporter, Pipeline,
    Processor, QueueBatch, Retry, SendingQueue, Sizer, Verbosity,
};
use refusal_collector::exporter::{Exporter, commit_all};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Budget, Payload, Refused};
use refusal_collector::telemetry::own::{Amount, Own, RejectReason};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

fn with_queue(queue: SendingQueue) -> Setup {
    Setup { queue, ..Setup::default() }
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let backend = Backend::start().await;
    backend.always(Answer::Hang);
    for (sizer, queue_size) in
        [(Sizer::Requests, 3), (Sizer::Items, 30), (Sizer::Bytes, 3 * spans(0..10).message.len())]
    {
        let running = with_queue(SendingQueue { queue_size, sizer, ..SendingQueue::default() })
            .start(Kind::Grpc, backend.address);
        for _ in 0..3 {
            running.send(spans(0..10)).await.unwrap();
        }
        let error = running.send(spans(0..10)).await.unwrap_err();
        let Refused::QueueFull { exporter, retry_after } = error else { panic!("{error}") };
        assert_eq!(exporter, ComponentId::new("exporter"));
        assert!(
            (Duration::from_millis(100)..=Duration::from_secs(5)).contains(&retry_after),
            "{retry_after:?}"
        );
        let account = running.account(Signal::Traces);
        assert_eq!((account.accepted, account.enqueue_failed), (30, 10));
        assert_eq!(account.queue.unwrap().capacity, queue_size as u64);
    }
}

#[tokio::test]
async fn a_request_on_its_way_still_takes_up_room_until_it_has_left() {
    let backend = Backend::start().await;
    backend.script([Answer::Hang]);
    let mut setup = with_queue(SendingQueue { queue_size: 1, ..SendingQueue::default() });
    setup.timeout = Duration::from_millis(500);
    let running = setup.start(Kind::Grpc, backend.address);
    running.send(spans(0..1)).await.unwrap();
    backend.wait_for_requests(1).await;
    assert!(matches!(running.send(spans(1..2)).await, Err(Refused::QueueFull { .. })));
    running.settled().await;
    running.send(spans(1..2)).await.unwrap();
}

#[tokio::test]
async fn a_reservation_that_is_dropped_gives_its_room_back() {
    let backend = Backend::start().await;
    let running = with_queue(SendingQueue { queue_size: 1, ..SendingQueue::default() })
        .start(Kind::Http, backend.address);
    let reservation = running.exporter.reserve(&spans(0..1)).await.unwrap();
    assert!(matches!(running.exporter.reserve(&spans(0..1)).await, Err(Refused::QueueFull { .. })));
    drop(reservation);
    running.send(spans(0..1)).await.unwrap();
    assert_eq!(running.settled().await.accepted, 1);
}

#[tokio::test]
async fn a_request_that_never_fits_is_told_apart_from_one_that_may_come_back() {
    let backend = Backend::start().await;
    let queue = SendingQueue { queue_size: 10, sizer: Sizer::Items, ..SendingQueue::default() };
    let running = with_queue(queue).start(Kind::Grpc, backend.address);
    let error = running.send(spans(0..11)).await.unwrap_err();
    assert!(
        matches!(error, Refused::LargerThanQueue { size: 11, capacity: 10, unit: "items", .. }),
        "{error}"
    );
    running.send(spans(0..10)).await.unwrap();
}

#[tokio::test]
async fn with_block_on_overflow_a_sender_waits_for_room() {
    let backend = Backend::start().await;
    backend.always(Answer::After(Duration::from_millis(100)));
    let queue = SendingQueue { queue_size: 1, block_on_overflow: true, ..SendingQueue::default() };
    let running = with_queue(queue).start(Kind::Grpc, backend.address);
    let start = Instant::now();
    for n in 0..4 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    backend.wait_for_accepted(4).await;
    assert_eq!(running.settled().await.exported, 4);
}

#[tokio::test]
async fn as_many_requests_are_under_way_as_there_are_consumers() {
    let backend = Backend::start().await;
    backend.always(Answer::Hang);
    let running = with_queue(SendingQueue { num_consumers: 3, ..SendingQueue::default() })
        .start(Kind::Grpc, backend.address);
    for n in 0..10 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    backend.wait_for_requests(3).await;
    tokio::time::sleep(Duration::from_millis(100)).await; // time enough for a fourth
    assert_eq!(backend.requests().len(), 3);
    let account = running.account(Signal::Traces);
    assert_eq!((account.in_flight.requests, account.queued.requests), (3, 7));
}

#[tokio::test]
async fn the_memory_of_a_request_is_free_when_it_has_left_and_not_before() {
    let backend = Backend::start().await;
    backend.always(Answer::After(Duration::from_millis(200)));
    let running = Setup::default().start(Kind::Grpc, backend.address);
    let budget = Budget::new(1000);
    let mut payload = spans(0..1);
    payload.permit = Arc::new(budget.try_acquire(600).unwrap());
    running.send(payload).await.unwrap();
    backend.wait_for_requests(1).await;
    assert_eq!(budget.used(), 600);
    running.settled().await;
    let start = Instant::now();
    while budget.used() > 0 {
        assert!(start.elapsed() < backend::PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

// === no queue, or a sender that waits for the result ===

fn waiting() -> [SendingQueue; 2] {
    let unqueued = SendingQueue { enabled: false, ..SendingQueue::default() };
    [unqueued, SendingQueue { wait_for_result: true, ..SendingQueue::default() }]
}

#[tokio::test]
async fn a_sender_that_waits_is_told_that_the_backend_has_its_request() {
    let backend = Backend::start().await;
    for queue in waiting() {
        for kind in BOTH {
            let running = with_queue(queue.clone()).start(kind, backend.address);
            let before = backend.requests().len();
            backend.script([Answer::After(Duration::from_millis(100))]);
            let start = Instant::now();
            running.send(spans(0..3)).await.unwrap();
            assert!(start.elapsed() >= Duration::from_millis(100));
            assert_eq!(backend.accepted().len(), before + 1);
            assert_eq!(running.settled().await.exported, 3);
        }
    }
}

#[tokio::test]
async fn a_sender_that_waits_is_told_whether_to_come_back() {
    let backend = Backend::start().await;
    for queue in waiting() {
        let setup = Setup { queue, retry: Retry { enabled: false, ..Retry::default() }, ..Setup::default() };
        let running = setup.start(Kind::Grpc, backend.address);
        backend.script([Answer::GrpcRetryInfo(Code::Unavailable, Duration::from_secs(7))]);
        let error = running.send(spans(0..3)).await.unwrap_err();
        let Refused::BackendUnavailable { retry_after, reason, .. } = error else { panic!("{error}") };
        assert!(retry_after >= Duration::from_secs(7), "{retry_after:?}");
        assert_eq!(reason, "gRPC status Unavailable: later");

        backend.script([Answer::Grpc(Code::PermissionDenied, "go away")]);
        let error = running.send(spans(0..3)).await.unwrap_err();
        assert!(
            matches!(&error, Refused::BackendRefused { reason, .. } if reason.ends_with("go away")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_an_exporter_without_a_queue_does_not_deliver_was_never_accepted() {
    let backend = Backend::start().await;
    let [unqueued, _] = waiting();
    let setup =
        Setup { queue: unqueued, retry: Retry { enabled: false, ..Retry::default() }, ..Setup::default() };
    let running = setup.start(Kind::Http, backend.address);
    backend.script([Answer::Http(503), Answer::Http(400), Answer::Partial(1, "one")]);
    running.send(spans(0..3)).await.unwrap_err();
    running.send(spans(0..3)).await.unwrap_err();
    running.send(spans(0..3)).await.unwrap();
    let account = running.settled().await;
    assert_eq!((account.accepted, account.exported, account.rejected_total()), (3, 2, 1));
    assert_eq!((account.send_failed, account.queue), (6, None));
}

#[tokio::test]
async fn a_backend_that_quotes_the_request_does_not_get_its_words_to_the_sender() {
    let backend = Backend::start().await;
    let [unqueued, _] = waiting();
    let running = with_queue(unqueued).start(Kind::Http, backend.address);
    let mut payload = spans(0..1);
    let span = opentelemetry_proto::tonic::trace::v1::Span {
        name: "the canary in the request".into(),
        ..Default::default()
    };
    payload.message = refusal_collector::payload::Message::Bare(prost::Message::encode_to_vec(&span).into());
    let body = br#"{"code":3,"message":"cannot read |the canary in the request| at 7"}"#.to_vec();
    backend.script([Answer::HttpWith(400, vec![("content-type", "application/json".into())], body)]);
    let error = running.send(payload).await.unwrap_err().to_string();
    assert!(error.contains("cannot read |") && !error.contains("canary"), "{error}");
}

// === several exporters ===

#[tokio::test]
async fn a_request_goes_to_all_exporters_or_to_none() {
    let (first, second) = (Backend::start().await, Backend::start().await);
    second.always(Answer::Hang);
    let one = Setup::default().start(Kind::Grpc, first.address);
    let two = with_queue(SendingQueue { queue_size: 1, ..SendingQueue::default() })
        .start(Kind::Http, second.address);

    to_all(&[&one, &two], spans(0..1)).await.unwrap();
    first.wait_for_accepted(1).await;
    let refused = to_all(&[&one, &two], spans(1..2)).await;
    assert!(matches!(refused, Err(Refused::QueueFull { .. })));
    let account = one.settled().await;
    assert_eq!(account.accepted, 1, "the first exporter has what the second did not take");
}

#[tokio::test]
async fn an_exporter_that_waits_for_its_backend_decides_before_a_queue_gets_the_request() {
    let (first, second) = (Backend::start().await, Backend::start().await);
    let queued = Setup::default().start(Kind::Grpc, first.address);
    let [unqueued, _] = waiting();
    let direct =
        Setup { queue: unqueued, retry: Retry { enabled: false, ..Retry::default() }, ..Setup::default() }
            .start(Kind::Grpc, second.address);
    second.script([Answer::Grpc(Code::Unavailable, "down")]);
    to_all(&[&queued, &direct], spans(0..1)).await.unwrap_err();
    assert_eq!(queued.account(Signal::Traces).accepted, 0);
    to_all(&[&queued, &direct], spans(0..1)).await.unwrap();
    first.wait_for_accepted(1).await;
    assert_eq!((queued.settled().await.exported, direct.settled().await.exported), (1, 1));
}

async fn to_all(running: &[&Running], payload: Payload) -> Result<(), Refused> {
    let mut reservations = Vec::new();
    for running in running {
        reservations.push((running.exporter.reserve(&payload).await?, payload.clone()));
    }
    commit_all(reservations).await
}

// === merging ===

fn merging(batch: QueueBatch) -> Setup {
    with_queue(SendingQueue { batch: Some(batch), num_consumers: 1, ..SendingQueue::default() })
}

#[tokio::test]
async fn requests_are_merged_until_there_is_enough() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let batch =
            QueueBatch { min_size: 10, flush_timeout: Duration::from_secs(60), ..QueueBatch::default() };
        let running = merging(batch).start(kind, backend.address);
        let before = backend.requests().len();
        for n in 0..20 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        let requests = backend.wait_for_accepted(before + 2).await;
        let sizes: Vec<usize> = requests[before..].iter().map(|r| span_names(&r.message()).len()).collect();
        assert_eq!(sizes, [10, 10]);
        let account = running.settled().await;
        assert_eq!((account.accepted, account.exported), (20, 20));
    }
}

#[tokio::test]
async fn a_request_does_not_wait_for_company_longer_than_the_timeout() {
    let backend = Backend::start().await;
    let batch = QueueBatch { flush_timeout: Duration::from_millis(200), ..QueueBatch::default() };
    let running = merging(batch).start(Kind::Grpc, backend.address);
    let start = Instant::now();
    for n in 0..3 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    let request = backend.wait_for_accepted(1).await.pop().unwrap();
    assert!(request.at - start >= Duration::from_millis(200));
    assert_eq!(span_names(&request.message()), ["item 0", "item 1", "item 2"]);
    assert_eq!(running.settled().await.exported, 3);
}

#[tokio::test]
async fn no_batch_is_larger_than_it_may_be() {
    let backend = Backend::start().await;
    let one = spans(0..1).message.len();
    for batch in [
        QueueBatch { min_size: 4, max_size: 7, ..QueueBatch::default() },
        QueueBatch {
            min_size: 4 * one,
            max_size: 7 * one + 20,
            sizer: Sizer::Bytes,
            ..QueueBatch::default()
        },
    ] {
        let running = merging(batch).start(Kind::Http, backend.address);
        let before = backend.requests().len();
        running.send(spans(0..3)).await.unwrap();
        running.send(spans(3..8)).await.unwrap(); // does not fit beside the first
        running.send(spans(8..30)).await.unwrap(); // too large by itself
        backend.wait_until(|backend| names(backend, before).len() == 30).await;
        let requests = backend.requests().split_off(before);
        for request in &requests {
            let size = match batch.sizer {
                Sizer::Bytes => request.message().len(),
                _ => span_names(&request.message()).len(),
            };
            assert!(size <= batch.max_size, "{size} in {batch:?}");
        }
        assert_eq!(names(&backend, before), (0..30).map(|n| format!("item {n}")).collect::<Vec<_>>());
        assert_eq!(running.settled().await.exported, 30);
    }
}

#[tokio::test]
async fn a_merged_request_keeps_all_its_memory_and_room_until_it_has_left() {
    let backend = Backend::start().await;
    backend.always(Answer::After(Duration::from_millis(200)));
    let batch = QueueBatch { min_size: 2, ..QueueBatch::default() };
    let mut setup = merging(batch);
    setup.queue.queue_size = 2;
    let running = setup.start(Kind::Grpc, backend.address);
    let budget = Budget::new(1000);
    for n in 0..2 {
        let mut payload = spans(n..n + 1);
        payload.permit = Arc::new(budget.try_acquire(300).unwrap());
        running.send(payload).await.unwrap();
    }
    backend.wait_for_requests(1).await;
    assert_eq!(budget.used(), 600);
    assert!(matches!(running.send(spans(2..3)).await, Err(Refused::QueueFull { .. })));
    assert_eq!(running.account(Signal::Traces).in_flight.requests, 2);
    running.settled().await;
    running.send(spans(2..3)).await.unwrap();
}

#[tokio::test]
async fn of_a_merged_request_with_one_bad_item_that_item_alone_is_lost() {
    let backend = Backend::start().await;
    backend.always(Answer::By(|message| match span_names(message).iter().any(|name| name == "item 17") {
        true => Answer::Grpc(Code::Internal, "invalid TraceID length"),
        false => Answer::Accept,
    }));
    let batch = QueueBatch { min_size: 100, ..QueueBatch::default() };
    let running = merging(batch).start(Kind::Grpc, backend.address);
    for n in 0..100 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    backend.wait_until(|backend| names(backend, 0).len() == 99).await;
    let account = running.settled().await;
    assert_eq!((account.exported, account.rejected_for(RejectReason::Permanent)), (99, 1));
}

#[tokio::test]
async fn the_batch_processor_of_a_pipeline_merges_behind_the_queue() {
    let backend = Backend::start().await;
    let (id, batch) = (ComponentId::new("otlp"), ComponentId::new("batch"));
    let mut config = Config::default();
    let exporter = OtlpGrpcExporter {
        endpoint: format!("http://{}", backend.address),
        queue: SendingQueue { num_consumers: 1, ..SendingQueue::default() },
        ..OtlpGrpcExporter::default()
    };
    config.exporters.insert(id.clone(), ExporterConfig::OtlpGrpc(exporter));
    let processor = Batch { send_batch_size: 5, ..Batch::default() };
    config.processors.insert(batch.clone(), Processor::Batch(processor));
    let pipeline = Pipeline {
        signal: Signal::Traces,
        receivers: vec![],
        processors: vec![batch],
        exporters: vec![id.clone()],
    };
    config.service.pipelines.insert(ComponentId::new("traces"), pipeline);
    let own = Own::new();
    let running = Running { exporter: Exporter::start(&id, &config, &own).unwrap(), own };
    for n in 0..5 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    let request = backend.wait_for_accepted(1).await.pop().unwrap();
    assert_eq!(span_names(&request.message()).len(), 5);
    assert_eq!(running.settled().await.exported, 5);
}

// === debug ===

#[tokio::test]
async fn the_debug_exporter_takes_everything_at_once() {
    let running = exporters::start(ExporterConfig::Debug(DebugExporter {
        verbosity: Verbosity::Normal,
        ..DebugExporter::default()
    }))
    .unwrap();
    running.send(spans(0..3)).await.unwrap();
    let account = running.account(Signal::Traces);
    assert_eq!((account.accepted, account.exported), (3, 3));
    assert_eq!((account.queued, account.in_flight), (Amount::default(), Amount::default()));
}

/// The names of the spans that the backend has taken, sorted by number.
fn names(backend: &Backend, after: usize) -> Vec<String> {
    let requests = backend.requests();
    let accepted = requests[after..].iter().filter(|request| request.answer.accepts());
    let mut names: Vec<String> = accepted.flat_map(|request| span_names(&request.message())).collect();
    names.sort_by_key(|name| name.trim_start_matches("item ").parse::<u32>().unwrap());
    names
}
