//! What becomes of a queue when the collector stops: delivered in time, or counted to the last item.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::{Answer, Backend};
use exporters::{BOTH, Kind, Setup, payload, spans};
use refusal_collector::config::model::{QueueBatch, SendingQueue};
use refusal_collector::exporter::Drained;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::Refused;
use refusal_collector::telemetry::own::{Amount, DropReason};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn what_is_queued_is_sent_before_the_exporter_stops() {
    let backend = Backend::start().await;
    backend.always(Answer::After(Duration::from_millis(20)));
    for kind in BOTH {
        let queue = SendingQueue { num_consumers: 2, ..SendingQueue::default() };
        let running = Setup { queue, ..Setup::default() }.start(kind, backend.address);
        for n in 0..20 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        let start = Instant::now();
        assert_eq!(running.exporter.shutdown(within(backend::PATIENCE)).await, Drained::default());
        assert!(start.elapsed() < backend::PATIENCE / 2, "it stops when it is done");
        assert_eq!(running.settled().await.exported, 20);
    }
    assert_eq!(backend.accepted().len(), 40);
}

#[tokio::test]
async fn an_idle_exporter_stops_at_once() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Grpc, backend.address);
    let start = Instant::now();
    assert_eq!(running.exporter.shutdown(within(backend::PATIENCE)).await.items(), 0);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn with_the_backend_down_the_loss_is_told_exactly() {
    for kind in BOTH {
        let address = Backend::start().await.address; // nobody is there any more
        let queue = SendingQueue { num_consumers: 3, ..SendingQueue::default() };
        let running = Setup { queue, ..Setup::default() }.start(kind, address);
        let mut bytes = 0;
        for n in 0..50 {
            let payload = spans(0..n % 7);
            bytes += payload.message.len() as u64;
            running.send(payload).await.unwrap();
        }
        running.send(payload(Signal::Logs, 0..5)).await.unwrap();
        let items = (0..50).map(|n| n % 7).sum::<u64>();

        let start = Instant::now();
        let drained = running.exporter.shutdown(within(SHORT)).await;
        assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT + Duration::from_secs(1));
        assert_eq!(drained.traces, Amount { requests: 50, items, bytes });
        assert_eq!((drained.logs.requests, drained.logs.items), (1, 5));
        assert_eq!((drained.metrics, drained.items()), (Amount::default(), items + 5));
        let account = running.settled().await;
        assert_eq!((account.accepted, account.dropped_for(DropReason::Shutdown)), (items, items));
        assert_eq!(running.account(Signal::Logs).dropped_for(DropReason::Shutdown), 5);
    }
}

#[tokio::test]
async fn with_a_backend_that_hangs_attempts_are_cut_off_and_counted() {
    let backend = Backend::start().await;
    backend.script([Answer::Accept]);
    backend.always(Answer::Hang);
    for kind in BOTH {
        let setup = Setup { timeout: Duration::from_secs(60), ..Setup::default() };
        let running = setup.start(kind, backend.address);
        let before = backend.requests().len();
        for n in 0..15 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        backend.wait_for_requests(before + 10).await;
        let drained = running.exporter.shutdown(within(SHORT)).await;
        let account = running.settled().await;
        assert_eq!(drained.items() + account.exported, 15);
        assert_eq!(drained.items(), account.dropped_for(DropReason::Shutdown));
        assert_eq!(account.exported, u64::from(kind == Kind::Grpc), "the first answer was an acceptance");
    }
}

#[tokio::test]
async fn a_backend_that_comes_back_in_time_gets_everything() {
    for kind in BOTH {
        let address = Backend::start().await.address;
        let mut setup = Setup::default();
        // The next attempt would come long after the end.
        setup.retry.initial_interval = Duration::from_secs(600);
        setup.retry.max_interval = Duration::from_secs(600);
        let running = setup.start(kind, address);
        for n in 0..30 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        let shutdown = tokio::spawn({
            let exporter = running.exporter.clone();
            async move { exporter.shutdown(within(backend::PATIENCE)).await }
        });
        tokio::time::sleep(SHORT).await;
        let backend = Backend::start_at(address, None).await;
        assert_eq!(shutdown.await.unwrap(), Drained::default());
        assert_eq!(backend.accepted().len(), 30);
        let account = running.settled().await;
        assert_eq!((account.exported, account.dropped_total()), (30, 0));
    }
}

#[tokio::test]
async fn what_waits_for_company_is_sent_at_once() {
    let backend = Backend::start().await;
    let batch = QueueBatch { flush_timeout: Duration::from_secs(600), ..QueueBatch::default() };
    let queue = SendingQueue { batch: Some(batch), ..SendingQueue::default() };
    let running = Setup { queue, ..Setup::default() }.start(Kind::Grpc, backend.address);
    for n in 0..3 {
        running.send(spans(n..n + 1)).await.unwrap();
    }
    assert_eq!(running.exporter.shutdown(within(backend::PATIENCE)).await.items(), 0);
    assert_eq!(backend.accepted().len(), 1);
    assert_eq!(running.settled().await.exported, 3);
}

#[tokio::test]
async fn nothing_more_is_taken_but_what_was_promised() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Grpc, backend.address);
    let promised = running.exporter.reserve(&spans(0..1)).await.unwrap();
    let shutdown = tokio::spawn({
        let exporter = running.exporter.clone();
        async move { exporter.shutdown(within(backend::PATIENCE)).await }
    });
    while !shutdown.is_finished() && running.exporter.reserve(&spans(1..2)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(running.exporter.reserve(&spans(1..2)).await, Err(Refused::ShuttingDown)));
    assert!(!shutdown.is_finished(), "a reservation is open");
    promised.commit(spans(0..1)).await.unwrap();
    assert_eq!(shutdown.await.unwrap().items(), 0);
    assert_eq!(running.settled().await.exported, 1);
}

#[tokio::test]
async fn a_promise_that_is_taken_up_too_late_is_refused_instead_of_lost() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Grpc, backend.address);
    let promised = running.exporter.reserve(&spans(0..1)).await.unwrap();
    assert_eq!(running.exporter.shutdown(within(SHORT)).await.items(), 0);
    assert!(matches!(promised.commit(spans(0..1)).await, Err(Refused::ShuttingDown)));
    assert_eq!(running.settled().await.accepted, 0);
}

#[tokio::test]
async fn those_who_wait_are_told_that_time_is_over() {
    let backend = Backend::start().await;
    backend.always(Answer::Grpc(Code::Unavailable, "down"));
    for queue in [
        SendingQueue { enabled: false, ..SendingQueue::default() },
        SendingQueue { wait_for_result: true, ..SendingQueue::default() },
        SendingQueue {
            block_on_overflow: true,
            queue_size: 1,
            wait_for_result: true,
            ..SendingQueue::default()
        },
    ] {
        let running =
            std::sync::Arc::new(Setup { queue, ..Setup::default() }.start(Kind::Grpc, backend.address));
        let senders: Vec<_> = (0..3)
            .map(|n| {
                let running = running.clone();
                tokio::spawn(async move { running.send(spans(n..n + 1)).await })
            })
            .collect();
        let before = backend.requests().len();
        backend.wait_for_requests(before + 1).await;
        running.exporter.shutdown(within(SHORT)).await;
        for sender in senders {
            let result = tokio::time::timeout(backend::PATIENCE, sender).await.unwrap().unwrap();
            assert!(matches!(result, Err(Refused::ShuttingDown)), "{result:?}");
        }
        running.settled().await;
    }
}
