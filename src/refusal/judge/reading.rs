//! Reads answers, and pieces of answers, in whatever form a library has put them.

use crate::otlp::any_value::AnyValue;
use crate::refusal::answer::{Answer, Extractor, Reader};
use crate::refusal::evidence::{Place, PlaceKind};

/// Reads what stands at a place; `None` when it is no structure.
pub(super) fn answer(place: &Place<'_>, http_status: Option<u16>) -> Option<Answer> {
    match (place.kind, place.value) {
        (_, AnyValue::Empty | AnyValue::Bytes(_)) => None,
        (PlaceKind::Field(path), value) => Some(field(path, value)),
        (_, AnyValue::Str(text)) => {
            let is_structure = matches!(text.trim_ascii_start(), [b'{' | b'[' | b'"', ..])
                || matches!(place.kind, PlaceKind::Verbatim | PlaceKind::Chunk);
            is_structure.then(|| whole(text, place, http_status))
        }
        (_, AnyValue::Array(_) | AnyValue::KeyValues(_)) => {
            let mut extractor = Extractor::new();
            walk(&mut extractor, place.value);
            Some(extractor.finish())
        }
        (_, AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_)) => None,
    }
}

/// A text that is an answer. The HTTP status belongs to the answer itself only where that is what came over the wire.
fn whole(text: &[u8], place: &Place<'_>, http_status: Option<u16>) -> Answer {
    let mut reader = Reader::new();
    if let (PlaceKind::Verbatim, Some(status)) = (place.kind, http_status) {
        reader.http_status(status);
    }
    reader.feed(text);
    reader.finish()
}

/// One field of an answer, whose value stands under a key of its own. A path has several keys where a library has
/// flattened the field.
fn field(path: &str, value: AnyValue<'_>) -> Answer {
    if let (AnyValue::Str(text), false) = (value, path.contains('.')) {
        return Answer::read_under(path, std::str::from_utf8(text).unwrap_or_default());
    }
    let mut extractor = Extractor::new();
    for key in path.split('.') {
        extractor.begin_object();
        extractor.key(key);
    }
    walk(&mut extractor, value);
    for _ in path.split('.') {
        extractor.end();
    }
    extractor.finish()
}

/// Leads an extractor through a structured value. Values are nested no deeper than the reader of OTLP looks.
fn walk(extractor: &mut Extractor, value: AnyValue<'_>) {
    match value {
        AnyValue::Empty | AnyValue::Bytes(_) => extractor.null(),
        AnyValue::Str(text) => extractor.string(std::str::from_utf8(text).unwrap_or_default()),
        AnyValue::Bool(truth) => extractor.boolean(truth),
        AnyValue::Int(number) => extractor.integer(number),
        AnyValue::Double(number) => extractor.float(number),
        AnyValue::Array(array) => {
            extractor.begin_array();
            for element in array.iter().filter_map(Result::ok) {
                walk(extractor, element);
            }
            extractor.end();
        }
        AnyValue::KeyValues(entries) => {
            extractor.begin_object();
            for entry in entries.iter().filter_map(Result::ok) {
                extractor.key(std::str::from_utf8(entry.key).unwrap_or_default());
                walk(extractor, entry.value().unwrap_or(AnyValue::Empty));
            }
            extractor.end();
        }
    }
}
