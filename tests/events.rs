//! Refusal events on all their ways out of the collector's own process: as log records, to those who watch, by `tail`, and
//! in the ledger of unknowns.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/backend.rs"]
mod backend;
#[path = "support/events.rs"]
mod events;
#[path = "support/process.rs"]
mod process;

use backend::{Answer, Backend};
use events::{Call, export, log_records, sent_logs, watch};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use process::{Collector, Setup, get};
use prost::Message;
use refusal_collector::proto::v1 as proto;
use refusal_collector::proto::v1::watch_response::Message as Told;
use std::time::Duration;
use tonic::Code;

const BOTH: &str = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc/traces]}, \
                    logs: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc/logs]}}";

const ALL_KINDS: &str = "{refusal: {events: [refusals, unknown, category_unknown, missing]}}";

fn to(traces: &Backend, logs: &Backend) -> String {
    to_with(traces, logs, "")
}

fn to_with(traces: &Backend, logs: &Backend, logs_options: &str) -> String {
    let exporter = |name: &str, backend: &Backend, options: &str| {
        format!(
            "otlp_grpc/{name}: {{endpoint: '{}', tls: {{insecure: true}}, \
             retry_on_failure: {{initial_interval: 20ms, max_interval: 100ms}}, {options}}}",
            backend.address
        )
    };
    format!("{{{}, {}}}", exporter("traces", traces, ""), exporter("logs", logs, logs_options))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_a_log_record_with_the_identity_of_its_response_and_nothing_that_was_said() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let collector = Collector::start_with(ALL_KINDS, &to(&traces, &logs), BOTH, "");
    let calls = [
        Call::new("refusal").category("cyber"),
        Call::new("quantum_flux_halt"),
        Call::new("refusal").category("rocketry"),
        Call::new(""),
        Call::new("end_turn"),
    ];
    assert_eq!(export(&collector.grpc, &calls).await, Code::Ok);
    let records = log_records(&logs, 4).await;
    let of = |name: &str| {
        let mut found = records.iter().filter(|record| record.log.event_name == name);
        let one = found.next().unwrap_or_else(|| panic!("no {name} in {records:?}"));
        assert!(found.next().is_none(), "{name} twice");
        one
    };
    for (name, call, class, severity) in [
        ("llm.response.refused", &calls[0], "refusal", 13),
        ("llm.response.stop_reason_unknown", &calls[1], "unknown", 17),
        ("llm.response.category_unknown", &calls[2], "refusal", 17),
        ("llm.response.stop_reason_missing", &calls[3], "missing", 13),
    ] {
        let record = of(name);
        assert_eq!(record.scope, "refusal-collector");
        assert_eq!(record.resource("service.name").as_deref(), Some("checkout"));
        assert_eq!(record.resource("service.namespace").as_deref(), Some("shop"));
        assert_eq!(record.resource("service.instance.id").as_deref(), Some("checkout-0"));
        assert_eq!(record.resource("telemetry.sdk.name"), None, "only what identifies");
        assert_eq!((&record.log.trace_id, &record.log.span_id), (&call.trace_id, &call.span_id));
        assert_eq!(record.log.time_unix_nano, call.end);
        assert!(record.log.observed_time_unix_nano > call.end);
        assert_eq!(record.log.severity_number, severity, "{name}");
        assert_eq!(record.attribute("llm.stop_reason.class").as_deref(), Some(class));
        assert_eq!(record.attribute("llm.workload").as_deref(), Some("checkout"));
        assert_eq!(record.attribute("llm.instrumentation").as_deref(), Some("my.llm.client"));
        assert_eq!(record.attribute("gen_ai.provider.name").as_deref(), Some("anthropic"));
        assert_eq!(record.attribute("gen_ai.request.model").as_deref(), Some("claude-opus-4-5"));
    }
    let attribute = |name: &str, key: &str| of(name).attribute(key);
    let unknown = "llm.response.stop_reason_unknown";
    assert_eq!(attribute(unknown, "llm.stop_reason.value").as_deref(), Some("quantum_flux_halt"));
    assert_eq!(attribute("llm.response.refused", "llm.refusal.category").as_deref(), Some("cyber"));
    assert_eq!(attribute("llm.response.refused", "llm.refusal.action").as_deref(), Some("surface"));
    let category = "llm.response.category_unknown";
    assert_eq!(attribute(category, "llm.refusal.vendor_category").as_deref(), Some("rocketry"));

    let everything = format!("{records:?}");
    assert!(!everything.contains(events::SECRET), "{everything}");
    assert_eq!(collector.sum("refusal_collector_events_total", &[]), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_only_what_nobody_knows_becomes_a_log_record() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let collector = Collector::start(&to(&traces, &logs), BOTH, "");
    let calls = ["refusal", "", "end_turn", "quantum_flux_halt"].map(Call::new);
    assert_eq!(export(&collector.grpc, &calls).await, Code::Ok);
    let records = log_records(&logs, 1).await;
    assert_eq!(records[0].log.event_name, "llm.response.stop_reason_unknown");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log_records(&logs, 1).await.len(), 1);
    assert_eq!(collector.sum("refusal_collector_events_total", &[]), 1, "others are not even made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_pushed_back_gives_no_event_and_one_that_comes_again_no_second() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    traces.always(Answer::Hang);
    let exporters = to(&traces, &logs).replacen(
        "tls:",
        "timeout: 60s, sending_queue: {queue_size: 1, num_consumers: 1}, tls:",
        1,
    );
    let collector = Collector::start(&exporters, BOTH, "");
    assert_eq!(export(&collector.grpc, &[Call::new("end_turn")]).await, Code::Ok);
    let call = [Call::new("quantum_flux_halt")];
    assert_eq!(export(&collector.grpc, &call).await, Code::Unavailable);
    assert_eq!(collector.sum("refusal_collector_events_total", &[]), 0);
    assert!(get(&collector.api, "/api/v1/unknown").1.contains("\"unknown\":[]"));

    traces.always(Answer::Accept);
    let address = traces.address;
    traces.stop().await;
    let _traces = Backend::start_at(address, None).await;
    for _ in 0..2 {
        while export(&collector.grpc, &call).await != Code::Ok {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    log_records(&logs, 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log_records(&logs, 1).await.len(), 1);
    assert_eq!(collector.sum("refusal_collector_events_total", &[]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logs_backend_that_is_away_keeps_nobody_from_anything_and_gets_all_there_is_room_for() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let exporters = to_with(&traces, &logs, "sending_queue: {queue_size: 1, num_consumers: 1}");
    let processors = "{refusal: {events: [refusals], limits: {waiting_events: 600}}}";
    let address = logs.address;
    logs.stop().await;
    let mut collector = Collector::start_with(processors, &exporters, BOTH, "");
    for _ in 0..20 {
        let calls: Vec<_> = (0..200).map(|_| Call::new("refusal")).collect();
        assert_eq!(export(&collector.grpc, &calls).await, Code::Ok, "spans do not wait for log records");
    }
    collector.wait_until("records are dropped", |collector| {
        collector.sum("refusal_collector_own_log_records_dropped_total", &["reason=\"buffer_full\""]) > 0
    });
    assert_eq!(collector.sum("llm_refusals_total", &[]), 4000);
    assert!(
        collector.log().contains("log records of the collector's own are dropped"),
        "{}",
        collector.log()
    );
    let dropped = collector.sum("refusal_collector_own_log_records_dropped_total", &[]);
    assert!(dropped <= 4000 - 600, "{dropped}");
    let logs = Backend::start_at(address, None).await;
    let expected = 4000 - dropped as usize;
    let records = log_records(&logs, expected).await;
    let mut spans: Vec<_> = records.iter().map(|record| record.log.span_id.clone()).collect();
    spans.sort();
    spans.dedup();
    assert_eq!((records.len(), spans.len()), (expected, expected), "each once");
    collector.wait_until("the account is even", |collector| {
        let of = |name: &str| collector.sum(name, &["exporter=\"otlp_grpc/logs\"", "data_type=\"logs\""]);
        of("refusal_collector_exporter_exported_items_total") == expected as u64
            && of("refusal_collector_exporter_queued_items") == 0
            && of("refusal_collector_exporter_in_flight_items") == 0
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_before_the_end() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    logs.always(Answer::After(Duration::from_millis(200)));
    let mut collector = Collector::start_with(ALL_KINDS, &to(&traces, &logs), BOTH, "");
    let calls: Vec<_> = (0..700).map(|_| Call::new("refusal")).collect();
    assert_eq!(export(&collector.grpc, &calls).await, Code::Ok);
    collector.signal("TERM");
    assert_eq!(collector.ended().code(), Some(0), "{}", collector.log());
    assert_eq!(sent_logs(&logs).len(), 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_records_of_a_collector_are_never_judged_again() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let sidecar = Collector::start_with(ALL_KINDS, &to(&traces, &logs), BOTH, "");
    assert_eq!(export(&sidecar.grpc, &[Call::new("refusal"), Call::new("halt")]).await, Code::Ok);
    log_records(&logs, 2).await;
    let request = logs.accepted()[0].message();

    let (_, behind) = (Backend::start().await, Backend::start().await);
    let processors = "{refusal: {count_judged: true, events: [refusals, unknown]}}";
    let gateway = Collector::start_with(processors, &to(&traces, &behind), BOTH, "");
    events::export_logs(&gateway.grpc, ExportLogsServiceRequest::decode(&request[..]).unwrap()).await;
    behind.wait_for_accepted(1).await;
    assert_eq!(behind.accepted()[0].message(), request, "not a byte has changed");
    assert_eq!(gateway.sum("llm_responses_total", &[]), 0);
    assert_eq!(gateway.sum("refusal_collector_events_total", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_tells_watchers_what_sidecars_have_judged_and_exports_no_second_event() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let sidecar = Collector::start(&to(&traces, &logs), BOTH, "");
    assert_eq!(export(&sidecar.grpc, &[Call::new("halt")]).await, Code::Ok);
    let judged = traces.wait_for_accepted(1).await[0].message();

    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let processors = "{refusal: {count_judged: true, events: [refusals, unknown]}}";
    let gateway = Collector::start_with(processors, &to(&traces, &logs), BOTH, "");
    let mut watching = watch(&gateway.api, proto::WatchRequest::default()).await.unwrap();
    assert_eq!(events::export_message(&gateway.grpc, &judged).await, Code::Ok);
    let event = events::next_event(&mut watching).await;
    assert_eq!(event.stop_reason.unwrap().value.as_deref(), Some("halt"));
    assert!(get(&gateway.api, "/api/v1/unknown").1.contains("\"halt\""));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sent_logs(&logs).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_what_they_ask_for_until_the_collector_stops() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let mut collector = Collector::start(&to(&traces, &logs), BOTH, "");
    let mut all = watch(&collector.api, proto::WatchRequest::default()).await.unwrap();
    let some = proto::WatchRequest {
        workloads: vec!["check*".to_owned()],
        providers: vec!["anthropic".to_owned(), "openai".to_owned()],
        classes: vec![proto::StopReasonClass::Refusal.into()],
        categories: vec![proto::RefusalCategory::Cyber.into(), proto::RefusalCategory::Bio.into()],
    };
    let mut some = watch(&collector.api, some).await.unwrap();
    let other = proto::WatchRequest { workloads: vec!["mail".to_owned()], ..Default::default() };
    let mut other = watch(&collector.api, other).await.unwrap();
    assert_eq!(collector.sum("refusal_collector_watchers", &[]), 3);
    let calls = [
        Call::new("quantum_flux_halt"),
        Call::new("refusal").category("cyber"),
        Call::new(""),
        Call::new("end_turn"),
    ];
    assert_eq!(export(&collector.grpc, &calls).await, Code::Ok);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(events::next_event(&mut all).await.kind());
    }
    kinds.sort();
    assert_eq!(kinds, [proto::Kind::Refused, proto::Kind::StopReasonUnknown, proto::Kind::StopReasonMissing]);
    let event = events::next_event(&mut some).await;
    assert_eq!(event.span_id, calls[1].span_id);
    assert_eq!(event.refusal.unwrap().category(), proto::RefusalCategory::Cyber);

    collector.signal("TERM");
    for stream in [&mut all, &mut some, &mut other] {
        assert_eq!(stream.message().await.unwrap(), None, "the stream ends as it should");
    }
    assert_eq!(collector.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_watcher_misses_is_told_and_counted() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let collector = events::start(&traces, &logs, "watch_buffer: 2, max_watchers: 1", BOTH);
    let mut watching = watch(&collector.api, proto::WatchRequest::default()).await.unwrap();
    let refused = watch(&collector.api, proto::WatchRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");

    for _ in 0..20 {
        let calls: Vec<_> = (0..500).map(|_| Call::new("refusal")).collect();
        assert_eq!(export(&collector.grpc, &calls).await, Code::Ok);
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 10_000 {
        match watching.message().await.unwrap().unwrap().message.unwrap() {
            Told::Event(_) => seen += 1,
            Told::Missed(proto::Missed { events }) => missed += events,
        }
    }
    assert!(missed > 0);
    assert_eq!(seen + missed, 10_000);
    assert_eq!(collector.sum("refusal_collector_watcher_missed_events_total", &[]), missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_value_is_told_once_with_the_line_that_teaches_it() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("words.yaml");
    std::fs::write(&file, "{}").unwrap();
    let processors = format!("{{refusal: {{vocabulary: \"${{file:{}}}\"}}}}", file.display());
    let mut collector = Collector::start_with(&processors, &to(&traces, &logs), BOTH, "");
    let calls = || {
        [
            Call::new("quantum_flux_halt").of("openai", "gpt-5"),
            Call::new("NO_MORE").of("gcp.gemini", "gemini-2.5-pro"),
            Call::new("quantum_flux_halt").of("aws.bedrock", "amazon.nova-pro-v1:0"),
            Call::new("off").of("acme-gateway", "acme-1"),
            Call::new("refusal").category("rocketry"),
        ]
    };
    for _ in 0..3 {
        assert_eq!(export(&collector.grpc, &calls()).await, Code::Ok);
    }
    let (status, body) = get(&collector.api, "/api/v1/unknown");
    assert_eq!(status, 200);
    let ledger: serde_json::Value = serde_json::from_str(&body).unwrap();
    let unknown = ledger["unknown"].as_array().unwrap();
    assert_eq!((unknown.len(), &ledger["not_listed"]), (5, &serde_json::json!(0)), "{body}");
    let entry = unknown.iter().find(|entry| entry["provider"] == "gcp.gemini").unwrap();
    assert_eq!(entry["value"], "NO_MORE");
    assert_eq!(entry["vendor"], "google");
    assert_eq!(entry["kind"], "stop_reason");
    assert_eq!(entry["count"], 3);
    assert_eq!(entry["workloads"], serde_json::json!(["checkout"]));
    assert_eq!(entry["scopes"], serde_json::json!(["my.llm.client"]));
    assert_eq!(entry["trace_id"].as_str().unwrap().len(), 32);
    assert!(entry["first_seen"].as_str() <= entry["last_seen"].as_str());
    assert_eq!(collector.sum("refusal_collector_unknown_values", &[]), 5);

    // What each line says is all that is needed.
    let mut words = String::new();
    for entry in unknown {
        let line = entry["teach"].as_str().unwrap();
        assert_eq!(collector.log().matches(line).count(), 1, "{line}\n{}", collector.log());
        let inner =
            line.strip_prefix("processors: {refusal: {vocabulary: {").unwrap().strip_suffix("}}}").unwrap();
        let (vendor, facts) = inner.split_once(": ").unwrap();
        words.push_str(&format!("{vendor}: {facts}\n"));
    }
    std::fs::write(&file, &words).unwrap();
    collector.signal("HUP");
    collector.wait_until("it has learned", |collector| collector.log().contains("have been read again"));
    let unknown = |collector: &Collector| collector.sum("llm_stop_reason_unknown_total", &[]);
    let before = unknown(&collector);
    assert_eq!(export(&collector.grpc, &calls()).await, Code::Ok);
    assert_eq!(unknown(&collector), before, "{words}");
    let other = collector.sum("llm_refusals_total", &["llm_refusal_category=\"other\""]);
    assert_eq!(other, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_leave_the_ledger_and_the_log_bounded_and_the_new_ones_counted() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let processors = "{refusal: {events: [], limits: {unknown_values: 100}}}";
    let collector = Collector::start_with(processors, &to(&traces, &logs), BOTH, "");
    for batch in 0..20 {
        let calls: Vec<_> = (0..500)
            .map(|number| Call::new(&format!("hostile {batch} {number} {}", "x".repeat(200))))
            .collect();
        assert_eq!(export(&collector.grpc, &calls).await, Code::Ok);
    }
    let ledger: serde_json::Value = serde_json::from_str(&get(&collector.api, "/api/v1/unknown").1).unwrap();
    assert_eq!(ledger["unknown"].as_array().unwrap().len(), 100);
    assert_eq!(ledger["not_listed"], 9_900);
    assert_eq!(collector.sum("refusal_collector_unknown_values_overflow_total", &[]), 9_900);
    assert_eq!(collector.sum("llm_stop_reason_unknown_total", &[]), 10_000);
    assert!(collector.log().lines().count() < 150, "{}", collector.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_logs_pipeline_events_go_the_other_ways() {
    let traces = Backend::start().await;
    let exporters = format!("{{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}}}", traces.address);
    let pipelines = "{traces: {receivers: [otlp], processors: [refusal], exporters: [otlp_grpc]}}";
    let collector = Collector::start_with(ALL_KINDS, &exporters, pipelines, "");
    assert!(
        collector.log().contains("events leave by logs pipelines, and there is none"),
        "{}",
        collector.log()
    );
    let mut watching = watch(&collector.api, proto::WatchRequest::default()).await.unwrap();
    assert_eq!(export(&collector.grpc, &[Call::new("refusal")]).await, Code::Ok);
    assert_eq!(events::next_event(&mut watching).await.kind(), proto::Kind::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_writes_json_lines_survives_a_restart_and_ends_when_told() {
    let (traces, logs) = (Backend::start().await, Backend::start().await);
    let addresses = events::addresses();
    let exporters = to(&traces, &logs);
    let start = || {
        Collector::launch(Setup {
            addresses: addresses.clone(),
            exporters: &exporters,
            pipelines: BOTH,
            ..Setup::default()
        })
    };
    let collector = start();
    let endpoint = format!("http://{}", collector.api);
    let mut tail =
        events::Tail::start(&["--endpoint", &endpoint, "--json", "class=refusal", "workload=check*"]);
    events::wait_for_watcher(&collector);
    let call = Call::new("refusal").category("cyber");
    assert_eq!(export(&collector.grpc, &[Call::new("halt"), call.clone()]).await, Code::Ok);
    let line: serde_json::Value = serde_json::from_str(&tail.line()).unwrap();
    assert_eq!(line["event.name"], "llm.response.refused");
    assert_eq!(line["time"], "2023-11-14T22:13:20.000Z");
    assert_eq!(line["trace_id"], call.trace_id.iter().map(|b| format!("{b:02x}")).collect::<String>());
    for (key, value) in [
        ("llm.stop_reason.class", "refusal"),
        ("llm.stop_reason.value", "refusal"),
        ("llm.refusal.category", "cyber"),
        ("llm.refusal.vendor_category", "cyber"),
        ("llm.refusal.action", "surface"),
        ("llm.workload", "checkout"),
        ("service.name", "checkout"),
        ("gen_ai.provider.name", "anthropic"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert!(!line.to_string().contains(events::SECRET));

    drop(collector);
    let mut collector = start();
    events::wait_for_watcher(&collector);
    assert_eq!(export(&collector.grpc, &[Call::new("refusal").category("bio")]).await, Code::Ok);
    assert!(tail.line().contains("\"llm.refusal.category\":\"bio\""));
    assert_eq!(tail.interrupted(), Some(0));
    assert!(tail.errors().contains("it is back"), "{}", tail.errors());
    // Else it would be taken for the next one.
    collector.wait_until("it watches no more", |now| now.sum("refusal_collector_watchers", &[]) == 0);

    // Somebody who reads one readable line and goes away.
    let mut tail = events::Tail::start(&["--endpoint", &endpoint]);
    events::wait_for_watcher(&collector);
    assert_eq!(export(&collector.grpc, &[Call::new("halt")]).await, Code::Ok);
    let line = tail.line();
    assert!(
        line.contains("unknown stop reason \"halt\": claude-opus-4-5 of anthropic for checkout"),
        "{line}"
    );
    tail.close_output();
    let ended = async {
        while tail.ended().is_none() {
            export(&collector.grpc, &[Call::new("refusal")]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(backend::PATIENCE, ended).await.unwrap();
    assert_eq!(tail.ended(), Some(0));
}

#[test]
fn tail_says_what_is_wrong_with_a_filter() {
    for (filter, told) in [
        ("class=refused", "no \"refused\"; there are complete, length"),
        ("colour=red", "no filter \"colour\""),
        ("refusal", "write key=value"),
    ] {
        let (code, errors) = events::Tail::fail(&[filter]);
        assert_eq!(code, Some(2));
        assert!(errors.contains(told), "{errors}");
    }
}
