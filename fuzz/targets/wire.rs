//! Export requests as protobuf: whatever arrives is read to its last attribute, counted, split and merged without a
//! panic, and the ways to count agree with each other and with prost.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use refusal_collector::otlp::Signal;
use refusal_collector::otlp::any_value::{AnyValue, KeyValue, MAX_DEPTH};
use refusal_collector::otlp::batch::{Part, Split, merge};
use refusal_collector::otlp::splice::{count, splice};
use refusal_collector::otlp::visit::{Envelope, Visit};
use refusal_collector::otlp::wire::{Fields, Malformed};
use refusal_collector::payload::Message;
use std::num::NonZeroUsize;
use std::ops::Range;

fuzz_target!(|request: &[u8]| {
    for signal in Signal::ALL {
        let counted = count(signal, request);
        if let Ok(outcome) = splice(signal, request, &mut ReadsAll { signal }) {
            assert_eq!(Ok(outcome.items), counted);
            assert_eq!(outcome.rewritten, None);
        }
        // Groups, which protobuf has given up, are skipped by prost and refused here.
        if let (false, Some(items)) = (matches!(counted, Err(Malformed::Tag(_))), decoded(signal, request)) {
            assert_eq!(counted, Ok(items.len()));
        }
        if let Ok(items @ 1..) = counted {
            is_split_and_merged(signal, request, items);
        }
    }
});

/// Reads what there is, and changes nothing.
struct ReadsAll {
    signal: Signal,
}

impl<'m> Visit<'m> for ReadsAll {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        envelope(resource)
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        envelope(scope)
    }

    fn item(&mut self, message: &'m [u8], item: Range<usize>, _: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut fields = Fields::new(message, item);
        while let Some(field) = fields.next_field()? {
            if Some(field.number) == self.signal.attributes_field() {
                value(KeyValue::read(message, field.content()?)?.value()?, 0)?;
            }
        }
        Ok(())
    }
}

fn envelope(envelope: &Envelope<'_>) -> Result<(), Malformed> {
    let mut fields = envelope.fields();
    while let Some(field) = fields.next_field()? {
        if field.number == 1
            && let Ok(range) = field.content()
            && let Ok(attribute) = KeyValue::read(envelope.message(), range)
        {
            value(attribute.value()?, 0)?;
        }
    }
    Ok(())
}

fn value(read: AnyValue<'_>, depth: usize) -> Result<(), Malformed> {
    assert!(depth <= usize::from(MAX_DEPTH) + 1, "deeper than is read");
    match read {
        AnyValue::Array(array) => array.iter().try_for_each(|element| value(element?, depth + 1)),
        AnyValue::KeyValues(list) => list.iter().try_for_each(|entry| value(entry?.value()?, depth + 1)),
        _ => Ok(()),
    }
}

fn is_split_and_merged(signal: Signal, request: &[u8], items: usize) {
    let max = NonZeroUsize::MIN.saturating_add(request.len() % 5);
    let whole = Message::Bare(request.to_vec().into());
    let Ok(split) = Split::new(signal, whole, max) else { return };
    // Parts repeat their resources, so a few thousand items can be many bytes.
    let Ok(parts) = split.take(1000).collect::<Result<Vec<Part>, Malformed>>() else { return };
    for part in &parts {
        assert!(part.items <= max.get());
        assert_eq!(count(signal, part.message.as_slice()), Ok(part.items));
    }
    if parts.len() < 1000 {
        assert_eq!(parts.iter().map(|part| part.items).sum::<usize>(), items);
        let merged = merge(parts.iter().map(|part| &part.message));
        assert_eq!(count(signal, merged.as_slice()), Ok(items));
        if let Some(items) = decoded(signal, request) {
            assert_eq!(decoded(signal, merged.as_slice()), Some(items));
        }
    }
}

/// The items as prost reads and writes them.
fn decoded(signal: Signal, request: &[u8]) -> Option<Vec<Vec<u8>>> {
    Some(match signal {
        Signal::Traces => {
            let groups = ExportTraceServiceRequest::decode(request).ok()?.resource_spans;
            let groups = groups.into_iter().flat_map(|group| group.scope_spans);
            groups.flat_map(|group| group.spans).map(|span| span.encode_to_vec()).collect()
        }
        Signal::Logs => {
            let groups = ExportLogsServiceRequest::decode(request).ok()?.resource_logs;
            let groups = groups.into_iter().flat_map(|group| group.scope_logs);
            groups.flat_map(|group| group.log_records).map(|record| record.encode_to_vec()).collect()
        }
        Signal::Metrics => return None,
    })
}
