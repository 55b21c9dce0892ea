//! This program's own vocabulary: set by an application it is the best evidence there is, set by a collector it is the
//! verdict.

use super::{Meaning::*, Table};

pub(super) const KEYS: Table = &[
    ("llm.stop_reason.class", Class),
    ("llm.stop_reason.value", Value),
    ("llm.refusal.category", Category),
    ("llm.refusal.categories", Categories),
    ("llm.refusal.vendor_category", VendorCategory),
    ("llm.refusal.actor", Actor),
    ("llm.refusal.side", Side),
    ("llm.refusal.phase", Phase),
    ("llm.refusal.delivery", Delivery),
    ("llm.refusal.billing", Billing),
    ("llm.refusal.discard_output", DiscardOutput),
    ("llm.refusal.signal", Signal),
    ("llm.refusal.action", Action),
    ("llm.refusal.fallback_model", FallbackModel),
    ("llm.refusal.recovered", Recovered),
    ("llm.refusal.recovered_by", RecoveredBy),
];
