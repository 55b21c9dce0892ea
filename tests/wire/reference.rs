//! What a request means and what it becomes, by the generated structs of prost and by trees of fields.

use crate::tree::{Content, Field, encode};
use crate::witness::{MARK, Sighting, mark};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use refusal_collector::otlp::{Signal, any_value::MAX_DEPTH};

/// What a perfect reader sees of each item, in order.
pub fn sightings(signal: Signal, request: &[u8]) -> Vec<Sighting> {
    let mut all = Vec::new();
    let mut see = |resource: &Option<Resource>, scope: &Option<InstrumentationScope>, body, attributes| {
        all.push(Sighting {
            resource: key_values(resource.clone().unwrap_or_default().attributes, 0),
            scope: scope.clone().unwrap_or_default().name,
            attributes: key_values(attributes, 0),
            body: any_value(body, 0),
        });
    };
    match signal {
        Signal::Traces => {
            for group in ExportTraceServiceRequest::decode(request).unwrap().resource_spans {
                for scope in group.scope_spans {
                    for span in scope.spans {
                        see(&group.resource, &scope.scope, None, span.attributes);
                    }
                }
            }
        }
        Signal::Logs => {
            for group in ExportLogsServiceRequest::decode(request).unwrap().resource_logs {
                for scope in group.scope_logs {
                    for record in scope.log_records {
                        see(&group.resource, &scope.scope, record.body, record.attributes);
                    }
                }
            }
        }
        Signal::Metrics => {}
    }
    all
}

/// How many items prost finds.
pub fn items(signal: Signal, request: &[u8]) -> usize {
    let points = |data: Option<Data>| match data {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    };
    match signal {
        Signal::Traces | Signal::Logs => sightings(signal, request).len(),
        Signal::Metrics => {
            let groups = ExportMetricsServiceRequest::decode(request).unwrap().resource_metrics;
            let scopes = groups.into_iter().flat_map(|group| group.scope_metrics);
            scopes.flat_map(|scope| scope.metrics).map(|metric| points(metric.data)).sum()
        }
    }
}

/// The request in the form in which it has to leave: marked items with their mark at the end, the lengths above them in
/// the shortest form, and nothing else changed.
pub fn marked(signal: Signal, request: &[Field], sightings: &[Sighting]) -> Vec<u8> {
    let mut request = request.to_vec();
    mark_below(signal, &mut request, &[1, 2, 2], &mut sightings.iter());
    encode(&request)
}

fn mark_below<'s>(
    signal: Signal,
    fields: &mut Vec<Field>,
    path: &[u32],
    sightings: &mut impl Iterator<Item = &'s Sighting>,
) -> bool {
    let Some((number, below)) = path.split_first() else {
        let sighting = sightings.next().unwrap();
        let mut appended = Vec::new();
        mark(signal, sighting, &mut appended);
        if appended.is_empty() {
            return false;
        }
        fields.push(Field::new(0, Content::Encoded(appended)));
        return true;
    };
    let mut changed = false;
    for field in fields.iter_mut().filter(|field| field.number == *number) {
        let Content::Message(inner) = &mut field.content else { panic!("a group that is no message") };
        if mark_below(signal, inner, below, sightings) {
            field.padding = 0;
            changed = true;
        }
    }
    changed
}

/// Attributes with all that the reader does not tell apart made the same.
fn key_values(attributes: Vec<KeyValue>, depth: u8) -> Vec<(String, Option<Value>)> {
    attributes.into_iter().map(|attribute| (attribute.key, any_value(attribute.value, depth))).collect()
}

fn any_value(value: Option<AnyValue>, depth: u8) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match value?.value? {
        Value::StringValueStrindex(_) => return None,
        Value::ArrayValue(mut array) => {
            for value in &mut array.values {
                value.value = any_value(Some(std::mem::take(value)), depth + 1);
            }
            Value::ArrayValue(array)
        }
        Value::KvlistValue(mut list) => {
            for attribute in &mut list.values {
                attribute.value = Some(AnyValue { value: any_value(attribute.value.take(), depth + 1) });
            }
            Value::KvlistValue(list)
        }
        scalar => scalar,
    })
}

/// Whether a sighting asks for a mark.
pub fn wants_mark(sighting: &Sighting) -> bool {
    sighting.attributes.iter().any(|(key, _)| key == MARK)
}
