//! What `proto/` says, compiled: the refusal event and the service that tells it.

/// `refusal.v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::indexing_slicing, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("refusal.v1");
}
