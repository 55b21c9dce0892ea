//! The one place that turns facts about a request into what gRPC and HTTP call them.

use crate::otlp::Signal;
use crate::otlp::json::JsonError;
use crate::payload::Refused;
use crate::receiver::inflate::{Broken, Codec};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use prost::Message;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

/// Why a request was answered with an error. Texts are for the sender; they hold nothing of the request's content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such method or path.
    #[error("nothing is served at this path")]
    NotFound,
    /// A known path, asked in another way than by POST.
    #[error("OTLP is sent with POST")]
    Method,
    /// Without a token, or with a wrong one.
    #[error("authorization is missing or wrong")]
    Unauthenticated,
    /// No pipeline takes this signal.
    #[error("no pipeline of this collector takes {0}")]
    NoPipeline(Signal),
    /// OTLP/HTTP, or something else that is not HTTP/2, on the port for gRPC.
    #[error("this port speaks gRPC; OTLP/HTTP has a port of its own, 4318 by default")]
    NotGrpc,
    /// gRPC on the port for OTLP/HTTP.
    #[error("this port speaks OTLP/HTTP; gRPC has a port of its own, 4317 by default")]
    NotHttp,
    /// The content type is none of those in which this protocol sends OTLP.
    #[error("unsupported content type; supported are {0}")]
    ContentType(&'static str),
    /// The body is compressed in a way that is not known here.
    #[error("unsupported compression; supported are {0}")]
    Compression(&'static str),
    /// The body is compressed, but nothing says how.
    #[error("the message is flagged as compressed, but there is no grpc-encoding")]
    CompressedHow,
    /// The first byte of a gRPC frame is neither 0 nor 1.
    #[error("{0} is not a flag of a gRPC frame")]
    Flag(u8),
    /// The body ended before its announced length.
    #[error("the request ended inside of its message")]
    Incomplete,
    /// More came than was announced, or than the one message of a unary call.
    #[error("more than one message in a unary call")]
    SecondMessage,
    /// Larger than the limit, as announced, as arrived or when inflated.
    #[error("the request is larger than {limit} bytes")]
    TooLarge {
        /// What is taken at most.
        limit: usize,
    },
    /// The compressed body does not inflate.
    #[error("the body is not valid {codec}: {broken}")]
    Inflate {
        /// As what it was announced.
        codec: Codec,
        /// What is wrong with it.
        broken: Broken,
    },
    /// The body is not the JSON of an export request.
    #[error("malformed JSON: {0}")]
    Json(#[from] JsonError),
    /// The memory budget is used up; the sender may come back.
    #[error("too many bytes of requests are in memory, try again")]
    OverBudget {
        /// When room is to be expected.
        retry_after: Duration,
    },
    /// The request took longer to arrive than it may.
    #[error("the request did not arrive within {0:?}")]
    ReadTimeout(Duration),
    /// The sender went away or broke the protocol while it sent.
    #[error("the request could not be read")]
    Disconnected,
    /// What stands behind the receiver did not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// When a sender may come back while the collector is stopping.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// What an [`Error`] is in both protocols.
struct Meaning {
    code: Code,
    http: StatusCode,
    /// Set where the same request may succeed later.
    retry_after: Option<Duration>,
}

impl Error {
    fn meaning(&self) -> Meaning {
        let for_good = |code, http| Meaning { code, http, retry_after: None };
        let come_back = |after: Duration| Meaning {
            code: Code::Unavailable,
            http: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(after),
        };
        match self {
            Error::NotFound | Error::NoPipeline(_) => for_good(Code::Unimplemented, StatusCode::NOT_FOUND),
            Error::Unauthenticated => for_good(Code::Unauthenticated, StatusCode::UNAUTHORIZED),
            Error::Method => for_good(Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED),
            Error::NotGrpc => for_good(Code::Unimplemented, StatusCode::HTTP_VERSION_NOT_SUPPORTED),
            Error::NotHttp => for_good(Code::Unimplemented, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Error::ContentType(_) => for_good(Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Error::Compression(_) => for_good(Code::Unimplemented, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Error::CompressedHow | Error::Flag(_) | Error::Incomplete => {
                for_good(Code::Internal, StatusCode::BAD_REQUEST)
            }
            Error::SecondMessage => for_good(Code::Unimplemented, StatusCode::BAD_REQUEST),
            Error::TooLarge { .. } | Error::Refused(Refused::LargerThanQueue { .. }) => {
                for_good(Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE)
            }
            Error::Inflate { .. } | Error::Json(_) | Error::Refused(Refused::Malformed(_)) => {
                for_good(Code::InvalidArgument, StatusCode::BAD_REQUEST)
            }
            Error::ReadTimeout(_) => for_good(Code::DeadlineExceeded, StatusCode::REQUEST_TIMEOUT),
            Error::Disconnected => for_good(Code::Cancelled, StatusCode::BAD_REQUEST),
            Error::Refused(Refused::ShuttingDown) => come_back(RETRY_SOON),
            Error::OverBudget { retry_after } => come_back(*retry_after),
            Error::Refused(
                Refused::OverBudget { retry_after }
                | Refused::QueueFull { retry_after, .. }
                | Refused::StorageUnavailable { retry_after, .. }
                | Refused::BackendUnavailable { retry_after, .. },
            ) => come_back(*retry_after),
            Error::Refused(Refused::BackendRefused { .. }) => {
                for_good(Code::Internal, StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// The answer to a call that was taken: one empty export response, which says that nothing was rejected, and
/// trailers.
pub fn grpc_ok() -> http::Response<Body> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = http::Response::new(Body {
        data: Some(Bytes::from_static(&[0; 5])),
        trailers: Some(trailers),
        ..Body::default()
    });
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The answer to a call that ends before it has begun, with OK.
pub fn grpc_end() -> http::Response<Body> {
    Status::new(Code::Ok, "").into_http()
}

/// The answer to a call in which messages go both ways: `replies` are the frames, and when their sender is gone, the call
/// ends with OK.
pub fn grpc_stream(replies: mpsc::Receiver<Bytes>) -> http::Response<Body> {
    let mut response = grpc_ok();
    let body = response.body_mut();
    (body.data, body.replies) = (None, Some(replies));
    response
}

/// The answer to a call that was not taken: the status alone, in the headers. What gRPC itself answers with an HTTP
/// status, since the other side does not seem to speak gRPC, is that.
pub fn grpc_error(error: &Error) -> http::Response<Body> {
    let meaning = error.meaning();
    if matches!(error, Error::ContentType(_) | Error::Method | Error::NotGrpc) {
        return text(meaning.http, error);
    }
    let status = match meaning.retry_after {
        Some(after) => Status::with_error_details(
            meaning.code,
            error.to_string(),
            ErrorDetails::with_retry_info(Some(after)),
        ),
        None => Status::new(meaning.code, error.to_string()),
    };
    let mut response = status.into_http();
    if let Error::Compression(_) = error {
        response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static(Codec::GRPC_NAMES));
    }
    response
}

/// The two encodings of OTLP/HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Format {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        })
    }
}

/// The answer to an OTLP/HTTP request that was taken: an export response without a partial success.
pub fn http_ok(format: Format) -> http::Response<Body> {
    let body = match format {
        Format::Protobuf => Bytes::new(),
        Format::Json => Bytes::from_static(br#"{"partialSuccess":{}}"#),
    };
    let mut response = http::Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
    response
}

/// The answer to an OTLP/HTTP request that was not taken: a `google.rpc.Status` in the request's encoding.
pub fn http_error(error: &Error, format: Format) -> http::Response<Body> {
    let meaning = error.meaning();
    let status = pb::Status { code: meaning.code.into(), message: error.to_string(), details: Vec::new() };
    let body = match format {
        Format::Protobuf => status.encode_to_vec(),
        Format::Json => {
            serde_json::json!({ "code": status.code, "message": status.message }).to_string().into_bytes()
        }
    };
    let mut response = http::Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = meaning.http;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, format.content_type());
    if let Some(after) = meaning.retry_after {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    match error {
        Error::Method => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        Error::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Error::Compression(supported) => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(supported));
        }
        _ => {}
    }
    response
}

fn text(status: StatusCode, error: &Error) -> http::Response<Body> {
    let mut response = http::Response::new(Body::from(Bytes::from(format!("{error}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Error::Method = error {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The body of an answer: at most one piece of data, or as many as somebody sends, then perhaps trailers.
#[derive(Debug, Default)]
pub struct Body {
    data: Option<Bytes>,
    replies: Option<mpsc::Receiver<Bytes>>,
    trailers: Option<HeaderMap>,
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Body { data: Some(data).filter(|d| !d.is_empty()), ..Body::default() }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(replies) = &mut self.replies {
            match replies.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
                Poll::Ready(None) => self.replies = None,
            }
        }
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.replies.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.data.as_ref().map_or(0, Bytes::len) as u64;
        match self.trailers {
            // hyper makes a content-length of an exact size, which has no place before trailers.
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ComponentId;

    fn queue_full(retry_after: Duration) -> Error {
        Error::Refused(Refused::QueueFull { exporter: ComponentId::new("otlp_grpc"), retry_after })
    }

    #[test]
    fn what_may_succeed_later_says_when_in_both_protocols() {
        for error in [
            Error::OverBudget { retry_after: Duration::from_secs(1) },
            queue_full(Duration::from_millis(1500)),
            Error::Refused(Refused::ShuttingDown),
        ] {
            let status = Status::from_header_map(grpc_error(&error).headers()).unwrap();
            assert_eq!(status.code(), Code::Unavailable, "{error}");
            let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
            let http = http_error(&error, Format::Json);
            assert_eq!(http.status(), StatusCode::SERVICE_UNAVAILABLE, "{error}");
            let seconds: u64 = http.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!(Duration::from_secs(seconds) >= retry, "{error}: {seconds} s, {retry:?}");
        }
    }

    #[test]
    fn retry_after_is_never_zero() {
        let response = http_error(&queue_full(Duration::ZERO), Format::Protobuf);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn what_is_refused_for_good_says_nothing_of_coming_back() {
        let larger = Refused::LargerThanQueue {
            exporter: ComponentId::new("otlp_grpc"),
            size: 9,
            capacity: 8,
            unit: "items",
        };
        for error in [Error::TooLarge { limit: 1 }, Error::Refused(larger)] {
            let status = Status::from_header_map(grpc_error(&error).headers()).unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.get_details_retry_info().is_none());
            let http = http_error(&error, Format::Json);
            assert_eq!(http.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert!(!http.headers().contains_key(header::RETRY_AFTER));
        }
    }
}
