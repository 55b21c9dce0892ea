//! Reads what a backend answers: gRPC statuses in headers and trailers, `google.rpc.Status` and partial successes in
//! bodies, `Retry-After`. Nothing here panics on any input or keeps more than it must.

use super::quote::one_line;
use crate::otlp::wire::{Field, Fields, Value};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use std::time::{Duration, SystemTime};
use tonic::Code;

/// The most bytes of an answer's body that are looked at. The rest is read and forgotten: behind it stand the trailers.
const LONGEST_BODY: usize = 64 << 10;

/// A gRPC status, from headers, trailers or a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The code; one that gRPC does not know is `Unknown`.
    pub code: Code,
    /// The message, on one bounded line.
    pub message: String,
    /// The delay of `google.rpc.RetryInfo`, or of `grpc-retry-pushback-ms`.
    pub retry_after: Option<Duration>,
}

impl Status {
    /// From headers or trailers; none if they have no `grpc-status`.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
        let message = headers.get("grpc-message").map(|m| percent_encoding::percent_decode(m.as_bytes()));
        let details = headers
            .get("grpc-status-details-bin")
            .and_then(|details| LENIENT_BASE64.decode(details.as_bytes()).ok())
            .and_then(|details| Status::from_protobuf(&details));
        let pushback = || {
            let value = headers.get("grpc-retry-pushback-ms")?.to_str().ok()?;
            value.trim().parse().ok().map(Duration::from_millis)
        };
        Some(Status {
            code,
            message: message.map(|m| one_line(&m.decode_utf8_lossy())).unwrap_or_default(),
            retry_after: details.and_then(|d| d.retry_after).or_else(pushback),
        })
    }

    /// From the bytes of a `google.rpc.Status`; none if they are not such a message.
    pub fn from_protobuf(bytes: &[u8]) -> Option<Self> {
        let mut status = Status { code: Code::Unknown, message: String::new(), retry_after: None };
        let mut fields = Fields::new(bytes, 0..bytes.len());
        while let Some(Field { number, value, .. }) = fields.next_field().ok()? {
            match (number, value) {
                (1, Value::Varint(code)) => status.code = Code::from_i32(code as i32),
                (2, Value::Len { from, to, .. }) => {
                    status.message = one_line(&String::from_utf8_lossy(bytes.get(from..to)?));
                }
                (3, Value::Len { from, to, .. }) => {
                    status.retry_after = status.retry_after.or(retry_info(bytes.get(from..to)?));
                }
                _ => {}
            }
        }
        Some(status)
    }

    /// From the JSON form of a `google.rpc.Status`; none if it is not such an object.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let code = json.get("code").and_then(serde_json::Value::as_i64).and_then(|n| i32::try_from(n).ok());
        let message = json.get("message").and_then(serde_json::Value::as_str);
        if code.is_none() && message.is_none() {
            return None;
        }
        Some(Status {
            code: code.map_or(Code::Unknown, Code::from_i32),
            message: one_line(message.unwrap_or_default()),
            retry_after: None,
        })
    }
}

/// What an `Export*ServiceResponse` says about items that were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// How many were refused.
    pub rejected: u64,
    /// Why, or a warning; on one bounded line.
    pub message: String,
}

impl PartialSuccess {
    /// From the protobuf form of the response, which is the same for all signals; none if nothing was refused and nothing
    /// said, or if the bytes are not such a message.
    pub fn from_protobuf(response: &[u8]) -> Option<Self> {
        let mut partial = PartialSuccess::default();
        let mut outer = Fields::new(response, 0..response.len());
        while let Some(field) = outer.next_field().ok()? {
            let Field { number: 1, value: Value::Len { from, to, .. }, .. } = field else { continue };
            let mut inner = Fields::new(response, from..to);
            while let Some(Field { number, value, .. }) = inner.next_field().ok()? {
                match (number, value) {
                    (1, Value::Varint(n)) => partial.rejected = u64::try_from(n as i64).unwrap_or_default(),
                    (2, Value::Len { from, to, .. }) => {
                        partial.message = one_line(&String::from_utf8_lossy(response.get(from..to)?));
                    }
                    _ => {}
                }
            }
        }
        partial.says_something()
    }

    /// From the JSON form of the response, in which 64-bit numbers may be strings.
    pub fn from_json(response: &[u8]) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_slice(response).ok()?;
        let json = json.get("partialSuccess")?;
        let rejected = ["rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"]
            .iter()
            .filter_map(|key| json.get(key))
            .find_map(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
        let message = json.get("errorMessage").and_then(serde_json::Value::as_str).map(one_line);
        PartialSuccess { rejected: rejected.unwrap_or_default(), message: message.unwrap_or_default() }
            .says_something()
    }

    fn says_something(self) -> Option<Self> {
        (self.rejected > 0 || !self.message.is_empty()).then_some(self)
    }
}

/// The delay that `Retry-After` asks for: seconds, or a date from which `now` is subtracted.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A body that has been read to its end.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its data, cut off after 64 KiB.
    pub data: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

/// Reads a body to its end and keeps the beginning.
pub async fn collect<B>(mut body: B) -> Result<Collected, B::Error>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut data = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(piece) => {
                let room = LONGEST_BODY.saturating_sub(data.len());
                data.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            }
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok(Collected { data: data.freeze(), trailers })
}

/// gRPC pads `-bin` headers or not, as each implementation likes.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The delay in a `google.protobuf.Any`, if that is a `google.rpc.RetryInfo`.
fn retry_info(any: &[u8]) -> Option<Duration> {
    let (mut is_retry_info, mut value) = (false, None);
    let mut fields = Fields::new(any, 0..any.len());
    while let Some(field) = fields.next_field().ok()? {
        let Value::Len { from, to, .. } = field.value else { continue };
        let content = any.get(from..to)?;
        match field.number {
            1 => is_retry_info = content.ends_with(b"/google.rpc.RetryInfo"),
            2 => value = Some(content),
            _ => {}
        }
    }
    let info = value.filter(|_| is_retry_info)?;
    let mut fields = Fields::new(info, 0..info.len());
    while let Some(field) = fields.next_field().ok()? {
        if let (1, Value::Len { from, to, .. }) = (field.number, field.value) {
            return duration(info.get(from..to)?);
        }
    }
    None
}

/// A `google.protobuf.Duration`; a negative one is none.
fn duration(bytes: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes, 0..bytes.len());
    while let Some(field) = fields.next_field().ok()? {
        match (field.number, field.value) {
            (1, Value::Varint(n)) => seconds = u64::try_from(n as i64).ok()?,
            (2, Value::Varint(n)) => nanos = u32::try_from(n as i32).ok().filter(|n| *n < 1_000_000_000)?,
            _ => {}
        }
    }
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http_body_util::{Full, StreamBody};
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use proptest::prelude::*;
    use prost::Message;
    use std::convert::Infallible;
    use tonic_types::{ErrorDetails, StatusExt};

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_bytes(v).unwrap())).collect()
    }

    #[test]
    fn a_status_of_another_implementation_is_read_with_its_delay() {
        let delay = Duration::from_millis(2500);
        let mut details = ErrorDetails::with_debug_info(vec![], "first another detail");
        details.set_retry_info(Some(delay));
        let status = tonic::Status::with_error_details(Code::ResourceExhausted, "später, 50 % frei", details);
        let mut response = status.into_http::<tonic::body::Body>();
        let read = Status::from_headers(response.headers()).unwrap();
        assert_eq!(read.code, Code::ResourceExhausted);
        assert_eq!(read.message, "später, 50 % frei");
        assert_eq!(read.retry_after, Some(delay));

        response.headers_mut().remove("grpc-status");
        assert_eq!(Status::from_headers(response.headers()), None);
    }

    #[test]
    fn broken_details_and_messages_leave_the_code_as_it_is() {
        let status = Status::from_headers(&headers(&[
            ("grpc-status", b"14"),
            ("grpc-message", b"%ff%zz\xc3"),
            ("grpc-status-details-bin", b"no base64!"),
        ]));
        assert_eq!(status.map(|s| (s.code, s.retry_after)), Some((Code::Unavailable, None)));
        let status = Status::from_headers(&headers(&[("grpc-status", b"777")])).unwrap();
        assert_eq!(status.code, Code::Unknown);
    }

    #[test]
    fn a_pushback_counts_as_a_delay_unless_it_is_negative() {
        let read = |ms: &'static str| {
            Status::from_headers(&headers(&[
                ("grpc-status", b"8"),
                ("grpc-retry-pushback-ms", ms.as_bytes()),
            ]))
            .unwrap()
            .retry_after
        };
        assert_eq!(read("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(read("-1"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let read = |value: &'static str| retry_after(&headers(&[("retry-after", value.as_bytes())]), now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
    }

    #[test]
    fn a_partial_success_is_read_from_protobuf_and_json() {
        let said = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too\nold".into() };
        let response = ExportTraceServiceResponse { partial_success: Some(said) }.encode_to_vec();
        let expected = PartialSuccess { rejected: 3, message: "too old".into() };
        assert_eq!(PartialSuccess::from_protobuf(&response), Some(expected.clone()));
        for json in [
            r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too\nold"}}"#,
            r#"{"partialSuccess":{"rejectedLogRecords":3,"errorMessage":"too\nold"}}"#,
        ] {
            assert_eq!(PartialSuccess::from_json(json.as_bytes()), Some(expected.clone()));
        }
    }

    #[test]
    fn an_empty_partial_success_is_none() {
        let negative = ExportTracePartialSuccess { rejected_spans: -1, error_message: String::new() };
        for partial_success in [None, Some(ExportTracePartialSuccess::default()), Some(negative)] {
            let response = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            assert_eq!(PartialSuccess::from_protobuf(&response), None);
        }
        assert_eq!(PartialSuccess::from_json(br#"{"partialSuccess":{}}"#), None);
        assert_eq!(PartialSuccess::from_json(b""), None);
    }

    #[test]
    fn a_status_in_a_body_is_read_from_protobuf_and_json() {
        let status = tonic_types::Status { code: 14, message: "full".into(), details: vec![] };
        let expected = Status { code: Code::Unavailable, message: "full".into(), retry_after: None };
        assert_eq!(Status::from_protobuf(&status.encode_to_vec()), Some(expected.clone()));
        assert_eq!(Status::from_json(br#"{"code":14, "message":"full"}"#), Some(expected));
        assert_eq!(Status::from_json(b"<html>"), None);
    }

    #[tokio::test]
    async fn of_a_body_the_beginning_is_kept_and_the_trailers_are_found() {
        let pieces = (0..100)
            .map(|_| http_body::Frame::data(Bytes::from(vec![7; 1000])))
            .chain([http_body::Frame::trailers(headers(&[("grpc-status", b"0")]))]);
        let body = StreamBody::new(futures_util::stream::iter(pieces.map(Ok::<_, Infallible>)));
        let collected = collect(body).await.unwrap();
        assert_eq!(collected.data.len(), LONGEST_BODY);
        assert!(collected.trailers.unwrap().contains_key("grpc-status"));

        let collected = collect(Full::new(Bytes::from_static(b"ab"))).await.unwrap();
        assert_eq!((&collected.data[..], collected.trailers), (&b"ab"[..], None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Status::from_protobuf(&bytes);
            let _ = Status::from_json(&bytes);
            let _ = PartialSuccess::from_protobuf(&bytes);
            let _ = PartialSuccess::from_json(&bytes);
            let _ = retry_info(&bytes);
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "retry-after"] {
                    headers.insert(name, value.clone());
                }
                let _ = Status::from_headers(&headers);
                let _ = retry_after(&headers, SystemTime::now());
            }
        }
    }
}
