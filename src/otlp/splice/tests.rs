use super::*;
use crate::otlp::encode::AttributeWriter;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

/// Appends an attribute that says under which resource and scope an item stands, to those that hold the word `mark`.
#[derive(Default)]
struct Mark {
    resource: String,
    scope: String,
}

/// The strings and messages in an envelope, separated by `|`.
fn contents(envelope: &Envelope<'_>) -> Result<String, Malformed> {
    let mut contents = String::new();
    let mut fields = envelope.fields();
    while let Some(field) = fields.next_field()? {
        if let Value::Len { from, to, .. } = field.value {
            contents += &String::from_utf8_lossy(&envelope.message()[from..to]);
            contents += "|";
        }
    }
    Ok(contents)
}

impl<'m> Visit<'m> for Mark {
    fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
        self.resource = contents(resource)?;
        Ok(())
    }

    fn scope(&mut self, scope: &Envelope<'m>) -> Result<(), Malformed> {
        self.scope = contents(scope)?;
        Ok(())
    }

    fn item(
        &mut self,
        message: &'m [u8],
        item: Range<usize>,
        appended: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if message[item].windows(4).any(|window| window == b"mark") {
            let value = format!("{} {}", self.resource, self.scope);
            AttributeWriter::new(appended, 9).string("marked", &value);
        }
        Ok(())
    }
}

fn marked(message: &[u8]) -> Outcome {
    let outcome = splice(Signal::Traces, message, &mut Mark::default()).unwrap();
    if let Some(in_order) = splice_in_order(Signal::Traces, message, &mut Mark::default()).unwrap() {
        assert_eq!(in_order, outcome);
    }
    outcome
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn span(name: &str) -> Span {
    Span { name: name.to_owned(), ..Default::default() }
}

#[test]
fn a_request_to_which_nothing_is_appended_stays_as_it_is() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span("a"), span("b")], ..Default::default() }],
            ..Default::default()
        }],
    };
    assert_eq!(marked(&request.encode_to_vec()), Outcome { items: 2, rewritten: None });
    assert_eq!(marked(&[]), Outcome { items: 0, rewritten: None });
}

#[test]
fn lengths_are_right_whatever_their_width_becomes() {
    for len in [1, 20, 50, 90, 100, 110, 120, 16_200, 16_300, 16_383] {
        let text = "x".repeat(len);
        let mut request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { dropped_attributes_count: 7, ..Default::default() }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope { name: text.clone(), ..Default::default() }),
                    spans: vec![span(&text), span(&format!("mark{text}")), span("mark")],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let outcome = marked(&request.encode_to_vec());
        for span in &mut request.resource_spans[0].scope_spans[0].spans[1..] {
            let value = any_value::Value::StringValue(format!(" {text}|"));
            let value = Some(AnyValue { value: Some(value) });
            span.attributes.push(KeyValue { key: "marked".to_owned(), value, ..Default::default() });
        }
        assert_eq!(outcome.items, 3);
        let Some(Message::Framed(frame)) = outcome.rewritten else { panic!() };
        assert_eq!(frame[..5], [&[0][..], &(request.encoded_len() as u32).to_be_bytes()].concat());
        assert_eq!(frame[5..], request.encode_to_vec());
    }
}

#[test]
fn resource_and_scope_are_known_before_their_items_wherever_they_stand() {
    let mark = field(2, &field(5, b"mark"));
    let scope = |name: &[u8]| field(1, &field(1, name));
    let by_scope = field(2, &[mark.clone(), scope(b"s1"), mark, scope(b"s2"), field(3, b"su")].concat());
    let resource = |key: &[u8]| field(1, &field(1, &field(1, key)));
    let by_resource = [resource(b"r1"), by_scope, field(3, b"ru"), resource(b"r2")].concat();
    let message = field(1, &by_resource);
    assert_eq!(splice_in_order(Signal::Traces, &message, &mut Mark::default()), Ok(None));
    let rewritten = marked(&message).rewritten.unwrap();
    let request = ExportTraceServiceRequest::decode(rewritten.as_slice()).unwrap();
    let value = any_value::Value::StringValue("\n\u{2}r1|\n\u{2}r2| s1|s2|".to_owned());
    for span in &request.resource_spans[0].scope_spans[0].spans {
        assert_eq!(span.attributes[0].value, Some(AnyValue { value: Some(value.clone()) }));
    }
}

#[test]
fn a_padded_length_above_a_change_is_rewritten_even_if_that_makes_it_shorter() {
    let mut message = vec![0x0a, 0x8e, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    message.extend_from_slice(&[0x12, 0x8b, 0x80, 0x00, 0x12, 0x87, 0x80, 0x80, 0x00, 0x2a, 0x84, 0x00]);
    message.extend_from_slice(b"mark");
    message[1] = 0x80 | 16;
    message[11] = 0x80 | 12;
    struct Grow;
    impl Visit<'_> for Grow {
        fn resource(&mut self, _: &Envelope<'_>) -> Result<(), Malformed> {
            Ok(())
        }
        fn scope(&mut self, _: &Envelope<'_>) -> Result<(), Malformed> {
            Ok(())
        }
        fn item(&mut self, _: &[u8], _: Range<usize>, appended: &mut Vec<u8>) -> Result<(), Malformed> {
            appended.extend_from_slice(&[0x30, 0x03]);
            Ok(())
        }
    }
    let outcome = splice(Signal::Traces, &message, &mut Grow).unwrap();
    let expected = [0x0a, 13, 0x12, 11, 0x12, 9, 0x2a, 0x84, 0x00, b'm', b'a', b'r', b'k', 0x30, 0x03];
    assert_eq!(outcome.rewritten.unwrap().as_slice(), expected);
}

#[test]
fn broken_framing_is_refused_where_it_breaks() {
    let refused = |message: &[u8]| splice(Signal::Traces, message, &mut Mark::default()).unwrap_err();
    assert_eq!(refused(&[0x0a, 0x05, 0x12]), Malformed::Truncated(1));
    assert_eq!(refused(&[0x08, 0x05]), Malformed::WireType(0));
    assert_eq!(refused(&[0x0a, 0x02, 0x12, 0x01]), Malformed::Truncated(3));
    assert_eq!(refused(&[0x0a, 0x02, 0x10, 0x01]), Malformed::WireType(2));
    assert_eq!(refused(&[0x0a, 0x04, 0x12, 0x02, 0x10, 0x01]), Malformed::WireType(4));
    assert_eq!(count(Signal::Logs, &[0x0a, 0x04, 0x12, 0x02, 0x12, 0x01]), Err(Malformed::Truncated(5)));
}

#[test]
fn data_points_of_every_kind_of_metric_are_counted() {
    let points = |kind: u8, count: usize| field(kind, &field(1, &[]).repeat(count));
    let request = |metrics: &[Vec<u8>]| {
        let metrics: Vec<u8> = metrics.iter().flat_map(|metric| field(2, metric)).collect();
        field(1, &field(2, &metrics))
    };
    let counted = |metrics: &[Vec<u8>]| count(Signal::Metrics, &request(metrics));
    for kind in [5, 7, 9, 10, 11] {
        assert_eq!(counted(&[points(kind, 3), points(kind, 4)]), Ok(7));
    }
    assert_eq!(counted(&[field(1, b"a name"), points(12, 3)]), Ok(0));
    // One metric: merged pieces of one kind, then another kind, which is the one that counts.
    assert_eq!(counted(&[[points(5, 1), points(5, 2)].concat()]), Ok(3));
    assert_eq!(counted(&[[points(5, 1), points(7, 2)].concat()]), Ok(2));
}
