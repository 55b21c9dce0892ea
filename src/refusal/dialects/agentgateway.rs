//! Gateways: agentgateway (no reason unless CEL attributes by the capture contract are configured), Cloudflare's AI
//! Gateway, Portkey, Kong.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("http.status", HttpStatus),
    ("gen_ai.completion_json", Body),
    ("gen_ai.model.provider", OtherProvider),
];
