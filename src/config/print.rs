//! A configuration as text again, with its defaults filled in: what `print-config` shows. It loads again.

use super::Loaded;
use super::model::Secret;
use super::node::{Node, Path, Value as NodeValue};
use serde_json::{Map, Value};
use thiserror::Error;

/// Whether secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// `[REDACTED]` stands in their place.
    Redacted,
    /// They are shown as they are.
    Revealed,
}

/// Why a configuration cannot be written down. Both forms can hold all that a configuration can.
#[derive(Debug, Error)]
pub enum PrintError {
    /// Not as JSON.
    #[error("cannot write the configuration as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not as YAML.
    #[error("cannot write the configuration as YAML: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// The configuration as YAML.
pub fn to_yaml(loaded: &Loaded, secrets: Secrets) -> Result<String, PrintError> {
    Ok(serde_saphyr::to_string(&to_value(loaded, secrets)?)?)
}

/// The configuration as JSON.
pub fn to_json(loaded: &Loaded, secrets: Secrets) -> Result<String, PrintError> {
    Ok(serde_json::to_string_pretty(&to_value(loaded, secrets)?)? + "\n")
}

fn to_value(loaded: &Loaded, secrets: Secrets) -> Result<Value, PrintError> {
    let mut value = serde_json::to_value(&loaded.config)?;
    if secrets == Secrets::Revealed {
        reveal(&mut value, &loaded.tree, &Path::default());
    }
    tidy(&mut value);
    Ok(value)
}

/// Puts what was written in the place of what hides it. The model gives its secrets to nobody; the tree has them.
fn reveal(value: &mut Value, tree: &Node, path: &Path) {
    match value {
        Value::String(text) if text == Secret::REDACTED => {
            let Some(node) = tree.find(path) else { return };
            let verbatim = node.expansion.as_ref().and_then(|expansion| expansion.verbatim.clone());
            match (verbatim, &node.value) {
                (Some(verbatim), _) => *text = verbatim,
                (None, NodeValue::Scalar(scalar)) => text.clone_from(&scalar.text),
                (None, _) => {}
            }
        }
        Value::Array(list) => {
            list.iter_mut().enumerate().for_each(|(index, value)| reveal(value, tree, &path.index(index)));
        }
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| reveal(value, tree, &path.key(key))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Leaves out what is not set, and writes `$` so that it is not expanded when it is read again.
fn tidy(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace('$', "$$"),
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            *map =
                std::mem::take(map).into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
