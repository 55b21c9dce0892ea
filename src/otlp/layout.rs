//! The shape that the export requests of all signals share.
//!
//! A request repeats groups of one resource each, such a group repeats groups of one scope each, and such a group repeats
//! items. Both kinds of group hold their resource or scope and a schema URL beside what they group. Of metrics the items
//! are one level further down, the data points.
//!
//! Source: `opentelemetry/proto/{trace,logs,metrics}/v1/*.proto` and `opentelemetry/proto/collector/*/v1/*.proto`.

/// Of a request: its groups by resource.
pub(super) const BY_RESOURCE: u32 = 1;

/// Of a group by resource: its groups by scope.
pub(super) const BY_SCOPE: u32 = 2;

/// Of a group by scope: its spans, log records or metrics.
pub(super) const ITEMS: u32 = 2;

/// Of both kinds of group: the resource or scope.
pub(super) const ENVELOPE: u32 = 1;

/// Whether a `Metric` has its data in this field: a gauge, sum, histogram, exponential histogram or summary. They are
/// a oneof.
pub(super) fn is_metric_data(number: u32) -> bool {
    matches!(number, 5 | 7 | 9 | 10 | 11)
}

/// Of each kind of metric data: its data points.
pub(super) const DATA_POINTS: u32 = 1;
