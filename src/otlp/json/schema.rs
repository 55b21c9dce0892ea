//! The fields of OTLP's messages, as tables.
//!
//! Source: `opentelemetry/proto/**/*.proto`, version 1.10.

use crate::otlp::Signal;

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// In lower camel case, as in JSON.
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) kind: Kind,
}

/// How often a field may be there, and what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Once; absence is the zero value.
    Single,
    /// Once or not; absence is not the zero value.
    Optional,
    /// Like `Optional`, and the last such field of the message is the only one. A message has one oneof at most.
    Oneof,
    /// Any number of times.
    Repeated,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `string`.
    Text,
    /// `bytes`, hexadecimal in JSON: trace and span ids.
    Id,
    /// `bytes`, base64 in JSON.
    Bytes,
    /// `bool`.
    Bool,
    /// `uint32`.
    Uint32,
    /// `sint32`.
    Sint32,
    /// `int32`.
    Int32,
    /// `int64`.
    Int64,
    /// `uint64`.
    Uint64,
    /// `fixed32`.
    Fixed32,
    /// `fixed64`.
    Fixed64,
    /// `sfixed64`.
    Sfixed64,
    /// `double`.
    Double,
    /// An enum whose values have these names, counted from 0.
    Enum(&'static [&'static str]),
    /// A message.
    Message(&'static Message),
}

impl Kind {
    /// What JSON may hold for it, for people.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Id => "a hexadecimal string",
            Kind::Bytes => "a base64 string",
            Kind::Bool => "true or false",
            Kind::Uint32 | Kind::Fixed32 => "an integer from 0 to 2^32 - 1",
            Kind::Int32 | Kind::Sint32 => "an integer from -2^31 to 2^31 - 1",
            Kind::Int64 | Kind::Sfixed64 => "an integer from -2^63 to 2^63 - 1",
            Kind::Uint64 | Kind::Fixed64 => "an integer from 0 to 2^64 - 1",
            Kind::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            Kind::Enum(_) => "the number or name of an enum value",
            Kind::Message(_) => "an object",
        }
    }
}

impl Message {
    /// The field that is called so in JSON, in lower camel case or in snake case.
    pub(super) fn field_called(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.is_called(key))
    }
}

impl Field {
    fn is_called(&self, key: &str) -> bool {
        let snake_case = self.name.bytes().flat_map(|byte| {
            let underscore = byte.is_ascii_uppercase().then_some(b'_');
            underscore.into_iter().chain([byte.to_ascii_lowercase()])
        });
        key == self.name || snake_case.eq(key.bytes())
    }
}

/// The export request of a signal.
pub(super) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Logs => &LOGS,
        Signal::Metrics => &METRICS,
    }
}

const fn single(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, rule: Rule::Single, kind }
}

const fn optional(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, rule: Rule::Optional, kind }
}

const fn oneof(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, rule: Rule::Oneof, kind }
}

const fn repeated(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, rule: Rule::Repeated, kind }
}

static TRACES: Message = Message { fields: &[repeated(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))] };
static LOGS: Message = Message { fields: &[repeated(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))] };
static METRICS: Message =
    Message { fields: &[repeated(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))] };

static RESOURCE_SPANS: Message = Message {
    fields: &[
        optional(1, "resource", Kind::Message(&RESOURCE)),
        repeated(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        single(3, "schemaUrl", Kind::Text),
    ],
};

static RESOURCE_LOGS: Message = Message {
    fields: &[
        optional(1, "resource", Kind::Message(&RESOURCE)),
        repeated(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        single(3, "schemaUrl", Kind::Text),
    ],
};

static RESOURCE_METRICS: Message = Message {
    fields: &[
        optional(1, "resource", Kind::Message(&RESOURCE)),
        repeated(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        single(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        optional(1, "scope", Kind::Message(&SCOPE)),
        repeated(2, "spans", Kind::Message(&SPAN)),
        single(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        optional(1, "scope", Kind::Message(&SCOPE)),
        repeated(2, "logRecords", Kind::Message(&LOG_RECORD)),
        single(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_METRICS: Message = Message {
    fields: &[
        optional(1, "scope", Kind::Message(&SCOPE)),
        repeated(2, "metrics", Kind::Message(&METRIC)),
        single(3, "schemaUrl", Kind::Text),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        repeated(1, "attributes", Kind::Message(&KEY_VALUE)),
        single(2, "droppedAttributesCount", Kind::Uint32),
        repeated(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        single(1, "schemaUrl", Kind::Text),
        single(2, "type", Kind::Text),
        repeated(3, "idKeys", Kind::Text),
        repeated(4, "descriptionKeys", Kind::Text),
    ],
};

static SCOPE: Message = Message {
    fields: &[
        single(1, "name", Kind::Text),
        single(2, "version", Kind::Text),
        repeated(3, "attributes", Kind::Message(&KEY_VALUE)),
        single(4, "droppedAttributesCount", Kind::Uint32),
    ],
};

static KEY_VALUE: Message = Message {
    fields: &[
        single(1, "key", Kind::Text),
        optional(2, "value", Kind::Message(&ANY_VALUE)),
        single(3, "keyStrindex", Kind::Int32),
    ],
};

static ANY_VALUE: Message = Message {
    fields: &[
        oneof(1, "stringValue", Kind::Text),
        oneof(2, "boolValue", Kind::Bool),
        oneof(3, "intValue", Kind::Int64),
        oneof(4, "doubleValue", Kind::Double),
        oneof(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
        oneof(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        oneof(7, "bytesValue", Kind::Bytes),
        oneof(8, "stringValueStrindex", Kind::Int32),
    ],
};

static ARRAY_VALUE: Message = Message { fields: &[repeated(1, "values", Kind::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { fields: &[repeated(1, "values", Kind::Message(&KEY_VALUE))] };

static SPAN: Message = Message {
    fields: &[
        single(1, "traceId", Kind::Id),
        single(2, "spanId", Kind::Id),
        single(3, "traceState", Kind::Text),
        single(4, "parentSpanId", Kind::Id),
        single(16, "flags", Kind::Fixed32),
        single(5, "name", Kind::Text),
        single(6, "kind", Kind::Enum(SPAN_KIND)),
        single(7, "startTimeUnixNano", Kind::Fixed64),
        single(8, "endTimeUnixNano", Kind::Fixed64),
        repeated(9, "attributes", Kind::Message(&KEY_VALUE)),
        single(10, "droppedAttributesCount", Kind::Uint32),
        repeated(11, "events", Kind::Message(&EVENT)),
        single(12, "droppedEventsCount", Kind::Uint32),
        repeated(13, "links", Kind::Message(&LINK)),
        single(14, "droppedLinksCount", Kind::Uint32),
        optional(15, "status", Kind::Message(&STATUS)),
    ],
};

static EVENT: Message = Message {
    fields: &[
        single(1, "timeUnixNano", Kind::Fixed64),
        single(2, "name", Kind::Text),
        repeated(3, "attributes", Kind::Message(&KEY_VALUE)),
        single(4, "droppedAttributesCount", Kind::Uint32),
    ],
};

static LINK: Message = Message {
    fields: &[
        single(1, "traceId", Kind::Id),
        single(2, "spanId", Kind::Id),
        single(3, "traceState", Kind::Text),
        repeated(4, "attributes", Kind::Message(&KEY_VALUE)),
        single(5, "droppedAttributesCount", Kind::Uint32),
        single(6, "flags", Kind::Fixed32),
    ],
};

static STATUS: Message =
    Message { fields: &[single(2, "message", Kind::Text), single(3, "code", Kind::Enum(STATUS_CODE))] };

static LOG_RECORD: Message = Message {
    fields: &[
        single(1, "timeUnixNano", Kind::Fixed64),
        single(11, "observedTimeUnixNano", Kind::Fixed64),
        single(2, "severityNumber", Kind::Enum(SEVERITY_NUMBER)),
        single(3, "severityText", Kind::Text),
        optional(5, "body", Kind::Message(&ANY_VALUE)),
        repeated(6, "attributes", Kind::Message(&KEY_VALUE)),
        single(7, "droppedAttributesCount", Kind::Uint32),
        single(8, "flags", Kind::Fixed32),
        single(9, "traceId", Kind::Id),
        single(10, "spanId", Kind::Id),
        single(12, "eventName", Kind::Text),
    ],
};

static METRIC: Message = Message {
    fields: &[
        single(1, "name", Kind::Text),
        single(2, "description", Kind::Text),
        single(3, "unit", Kind::Text),
        oneof(5, "gauge", Kind::Message(&GAUGE)),
        oneof(7, "sum", Kind::Message(&SUM)),
        oneof(9, "histogram", Kind::Message(&HISTOGRAM)),
        oneof(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        oneof(11, "summary", Kind::Message(&SUMMARY)),
        repeated(12, "metadata", Kind::Message(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message { fields: &[repeated(1, "dataPoints", Kind::Message(&NUMBER_DATA_POINT))] };

static SUM: Message = Message {
    fields: &[
        repeated(1, "dataPoints", Kind::Message(&NUMBER_DATA_POINT)),
        single(2, "aggregationTemporality", Kind::Enum(AGGREGATION_TEMPORALITY)),
        single(3, "isMonotonic", Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    fields: &[
        repeated(1, "dataPoints", Kind::Message(&HISTOGRAM_DATA_POINT)),
        single(2, "aggregationTemporality", Kind::Enum(AGGREGATION_TEMPORALITY)),
    ],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[
        repeated(1, "dataPoints", Kind::Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT)),
        single(2, "aggregationTemporality", Kind::Enum(AGGREGATION_TEMPORALITY)),
    ],
};

static SUMMARY: Message =
    Message { fields: &[repeated(1, "dataPoints", Kind::Message(&SUMMARY_DATA_POINT))] };

static NUMBER_DATA_POINT: Message = Message {
    fields: &[
        repeated(7, "attributes", Kind::Message(&KEY_VALUE)),
        single(2, "startTimeUnixNano", Kind::Fixed64),
        single(3, "timeUnixNano", Kind::Fixed64),
        oneof(4, "asDouble", Kind::Double),
        oneof(6, "asInt", Kind::Sfixed64),
        repeated(5, "exemplars", Kind::Message(&EXEMPLAR)),
        single(8, "flags", Kind::Uint32),
    ],
};

static HISTOGRAM_DATA_POINT: Message = Message {
    fields: &[
        repeated(9, "attributes", Kind::Message(&KEY_VALUE)),
        single(2, "startTimeUnixNano", Kind::Fixed64),
        single(3, "timeUnixNano", Kind::Fixed64),
        single(4, "count", Kind::Fixed64),
        optional(5, "sum", Kind::Double),
        repeated(6, "bucketCounts", Kind::Fixed64),
        repeated(7, "explicitBounds", Kind::Double),
        repeated(8, "exemplars", Kind::Message(&EXEMPLAR)),
        single(10, "flags", Kind::Uint32),
        optional(11, "min", Kind::Double),
        optional(12, "max", Kind::Double),
    ],
};

static EXPONENTIAL_HISTOGRAM_DATA_POINT: Message = Message {
    fields: &[
        repeated(1, "attributes", Kind::Message(&KEY_VALUE)),
        single(2, "startTimeUnixNano", Kind::Fixed64),
        single(3, "timeUnixNano", Kind::Fixed64),
        single(4, "count", Kind::Fixed64),
        optional(5, "sum", Kind::Double),
        single(6, "scale", Kind::Sint32),
        single(7, "zeroCount", Kind::Fixed64),
        optional(8, "positive", Kind::Message(&BUCKETS)),
        optional(9, "negative", Kind::Message(&BUCKETS)),
        single(10, "flags", Kind::Uint32),
        repeated(11, "exemplars", Kind::Message(&EXEMPLAR)),
        optional(12, "min", Kind::Double),
        optional(13, "max", Kind::Double),
        single(14, "zeroThreshold", Kind::Double),
    ],
};

static BUCKETS: Message =
    Message { fields: &[single(1, "offset", Kind::Sint32), repeated(2, "bucketCounts", Kind::Uint64)] };

static SUMMARY_DATA_POINT: Message = Message {
    fields: &[
        repeated(7, "attributes", Kind::Message(&KEY_VALUE)),
        single(2, "startTimeUnixNano", Kind::Fixed64),
        single(3, "timeUnixNano", Kind::Fixed64),
        single(4, "count", Kind::Fixed64),
        single(5, "sum", Kind::Double),
        repeated(6, "quantileValues", Kind::Message(&VALUE_AT_QUANTILE)),
        single(8, "flags", Kind::Uint32),
    ],
};

static VALUE_AT_QUANTILE: Message =
    Message { fields: &[single(1, "quantile", Kind::Double), single(2, "value", Kind::Double)] };

static EXEMPLAR: Message = Message {
    fields: &[
        repeated(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
        single(2, "timeUnixNano", Kind::Fixed64),
        oneof(3, "asDouble", Kind::Double),
        oneof(6, "asInt", Kind::Sfixed64),
        single(4, "spanId", Kind::Id),
        single(5, "traceId", Kind::Id),
    ],
};

const SPAN_KIND: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODE: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

const AGGREGATION_TEMPORALITY: &[&str] = &[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];

const SEVERITY_NUMBER: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
