//! `service.telemetry.resource`: whose telemetry it is.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// `service.telemetry.resource`: attributes by name; null takes one away that the collector sets by itself. Also the
/// form of the configuration schema, `attributes: [{name, value}]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Resource {
    /// As written.
    pub attributes: BTreeMap<String, Option<String>>,
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ResourceVisitor)
    }
}

impl JsonSchema for Resource {
    fn schema_name() -> Cow<'static, str> {
        "Resource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {"attributes": generator.subschema_for::<Vec<Attribute>>()},
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        })
    }
}

/// An element of `resource.attributes`.
#[derive(Deserialize, JsonSchema)]
struct Attribute {
    name: String,
    value: String,
}

struct ResourceVisitor;

impl<'de> Visitor<'de> for ResourceVisitor {
    type Value = Resource;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Resource, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "attributes" {
                let listed = map.next_value::<Vec<Attribute>>()?;
                attributes.extend(listed.into_iter().map(|each| (each.name, Some(each.value))));
            } else if name.is_empty() {
                return Err(de::Error::custom("an attribute needs a name"));
            } else {
                attributes.insert(name, map.next_value()?);
            }
        }
        Ok(Resource { attributes })
    }
}
