//! Why items were lost.

use std::fmt;

/// Why a backend refused items for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// A partial success said so.
    PartialSuccess,
    /// INVALID_ARGUMENT, 400, and the like: the backend does not understand the data.
    Invalid,
    /// The backend does not take messages of that size: 413, OUT_OF_RANGE, RESOURCE_EXHAUSTED for good.
    TooLarge,
    /// UNAUTHENTICATED, PERMISSION_DENIED, 401, 403.
    Unauthorized,
    /// UNIMPLEMENTED, 404, 405: the backend does not take this signal.
    Unsupported,
    /// Any other answer that must not be retried.
    Permanent,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [RejectReason; 6] = [
        RejectReason::PartialSuccess,
        RejectReason::Invalid,
        RejectReason::TooLarge,
        RejectReason::Unauthorized,
        RejectReason::Unsupported,
        RejectReason::Permanent,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::PartialSuccess => "partial_success",
            RejectReason::Invalid => "invalid",
            RejectReason::TooLarge => "too_large",
            RejectReason::Unauthorized => "unauthorized",
            RejectReason::Unsupported => "unsupported",
            RejectReason::Permanent => "permanent",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why accepted items were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// `retry_on_failure.max_elapsed_time` was over.
    RetryExhausted,
    /// The attempt failed and `retry_on_failure` is off.
    RetryDisabled,
    /// The grace time of the shutdown was over.
    Shutdown,
    /// The queue on disk could not be read back: the bytes are in quarantine.
    Quarantined,
    /// The request could not be put into the form that the backend takes.
    Unsendable,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 5] = [
        DropReason::RetryExhausted,
        DropReason::RetryDisabled,
        DropReason::Shutdown,
        DropReason::Quarantined,
        DropReason::Unsendable,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::RetryExhausted => "retry_exhausted",
            DropReason::RetryDisabled => "retry_disabled",
            DropReason::Shutdown => "shutdown",
            DropReason::Quarantined => "quarantined",
            DropReason::Unsendable => "unsendable",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
