use super::*;
use crate::otlp::wire::put_varint;
use opentelemetry_proto::tonic::common::v1 as otlp;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Reference;
use prost::Message;

/// A length-delimited field.
fn len(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn int(value: u8) -> Vec<u8> {
    vec![0x18, value]
}

fn unknown() -> Vec<u8> {
    len(15, b"from the future")
}

/// What our reader makes of an attribute, as prost's structs.
fn read(message: &[u8]) -> Result<otlp::KeyValue, Malformed> {
    owned(KeyValue::read(message, 0..message.len())?)
}

fn owned(attribute: KeyValue<'_>) -> Result<otlp::KeyValue, Malformed> {
    Ok(otlp::KeyValue {
        key: String::from_utf8(attribute.key.to_vec()).unwrap(),
        value: Some(otlp::AnyValue { value: owned_value(attribute.value()?)? }),
        ..Default::default()
    })
}

fn owned_value(value: AnyValue<'_>) -> Result<Option<Reference>, Malformed> {
    Ok(Some(match value {
        AnyValue::Empty => return Ok(None),
        AnyValue::Str(text) => Reference::StringValue(String::from_utf8(text.to_vec()).unwrap()),
        AnyValue::Bool(value) => Reference::BoolValue(value),
        AnyValue::Int(value) => Reference::IntValue(value),
        AnyValue::Double(value) => Reference::DoubleValue(value),
        AnyValue::Bytes(bytes) => Reference::BytesValue(bytes.to_vec()),
        AnyValue::Array(array) => {
            let values = array.iter().map(|value| Ok(otlp::AnyValue { value: owned_value(value?)? }));
            Reference::ArrayValue(otlp::ArrayValue { values: values.collect::<Result<_, Malformed>>()? })
        }
        AnyValue::KeyValues(list) => {
            let values = list.iter().map(|attribute| owned(attribute?));
            Reference::KvlistValue(otlp::KeyValueList { values: values.collect::<Result<_, Malformed>>()? })
        }
    }))
}

#[track_caller]
fn reads_like_prost(message: &[u8]) {
    let mut expected = otlp::KeyValue::decode(message).unwrap();
    // To us an absent value and an empty one are the same.
    expected.value.get_or_insert_default();
    if let Some(Reference::StringValueStrindex(_)) = expected.value.as_ref().unwrap().value {
        expected.value = Some(otlp::AnyValue::default());
    }
    assert_eq!(read(message), Ok(expected));
}

#[test]
fn every_kind_of_value_reads_like_prost() {
    let array = otlp::ArrayValue {
        values: [Reference::StringValue("a".into()), Reference::IntValue(-1), Reference::BoolValue(true)]
            .map(|value| otlp::AnyValue { value: Some(value) })
            .to_vec(),
    };
    let nested = otlp::KeyValue {
        key: "inner".into(),
        value: Some(otlp::AnyValue { value: Some(Reference::ArrayValue(array.clone())) }),
        ..Default::default()
    };
    for value in [
        None,
        Some(Reference::StringValue(String::new())),
        Some(Reference::StringValue("x".repeat(127))),
        Some(Reference::StringValue("x".repeat(130))),
        Some(Reference::StringValue("x".repeat(20_000))),
        Some(Reference::BoolValue(false)),
        Some(Reference::IntValue(i64::MIN)),
        Some(Reference::DoubleValue(0.25)),
        Some(Reference::BytesValue(vec![0, 255])),
        Some(Reference::ArrayValue(array)),
        Some(Reference::KvlistValue(otlp::KeyValueList { values: vec![nested.clone(), nested] })),
    ] {
        for key in ["", "gen_ai.response.finish_reasons", &"k".repeat(200)] {
            let attribute = otlp::KeyValue {
                key: key.to_owned(),
                value: Some(otlp::AnyValue { value: value.clone() }),
                ..Default::default()
            };
            reads_like_prost(&attribute.encode_to_vec());
        }
    }
}

#[test]
fn numbers_and_texts_of_every_length_read_like_prost() {
    for bits in 0..64 {
        for number in [1u64 << bits, (1u64 << bits) - 1, (1u64 << bits) | 1] {
            let mut value = vec![0x18];
            put_varint(&mut value, number);
            assert_eq!(AnyValue::at_a_glance(&value).is_some(), number < 1 << 21, "{number}");
            reads_like_prost(&[len(1, b"key"), len(2, &value)].concat());
        }
    }
    for length in [0, 1, 127, 128, 16_383, 16_384] {
        let value = len(1, &b"x".repeat(length));
        assert_eq!(AnyValue::at_a_glance(&value).is_some(), length < 1 << 14, "{length}");
        reads_like_prost(&[len(1, b"key"), len(2, &value)].concat());
    }
}

#[test]
fn a_value_stands_behind_the_head_of_its_own_key_only() {
    let attribute = |key: &[u8]| [len(1, key), len(2, &int(7))].concat();
    let (one, other) = (attribute(b"one"), attribute(b"two"));
    let head = KeyValue::head(&one).unwrap();
    assert_eq!(KeyValue::value_behind(head, &one), Some(&int(7)[..]));
    assert_eq!(KeyValue::value_behind(head, &other), None);
    assert_eq!(KeyValue::value_behind(head, &[&one[..], &len(1, b"two")].concat()), None, "a second key");
    assert_eq!(KeyValue::head(&[len(2, &int(7)), len(1, b"one")].concat()), None, "the other way round");
}

#[test]
fn fields_in_any_order_repeated_or_unknown_read_like_prost() {
    let (key, other_key) = (len(1, b"key"), len(1, b"other"));
    let text = |text: &str| len(2, &len(1, text.as_bytes()));
    let array = |values: &[u8]| {
        let values: Vec<u8> = values.iter().flat_map(|value| len(1, &int(*value))).collect();
        len(5, &values)
    };
    let list = |name: &str| len(6, &len(1, &[len(1, name.as_bytes()), len(2, &int(7))].concat()));
    let value = |pieces: &[Vec<u8>]| len(2, &pieces.concat());
    for pieces in [
        vec![text("value"), key.clone()],
        vec![unknown(), key.clone(), unknown(), text("value"), unknown()],
        vec![key.clone(), text("first"), other_key.clone(), text("last")],
        vec![key.clone(), value(&[len(1, b"text"), int(1), unknown()])],
        vec![key.clone(), value(&[int(1)]), value(&[])],
        vec![key.clone(), value(&[int(1)]), value(&[unknown()])],
        vec![key.clone(), value(&[array(&[1, 2]), array(&[]), array(&[3])])],
        vec![key.clone(), value(&[array(&[1]), unknown(), array(&[2])])],
        vec![key.clone(), value(&[array(&[1]), int(9), array(&[2]), array(&[3])])],
        vec![key.clone(), value(&[array(&[1]), list("a"), array(&[2])])],
        vec![key.clone(), value(&[list("a"), list("b")])],
        vec![key.clone(), value(&[list("a")]), other_key, value(&[list("b"), list("c")])],
        vec![key.clone(), value(&[array(&[1])]), value(&[array(&[2])])],
        vec![key.clone(), value(&[array(&[1])]), value(&[int(1)]), value(&[array(&[2])])],
        vec![key.clone(), value(&[int(1), vec![0x40, 3]])],
        // A list of one array in two pieces, inside an array.
        vec![key, value(&[len(5, &len(1, &[array(&[1]), array(&[2])].concat()))])],
    ] {
        reads_like_prost(&pieces.concat());
    }
}

#[test]
fn a_padded_length_reads_like_the_short_one() {
    reads_like_prost(&[0x0a, 0x81, 0x00, b'k', 0x12, 0x82, 0x00, 0x18, 0x05]);
    reads_like_prost(&[0x0a, 0x01, b'k', 0x12, 0x82, 0x80, 0x00, 0x18, 0x05]);
}

#[test]
fn a_field_of_another_wire_type_is_refused_where_it_stands() {
    assert_eq!(read(&[0x08, 0x01]), Err(Malformed::WireType(0)));
    assert_eq!(read(&[0x0a, 0x01, b'k', 0x12, 0x02, 0x08, 0x01]), Err(Malformed::WireType(5)));
}

#[test]
fn an_iterator_ends_after_its_first_error() {
    let array = len(5, &[len(1, &int(1)), vec![0x0a, 0x7f]].concat());
    let AnyValue::Array(array) = AnyValue::read(&array, 0..array.len()).unwrap() else { panic!() };
    let mut values = array.iter();
    assert!(matches!(values.next(), Some(Ok(AnyValue::Int(1)))));
    assert!(matches!(values.next(), Some(Err(Malformed::Truncated(_)))));
    assert!(values.next().is_none());
}

/// How many arrays a reader who follows the first element finds inside each other.
fn depth(message: &[u8]) -> usize {
    let mut value = AnyValue::read(message, 0..message.len()).unwrap();
    let mut depth = 0;
    while let AnyValue::Array(array) = value {
        depth += 1;
        value = array.iter().next().transpose().unwrap().unwrap_or(AnyValue::Empty);
    }
    depth
}

#[test]
fn nobody_is_led_deeper_than_the_limit() {
    let nested = |levels: usize| (0..levels).fold(Vec::new(), |inner, _| len(5, &len(1, &inner)));
    let limit = usize::from(MAX_DEPTH) + 1;
    assert_eq!(depth(&nested(limit)), limit);
    assert_eq!(depth(&nested(limit + 1)), limit);
    assert_eq!(depth(&nested(5_000)), limit);
}

#[test]
fn an_optional_field_in_pieces_is_read_as_one() {
    let pieces = [len(5, &len(5, &len(1, &int(1)))), len(4, b""), len(5, &len(5, &len(1, &int(2))))];
    let record = pieces.concat();
    let AnyValue::Array(array) = AnyValue::read_field(&record, 0..record.len(), 5).unwrap() else { panic!() };
    let values: Vec<_> = array.iter().map(|value| value.unwrap().as_int()).collect();
    assert_eq!(values, [Some(1), Some(2)]);
    assert!(matches!(AnyValue::read_field(&record, 0..record.len(), 6), Ok(AnyValue::Empty)));
}
