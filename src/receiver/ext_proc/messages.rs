//! The messages of Envoy's External Processing API, as far as they are needed here.
//!
//! Field numbers are those of `envoy/service/ext_proc/v3/external_processor.proto` and
//! `envoy/config/core/v3/base.proto`; fields that are not listed are passed over. None of these can be printed: bodies
//! and headers are other people's.

use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;

/// What Envoy tells of a call: one of the first six, with the last three beside it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ProcessingRequest {
    #[prost(message, optional, tag = "2")]
    pub request_headers: Option<HttpHeaders>,
    #[prost(message, optional, tag = "3")]
    pub response_headers: Option<HttpHeaders>,
    #[prost(message, optional, tag = "4")]
    pub request_body: Option<HttpBody>,
    #[prost(message, optional, tag = "5")]
    pub response_body: Option<HttpBody>,
    #[prost(message, optional, tag = "6")]
    pub request_trailers: Option<Empty>,
    #[prost(message, optional, tag = "7")]
    pub response_trailers: Option<Empty>,
    /// By the filter's name; each a struct of what `request_attributes` lists.
    #[prost(map = "string, message", tag = "9")]
    pub attributes: HashMap<String, Struct>,
    /// No reply is expected, and none is read.
    #[prost(bool, tag = "10")]
    pub observability_mode: bool,
    /// In the first message, where replies are expected.
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpHeaders {
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    /// Which of these two is set, a setting of Envoy's says.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpBody {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ProtocolConfiguration {
    #[prost(int32, tag = "1")]
    pub request_body_mode: i32,
    #[prost(int32, tag = "2")]
    pub response_body_mode: i32,
}

/// `BodySendMode.FULL_DUPLEX_STREAMED`: the body goes on as it is sent back, and in no other way.
pub const FULL_DUPLEX_STREAMED: i32 = 4;

/// `google.protobuf.Struct`, of which only texts are read.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Struct {
    #[prost(map = "string, message", tag = "1")]
    pub fields: HashMap<String, Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Value {
    #[prost(string, tag = "3")]
    pub string_value: String,
}

/// A message of which nothing is read, or nothing is said.
#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Empty {}

/// A reply: the same one of six as in the request.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ProcessingResponse {
    #[prost(message, optional, tag = "1")]
    pub request_headers: Option<Empty>,
    #[prost(message, optional, tag = "2")]
    pub response_headers: Option<Empty>,
    #[prost(message, optional, tag = "3")]
    pub request_body: Option<BodyResponse>,
    #[prost(message, optional, tag = "4")]
    pub response_body: Option<BodyResponse>,
    #[prost(message, optional, tag = "5")]
    pub request_trailers: Option<Empty>,
    #[prost(message, optional, tag = "6")]
    pub response_trailers: Option<Empty>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct BodyResponse {
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CommonResponse {
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct BodyMutation {
    /// `streamed_response`, with the fields of [`HttpBody`].
    #[prost(message, optional, tag = "3")]
    pub streamed_response: Option<HttpBody>,
}

impl BodyResponse {
    /// Sends a piece of a body back as it came.
    pub fn echo(body: HttpBody) -> Self {
        let body_mutation = Some(BodyMutation { streamed_response: Some(body) });
        BodyResponse { response: Some(CommonResponse { body_mutation }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::service::ext_proc::v3 as oracle;
    use envoy_types::pb::google::protobuf;
    use oracle::processing_request::Request;

    fn ours(request: Request) -> ProcessingRequest {
        let value = protobuf::Value { kind: Some(protobuf::value::Kind::StringValue("anthropic".into())) };
        let fields = [("xds.route_name".to_owned(), value)].into();
        let theirs = oracle::ProcessingRequest {
            request: Some(request),
            attributes: [("envoy.filters.http.ext_proc".to_owned(), protobuf::Struct { fields })].into(),
            observability_mode: true,
            protocol_config: Some(oracle::ProtocolConfiguration {
                request_body_mode: 1,
                response_body_mode: 4,
                ..Default::default()
            }),
            ..Default::default()
        };
        let ours = ProcessingRequest::decode(theirs.encode_to_vec().as_slice()).unwrap();
        assert!(ours.observability_mode);
        assert!(
            ours.protocol_config
                == Some(ProtocolConfiguration { request_body_mode: 1, response_body_mode: 4 })
        );
        let attributes = &ours.attributes["envoy.filters.http.ext_proc"].fields;
        assert_eq!(attributes["xds.route_name"].string_value, "anthropic");
        ours
    }

    #[test]
    fn requests_are_read_as_envoy_writes_them() {
        let header = |key: &str, value: &str, raw: &str| core::HeaderValue {
            key: key.into(),
            value: value.into(),
            raw_value: raw.into(),
        };
        let headers = oracle::HttpHeaders {
            headers: Some(core::HeaderMap {
                headers: vec![header(":path", "", "/v1/messages"), header("a", "b", "")],
            }),
            end_of_stream: true,
            ..Default::default()
        };
        let read = |headers: Option<HttpHeaders>| {
            let headers = headers.unwrap();
            assert!(headers.end_of_stream);
            let map = headers.headers.unwrap().headers;
            let map: Vec<_> =
                map.iter().map(|h| (h.key.clone(), h.value.clone(), h.raw_value.clone())).collect();
            assert_eq!(map[0], (":path".into(), Bytes::new(), "/v1/messages".into()));
            assert_eq!(map[1], ("a".into(), "b".into(), Bytes::new()));
        };
        read(ours(Request::RequestHeaders(headers.clone())).request_headers);
        read(ours(Request::ResponseHeaders(headers)).response_headers);
        let body = oracle::HttpBody { body: b"text".to_vec(), end_of_stream: true, ..Default::default() };
        let expected = Some(HttpBody { body: "text".into(), end_of_stream: true });
        assert!(ours(Request::RequestBody(body.clone())).request_body == expected);
        assert!(ours(Request::ResponseBody(body)).response_body == expected);
        let trailers = oracle::HttpTrailers::default;
        assert!(ours(Request::RequestTrailers(trailers())).request_trailers.is_some());
        assert!(ours(Request::ResponseTrailers(trailers())).response_trailers.is_some());
    }

    #[test]
    fn replies_are_what_envoy_reads() {
        use oracle::processing_response::Response;
        let read = |reply: ProcessingResponse| {
            oracle::ProcessingResponse::decode(reply.encode_to_vec().as_slice()).unwrap().response.unwrap()
        };
        let none = ProcessingResponse::default;
        let reply = read(ProcessingResponse { request_headers: Some(Empty {}), ..none() });
        assert!(matches!(reply, Response::RequestHeaders(headers) if headers.response.is_none()));
        let reply = read(ProcessingResponse { response_headers: Some(Empty {}), ..none() });
        assert!(matches!(reply, Response::ResponseHeaders(headers) if headers.response.is_none()));
        let reply = read(ProcessingResponse { request_trailers: Some(Empty {}), ..none() });
        assert!(matches!(reply, Response::RequestTrailers(_)));
        let reply = read(ProcessingResponse { response_trailers: Some(Empty {}), ..none() });
        assert!(matches!(reply, Response::ResponseTrailers(_)));
        let reply = read(ProcessingResponse { request_body: Some(BodyResponse::default()), ..none() });
        assert!(matches!(reply, Response::RequestBody(body) if body.response.is_none()));
        let echo = BodyResponse::echo(HttpBody { body: "text".into(), end_of_stream: true });
        let Response::ResponseBody(body) = read(ProcessingResponse { response_body: Some(echo), ..none() })
        else {
            panic!("another reply");
        };
        let mutation = body.response.unwrap().body_mutation.unwrap().mutation.unwrap();
        let oracle::body_mutation::Mutation::StreamedResponse(streamed) = mutation else {
            panic!("another mutation");
        };
        assert_eq!((streamed.body.as_slice(), streamed.end_of_stream), (&b"text"[..], true));
    }
}
