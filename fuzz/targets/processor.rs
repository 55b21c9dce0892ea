//! The refusal processor on any request: verdicts are appended to items and nothing else changes, and what was judged is
//! left alone the second time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;
use refusal_collector::config::model::{LabelLimits, RefusalProcessor};
use refusal_collector::otlp::Signal;
use refusal_collector::payload::{Message, Payload, Permit};
use refusal_collector::processor::refusal::{Refusal, Rulebook};
use refusal_collector::telemetry::responses::Responses;
use std::sync::{Arc, LazyLock};

static PROCESSOR: LazyLock<Refusal> = LazyLock::new(|| {
    let config = RefusalProcessor::default();
    Refusal::new(&config, Rulebook::new(&config).expect("the embedded vocabulary is sound"), None)
});
static RESPONSES: LazyLock<Responses> = LazyLock::new(|| Responses::new(LabelLimits::default()));

fuzz_target!(|request: &[u8]| {
    for signal in [Signal::Traces, Signal::Logs] {
        let Some(judged) = judged(signal, request) else { continue };
        match signal {
            Signal::Traces => only_spans_grew(request, &judged),
            Signal::Logs => only_records_grew(request, &judged),
            Signal::Metrics => {}
        }
        assert_eq!(self::judged(signal, &judged).as_deref(), Some(judged.as_slice()), "judged a second time");
    }
});

fn judged(signal: Signal, request: &[u8]) -> Option<Vec<u8>> {
    let message = Message::Bare(request.to_vec().into());
    let payload = Payload {
        signal,
        message,
        arrived: None,
        items: 0,
        permit: Arc::new(Permit::default()),
        caller: Default::default(),
    };
    let mut tally = RESPONSES.tally();
    let processed = PROCESSOR.process(payload, &mut tally).ok()?;
    RESPONSES.commit(tally);
    Some(processed.payload.message.protobuf().to_vec())
}

fn only_spans_grew(before: &[u8], after: &[u8]) {
    let Ok(before) = ExportTraceServiceRequest::decode(before) else { return };
    let mut after = ExportTraceServiceRequest::decode(after).expect("what could be read still can be");
    let spans = |request: &ExportTraceServiceRequest| {
        let groups = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        groups.flat_map(|group| &group.spans).map(|span| span.attributes.len()).collect::<Vec<_>>()
    };
    let mut lengths = spans(&before).into_iter();
    for group in after.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
        for span in &mut group.spans {
            take_verdict(&mut span.attributes, lengths.next());
        }
    }
    assert_eq!(before.encode_to_vec(), after.encode_to_vec());
}

fn only_records_grew(before: &[u8], after: &[u8]) {
    let Ok(before) = ExportLogsServiceRequest::decode(before) else { return };
    let mut after = ExportLogsServiceRequest::decode(after).expect("what could be read still can be");
    let records = |request: &ExportLogsServiceRequest| {
        let groups = request.resource_logs.iter().flat_map(|group| &group.scope_logs);
        groups.flat_map(|group| &group.log_records).map(|record| record.attributes.len()).collect::<Vec<_>>()
    };
    let mut lengths = records(&before).into_iter();
    for group in after.resource_logs.iter_mut().flat_map(|group| &mut group.scope_logs) {
        for record in &mut group.log_records {
            take_verdict(&mut record.attributes, lengths.next());
        }
    }
    assert_eq!(before.encode_to_vec(), after.encode_to_vec());
}

fn take_verdict(attributes: &mut Vec<KeyValue>, before: Option<usize>) {
    for attribute in attributes.drain(before.expect("no item is added")..) {
        let key = attribute.key;
        assert!(key.starts_with("llm.stop_reason.") || key.starts_with("llm.refusal."), "{key}");
    }
}
