//! The tap, as Envoy uses it: what it reads of answers, what it joins, what it counts and tells, and that it never holds
//! up a call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "tap_support/manifest.rs"]
mod manifest;
mod tap_support;

use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use futures_util::{Stream, StreamExt};
use manifest::{Body, PROVIDERS};
use opentelemetry_proto::tonic::trace::v1::Span;
use refusal_collector::config::ComponentId;
use refusal_collector::config::model::ExtProcReceiver;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Budget, Consume, NotTaken, Payload};
use refusal_collector::receiver::{self, Feed, TapFeed};
use refusal_collector::refusal::vocabulary::Vocabulary;
use refusal_collector::telemetry::own::{JoinRule, Own, StreamEnd};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tap_support::backend::Answer;
use tap_support::*;
use tokio::sync::mpsc::{Sender, channel};
use tonic::transport::Channel;

const REFUSAL: &str = r#"{"id":"msg_01TapSampleRefusal01","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":"CANARY"},"usage":{"input_tokens":12,"output_tokens":0}}"#;
const COMPLETE: &str = r#"{"id":"msg_01TapSampleComplete1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"CANARY"}],"stop_reason":"end_turn","usage":{"input_tokens":12,"output_tokens":3}}"#;

fn anthropic(body: &str) -> Call {
    Call::new("anthropic", "/anthropic/v1/messages", 200, "application/json", body.as_bytes())
}

/// An id of its own for the `n`th answer, as every answer of a vendor has.
fn with_own_id(body: &[u8], n: usize) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    ["resp_sample01", "msg_s1", "chatcmpl-foundry01", "chatcmpl-sample01", "msg_01RefusalSample0001"]
        .iter()
        .fold(text, |text, id| text.replace(id, &format!("{id}_of_answer_{n:04}")))
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vendor_answer_is_read_in_every_coding_and_every_split() {
    let bodies = Body::all();
    assert!(bodies.len() > 100);
    let forms: [fn(Call) -> Call; 7] = [
        |call| call,
        |call| call.split(1),
        |call| call.coded("gzip"),
        |call| call.coded("gzip").split(1),
        |call| call.coded("deflate").split(7),
        |call| call.coded("br").split(3),
        |call| call.coded("zstd").split(11),
    ];
    let tapped = Tapped::start(&format!("unmatched: span, wait: 300ms, {PROVIDERS}"), "").await;
    let mut sent = HashMap::new();
    for (form, formed) in forms.iter().enumerate() {
        for body in &bodies {
            let n = sent.len();
            let bytes = with_own_id(&body.bytes, n);
            let call = Call::new(body.vendor(), &body.path(), body.status, &body.content_type, &bytes);
            let replies = tapped.copy(&formed(call.traceparent(n as u128 + 1, n as u64 + 1))).await;
            assert!(replies.is_empty(), "nobody reads replies in observability mode");
            sent.insert((n as u64 + 1).to_be_bytes(), (form, body));
        }
    }
    tapped.wait_until("all are told", |tapped| tapped.spans().len() == sent.len()).await;
    let mut report = String::new();
    for span in tapped.spans() {
        let (form, body) = sent[&<[u8; 8]>::try_from(&*span.parent_span_id).unwrap()];
        let faults = body.faults(&attributes(&span.attributes));
        if !faults.is_empty() {
            report += &format!("{} in form {form}: {}\n", body.file, faults.join("; "));
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert_eq!(tapped.sum("llm_responses_total", &[]), sent.len() as u64, "each counts once");
    let account = tapped.account();
    assert_eq!(account.ended(StreamEnd::Whole), sent.len() as u64);
    assert_eq!(
        (account.unmatched, account.incomplete, account.waiting, account.open),
        (sent.len() as u64, 0, 0, 0)
    );
}

/// A span of a library that lost the category, and the reason too unless `reason` is one.
fn llm_span(trace: u128, span: u64, parent: u64, response_id: &str, reason: &str) -> Span {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut attributes = vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.request.model", "claude-sonnet-4-5"),
    ];
    if !response_id.is_empty() {
        attributes.push(text("gen_ai.response.id", response_id));
    }
    if !reason.is_empty() {
        attributes.push(text("gen_ai.response.finish_reason", reason));
    }
    Span { attributes, ..plain_span(trace, span, parent, now - 2_000_000_000, now) }
}

fn plain_span(trace: u128, span: u64, parent: u64, start: u64, end: u64) -> Span {
    let id = |id: u64| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id(span),
        parent_span_id: id(parent),
        name: format!("{span}"),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

fn http_span(trace: u128, span: u64, parent: u64) -> Span {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    plain_span(trace, span, parent, now - 1_000_000_000, now)
}

/// The attributes of the span with this id that the backend got.
fn verdict(tapped: &Tapped, span: u64) -> std::collections::BTreeMap<String, String> {
    let spans = tapped.spans();
    let span = spans.iter().find(|s| s.span_id == span.to_be_bytes()).unwrap();
    let mut verdict = attributes(&span.attributes);
    verdict.retain(|key, _| key.starts_with("llm."));
    verdict
}

const LONG: &str = "wait: 60s";

#[tokio::test(flavor = "multi_thread")]
async fn spans_join_by_response_id_request_id_span_and_kinship() {
    let tapped = Tapped::start(LONG, "").await;
    let refusal = |n: usize| REFUSAL.replace("Refusal01", &format!("Refusal{n:02}"));
    let copy = async |call: Call| drop(tapped.copy(&call).await);
    // 1: no trace in common, only the id.
    copy(anthropic(&refusal(1))).await;
    // 2: the vendor's request id.
    copy(anthropic(&refusal(2)).response_header("request-id", "req_0123456789abcdef")).await;
    // 3: the request was made in the call's own span.
    copy(anthropic(&refusal(3)).traceparent(3, 33)).await;
    // 4: it was made in an HTTP client's span beside the call's, and below the call's.
    copy(anthropic(&refusal(4)).traceparent(4, 44)).await;
    copy(anthropic(&refusal(5)).traceparent(5, 55)).await;
    assert_eq!(tapped.account().waiting, 5);

    let mut by_request = llm_span(2, 21, 0, "", "");
    by_request.attributes.push(text("anthropic.request.id", "req_0123456789abcdef"));
    let spans = vec![
        llm_span(1, 11, 0, "msg_01TapSampleRefusal01", "stop"),
        by_request,
        llm_span(3, 33, 0, "", "refusal"),
        http_span(4, 44, 40),
        llm_span(4, 41, 40, "", ""),
        http_span(5, 55, 50),
        llm_span(5, 50, 0, "", ""),
    ];
    tapped.send("opentelemetry.instrumentation.anthropic", spans).await;
    tapped.wait_until("the spans come", |tapped| tapped.spans().len() == 7).await;
    for span in [11, 21, 33, 41, 50] {
        let verdict = verdict(&tapped, span);
        assert_eq!(verdict["llm.stop_reason.class"], "refusal", "{span}");
        assert_eq!(verdict["llm.refusal.category"], "cyber", "{span}");
        assert_eq!(verdict["llm.refusal.phase"], "before_output", "{span}");
        assert!(verdict["llm.refusal.signal"].starts_with("ext_proc:"), "{span}: {verdict:?}");
    }
    let account = tapped.account();
    assert_eq!(
        JoinRule::ALL.map(|rule| account.joined_by(rule)),
        [1, 1, 1, 2],
        "response id, request id, span, relative"
    );
    assert_eq!(account.disagreements, 1, "a span said stop");
    assert_eq!(tapped.sum("llm_refusals_total", &["llm_refusal_category=\"cyber\"", "checkout"]), 5);
    assert_eq!(tapped.sum("llm_responses_total", &[]), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_never_guesses_between_two() {
    let tapped = Tapped::start(LONG, "").await;
    let copy = async |call: Call| drop(tapped.copy(&call).await);
    let refusal = |n: usize| REFUSAL.replace("Refusal01", &format!("Refusal{n:02}"));
    // Two attempts in one span, none of which the span names.
    copy(anthropic(&refusal(1)).traceparent(1, 11)).await;
    copy(anthropic(&refusal(2)).traceparent(1, 11)).await;
    // Two calls side by side below one agent.
    copy(anthropic(&refusal(3)).traceparent(2, 23)).await;
    copy(anthropic(&refusal(4)).traceparent(2, 24)).await;
    // The ids say that it is another one.
    copy(anthropic(&refusal(5)).traceparent(3, 33)).await;
    // The request was made long after the span.
    copy(anthropic(&refusal(6)).traceparent(4, 44)).await;
    let mut long_ago = llm_span(4, 41, 40, "", "");
    (long_ago.start_time_unix_nano, long_ago.end_time_unix_nano) = (1_000, 2_000);
    let spans = vec![
        llm_span(1, 11, 0, "", ""),
        http_span(2, 23, 20),
        http_span(2, 24, 20),
        llm_span(2, 21, 20, "", ""),
        llm_span(2, 22, 20, "", ""),
        llm_span(3, 33, 0, "msg_of_somebody_else_0001", ""),
        http_span(4, 44, 40),
        long_ago,
    ];
    let sent = spans.len();
    tapped.send("some.library", spans).await;
    tapped.wait_until("the spans come", |tapped| tapped.spans().len() == sent).await;
    for span in [11, 21, 22, 33, 41] {
        assert_eq!(verdict(&tapped, span)["llm.stop_reason.class"], "missing", "{span}");
    }
    assert_eq!(tapped.account().joined, [0; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_span_that_comes_first_is_remembered() {
    let tapped = Tapped::start(LONG, "").await;
    tapped.copy(&anthropic(REFUSAL).traceparent(4, 44)).await;
    tapped.send("http", vec![http_span(4, 44, 40)]).await;
    tapped.send("some.library", vec![llm_span(4, 41, 40, "", "")]).await;
    tapped.wait_until("the spans come", |tapped| tapped.spans().len() == 2).await;
    assert_eq!(verdict(&tapped, 41)["llm.refusal.category"], "cyber");
    assert_eq!(tapped.account().joined_by(JoinRule::Relative), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_span_joins_in_time_is_counted_once_and_told_as_a_log_record() {
    let tapped = Tapped::start("wait: 500ms, workload_header: X-Workload", "").await;
    let refusal = anthropic(REFUSAL).traceparent(7, 77).request_header("x-workload", "batch");
    tapped.copy(&refusal).await;
    tapped.copy(&anthropic(COMPLETE).traceparent(8, 88)).await;
    tapped.wait_until("both are counted", |tapped| tapped.account().unmatched == 2).await;
    tapped.wait_until("the refusal is told", |tapped| !tapped.logs().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let logs = tapped.logs();
    assert_eq!(logs.len(), 1, "its event is this log record, and there is no second one");
    let log = &logs[0];
    assert_eq!(log.event_name, "llm.response.refused");
    assert_eq!(
        (log.trace_id.clone(), log.span_id.clone()),
        (7_u128.to_be_bytes().to_vec(), 77_u64.to_be_bytes().to_vec())
    );
    let told = attributes(&log.attributes);
    for (key, value) in [
        ("llm.stop_reason.class", "refusal"),
        ("llm.refusal.category", "cyber"),
        ("llm.refusal.signal", "ext_proc:stop_reason"),
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.response.id", "msg_01TapSampleRefusal01"),
        ("gen_ai.response.model", "claude-sonnet-4-5"),
        ("gen_ai.usage.input_tokens", "12"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}: {told:#?}");
    }
    assert_eq!(tapped.sum("llm_refusals_total", &["llm_workload=\"batch\""]), 1);
    assert_eq!(tapped.sum("llm_responses_total", &[]), 2);
    // The span comes too late to be changed, but it is the same response.
    tapped.send("some.library", vec![llm_span(7, 70, 0, "msg_01TapSampleRefusal01", "refusal")]).await;
    tapped.wait_until("the span comes", |tapped| tapped.spans().len() == 1).await;
    assert_eq!(tapped.sum("llm_responses_total", &[]), 2);
    assert_eq!(verdict(&tapped, 70)["llm.refusal.category"], "missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reason_that_no_span_joins_stands_in_the_ledger_and_is_told_once() {
    let tapped = Tapped::start("wait: 200ms", "").await;
    tapped.copy(&anthropic(&COMPLETE.replace("end_turn", "quantum_flux_halt"))).await;
    tapped.wait_until("it is told", |tapped| tapped.logs().len() == 1).await;
    assert_eq!(tapped.sum("refusal_collector_unknown_values", &[]), 1);
    let unknown = ["event_name=\"llm.response.stop_reason_unknown\""];
    assert_eq!(tapped.sum("refusal_collector_events_total", &unknown), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(tapped.logs().len(), 1, "by the tap, and not again as an event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_came_first_is_counted_and_the_record_is_only_told() {
    let tapped = Tapped::start("wait: 300ms", "").await;
    tapped.send("some.library", vec![llm_span(7, 70, 0, "msg_01TapSampleRefusal01", "refusal")]).await;
    tapped.copy(&anthropic(REFUSAL)).await;
    let is_told = |tapped: &Tapped| {
        let told = tapped.logs().into_iter().map(|log| attributes(&log.attributes));
        told.filter_map(|told| told.get("llm.refusal.category").cloned()).any(|category| category == "cyber")
    };
    tapped.wait_until("it is told", is_told).await;
    assert_eq!(tapped.sum("llm_responses_total", &[]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_answer_ends_the_stream_and_so_does_what_is_of_no_interest() {
    let tapped = Tapped::start(LONG, "").await;
    let end = async |messages| {
        let mut replies = tapped.open(messages).await.unwrap();
        // The request's side stays open: only the collector can end the stream.
        tokio::time::timeout(Duration::from_secs(5), replies.message()).await.unwrap().unwrap()
    };
    assert!(end(anthropic(REFUSAL).messages()).await.is_none());
    // Trailers in place of an end.
    let mut call = anthropic(REFUSAL);
    call.ends = false;
    let messages = call.messages().into_iter().chain([trailers()]).collect();
    assert!(end(messages).await.is_none());
    // Another path, another host, another kind of body.
    assert!(end(Call::new("", "/health", 200, "text/plain", b"").messages()[..1].to_vec()).await.is_none());
    assert!(end(Call::new("openai", "/v1/models", 200, "", b"").messages()[..1].to_vec()).await.is_none());
    assert!(
        end(Call::new("openai", "/v1/audio", 200, "audio/mpeg", b"").messages()[..2].to_vec())
            .await
            .is_none()
    );
    let unknown = Call::new(
        "openai",
        "/openai/v1/things",
        200,
        "application/json",
        b"{\"object\":\"list\",\"data\":[]}",
    );
    assert!(end(unknown.messages()).await.is_none());
    // Cut off: the answer did not come to its end.
    let mut cut = Call::new("anthropic", "/v1/messages", 200, "text/event-stream", b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01CutOffInTheMiddle1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[]}}\n\n");
    cut.ends = false;
    assert!(end(cut.messages()).await.is_none());
    let account = tapped.account();
    let ended = [StreamEnd::Whole, StreamEnd::Declined, StreamEnd::Cut].map(|end| account.ended(end));
    assert_eq!(ended, [2, 4, 1]);
    assert_eq!((account.open, account.waiting), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_waits_for_replies_gets_them() {
    use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response;
    use envoy_types::pb::envoy::service::ext_proc::v3::{ProtocolConfiguration, body_mutation};
    let tapped = Tapped::start(LONG, "").await;
    let mut call = anthropic(REFUSAL).split(100);
    call.observing = false;
    let replies = tapped.copy(&call).await;
    assert_eq!(replies.len(), call.messages().len());
    assert!(matches!(replies[0].response, Some(Response::RequestHeaders(_))));
    assert!(matches!(replies[1].response, Some(Response::ResponseHeaders(_))));
    assert!(replies[2..].iter().all(|reply| matches!(reply.response, Some(Response::ResponseBody(_)))));

    // Where the body goes through the collector, all of it comes back, also of what is of no interest.
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(300_000));
    for (path, body) in [("/v1/messages", REFUSAL), ("/v1/messages", &long), ("/v1/files", &long)] {
        let call = Call::new("anthropic", path, 200, "application/json", body.as_bytes()).split(150_000);
        let mut messages = call.messages();
        messages.iter_mut().for_each(|message| message.observability_mode = false);
        messages[0].protocol_config =
            Some(ProtocolConfiguration { response_body_mode: 4, ..Default::default() });
        let mut replies = tapped.open(messages).await.unwrap();
        let (mut echoed, mut ended) = (Vec::new(), false);
        while let Some(reply) = replies.message().await.unwrap() {
            if let Some(Response::ResponseBody(body)) = reply.response {
                let mutation = body.response.unwrap().body_mutation.unwrap().mutation.unwrap();
                let body_mutation::Mutation::StreamedResponse(piece) = mutation else { panic!("{path}") };
                echoed.extend_from_slice(&piece.body);
                ended |= piece.end_of_stream;
            }
        }
        assert!(ended && echoed == body.as_bytes(), "{path}: {} of {} bytes", echoed.len(), body.len());
    }
    assert_eq!(tapped.account().answering, 4);
}

/// A stream that begins with `messages` and goes on until its sender is dropped.
fn endless<M: Clone + Send + 'static>(messages: &[M]) -> (Sender<M>, impl Stream<Item = M> + Send + use<M>) {
    let (sender, mut receiver) = channel(1);
    let more = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, futures_util::stream::iter(messages.to_vec()).chain(more))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_its_limits_it_ends_streams_at_once_and_tells_nothing() {
    let tapped =
        Tapped::start(&format!("{LONG}, max_open_streams: 2, max_state_mib: 1, max_answer_size_mib: 1"), "")
            .await;
    // Two calls that are still being copied: the third is not.
    let start = anthropic(REFUSAL).messages()[..1].to_vec();
    let open = || {
        let (sender, messages) = endless(&start);
        let mut tap = tapped.tap.clone();
        async move { (tap.process(messages).await.unwrap().into_inner(), sender) }
    };
    let (one, two) = (open().await, open().await);
    tapped.wait_until("two are open", |tapped| tapped.account().open == 2).await;
    assert!(open().await.0.message().await.unwrap().is_none());
    drop((one, two));
    tapped.wait_until("none is open", |tapped| tapped.account().open == 0).await;
    // A window larger than the memory for all, an answer longer than may be, and codings that are none.
    tapped.copy(&anthropic(REFUSAL).coded("br")).await;
    let long = format!("{{\"content\":\"{}\",\"stop_reason\":\"refusal\"}}", "x".repeat(2 << 20));
    tapped.copy(&anthropic(&long).coded("gzip")).await;
    tapped.copy(&anthropic(REFUSAL).response_header("content-encoding", "gzip")).await;
    tapped.copy(&anthropic(REFUSAL).response_header("content-encoding", "lzma, gzip")).await;
    let account = tapped.account();
    assert_eq!(account.ended(StreamEnd::Limit), 3);
    assert_eq!(account.ended(StreamEnd::Undecodable), 2);
    assert_eq!(account.waiting, 0, "nothing is guessed of what was read in part");
    assert_eq!(tapped.sum("refusal_collector_tap_undecodable_total", &["encoding=\"gzip\""]), 1);
    assert_eq!(tapped.sum("refusal_collector_tap_undecodable_total", &["encoding=\"other\""]), 1);
    assert_eq!(tapped.sum("refusal_collector_tap_incomplete_total", &[]), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_too_many_wait_the_oldest_is_counted_before_its_time() {
    let tapped = Tapped::start(&format!("{LONG}, max_waiting_records: 3"), "").await;
    for n in 0..5 {
        tapped.copy(&anthropic(&REFUSAL.replace("Refusal01", &format!("Refusal{n:02}")))).await;
    }
    assert_eq!(tapped.account().waiting, 3);
    assert_eq!(tapped.sum("llm_refusals_total", &[]), 2);
    assert_eq!(tapped.sum("refusal_collector_tap_dropped_total", &["reason=\"waiting\""]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_on_while_every_queue_is_full() {
    let tapped =
        Tapped::start("wait: 300ms", "sending_queue: {queue_size: 1, num_consumers: 1}, timeout: 60s").await;
    tapped.backend.always(Answer::Hang);
    let filler = format!(
        "data: {{\"type\":\"content_block_delta\",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{}\"}}}}\n\n",
        "x".repeat(16_000)
    );
    let body = filler.repeat(1000);
    let call = |n: usize| {
        let end = format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"refusal\"}}}}\n\ndata: {{\"type\":\"message_stop\",\"n\":{n}}}\n\n"
        );
        let mut call = Call::new(
            "anthropic",
            "/v1/messages",
            200,
            "text/event-stream",
            (body.clone() + &end).as_bytes(),
        );
        call = call.split(1 << 20).traceparent(n as u128 + 1, 1);
        call
    };
    for n in 0..6 {
        tokio::time::timeout(Duration::from_secs(20), tapped.copy(&call(n))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(tapped.account().ended(StreamEnd::Whole), 6);
    tapped.wait_until("they are counted", |tapped| tapped.sum("llm_refusals_total", &[]) == 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_anybody_said_leaves_it() {
    let tapped = Tapped::start("unmatched: span, wait: 200ms", "").await;
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"CANARY"}}"#;
    let secrets = |call: Call| {
        call.request_header("authorization", "Bearer CANARY")
            .request_header("x-api-key", "CANARY")
            .request_header("cookie", "CANARY")
            .response_header("set-cookie", "CANARY")
    };
    let gemini = Call::new(
        "gemini",
        "/v1beta/models/gemini-2.5-pro:generateContent?key=CANARY",
        200,
        "application/json",
        br#"{"candidates":[{"content":{"parts":[{"text":"CANARY"}]},"finishReason":"STOP"}],"responseId":"r-0123456789abcdef"}"#,
    );
    let calls = [
        anthropic(REFUSAL),
        anthropic(COMPLETE),
        Call::new("anthropic", "/v1/messages?CANARY", 400, "application/json", error.as_bytes()),
        gemini,
        anthropic(REFUSAL).response_header("content-encoding", "CANARY"),
    ];
    for call in calls.clone() {
        tapped.copy(&secrets(call)).await;
    }
    tapped.wait_until("all are told", |tapped| tapped.spans().len() == 4).await;
    for request in tapped.backend.requests() {
        let message = request.message();
        assert!(!message.windows(6).any(|window| window == b"CANARY"), "{}", request.path);
    }
    assert!(!tapped.metrics().contains("CANARY"));
    assert!(!format!("{:?}", tapped.collector).contains("CANARY"));
}

#[derive(Clone)]
struct Nobody;

impl Consume for Nobody {
    async fn consume(&self, _: Payload) -> Result<usize, NotTaken> {
        Ok(0)
    }

    fn takes(&self, _: Signal) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_ends_one_stream_only() {
    let own = Own::new();
    let has_failed = Arc::new(AtomicBool::new(false));
    let feed = TapFeed {
        receiver: ComponentId::new("ext_proc"),
        config: ExtProcReceiver { endpoint: "127.0.0.1:0".to_owned(), ..ExtProcReceiver::default() },
        vocabulary: Vocabulary::embedded().unwrap(),
        observer: move |_| assert!(has_failed.swap(true, Relaxed), "the first answer is a fault"),
    };
    let (feeds, extensions) = (Vec::<Feed<Nobody>>::new(), BTreeMap::new());
    let budget = Budget::new(64 << 20);
    let running =
        receiver::start(feeds, vec![feed], &extensions, &budget, Duration::ZERO, &own).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", running.ports()[0].address)).unwrap();
    let client = ExternalProcessorClient::new(channel.connect().await.unwrap());

    let messages = anthropic(REFUSAL).messages();
    let (sender, open) = endless(&messages[..2]);
    let mut other = client.clone().process(open).await.unwrap().into_inner();
    let faulty = client.clone().process(futures_util::stream::iter(messages.clone())).await;
    assert!(
        faulty.unwrap().into_inner().message().await.unwrap().is_none(),
        "to Envoy it is an end like any other"
    );
    for message in &messages[2..] {
        sender.send(message.clone()).await.unwrap();
    }
    assert!(other.message().await.unwrap().is_none());
    let account = own.snapshot().taps.remove(0);
    assert_eq!((account.ended(StreamEnd::Panic), account.ended(StreamEnd::Whole), account.open), (1, 1, 0));
}
