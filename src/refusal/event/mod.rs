//! The refusal event: what is told of a response that was refused, or that nobody understands.
//!
//! There is one type for it, [`RefusalEvent`] of `proto/refusal/v1/refusal.proto`, in log records, in streams, as JSON.
//! It is made from a verdict and the evidence, and holds no prompt, answer or explanation: nothing is copied into it but
//! names, ids, numbers and the vendor's words, each at most 256 bytes long.

mod attributes;
mod kind;
mod number;

pub use crate::proto::v1::RefusalEvent;
pub use attributes::{Json, Value, hex};
pub use kind::{Kind, Kinds, Selection};
pub use number::Numbered;

use crate::otlp::Signal;
use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::visit::Envelope;
use crate::otlp::wire::{self, Fields, Malformed};
use crate::proto::v1 as proto;
use crate::refusal::evidence::{Evidence, start};
use crate::refusal::verdict::{MAX_VALUE_BYTES, Recovered, Refusal, Verdict};
use std::ops::Range;

/// A response that was judged, and where it stands in its request.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a, 'e> {
    /// What the item tells.
    pub evidence: &'e Evidence<'a>,
    /// How the response ended.
    pub verdict: &'e Verdict<'e>,
    /// `gen_ai.provider.name`.
    pub provider: &'e str,
    /// `gen_ai.response.id`; may be empty.
    pub response_id: &'e str,
    /// `llm.workload`.
    pub workload: &'e str,
    /// Input and output tokens.
    pub tokens: (Option<u64>, Option<u64>),
    /// The resource of the item.
    pub resource: &'e Envelope<'a>,
    /// The scope of the item.
    pub scope: &'e Envelope<'a>,
    /// What kind of item it is.
    pub signal: Signal,
    /// The request.
    pub message: &'a [u8],
    /// Where the item stands in it.
    pub item: &'e Range<usize>,
}

impl RefusalEvent {
    /// The event of a response. It is counted later, so `observed_time_unix_nano` is not set.
    pub fn of(kind: Kind, judged: &Judged<'_, '_>) -> Result<Self, Malformed> {
        let Judged { evidence, verdict, .. } = judged;
        let identity = evidence.identity();
        let (input_tokens, output_tokens) = judged.tokens;
        Ok(RefusalEvent {
            time_unix_nano: time(judged)?,
            trace_id: id::<16>(identity.trace_id),
            span_id: id::<8>(identity.span_id),
            resource: Some(resource(judged)?),
            scope: Some(scope(judged)?),
            provider: bounded(judged.provider),
            model: bounded(evidence.model()),
            response_id: bounded(judged.response_id),
            input_tokens,
            output_tokens,
            ..RefusalEvent::saying(kind, verdict)
        })
    }

    /// An event that says how a response ended, and nothing of which response it was.
    pub fn saying(kind: Kind, verdict: &Verdict<'_>) -> Self {
        RefusalEvent {
            kind: kind.number(),
            stop_reason: Some(proto::StopReason {
                class: verdict.class.number(),
                value: verdict.value.as_deref().map(bounded),
            }),
            refusal: verdict.refusal.as_ref().map(refusal),
            recovery: verdict.recovered.as_ref().map(recovery),
            ..RefusalEvent::default()
        }
    }
}

fn refusal(refusal: &Refusal<'_>) -> proto::Refusal {
    proto::Refusal {
        category: refusal.category.number(),
        categories: refusal.categories.iter().map(|category| category.number()).collect(),
        vendor_category: refusal.vendor_category.as_deref().map(bounded),
        actor: refusal.actor.number(),
        side: refusal.side.number(),
        phase: refusal.phase.number(),
        delivery: refusal.delivery.number(),
        billing: refusal.billing.number(),
        discard_output: refusal.discard_output,
        signal: bounded(&refusal.signal),
        action: refusal.action.number(),
        fallback_model: refusal.fallback_model.as_deref().map(bounded),
    }
}

fn recovery(recovered: &Recovered<'_>) -> proto::Recovery {
    proto::Recovery {
        by: recovered.by.as_deref().map(bounded),
        category: recovered.category.number(),
        vendor_category: recovered.vendor_category.as_deref().map(bounded),
    }
}

fn resource(judged: &Judged<'_, '_>) -> Result<proto::Resource, Malformed> {
    let mut told = proto::Resource { workload: bounded(judged.workload), ..proto::Resource::default() };
    let mut fields = judged.resource.fields();
    while let Some(field) = fields.next_field()? {
        if field.number != RESOURCE_ATTRIBUTES {
            continue;
        }
        let attribute = KeyValue::read(judged.resource.message(), field.content()?)?;
        let place = match attribute.key {
            b"service.name" => &mut told.service_name,
            b"service.namespace" => &mut told.service_namespace,
            b"service.instance.id" => &mut told.service_instance_id,
            b"service.version" => &mut told.service_version,
            b"deployment.environment.name" => &mut told.deployment_environment_name,
            b"deployment.environment" if told.deployment_environment_name.is_empty() => {
                &mut told.deployment_environment_name
            }
            b"k8s.namespace.name" => &mut told.k8s_namespace_name,
            b"k8s.pod.name" => &mut told.k8s_pod_name,
            b"host.name" => &mut told.host_name,
            _ => continue,
        };
        *place = match attribute.value()? {
            AnyValue::Str(text) => bounded(&String::from_utf8_lossy(text)),
            AnyValue::Int(number) => number.to_string(),
            AnyValue::Bool(flag) => flag.to_string(),
            _ => continue,
        };
    }
    Ok(told)
}

fn scope(judged: &Judged<'_, '_>) -> Result<proto::Scope, Malformed> {
    let name = bounded(judged.evidence.instrumentation());
    let mut told = proto::Scope { name, version: String::new() };
    let mut fields = judged.scope.fields();
    while let Some(field) = fields.next_field()? {
        if field.number == SCOPE_VERSION {
            let version = judged.scope.message().get(field.content()?).unwrap_or_default();
            told.version = bounded(&String::from_utf8_lossy(version));
        }
    }
    Ok(told)
}

/// When the response ended, as far as its item tells.
fn time(judged: &Judged<'_, '_>) -> Result<u64, Malformed> {
    let (own, otherwise) = match judged.signal {
        Signal::Traces => (SPAN_END, SPAN_START),
        Signal::Logs | Signal::Metrics => (LOG_TIME, LOG_OBSERVED_TIME),
    };
    let (mut time, mut second) = (0, 0);
    let mut fields = Fields::new(judged.message, judged.item.clone());
    while let Some(field) = fields.next_field()? {
        if let wire::Value::Fixed64(nanos) = field.value {
            if field.number == own {
                time = nanos;
            } else if field.number == otherwise {
                second = nanos;
            }
        }
    }
    Ok(if time == 0 { second } else { time })
}

/// The id, if it is one.
fn id<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let is_id = bytes.len() == N && bytes.iter().any(|byte| *byte != 0);
    if is_id { bytes.to_vec() } else { Vec::new() }
}

fn bounded(text: &str) -> String {
    start(text, MAX_VALUE_BYTES).to_owned()
}

/// `Resource.attributes`.
const RESOURCE_ATTRIBUTES: u32 = 1;
/// `InstrumentationScope.version`.
const SCOPE_VERSION: u32 = 2;
/// `Span.start_time_unix_nano`.
const SPAN_START: u32 = 7;
/// `Span.end_time_unix_nano`.
const SPAN_END: u32 = 8;
/// `LogRecord.time_unix_nano`.
const LOG_TIME: u32 = 1;
/// `LogRecord.observed_time_unix_nano`.
const LOG_OBSERVED_TIME: u32 = 11;
