//! What an attempt to send came to, and the one place that knows which answers are worth another try.
//!
//! A backend's answer is hostile input as much as a sender's request: it is bounded, and read without a panic. What it
//! says is kept short and on one line; before it is shown, [`super::quote`] takes out what it quotes of the request.

use super::answer::Status;
use crate::telemetry::own::RejectReason;
use http::StatusCode;
use std::time::Duration;
use tonic::Code;

/// What one attempt came to.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The backend has the whole request.
    Delivered,
    /// The backend has the request but for so many items, which must not be sent again.
    PartiallyRejected {
        /// How many items it refused; 0 is a warning.
        items: u64,
        /// Why, in its words.
        message: String,
    },
    /// Not delivered, as far as can be told; another attempt may succeed.
    Retryable {
        /// How long the backend wants to be left alone.
        after: Option<Duration>,
        /// What happened.
        failure: Failure,
    },
    /// Refused for good.
    Permanent {
        /// As what it is counted.
        reason: RejectReason,
        /// What happened.
        failure: Failure,
    },
}

/// Why an attempt did not deliver.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// A gRPC status.
    #[error("gRPC status {code:?}: {message}")]
    Grpc {
        /// Not `Ok`.
        code: Code,
        /// In the backend's words.
        message: String,
    },
    /// An HTTP status that is not 2xx.
    #[error("HTTP status {status}: {message}")]
    Http {
        /// Its number and name.
        status: StatusCode,
        /// In the backend's words.
        message: String,
    },
    /// Something else than an OTLP backend answered: a login page, a proxy, a server of another protocol.
    #[error("the answer is not OTLP: {0}")]
    NotOtlp(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Transport(String),
    /// There was no attempt, because the request cannot be put into the right form.
    #[error("cannot compress the request: {0}")]
    Unsendable(String),
}

impl Failure {
    /// A broken connection, with the whole story: the outer errors of HTTP clients say next to nothing.
    pub fn transport(error: &(dyn std::error::Error + 'static)) -> Self {
        Failure::Transport(whole_story(error))
    }
}

/// How the answers that the OTLP specification leaves open are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// RESOURCE_EXHAUSTED without RetryInfo is tried again. The specification says that it is permanent, but collectors
    /// under memory pressure answer so.
    pub retry_resource_exhausted: bool,
}

impl Outcome {
    /// From a transport's failure: always worth another attempt.
    pub fn unreachable(failure: Failure) -> Self {
        Outcome::Retryable { after: None, failure }
    }

    /// From a gRPC status other than OK.
    ///
    /// Retryable are the codes that the OTLP specification lists ("Failures" under OTLP/gRPC). A message over the backend's
    /// size limit stands out: gRPC libraries answer it with codes that look retryable, yet it can only succeed in parts.
    pub fn from_grpc(status: Status, policy: Policy) -> Self {
        let Status { code, message, retry_after: after } = status;
        let reason = match code {
            Code::ResourceExhausted | Code::OutOfRange if speaks_of_size(&message) => RejectReason::TooLarge,
            Code::Ok
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => {
                return Outcome::Retryable { after, failure: Failure::Grpc { code, message } };
            }
            Code::ResourceExhausted if after.is_some() || policy.retry_resource_exhausted => {
                return Outcome::Retryable { after, failure: Failure::Grpc { code, message } };
            }
            Code::ResourceExhausted => RejectReason::TooLarge,
            Code::InvalidArgument | Code::FailedPrecondition => RejectReason::Invalid,
            Code::Unauthenticated | Code::PermissionDenied => RejectReason::Unauthorized,
            Code::Unimplemented => RejectReason::Unsupported,
            Code::Internal | Code::Unknown | Code::NotFound | Code::AlreadyExists => RejectReason::Permanent,
        };
        Outcome::Permanent { reason, failure: Failure::Grpc { code, message } }
    }

    /// From an HTTP status other than 2xx; also of a gRPC call that did not get as far as a gRPC status.
    ///
    /// Retryable are 429, 502, 503 and 504 ("Retryable Response Codes" under OTLP/HTTP); all else must not be retried.
    pub fn from_http(status: StatusCode, message: String, after: Option<Duration>) -> Self {
        let reason = match status.as_u16() {
            429 | 502 | 503 | 504 => {
                return Outcome::Retryable { after, failure: Failure::Http { status, message } };
            }
            400 | 422 => RejectReason::Invalid,
            413 => RejectReason::TooLarge,
            401 | 403 | 407 => RejectReason::Unauthorized,
            300..=399 | 404 | 405 | 406 | 410 | 415 | 501 => RejectReason::Unsupported,
            _ => RejectReason::Permanent,
        };
        Outcome::Permanent { reason, failure: Failure::Http { status, message } }
    }
}

/// Whether a status speaks of the size of the message, as grpc-go ("received message larger than max"), grpc-java ("gRPC
/// message exceeds maximum size"), grpc-core ("Received message larger than max") and tonic ("decoded message length too
/// large") do.
fn speaks_of_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["larger than max", "exceeds maximum size", "length too large", "message too large"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

/// An error with all its causes, each once.
fn whole_story(mut error: &(dyn std::error::Error + 'static)) -> String {
    let mut story = error.to_string();
    while let Some(source) = error.source() {
        let cause = source.to_string();
        if !story.contains(&cause) {
            story.push_str(": ");
            story.push_str(&cause);
        }
        error = source;
    }
    super::quote::one_line(&story)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Policy = Policy { retry_resource_exhausted: true };
    const STRICT: Policy = Policy { retry_resource_exhausted: false };

    fn grpc(code: Code, message: &str, after: Option<u64>, policy: Policy) -> Outcome {
        let retry_after = after.map(Duration::from_secs);
        Outcome::from_grpc(Status { code, message: message.to_owned(), retry_after }, policy)
    }

    fn reason(outcome: Outcome) -> Option<RejectReason> {
        match outcome {
            Outcome::Permanent { reason, .. } => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn exactly_the_grpc_codes_of_the_specification_are_retried() {
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let is_listed = matches!(
                code,
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            );
            let is_retried = matches!(grpc(code, "", None, STRICT), Outcome::Retryable { .. });
            assert_eq!(is_retried, is_listed, "{code:?}");
        }
    }

    #[test]
    fn resource_exhausted_is_retried_with_retry_info_and_without_it_by_option() {
        let retried = |outcome| matches!(outcome, Outcome::Retryable { .. });
        assert!(retried(grpc(Code::ResourceExhausted, "busy", Some(3), STRICT)));
        assert!(retried(grpc(Code::ResourceExhausted, "busy", None, DEFAULT)));
        assert!(!retried(grpc(Code::ResourceExhausted, "busy", None, STRICT)));
    }

    #[test]
    fn a_message_over_the_backends_limit_is_not_sent_again_as_it_is() {
        for (code, message) in [
            (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            ),
        ] {
            assert_eq!(reason(grpc(code, message, None, DEFAULT)), Some(RejectReason::TooLarge), "{message}");
        }
    }

    #[test]
    fn exactly_the_http_statuses_of_the_specification_are_retried() {
        for number in (100..600).filter(|n| !(200..300).contains(n)) {
            let status = StatusCode::from_u16(number).unwrap();
            let outcome = Outcome::from_http(status, String::new(), None);
            let is_retried = matches!(outcome, Outcome::Retryable { .. });
            assert_eq!(is_retried, matches!(number, 429 | 502 | 503 | 504), "{number}");
        }
    }

    #[test]
    fn http_rejections_are_told_apart() {
        let reason =
            |n| reason(Outcome::from_http(StatusCode::from_u16(n).unwrap(), String::new(), None)).unwrap();
        assert_eq!(reason(400), RejectReason::Invalid);
        assert_eq!(reason(413), RejectReason::TooLarge);
        assert_eq!(reason(403), RejectReason::Unauthorized);
        assert_eq!(reason(404), RejectReason::Unsupported);
        assert_eq!(reason(302), RejectReason::Unsupported);
        assert_eq!(reason(500), RejectReason::Permanent);
    }

    #[test]
    fn a_transport_failure_tells_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("transport error")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("connection refused"));
        assert_eq!(Failure::transport(&error).to_string(), "transport error: connection refused");
    }
}
