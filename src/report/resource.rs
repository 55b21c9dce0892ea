//! Whose telemetry it is.

use crate::config::model::Resource;
use crate::telemetry::otlp::ResourceAttributes;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The attributes of `service.telemetry.resource`, over those that the collector knows: `service.name`, `service.version`
/// and, different for each process, `service.instance.id`.
pub fn attributes(configured: &Resource) -> ResourceAttributes {
    let known = [
        ("service.name", "refusal-collector"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance_id()),
    ];
    let mut attributes: BTreeMap<&str, &str> = known.into();
    for (name, value) in &configured.attributes {
        match value {
            Some(value) => attributes.insert(name, value),
            None => attributes.remove(name.as_str()),
        };
    }
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A random UUID (version 4), the same as long as the process lives.
fn instance_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let random = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes());
        let hex = format!("{:032x}", random & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62);
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
        parts.join("-")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_goes_before_what_is_known_and_null_takes_away() {
        let configured = Resource {
            attributes: BTreeMap::from([
                ("service.name".to_owned(), Some("gateway".to_owned())),
                ("service.version".to_owned(), None),
                ("k8s.pod.name".to_owned(), Some("a-1".to_owned())),
            ]),
        };
        let found = attributes(&configured);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["k8s.pod.name", "service.instance.id", "service.name"]);
        assert_eq!(found[2].1, "gateway");
        assert_eq!(attributes(&configured), found, "it is the same as long as the process lives");
    }

    #[test]
    fn the_instance_is_a_uuid_of_version_4() {
        let id = instance_id();
        let shape: String = id.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
    }
}
