//! Metrics as OTLP export requests: cumulative, each series with its own start and exemplar.

use crate::telemetry::metric::{Descriptor, Exemplar, Kind, Point, Sink, Value};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as ProtoExemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

/// The instrumentation scope of all that the collector tells of itself.
pub const SCOPE: &str = "refusal-collector";

/// The attributes that say whose telemetry it is, by name.
pub type ResourceAttributes = Vec<(String, String)>;

/// An export request as protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The bytes.
    pub message: Bytes,
    /// How many points are in it.
    pub points: usize,
}

/// Makes export requests of the metrics that it is given.
#[derive(Debug)]
pub struct Requests {
    resource: Resource,
    now: u64,
    most_points: usize,
    announced: Option<Descriptor>,
    metrics: Vec<Metric>,
    count: usize,
    done: Vec<Request>,
}

impl Requests {
    /// No requests yet. None will have more than `most_points`; what they tell is of `now`.
    pub fn new(resource: &ResourceAttributes, now: SystemTime, most_points: usize) -> Self {
        let attributes = resource.iter().map(|(name, value)| attribute(name, value)).collect();
        Requests {
            resource: Resource { attributes, ..Resource::default() },
            now: nanoseconds(now),
            most_points,
            announced: None,
            metrics: Vec::new(),
            count: 0,
            done: Vec::new(),
        }
    }

    /// All requests.
    pub fn finish(mut self) -> Vec<Request> {
        self.cut();
        self.done
    }

    fn cut(&mut self) {
        if self.count == 0 {
            return;
        }
        let (metrics, points) = (std::mem::take(&mut self.metrics), std::mem::take(&mut self.count));
        let scope = InstrumentationScope {
            name: SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let resource_metrics =
            vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        let request = ExportMetricsServiceRequest { resource_metrics };
        self.done.push(Request { message: request.encode_to_vec().into(), points });
    }

    /// The points of the metric that was announced last; a metric without points is not told.
    fn points(&mut self) -> Option<&mut Vec<NumberDataPoint>> {
        let announced = self.announced?;
        if self.metrics.last().is_none_or(|metric| metric.name != announced.name) {
            self.metrics.push(empty(&announced));
        }
        match self.metrics.last_mut()?.data.as_mut()? {
            metric::Data::Sum(sum) => Some(&mut sum.data_points),
            metric::Data::Gauge(gauge) => Some(&mut gauge.data_points),
            metric::Data::Histogram(_) | metric::Data::ExponentialHistogram(_) | metric::Data::Summary(_) => {
                None
            }
        }
    }
}

impl Sink for Requests {
    fn metric(&mut self, metric: &Descriptor) {
        self.announced = Some(*metric);
    }

    fn point(&mut self, point: &Point<'_>) {
        let point = number_data_point(point, self.now);
        if let Some(points) = self.points() {
            points.push(point);
            self.count += 1;
        }
        if self.count >= self.most_points {
            self.cut();
        }
    }
}

fn empty(descriptor: &Descriptor) -> Metric {
    let data = match descriptor.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge::default()),
    };
    Metric {
        name: descriptor.name.to_owned(),
        description: descriptor.help.to_owned(),
        unit: descriptor.unit.ucum().to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number_data_point(point: &Point<'_>, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: point.labels.iter().map(|(name, value)| attribute(name, value)).collect(),
        start_time_unix_nano: point.start.map(nanoseconds).unwrap_or_default(),
        time_unix_nano: now,
        value: Some(match point.value {
            Value::Integer(value) => number_data_point::Value::AsInt(signed(value)),
            Value::Float(value) => number_data_point::Value::AsDouble(value),
        }),
        exemplars: point.exemplar.filter(|_| point.start.is_some()).map(exemplar).into_iter().collect(),
        ..NumberDataPoint::default()
    }
}

fn exemplar(exemplar: Exemplar) -> ProtoExemplar {
    ProtoExemplar {
        time_unix_nano: nanoseconds(exemplar.time),
        span_id: exemplar.span_id.to_vec(),
        trace_id: exemplar.trace_id.to_vec(),
        value: Some(exemplar::Value::AsInt(signed(exemplar.value))),
        ..ProtoExemplar::default()
    }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// OTLP has no unsigned numbers.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metric::Unit;
    use std::time::Duration;

    const COUNTED: Descriptor =
        Descriptor::counter("llm.responses", Unit::Things("{response}"), "Responses.");
    const MEMORY: Descriptor = Descriptor::gauge("memory", Unit::Bytes, "Memory.");
    const NOTHING: Descriptor = Descriptor::gauge("nothing", Unit::Seconds, "Has no points.");

    fn decoded(request: &Request) -> Vec<Metric> {
        let request = ExportMetricsServiceRequest::decode(request.message.clone()).unwrap();
        let [resource] = request.resource_metrics.try_into().unwrap();
        assert_eq!(resource.resource.unwrap().attributes, [attribute("service.name", "collector")]);
        let [scope] = resource.scope_metrics.try_into().unwrap();
        assert_eq!(scope.scope.unwrap().name, "refusal-collector");
        scope.metrics
    }

    fn written(most_points: usize) -> Vec<Vec<Metric>> {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let resource = vec![("service.name".to_owned(), "collector".to_owned())];
        let mut requests = Requests::new(&resource, at(9), most_points);
        requests.metric(&COUNTED);
        for (n, class) in ["refusal", "unknown", "missing"].into_iter().enumerate() {
            let exemplar = Exemplar { trace_id: [1; 16], span_id: [2; 8], value: 1, time: at(5) };
            requests.point(&Point {
                labels: &[("llm.stop_reason.class", class)],
                value: Value::Integer(n as u64),
                start: Some(at(n as u64)),
                exemplar: (n == 1).then_some(exemplar),
            });
        }
        requests.metric(&NOTHING);
        requests.metric(&MEMORY);
        requests.point(&Point { labels: &[], value: Value::Float(0.5), start: None, exemplar: None });
        requests.finish().iter().map(decoded).collect()
    }

    #[test]
    fn each_series_has_its_start_its_time_and_its_exemplar() {
        let [metrics] = written(100).try_into().unwrap();
        let [counted, memory] = metrics.try_into().unwrap();
        assert_eq!((counted.name.as_str(), counted.unit.as_str()), ("llm.responses", "{response}"));
        let Some(metric::Data::Sum(sum)) = counted.data else { panic!("no sum") };
        assert!(sum.is_monotonic);
        assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
        let [_, unknown, _] = sum.data_points.try_into().unwrap();
        assert_eq!(unknown.attributes, [attribute("llm.stop_reason.class", "unknown")]);
        assert_eq!((unknown.start_time_unix_nano, unknown.time_unix_nano), (1_000_000_000, 9_000_000_000));
        assert_eq!(unknown.value, Some(number_data_point::Value::AsInt(1)));
        let [exemplar] = unknown.exemplars.try_into().unwrap();
        assert_eq!((exemplar.trace_id, exemplar.span_id), (vec![1; 16], vec![2; 8]));
        let Some(metric::Data::Gauge(gauge)) = memory.data else { panic!("no gauge") };
        assert_eq!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(0.5)));
        assert_eq!((memory.unit.as_str(), gauge.data_points[0].start_time_unix_nano), ("By", 0));
    }

    #[test]
    fn many_points_become_several_requests_which_all_name_their_metric() {
        let names: Vec<Vec<_>> = written(2)
            .into_iter()
            .map(|metrics| metrics.into_iter().map(|metric| metric.name).collect())
            .collect();
        assert_eq!(names, [vec!["llm.responses"], vec!["llm.responses", "memory"]]);
        assert_eq!(written(1).len(), 4);
    }
}
