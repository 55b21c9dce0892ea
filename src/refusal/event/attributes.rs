//! An event as attributes, under the names of the vocabulary: on its log record, and as JSON.

use super::number::Numbered;
use super::{Kind, RefusalEvent};
use crate::refusal::verdict::{Action, Actor, Billing, Category, Class, Delivery, Phase, Side};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Several texts.
    Texts(Vec<Cow<'a, str>>),
    /// True or false.
    Flag(bool),
    /// A number.
    Number(u64),
}

impl RefusalEvent {
    /// `event_name`; empty for a kind of a later version.
    pub fn name(&self) -> &'static str {
        Kind::of_event(self).map(Kind::as_str).unwrap_or_default()
    }

    /// The resource attributes that tell where it comes from; those that are there.
    pub fn resource_attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let resource = self.resource.as_ref();
        let all = resource.map(|of| {
            [
                ("service.name", of.service_name.as_str()),
                ("service.namespace", &of.service_namespace),
                ("service.instance.id", &of.service_instance_id),
                ("service.version", &of.service_version),
                ("deployment.environment.name", &of.deployment_environment_name),
                ("k8s.namespace.name", &of.k8s_namespace_name),
                ("k8s.pod.name", &of.k8s_pod_name),
                ("host.name", &of.host_name),
            ]
        });
        all.into_iter().flatten().filter(|(_, value)| !value.is_empty())
    }

    /// Tells all attributes but those of the resource; only those that are there.
    pub fn for_each_attribute<'a>(&'a self, mut tell: impl FnMut(&'static str, Value<'a>)) {
        let mut text = |key, value: &'a str| {
            if !value.is_empty() {
                tell(key, Value::Text(Cow::Borrowed(value)));
            }
        };
        text("llm.workload", self.resource.as_ref().map_or("", |resource| &resource.workload));
        text("gen_ai.provider.name", &self.provider);
        text("gen_ai.request.model", &self.model);
        text("gen_ai.response.id", &self.response_id);
        text("llm.instrumentation", self.scope.as_ref().map_or("", |scope| &scope.name));
        if let Some(reason) = &self.stop_reason {
            tell("llm.stop_reason.class", word::<Class>(reason.class));
            if let Some(value) = &reason.value {
                tell("llm.stop_reason.value", Value::Text(value.into()));
            }
        }
        if let Some(refusal) = &self.refusal {
            tell("llm.refusal.category", word::<Category>(refusal.category));
            if !refusal.categories.is_empty() {
                let words = refusal.categories.iter().map(|number| name::<Category>(*number));
                tell("llm.refusal.categories", Value::Texts(words.collect()));
            }
            if let Some(own) = &refusal.vendor_category {
                tell("llm.refusal.vendor_category", Value::Text(own.into()));
            }
            tell("llm.refusal.actor", word::<Actor>(refusal.actor));
            tell("llm.refusal.side", word::<Side>(refusal.side));
            tell("llm.refusal.phase", word::<Phase>(refusal.phase));
            tell("llm.refusal.delivery", word::<Delivery>(refusal.delivery));
            tell("llm.refusal.billing", word::<Billing>(refusal.billing));
            if let Some(discard) = refusal.discard_output {
                tell("llm.refusal.discard_output", Value::Flag(discard));
            }
            tell("llm.refusal.signal", Value::Text((&refusal.signal).into()));
            tell("llm.refusal.action", word::<Action>(refusal.action));
            if let Some(model) = &refusal.fallback_model {
                tell("llm.refusal.fallback_model", Value::Text(model.into()));
            }
        }
        if let Some(recovery) = &self.recovery {
            tell("llm.refusal.category", word::<Category>(recovery.category));
            if let Some(own) = &recovery.vendor_category {
                tell("llm.refusal.vendor_category", Value::Text(own.into()));
            }
            tell("llm.refusal.recovered", Value::Flag(true));
            if let Some(by) = &recovery.by {
                tell("llm.refusal.recovered_by", Value::Text(by.into()));
            }
        }
        if let Some(tokens) = self.input_tokens {
            tell("gen_ai.usage.input_tokens", Value::Number(tokens));
        }
        if let Some(tokens) = self.output_tokens {
            tell("gen_ai.usage.output_tokens", Value::Number(tokens));
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let or = |text: &str, otherwise: &str| {
            if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
        };
        let value = self.stop_reason.as_ref().and_then(|reason| reason.value.as_deref()).unwrap_or_default();
        let category = self.refusal.as_ref().map(|refusal| (refusal.category, &refusal.vendor_category));
        let category = category
            .or(self.recovery.as_ref().map(|recovery| (recovery.category, &recovery.vendor_category)));
        let (category, own) =
            category.map_or((0, ""), |(number, own)| (number, own.as_deref().unwrap_or_default()));
        let what = match Kind::of_event(self) {
            Some(Kind::Refused) => format!("refused, category {}", name::<Category>(category)),
            Some(Kind::StopReasonUnknown) => format!("unknown stop reason {value:?}"),
            Some(Kind::CategoryUnknown) => format!("refused, unknown category {own:?}"),
            Some(Kind::StopReasonMissing) => "no stop reason".to_owned(),
            None => "an event of a later version".to_owned(),
        };
        let workload = self.resource.as_ref().map_or("", |resource| &resource.workload);
        let (provider, model) =
            (or(&self.provider, "an unknown provider"), or(&self.model, "an unknown model"));
        format!("{what}: {model} of {provider} for {}", or(workload, "an unknown workload"))
    }

    /// When it happened, in RFC 3339; when it was counted, if its telemetry does not tell.
    pub fn time(&self) -> String {
        let nanos = if self.time_unix_nano == 0 { self.observed_time_unix_nano } else { self.time_unix_nano };
        let time = UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).unwrap_or(UNIX_EPOCH);
        humantime::format_rfc3339_millis(time).to_string()
    }
}

/// As flat JSON: `event.name`, `time`, `trace_id`, `span_id`, then attributes and resource attributes by their names.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub &'a RefusalEvent);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Json(event) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event.name", event.name())?;
        map.serialize_entry("time", &event.time())?;
        for (key, id) in [("trace_id", &event.trace_id), ("span_id", &event.span_id)] {
            if !id.is_empty() {
                map.serialize_entry(key, &hex(id))?;
            }
        }
        let mut written = Ok(());
        event.for_each_attribute(|key, value| {
            if written.is_ok() {
                written = match value {
                    Value::Text(text) => map.serialize_entry(key, &text),
                    Value::Texts(texts) => map.serialize_entry(key, &texts),
                    Value::Flag(flag) => map.serialize_entry(key, &flag),
                    Value::Number(number) => map.serialize_entry(key, &number),
                };
            }
        });
        written?;
        for (key, value) in event.resource_attributes() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn word<'a, T: Numbered>(number: i32) -> Value<'a> {
    Value::Text(name::<T>(number))
}

/// The word of the vocabulary; of a later version's, its number.
fn name<'a, T: Numbered>(number: i32) -> Cow<'a, str> {
    match T::of_number(number) {
        Some(value) => Cow::Borrowed(value.word()),
        None => Cow::Owned(number.to_string()),
    }
}
