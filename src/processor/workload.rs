//! `llm.workload`: which application a response belongs to, told by its resource.

use crate::otlp::any_value::{AnyValue, KeyValue};
use crate::otlp::visit::Envelope;
use crate::otlp::wire::Malformed;
use std::fmt::Write;

/// The workload of `refusal-collector selftest`. Its responses are judged and counted like all others, but no alerting
/// rule reads them and a request of nothing else is never exported. Its resource says so in `service.name`, whatever
/// attributes make up the names of workloads.
pub const SELFTEST: &str = "refusal-collector-selftest";

/// The resource attributes that make up a workload's name.
#[derive(Clone, Debug)]
pub struct Workload {
    keys: Vec<String>,
    /// What is said where the resource has none of them.
    otherwise: String,
}

impl Workload {
    /// Joins the values of `keys`. Where a resource has none of them, the resource of the collector itself speaks, as
    /// `OTEL_RESOURCE_ATTRIBUTES` gives it: a sidecar shares it with its application.
    pub fn new(keys: &[String], own_resource: Option<&str>) -> Self {
        let own = own_resource.map(parse_resource_attributes).unwrap_or_default();
        let values = keys.iter().filter_map(|key| own.iter().find(|(name, _)| name == key));
        let otherwise = values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(SEPARATOR);
        let otherwise = if otherwise.is_empty() { UNKNOWN.to_owned() } else { otherwise };
        Workload { keys: keys.to_vec(), otherwise }
    }

    /// The workload of whoever shares the collector's own resource.
    pub fn otherwise(&self) -> &str {
        &self.otherwise
    }

    /// Puts the workload of `resource` into `name`, in place of what is there.
    pub fn name(&self, resource: &Envelope<'_>, name: &mut String) -> Result<(), Malformed> {
        name.clear();
        if let Some(AnyValue::Str(service)) = attribute(resource, b"service.name")?
            && service == SELFTEST.as_bytes()
        {
            name.push_str(SELFTEST);
            return Ok(());
        }
        for key in &self.keys {
            let Some(value) = attribute(resource, key.as_bytes())? else { continue };
            let before = name.len();
            if before > 0 {
                name.push_str(SEPARATOR);
            }
            let start = name.len();
            push(name, value);
            if name.len() == start {
                name.truncate(before);
            }
        }
        if name.is_empty() {
            name.push_str(&self.otherwise);
        }
        Ok(())
    }
}

/// Between the values of several attributes.
const SEPARATOR: &str = "/";

/// What the OpenTelemetry SDKs say where nothing is known.
const UNKNOWN: &str = "unknown_service";

/// `Resource.attributes`.
const RESOURCE_ATTRIBUTES: u32 = 1;

/// The last attribute of this key.
fn attribute<'m>(resource: &Envelope<'m>, key: &[u8]) -> Result<Option<AnyValue<'m>>, Malformed> {
    let mut found = None;
    let mut fields = resource.fields();
    while let Some(field) = fields.next_field()? {
        if field.number != RESOURCE_ATTRIBUTES {
            continue;
        }
        let attribute = KeyValue::read(resource.message(), field.content()?)?;
        if attribute.key == key {
            found = Some(attribute.value()?);
        }
    }
    Ok(found)
}

fn push(name: &mut String, value: AnyValue<'_>) {
    // Writing to a string does not fail.
    let _ = match value {
        AnyValue::Str(text) => write!(name, "{}", String::from_utf8_lossy(text)),
        AnyValue::Int(number) => write!(name, "{number}"),
        AnyValue::Bool(flag) => write!(name, "{flag}"),
        _ => Ok(()),
    };
}

/// `key=value,key=value`, percent-encoded, as the OpenTelemetry specification has it for
/// `OTEL_RESOURCE_ATTRIBUTES`. Pairs that are none are left out.
pub fn parse_resource_attributes(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), percent_decode(value.trim()))).collect()
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;
    use crate::otlp::splice::splice;
    use crate::otlp::visit::Visit;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
    use prost::Message;
    use std::ops::Range;

    struct Named<'w>(&'w Workload, String);

    impl<'m> Visit<'m> for Named<'_> {
        fn resource(&mut self, resource: &Envelope<'m>) -> Result<(), Malformed> {
            self.0.name(resource, &mut self.1)
        }
        fn scope(&mut self, _: &Envelope<'m>) -> Result<(), Malformed> {
            Ok(())
        }
        fn item(&mut self, _: &'m [u8], _: Range<usize>, _: &mut Vec<u8>) -> Result<(), Malformed> {
            Ok(())
        }
    }

    fn name(workload: &Workload, attributes: &[(&str, Value)]) -> String {
        let attribute = |(key, value): &(&str, Value)| KeyValue {
            key: (*key).into(),
            value: Some(AnyValue { value: Some(value.clone()) }),
            ..Default::default()
        };
        let attributes = attributes.iter().map(attribute).collect();
        let resource = Resource { attributes, ..Default::default() };
        let group = ResourceSpans { resource: Some(resource), ..Default::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec();
        let mut named = Named(workload, String::new());
        splice(Signal::Traces, &request, &mut named).unwrap();
        named.1
    }

    fn text(text: &str) -> Value {
        Value::StringValue(text.into())
    }

    #[test]
    fn values_are_joined_in_the_order_of_the_configuration() {
        let keys = ["k8s.namespace.name", "service.name", "shard"].map(str::to_owned);
        let workload = Workload::new(&keys, None);
        let all = [
            ("service.name", text("checkout")),
            ("shard", Value::IntValue(7)),
            ("k8s.namespace.name", text("shop")),
        ];
        assert_eq!(name(&workload, &all), "shop/checkout/7");
        assert_eq!(name(&workload, &all[..1]), "checkout");
        assert_eq!(name(&workload, &[("k8s.namespace.name", text("")), all[0].clone()]), "checkout");
    }

    #[test]
    fn the_selftest_is_known_by_its_service_name_alone() {
        let keys = ["k8s.namespace.name", "service.name"].map(str::to_owned);
        let workload = Workload::new(&keys, None);
        let namespace = ("k8s.namespace.name", text("shop"));
        assert_eq!(name(&workload, &[namespace.clone(), ("service.name", text(SELFTEST))]), SELFTEST);
        assert_eq!(name(&workload, &[namespace, ("service.name", text("a"))]), "shop/a");
    }

    #[test]
    fn without_attributes_the_collectors_own_resource_speaks() {
        let keys = ["service.name".to_owned()];
        assert_eq!(name(&Workload::new(&keys, None), &[]), "unknown_service");
        let own = Workload::new(&keys, Some("host.name=n1, service.name=check%20out%2Fa,broken"));
        assert_eq!(name(&own, &[]), "check out/a");
        assert_eq!(name(&own, &[("service.name", text("told"))]), "told");
    }
}
