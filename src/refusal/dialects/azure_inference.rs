//! Azure: the tracing of `azure-ai-inference`, whose messages stand in span events as JSON, and Foundry's traces.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table =
    &[("microsoft.foundry.content_filter.results", Details), ("az.client_request_id", RequestId)];
