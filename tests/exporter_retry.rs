//! What is tried again, what is not, and how each item is counted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/exporters.rs"]
mod exporters;

use backend::{Answer, Backend};
use exporters::{BOTH, Kind, Setup, span_names, spans};
use refusal_collector::config::model::{Compression, Retry};
use refusal_collector::otlp::Signal;
use refusal_collector::telemetry::own::{DropReason, RejectReason};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};
use tonic::Code;

#[tokio::test]
async fn each_retryable_grpc_code_is_tried_again_and_each_other_is_not() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Grpc, backend.address);
    let mut sent = 0;
    for code in (1..=16).map(Code::from_i32) {
        for answer in [Answer::Grpc(code, "no"), Answer::GrpcInTrailers(code, "no")] {
            let (before, account) = (backend.requests().len(), running.settled().await);
            backend.script([answer.clone()]);
            running.send(spans(sent..sent + 1)).await.unwrap();
            sent += 1;
            let is_retryable = matches!(
                code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
                    | Code::ResourceExhausted // by default
            );
            backend.wait_for_requests(before + 1).await;
            let settled = running.settled().await;
            let requests = backend.requests().len() - before;
            assert_eq!(requests, if is_retryable { 2 } else { 1 }, "{answer:?}");
            assert_eq!(settled.exported - account.exported, u64::from(is_retryable), "{answer:?}");
            assert_eq!(settled.rejected_total() - account.rejected_total(), u64::from(!is_retryable));
            assert_eq!(settled.send_failed - account.send_failed, 1);
        }
    }
    assert_eq!(running.settled().await.accepted, 32);
}

#[tokio::test]
async fn each_retryable_http_status_is_tried_again_and_each_other_is_not() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Http, backend.address);
    for status in [302, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 501, 502, 503, 504, 599] {
        let (before, account) = (backend.requests().len(), running.settled().await);
        backend.script([Answer::Http(status)]);
        running.send(spans(0..1)).await.unwrap();
        backend.wait_for_requests(before + 1).await;
        let settled = running.settled().await;
        let is_retryable = matches!(status, 429 | 502 | 503 | 504);
        assert_eq!(backend.requests().len() - before, if is_retryable { 2 } else { 1 }, "{status}");
        assert_eq!(settled.exported - account.exported, u64::from(is_retryable), "{status}");
        assert_eq!(settled.rejected_total() - account.rejected_total(), u64::from(!is_retryable), "{status}");
    }
}

#[tokio::test]
async fn a_retry_sends_the_same_bytes() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let running =
            Setup { compression: Compression::Gzip, ..Setup::default() }.start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([Answer::Disconnect, Answer::Http(503)]);
        running.send(spans(0..100)).await.unwrap();
        let requests = backend.wait_for_requests(before + 3).await.split_off(before);
        assert!(requests.iter().all(|request| request.body == requests[0].body));
        assert_eq!(running.settled().await.exported, 100);
    }
}

#[tokio::test]
async fn resource_exhausted_is_permanent_without_retry_info_if_the_user_wants_so() {
    let backend = Backend::start().await;
    let mut setup = Setup::default();
    setup.retry.retry_resource_exhausted = false;
    let running = setup.start(Kind::Grpc, backend.address);
    backend.script([Answer::Grpc(Code::ResourceExhausted, "no")]);
    running.send(spans(0..1)).await.unwrap();
    assert_eq!(backend.wait_for_requests(1).await.len(), 1);
    assert_eq!(running.settled().await.rejected_for(RejectReason::TooLarge), 1);

    backend.script([Answer::GrpcRetryInfo(Code::ResourceExhausted, Duration::from_millis(100))]);
    running.send(spans(0..1)).await.unwrap();
    backend.wait_for_requests(3).await;
    assert_eq!(running.settled().await.exported, 1);
}

#[tokio::test]
async fn the_delay_that_a_backend_asks_for_is_kept_to() {
    let backend = Backend::start().await;
    let delay = Duration::from_millis(700);
    // Dates are in whole seconds: at least one of these two is left when it arrives.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    for (kind, answer, least) in [
        (Kind::Http, retry_after(&date), Duration::from_millis(900)),
        (Kind::Http, retry_after("1"), Duration::from_secs(1)),
        (Kind::Grpc, Answer::GrpcRetryInfo(Code::Unavailable, delay), delay),
    ] {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([answer.clone()]);
        running.send(spans(0..1)).await.unwrap();
        let requests = backend.wait_for_requests(before + 2).await;
        let waited = requests[before + 1].at - requests[before].at;
        assert!(waited >= least, "{answer:?}: {waited:?}");
    }
}

fn retry_after(value: &str) -> Answer {
    Answer::HttpWith(503, vec![("retry-after", value.to_owned())], vec![])
}

#[tokio::test]
async fn a_backend_that_is_down_gets_everything_when_it_is_back() {
    for kind in BOTH {
        let backend = Backend::start().await;
        let address = backend.address;
        let running = Setup::default().start(kind, address);
        running.send(spans(0..1)).await.unwrap();
        backend.wait_for_accepted(1).await;
        backend.stop().await;

        for n in 1..30 {
            running.send(spans(n..n + 1)).await.unwrap();
        }
        let start = Instant::now();
        while running.account(Signal::Traces).send_failed < 30 {
            assert!(start.elapsed() < backend::PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let backend = Backend::start_at(address, None).await;
        let requests = backend.wait_for_accepted(29).await;
        let names: BTreeSet<String> = requests.iter().flat_map(|r| span_names(&r.message())).collect();
        assert_eq!(names.len(), 29);
        let account = running.settled().await;
        assert_eq!((account.exported, account.dropped_total()), (30, 0));
    }
}

#[tokio::test]
async fn a_backend_that_never_was_there_is_waited_for() {
    for kind in BOTH {
        let address = Backend::start().await.address; // free again
        let running = Setup::default().start(kind, address);
        running.send(spans(0..1)).await.unwrap();
        let start = Instant::now();
        while running.account(Signal::Traces).send_failed < 3 {
            assert!(start.elapsed() < backend::PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let backend = Backend::start_at(address, None).await;
        backend.wait_for_accepted(1).await;
        assert_eq!(running.settled().await.exported, 1);
    }
}

#[tokio::test]
async fn an_attempt_without_an_answer_ends_in_time_and_is_repeated() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let setup = Setup { timeout: Duration::from_millis(200), ..Setup::default() };
        let running = setup.start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([Answer::Hang]);
        let start = Instant::now();
        running.send(spans(0..1)).await.unwrap();
        backend.wait_for_requests(before + 2).await;
        assert!(start.elapsed() >= Duration::from_millis(200));
        let account = running.settled().await;
        assert_eq!((account.exported, account.send_failed), (1, 1));
    }
}

#[tokio::test]
async fn a_backend_that_reads_slowly_gets_the_whole_request() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([Answer::ReadSlowly(Duration::from_millis(5))]);
        let payload = spans(0..50_000);
        running.send(payload.clone()).await.unwrap();
        let requests = backend.wait_for_accepted(before + 1).await;
        assert!(requests[before].message() == payload.message.as_slice());
        assert_eq!(running.settled().await.send_failed, 0);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_otlp_is_no_verdict_about_the_data() {
    let backend = Backend::start().await;
    let page = |status| {
        let headers = vec![("content-type", "text/html; charset=utf-8".to_owned())];
        Answer::HttpWith(status, headers, b"<html>please log in</html>".to_vec())
    };
    let bare = Answer::HttpWith(200, vec![("content-type", "application/grpc".to_owned())], vec![]);
    for (kind, answer) in [(Kind::Grpc, page(200)), (Kind::Grpc, bare), (Kind::Http, page(200))] {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([answer]);
        running.send(spans(0..1)).await.unwrap();
        backend.wait_for_requests(before + 2).await;
        let account = running.settled().await;
        assert_eq!((account.exported, account.send_failed), (1, 1));
    }
}

#[tokio::test]
async fn a_grpc_call_that_a_proxy_answers_is_judged_by_its_http_status() {
    let backend = Backend::start().await;
    let running = Setup::default().start(Kind::Grpc, backend.address);
    backend.script([Answer::Http(503)]);
    running.send(spans(0..1)).await.unwrap();
    backend.wait_for_requests(2).await;
    backend.script([Answer::Http(403)]);
    running.send(spans(0..1)).await.unwrap();
    backend.wait_for_requests(3).await;
    let account = running.settled().await;
    assert_eq!((account.exported, account.rejected_for(RejectReason::Unauthorized)), (1, 1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_tried_again_over_grpc_and_counts_over_http() {
    // gRPC tells at the end whether it took the request, HTTP at the beginning.
    let backend = Backend::start().await;
    for (kind, attempts) in [(Kind::Grpc, 2), (Kind::Http, 1)] {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([Answer::Reset]);
        running.send(spans(0..1)).await.unwrap();
        backend.wait_for_requests(before + attempts).await;
        assert_eq!(running.settled().await.exported, 1);
        assert_eq!(backend.requests().len(), before + attempts, "{kind:?}");
    }
}

#[tokio::test]
async fn a_partial_success_counts_what_was_rejected_and_is_not_repeated() {
    let backend = Backend::start().await;
    let json = |body: &str| {
        let headers = vec![("content-type", "application/json".to_owned())];
        Answer::HttpWith(200, headers, body.as_bytes().to_vec())
    };
    for (kind, answer, rejected) in [
        (Kind::Grpc, Answer::Partial(3, "too old"), 3),
        (Kind::Http, Answer::Partial(3, "too old"), 3),
        (Kind::Http, json(r#"{"partialSuccess":{"rejectedSpans":"4","errorMessage":"x"}}"#), 4),
        (Kind::Grpc, Answer::Partial(0, "a warning"), 0),
        (Kind::Grpc, Answer::Partial(1000, "more than there are"), 10),
        (Kind::Grpc, Answer::Partial(-1, "nonsense"), 0),
    ] {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.script([answer.clone()]);
        running.send(spans(0..10)).await.unwrap();
        backend.wait_for_requests(before + 1).await;
        let account = running.settled().await;
        assert_eq!(account.rejected_for(RejectReason::PartialSuccess), rejected, "{answer:?}");
        assert_eq!(account.exported, 10 - rejected, "{answer:?}");
        assert_eq!(backend.requests().len(), before + 1, "{answer:?} was repeated");
    }
}

#[tokio::test]
async fn retries_end_with_max_elapsed_time_and_what_is_dropped_is_counted() {
    let backend = Backend::start().await;
    for kind in BOTH {
        let mut setup = Setup::default();
        setup.retry.max_elapsed_time = Duration::from_millis(300);
        let running = setup.start(kind, backend.address);
        backend.always(if kind == Kind::Grpc {
            Answer::Grpc(Code::Unavailable, "down")
        } else {
            Answer::Http(503)
        });
        let before = backend.requests().len();
        running.send(spans(0..7)).await.unwrap();
        backend.wait_for_requests(before + 3).await;
        let account = running.settled().await;
        assert_eq!((account.exported, account.dropped_for(DropReason::RetryExhausted)), (0, 7));
        let requests = backend.requests().split_off(before);
        let tried_for = requests.last().unwrap().at - requests[0].at;
        assert!(tried_for >= Duration::from_millis(280), "the last attempt is at the end: {tried_for:?}");
    }
}

#[tokio::test]
async fn without_retries_one_failure_is_the_end() {
    let backend = Backend::start().await;
    let setup = Setup { retry: Retry { enabled: false, ..Retry::default() }, ..Setup::default() };
    let running = setup.start(Kind::Grpc, backend.address);
    backend.script([Answer::Grpc(Code::Unavailable, "down")]);
    running.send(spans(0..7)).await.unwrap();
    backend.wait_for_requests(1).await;
    let account = running.settled().await;
    assert_eq!((account.dropped_for(DropReason::RetryDisabled), account.dropped_total()), (7, 7));
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn of_a_request_that_is_refused_for_good_only_the_bad_items_are_lost() {
    fn has_bad(message: &[u8]) -> bool {
        span_names(message).iter().any(|name| name == "item 13" || name == "item 900")
    }
    let backend = Backend::start().await;
    let by_grpc = |message: &[u8]| {
        if has_bad(message) { Answer::Grpc(Code::InvalidArgument, "bad id") } else { Answer::Accept }
    };
    let by_http = |message: &[u8]| if has_bad(message) { Answer::Http(400) } else { Answer::Accept };
    for (kind, answer) in [(Kind::Grpc, Answer::By(by_grpc)), (Kind::Http, Answer::By(by_http))] {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.always(answer);
        running.send(spans(0..1000)).await.unwrap();
        backend.wait_until(|backend| names(backend, before).len() == 998).await;
        let account = running.settled().await;
        assert_eq!((account.exported, account.rejected_for(RejectReason::Invalid)), (998, 2));
        let attempts = backend.requests().len() - before;
        assert!(attempts <= 40, "{attempts} attempts");
    }
}

#[tokio::test]
async fn a_request_over_the_backends_limit_arrives_in_parts() {
    fn is_over(message: &[u8]) -> bool {
        message.len() > 4096
    }
    let backend = Backend::start().await;
    let by_grpc = |message: &[u8]| match is_over(message) {
        true => Answer::Grpc(Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 4)"),
        false => Answer::Accept,
    };
    let by_http = |message: &[u8]| if is_over(message) { Answer::Http(413) } else { Answer::Accept };
    for (kind, answer) in [(Kind::Grpc, Answer::By(by_grpc)), (Kind::Http, Answer::By(by_http))] {
        let running = Setup::default().start(kind, backend.address);
        let before = backend.requests().len();
        backend.always(answer);
        let payload = spans(0..5000);
        assert!(payload.message.len() > 10 * 4096);
        running.send(payload).await.unwrap();
        backend.wait_until(|backend| names(backend, before).len() == 5000).await;
        assert_eq!(running.settled().await.exported, 5000);
    }
}

#[tokio::test]
async fn a_backend_that_refuses_everything_is_not_flooded() {
    let backend = Backend::start().await;
    for (answer, reason, attempts) in [
        (Answer::Grpc(Code::InvalidArgument, "never"), RejectReason::Invalid, 15),
        (Answer::Grpc(Code::PermissionDenied, "never"), RejectReason::Unauthorized, 1),
        (Answer::Grpc(Code::Unimplemented, "never"), RejectReason::Unsupported, 1),
    ] {
        let running = Setup::default().start(Kind::Grpc, backend.address);
        let before = backend.requests().len();
        backend.always(answer.clone());
        running.send(spans(0..8192)).await.unwrap();
        backend.wait_for_requests(before + 1).await;
        let account = running.settled().await;
        assert_eq!(account.rejected_for(reason), 8192);
        assert_eq!(backend.requests().len() - before, attempts, "{answer:?}");
    }
}

/// The names of the spans that the backend has taken, each once.
fn names(backend: &Backend, after: usize) -> BTreeSet<String> {
    let requests = backend.requests();
    let accepted = requests[after..].iter().filter(|request| request.answer.accepts());
    accepted.flat_map(|request| span_names(&request.message())).collect()
}
