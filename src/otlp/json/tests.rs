use super::*;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::fmt::Debug;

fn in_scope(resources: &str, scopes: &str, items: &str, item: &str) -> String {
    format!(r#"{{"{resources}":[{{"{scopes}":[{{"{items}":[{item}]}}]}}]}}"#)
}

fn span(json: &str) -> Result<Span, JsonError> {
    let json = in_scope("resourceSpans", "scopeSpans", "spans", json);
    let message = decode(Signal::Traces, json.as_bytes())?;
    let mut request = ExportTraceServiceRequest::decode(message.as_slice()).unwrap();
    Ok(request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0))
}

fn log_record(json: &str) -> Result<LogRecord, JsonError> {
    let json = in_scope("resourceLogs", "scopeLogs", "logRecords", json);
    let message = decode(Signal::Logs, json.as_bytes())?;
    let mut request = ExportLogsServiceRequest::decode(message.as_slice()).unwrap();
    Ok(request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0))
}

fn metric(json: &str) -> Result<Metric, JsonError> {
    let json = in_scope("resourceMetrics", "scopeMetrics", "metrics", json);
    let message = decode(Signal::Metrics, json.as_bytes())?;
    let mut request = ExportMetricsServiceRequest::decode(message.as_slice()).unwrap();
    Ok(request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0))
}

/// The value of the attribute that `json` is the value of.
fn value(json: &str) -> Result<Option<Value>, JsonError> {
    let mut span = span(&format!(r#"{{"attributes":[{{"key":"k","value":{json}}}]}}"#))?;
    Ok(span.attributes.remove(0).value.and_then(|value| value.value))
}

fn text(text: &str) -> Option<Value> {
    Some(Value::StringValue(text.to_owned()))
}

/// What a field of a span must be, as the error says it.
#[track_caller]
fn refused<T: Debug>(result: Result<T, JsonError>, wanted_field: &str) {
    match result {
        Err(JsonError::Value { field, .. }) => assert_eq!(field, wanted_field),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_result_stands_in_a_frame() {
    let Message::Framed(frame) = decode(Signal::Traces, br#"{"resourceSpans":[{}]}"#).unwrap() else {
        panic!()
    };
    assert_eq!(frame[..], [0, 0, 0, 0, 2, 0x0a, 0]);
}

#[test]
fn ids_are_hexadecimal_in_any_case_empty_or_null() {
    let span =
        span(r#"{"traceId":"5B8EFFF798038103d269b633813fc60c","spanId":"","parentSpanId":null}"#).unwrap();
    assert_eq!(span.trace_id[..3], [0x5b, 0x8e, 0xff]);
    assert_eq!(span.trace_id.len(), 16);
    assert!(span.span_id.is_empty() && span.parent_span_id.is_empty());
    for wrong in [r#""5b8""#, r#""zz""#, r#""Ｆ""#, "17", "[]", "{}", "true"] {
        refused(super::tests::span(&format!(r#"{{"traceId":{wrong}}}"#)), "traceId");
    }
}

#[test]
fn enums_are_numbers_or_names() {
    for kind in ["3", r#""SPAN_KIND_CLIENT""#, r#""3""#, "3.0"] {
        assert_eq!(span(&format!(r#"{{"kind":{kind}}}"#)).unwrap().kind, 3);
    }
    assert_eq!(span(r#"{"kind":77}"#).unwrap().kind, 77, "newer values pass");
    refused(span(r#"{"kind":"CLIENT"}"#), "kind");
    let status = span(r#"{"status":{"code":"STATUS_CODE_ERROR","message":"m"}}"#).unwrap().status.unwrap();
    assert_eq!((status.code, &status.message[..]), (2, "m"));
    for severity in ["17", r#""SEVERITY_NUMBER_ERROR""#] {
        assert_eq!(log_record(&format!(r#"{{"severityNumber":{severity}}}"#)).unwrap().severity_number, 17);
    }
    let sum = r#"{"sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","isMonotonic":true}}"#;
    let Some(Data::Sum(sum)) = metric(sum).unwrap().data else { panic!() };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
}

#[test]
fn integers_are_strings_or_numbers_and_exact_to_the_last_bit() {
    for (json, expected) in [
        ("18446744073709551615", u64::MAX),
        (r#""18446744073709551615""#, u64::MAX),
        ("1795289367803775349", 1_795_289_367_803_775_349),
        ("1.5e3", 1500),
        ("0", 0),
    ] {
        assert_eq!(
            span(&format!(r#"{{"startTimeUnixNano":{json}}}"#)).unwrap().start_time_unix_nano,
            expected
        );
    }
    for (json, expected) in [
        (r#""-9223372036854775808""#, i64::MIN),
        ("-9223372036854775808", i64::MIN),
        ("9223372036854775807", i64::MAX),
        ("0", 0),
    ] {
        assert_eq!(value(&format!(r#"{{"intValue":{json}}}"#)), Ok(Some(Value::IntValue(expected))));
    }
    for wrong in ["-1", "1.5", r#""""#, r#""1.5""#, r#""x""#, "18446744073709551616", "1e30", "true", "[1]"] {
        refused(span(&format!(r#"{{"startTimeUnixNano":{wrong}}}"#)), "startTimeUnixNano");
    }
    refused(value(r#"{"intValue":9223372036854775808}"#), "intValue");
    refused(span(r#"{"droppedAttributesCount":4294967296}"#), "droppedAttributesCount");
    assert_eq!(span(r#"{"droppedAttributesCount":"7"}"#).unwrap().dropped_attributes_count, 7);
}

#[test]
fn doubles_are_numbers_strings_or_not_finite() {
    for (json, expected) in [
        ("1", 1.0),
        ("-0.5", -0.5),
        (r#""2.5""#, 2.5),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
        ("18446744073709551615", 18_446_744_073_709_551_615.0),
    ] {
        assert_eq!(value(&format!(r#"{{"doubleValue":{json}}}"#)), Ok(Some(Value::DoubleValue(expected))));
    }
    let Ok(Some(Value::DoubleValue(nan))) = value(r#"{"doubleValue":"NaN"}"#) else { panic!() };
    assert!(nan.is_nan());
    for wrong in [r#""""#, r#""much""#, "false"] {
        refused(value(&format!(r#"{{"doubleValue":{wrong}}}"#)), "doubleValue");
    }
}

#[test]
fn every_kind_of_value_is_read() {
    assert_eq!(value("{}"), Ok(None));
    assert_eq!(value("null"), Ok(None));
    assert_eq!(value(r#"{"stringValue":null}"#), Ok(None));
    assert_eq!(value(r#"{"stringValue":""}"#), Ok(text("")));
    assert_eq!(value(r#"{"boolValue":false}"#), Ok(Some(Value::BoolValue(false))));
    for base64 in ["-_8=", "+/8=", "-_8", "+/8"] {
        let bytes = value(&format!(r#"{{"bytesValue":"{base64}"}}"#));
        assert_eq!(bytes, Ok(Some(Value::BytesValue(vec![0xfb, 0xff]))));
    }
    refused(value(r#"{"bytesValue":"+_8="}"#), "bytesValue");
    for empty in
        [r#"{"arrayValue":{}}"#, r#"{"arrayValue":{"values":null}}"#, r#"{"array_value":{"values":[]}}"#]
    {
        assert_eq!(value(empty), Ok(Some(Value::ArrayValue(Default::default()))));
    }
    let Ok(Some(Value::ArrayValue(array))) = value(r#"{"arrayValue":{"values":[{"intValue":"0"},{}]}}"#)
    else {
        panic!()
    };
    assert_eq!(array.values, [AnyValue { value: Some(Value::IntValue(0)) }, AnyValue { value: None }]);
    let Ok(Some(Value::KvlistValue(list))) =
        value(r#"{"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}}"#)
    else {
        panic!()
    };
    let value = Some(AnyValue { value: text("b") });
    assert_eq!(list.values, [KeyValue { key: "a".to_owned(), value, ..Default::default() }]);
}

#[test]
fn unknown_fields_are_ignored_and_null_is_absence() {
    let span = span(
        r#"{"name":"n","fromTheFuture":{"name":[{"deep":1e400000}],"x":"\ud800"},"attributes":null,"status":null,"x_y":[]}"#,
    );
    assert_eq!(span.map(|span| (span.name, span.status)), Ok(("n".to_owned(), None)));
    assert_eq!(decode(Signal::Traces, br#"{"resourceLogs":[{}]}"#).unwrap().as_slice(), b"");
}

#[test]
fn names_may_be_in_snake_case() {
    let json = r#"{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"ff","start_time_unix_nano":"5",
        "dropped_attributes_count":3,"attributes":[{"key":"k","value":{"string_value":"v"}}]}]}],"schema_url":"u"}]}"#;
    let message = decode(Signal::Traces, json.as_bytes()).unwrap();
    let request = ExportTraceServiceRequest::decode(message.as_slice()).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(request.resource_spans[0].schema_url, "u");
    assert_eq!((&span.trace_id[..], span.start_time_unix_nano), (&[0xff][..], 5));
    assert_eq!(span.dropped_attributes_count, 3);
    assert_eq!(span.attributes[0].value, Some(AnyValue { value: text("v") }));
    // Not every spelling is a name.
    assert_eq!(super::tests::span(r#"{"NAME":"n","na_me":"n","name_":"n"}"#).unwrap().name, "");
}

#[test]
fn a_name_said_twice_or_two_members_of_a_oneof_mean_what_they_mean_in_protobuf() {
    assert_eq!(value(r#"{"intValue":1,"stringValue":"last"}"#), Ok(text("last")));
    let span =
        span(r#"{"name":"a","attributes":[{"key":"k"}],"name":"b","attributes":[{"key":"l"}]}"#).unwrap();
    assert_eq!((&span.name[..], span.attributes.len()), ("b", 2));
}

#[test]
fn text_that_was_cut_inside_a_character_is_mended() {
    assert_eq!(value(r#"{"stringValue":"\u00e9\ud83d\ude00"}"#), Ok(text("é😀")));
    let Ok(Some(Value::StringValue(cut))) = value(r#"{"stringValue":"cut \ud83d"}"#) else { panic!() };
    assert!(cut.starts_with("cut \u{fffd}"));
    let mut json = br#"{"resourceSpans":[{"schemaUrl":"x"}]}"#.to_vec();
    let at = json.iter().position(|byte| *byte == b'x').unwrap();
    json[at] = 0xff;
    let message = decode(Signal::Traces, &json).unwrap();
    let request = ExportTraceServiceRequest::decode(message.as_slice()).unwrap();
    assert_eq!(request.resource_spans[0].schema_url, "\u{fffd}");
}

#[test]
fn every_kind_of_metric_is_read() {
    let gauge = metric(
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":"-3","exemplars":[{"asDouble":0.5,"traceId":"0a"}]},
            {"asDouble":"NaN"},{"asInt":0},{}]}}"#,
    );
    let Some(Data::Gauge(gauge)) = gauge.unwrap().data else { panic!() };
    let values: Vec<_> = gauge.data_points.iter().map(|point| point.value).collect();
    assert_eq!(values[0], Some(number_data_point::Value::AsInt(-3)));
    assert!(matches!(values[1], Some(number_data_point::Value::AsDouble(nan)) if nan.is_nan()));
    assert_eq!(values[2..], [Some(number_data_point::Value::AsInt(0)), None]);
    assert_eq!(gauge.data_points[0].exemplars[0].trace_id, [0x0a]);

    let histogram = metric(
        r#"{"histogram":{"dataPoints":[{"count":"3","sum":0,"bucketCounts":["1","2",0],"explicitBounds":[0.5,"1"]}]}}"#,
    );
    let Some(Data::Histogram(histogram)) = histogram.unwrap().data else { panic!() };
    let expected = HistogramDataPoint {
        count: 3,
        sum: Some(0.0),
        bucket_counts: vec![1, 2, 0],
        explicit_bounds: vec![0.5, 1.0],
        ..Default::default()
    };
    assert_eq!(histogram.data_points, [expected]);

    let exponential = metric(
        r#"{"exponentialHistogram":{"dataPoints":[{"scale":-2,"zeroCount":"1","zeroThreshold":0.25,
            "positive":{"offset":-1,"bucketCounts":["1","300"]}}]}}"#,
    );
    let Some(Data::ExponentialHistogram(exponential)) = exponential.unwrap().data else { panic!() };
    let point: &ExponentialHistogramDataPoint = &exponential.data_points[0];
    assert_eq!((point.scale, point.zero_count, point.zero_threshold), (-2, 1, 0.25));
    let positive = point.positive.as_ref().unwrap();
    assert_eq!((positive.offset, &positive.bucket_counts[..]), (-1, &[1, 300][..]));

    let summary = metric(
        r#"{"summary":{"dataPoints":[{"sum":1.5,"quantileValues":[{"quantile":1,"value":"Infinity"}]}]}}"#,
    );
    let Some(Data::Summary(summary)) = summary.unwrap().data else { panic!() };
    let point: &SummaryDataPoint = &summary.data_points[0];
    assert_eq!((point.sum, point.quantile_values[0].value), (1.5, f64::INFINITY));
}

#[test]
fn errors_say_where_and_what_but_never_what_stood_there() {
    let decode = |json: &str| decode(Signal::Traces, json.as_bytes()).unwrap_err();
    assert_eq!(
        decode("{\n \"resourceSpans\": [\n  {\"schemaUrl\": 17}]}"),
        JsonError::Value { field: "schemaUrl", expected: "a string", line: 3, column: 18 }
    );
    for (json, expected) in [
        (r#"["secret"]"#, "the request must be an object, at line 1 column 0"),
        (r#"{"resourceSpans":{"secret":1}}"#, "resourceSpans must be a list, at line 1 column 17"),
        (r#"{"resourceSpans":["secret"]}"#, "resourceSpans must be an object, at line 1 column 26"),
        (r#"{"resourceSpans":[null]}"#, "resourceSpans must be an object, at line 1 column 22"),
        (r#"{"resourceSpans":[{"secret"}]}"#, "invalid JSON at line 1 column 28"),
        (r#"{"resourceSpans":[{"schemaUrl":"secret"#, "invalid JSON at line 1 column 38"),
        (r#"{"resourceSpans":[]} secret"#, "invalid JSON at line 1 column 22"),
        ("", "invalid JSON at line 1 column 0"),
    ] {
        assert_eq!(decode(json).to_string(), expected);
    }
}

#[test]
fn nesting_is_bounded_before_it_is_followed() {
    let array = |levels: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
        value(&format!("{open}{close}"))
    };
    let list = |levels: usize| {
        let open = r#"{"kvlistValue":{"values":[{"key":"k","value":"#.repeat(levels);
        value(&format!("{open}{}{}", "{}", "}]}}".repeat(levels)))
    };
    assert!(array(37).is_ok());
    assert!(list(27).is_ok());
    for too_deep in [array(38), list(28), array(100_000), list(100_000)] {
        assert!(matches!(too_deep, Err(JsonError::Nesting { line: 1, .. })), "{too_deep:?}");
    }
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    assert!(span(&format!(r#"{{"unknown":{open}{close}}}"#)).is_ok());
}

/// A request of one span with one attribute, whose value is `value`.
fn attribute(value: &[u8]) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        let mut out = vec![number << 3 | 2];
        crate::otlp::wire::put_varint(&mut out, content.len() as u64);
        out.extend_from_slice(content);
        out
    };
    let attribute = [field(1, b"k"), field(2, value)].concat();
    field(1, &field(2, &field(2, &field(9, &attribute))))
}

#[test]
fn what_is_written_is_as_the_specification_wants() {
    let written = |value: &[u8]| {
        let json = encode(Signal::Traces, &attribute(value)).unwrap();
        let span = json
            .strip_prefix(r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"k","value":"#);
        span.unwrap().strip_suffix("}]}]}]}]}").unwrap().to_owned()
    };
    assert_eq!(written(&[]), "{}");
    assert_eq!(written(b"\x0a\x03a\"\n"), r#"{"stringValue":"a\"\n"}"#);
    assert_eq!(written(&[0x0a, 1, 0xff]), "{\"stringValue\":\"\u{fffd}\"}");
    assert_eq!(written(&[0x10, 1]), r#"{"boolValue":true}"#);
    assert_eq!(written(&[0x18, 5]), r#"{"intValue":"5"}"#);
    assert_eq!(written(&[[0x21].as_slice(), &f64::NAN.to_le_bytes()].concat()), r#"{"doubleValue":"NaN"}"#);
    assert_eq!(written(&[[0x21].as_slice(), &0.1f64.to_le_bytes()].concat()), r#"{"doubleValue":0.1}"#);
    assert_eq!(written(&[0x3a, 2, 0xfb, 0xff]), r#"{"bytesValue":"+/8="}"#);
    // Array, number, array in two pieces: the last two are the value.
    let pieces = [0x2a, 4, 0x0a, 2, 0x18, 1, 0x18, 9, 0x2a, 4, 0x0a, 2, 0x18, 2, 0x2a, 4, 0x0a, 2, 0x18, 3];
    assert_eq!(written(&pieces), r#"{"arrayValue":{"values":[{"intValue":"2"},{"intValue":"3"}]}}"#);

    let deep = (0..60).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut list = vec![0x0a];
        crate::otlp::wire::put_varint(&mut list, inner.len() as u64);
        list.extend(inner);
        let mut value = vec![0x2a];
        crate::otlp::wire::put_varint(&mut value, list.len() as u64);
        value.extend(list);
        value
    });
    assert_eq!(encode(Signal::Traces, &attribute(&deep)), Err(EncodeError::Nesting));
    assert_eq!(encode(Signal::Traces, &[0x0a, 9]), Err(EncodeError::Malformed(Malformed::Truncated(1))));
    assert_eq!(encode(Signal::Traces, &[0x08, 9]), Err(EncodeError::Malformed(Malformed::WireType(0))));
}

#[test]
fn metrics_survive_the_way_to_json_and_back() {
    let metric = Metric {
        name: "m".to_owned(),
        data: Some(Data::Gauge(opentelemetry_proto::tonic::metrics::v1::Gauge {
            data_points: vec![NumberDataPoint {
                time_unix_nano: u64::MAX,
                value: Some(number_data_point::Value::AsInt(i64::MIN)),
                flags: 1,
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![opentelemetry_proto::tonic::metrics::v1::ResourceMetrics {
            scope_metrics: vec![opentelemetry_proto::tonic::metrics::v1::ScopeMetrics {
                metrics: vec![metric],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let json = encode(Signal::Metrics, &request.encode_to_vec()).unwrap();
    let back = decode(Signal::Metrics, json.as_bytes()).unwrap();
    assert_eq!(ExportMetricsServiceRequest::decode(back.as_slice()), Ok(request));
}
