use super::*;
use crate::otlp::splice::count;
use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, Sum, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, tag(number));
    put_varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn bare(message: Vec<u8>) -> Message {
    Message::Bare(message.into())
}

fn parts(signal: Signal, request: &Message, max_items: usize) -> Vec<Part> {
    let max_items = NonZeroUsize::new(max_items).unwrap();
    Split::new(signal, request.clone(), max_items).unwrap().map(Result::unwrap).collect()
}

/// Scopes with so many spans each, under resources told apart by a number.
fn request(resources: &[&[usize]]) -> ExportTraceServiceRequest {
    let mut names = 0..;
    let mut scope = |spans: &usize| ScopeSpans {
        scope: Some(InstrumentationScope { name: format!("scope {spans}"), ..Default::default() }),
        spans: (&mut names)
            .take(*spans)
            .map(|n| Span { name: n.to_string(), ..Default::default() })
            .collect(),
        schema_url: "behind the spans".to_owned(),
    };
    let by_resource = |(n, scopes): (usize, &&[usize])| ResourceSpans {
        resource: Some(Resource { dropped_attributes_count: n as u32, ..Default::default() }),
        scope_spans: scopes.iter().map(&mut scope).collect(),
        schema_url: "behind the scopes".to_owned(),
    };
    ExportTraceServiceRequest { resource_spans: resources.iter().enumerate().map(by_resource).collect() }
}

/// Each span with all that it stands in.
fn flat(request: ExportTraceServiceRequest) -> Vec<(ResourceSpans, ScopeSpans, Span)> {
    let mut flat = Vec::new();
    for mut by_resource in request.resource_spans {
        for mut by_scope in std::mem::take(&mut by_resource.scope_spans) {
            for span in std::mem::take(&mut by_scope.spans) {
                flat.push((by_resource.clone(), by_scope.clone(), span));
            }
        }
    }
    flat
}

#[test]
fn parts_hold_the_same_spans_in_the_same_order_in_the_same_envelopes() {
    for shape in
        [&[&[5][..]][..], &[&[3, 0, 4], &[1], &[]], &[&[], &[2, 2], &[0], &[7]], &[&[1, 1, 1], &[1, 1]], &[]]
    {
        let request = request(shape);
        let message = bare(request.encode_to_vec());
        let total = count(Signal::Traces, message.as_slice()).unwrap();
        for max_items in 1..=total + 1 {
            let parts = parts(Signal::Traces, &message, max_items);
            assert_eq!(parts.len(), total.div_ceil(max_items));
            let mut spans = Vec::new();
            for part in &parts {
                let part_of_spans = flat(ExportTraceServiceRequest::decode(part.message.as_slice()).unwrap());
                assert_eq!(part_of_spans.len(), part.items);
                assert!(part.items <= max_items);
                assert!(part.message.len() <= message.len());
                spans.extend(part_of_spans);
            }
            assert_eq!(spans, flat(request.clone()));
        }
    }
}

#[test]
fn a_part_repeats_only_the_groups_that_its_items_stand_in() {
    let message = bare(request(&[&[2, 2], &[2]]).encode_to_vec());
    let groups = parts(Signal::Traces, &message, 2).into_iter().map(|part| {
        let request = ExportTraceServiceRequest::decode(part.message.as_slice()).unwrap();
        request.resource_spans.iter().map(|by_resource| by_resource.scope_spans.len()).collect::<Vec<_>>()
    });
    assert_eq!(groups.collect::<Vec<_>>(), [[1], [1], [1]]);
}

#[test]
fn halving_ends_at_single_items() {
    let message = bare(request(&[&[3, 2]]).encode_to_vec());
    let mut split = Split::halves(Signal::Traces, message.clone(), 5).unwrap().unwrap();
    assert_eq!(split.next().unwrap().unwrap().items, 3);
    assert_eq!(split.next().unwrap().unwrap().items, 2);
    assert!(split.next().is_none());
    assert!(Split::halves(Signal::Traces, message.clone(), 1).unwrap().is_none());
    assert!(Split::halves(Signal::Traces, message, 0).unwrap().is_none());
}

#[test]
fn a_metric_is_split_between_its_data_points_and_keeps_its_name_and_kind() {
    let points = |times: &[u64]| {
        times.iter().map(|t| NumberDataPoint { time_unix_nano: *t, ..Default::default() }).collect()
    };
    let metric = |times: &[u64]| Metric {
        name: "requests".to_owned(),
        data: Some(Data::Sum(Sum {
            data_points: points(times),
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    let request = |metrics: &[&[u64]]| {
        let metrics: Vec<u8> =
            metrics.iter().flat_map(|times| field(2, &metric(times).encode_to_vec())).collect();
        field(1, &field(2, &metrics))
    };
    let parts = parts(Signal::Metrics, &bare(request(&[&[1, 2, 3], &[4, 5]])), 2);
    let expected = [request(&[&[1, 2]]), request(&[&[3], &[4]]), request(&[&[5]])];
    assert_eq!(parts.len(), expected.len());
    for (part, expected) in parts.iter().zip(expected) {
        let read = |message: &[u8]| ExportMetricsServiceRequest::decode(message).unwrap();
        assert_eq!(read(part.message.as_slice()), read(&expected));
    }
}

#[test]
fn a_metric_in_pieces_is_split_as_the_one_metric_that_it_means() {
    let points = |times: &[u8]| -> Vec<u8> {
        times.iter().flat_map(|t| field(1, &[0x19, *t, 0, 0, 0, 0, 0, 0, 0])).collect()
    };
    let temporality = vec![0x10, 2];
    // A gauge that a sum overwrites; the sum comes in pieces, its temporality in the last one.
    let metric = [
        field(7, &points(&[8])),
        field(5, &points(&[9])),
        field(7, &points(&[1, 2])),
        field(1, b"name"),
        field(7, &[points(&[3]), temporality].concat()),
    ];
    let message = bare(field(1, &field(2, &field(2, &metric.concat()))));
    assert_eq!(count(Signal::Metrics, message.as_slice()), Ok(3));
    let mut times = Vec::new();
    for part in parts(Signal::Metrics, &message, 1) {
        let request = ExportMetricsServiceRequest::decode(part.message.as_slice()).unwrap();
        let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
        assert_eq!(metric.name, "name");
        let Some(Data::Sum(sum)) = &metric.data else { panic!() };
        assert_eq!(sum.aggregation_temporality, 2);
        times.extend(sum.data_points.iter().map(|point| point.time_unix_nano));
    }
    assert_eq!(times, [1, 2, 3]);
}

#[test]
fn unknown_fields_are_kept_in_every_part() {
    let span = field(2, &field(90, b"of the span"));
    let by_scope = field(2, &[span.clone(), field(80, b"of the scope group"), span.clone()].concat());
    let by_resource = field(1, &[by_scope, field(70, b"of the resource group")].concat());
    let message = bare([field(60, b"of the request"), by_resource].concat());
    let parts = parts(Signal::Traces, &message, 1);
    let by_scope = field(2, &[field(80, b"of the scope group"), span].concat());
    let by_resource = field(1, &[field(70, b"of the resource group"), by_scope].concat());
    let expected = [field(60, b"of the request"), by_resource].concat();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part.message.as_slice() == expected));
}

#[test]
fn merging_puts_requests_behind_each_other() {
    let requests =
        [request(&[&[2]]), request(&[]), request(&[&[1], &[3]])].map(|request| bare(request.encode_to_vec()));
    let merged = merge(requests.iter());
    assert!(matches!(merged, Message::Framed(_)));
    assert_eq!(merged.as_slice(), requests.each_ref().map(Message::as_slice).concat());
    assert_eq!(count(Signal::Traces, merged.as_slice()), Ok(6));
}

#[test]
fn a_broken_request_ends_with_its_error() {
    let message = bare([field(1, &field(2, &field(2, b""))), vec![0x0a, 0x02, 0x12, 0x07]].concat());
    let mut split = Split::new(Signal::Traces, message, NonZeroUsize::MIN).unwrap();
    assert!(split.any(|part| part.is_err()));
    assert!(split.next().is_none());
}
