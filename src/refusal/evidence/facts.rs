//! Evidence for people to look at.

use super::Evidence;
use crate::otlp::any_value::AnyValue;
use crate::refusal::dialects::Meaning;

/// One thing that an item tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact<'a> {
    /// The attribute, the span event, or the part of the item.
    pub name: &'a str,
    /// What it says.
    pub shown: Shown,
}

/// What is shown of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The value.
    Value(String),
    /// Only how many bytes there are: it may hold what users, models and tools said.
    Bytes(usize),
}

impl<'a> Evidence<'a> {
    /// Everything that the item tells, in the order in which it stands there.
    pub fn facts(&self) -> Vec<Fact<'a>> {
        let mut facts = Vec::new();
        for entry in self.found.entries() {
            let shown = match entry.meaning {
                Meaning::Messages
                | Meaning::Body
                | Meaning::VerbatimBody
                | Meaning::Details
                | Meaning::RawField
                | Meaning::ContractField
                | Meaning::ForeignField
                | Meaning::OutputText
                | Meaning::ErrorMessage
                | Meaning::InvocationParameters => Shown::Bytes(entry.range().len()),
                _ => shown(self.found.value(entry)),
            };
            facts.push(Fact { name: self.found.key(entry), shown });
        }
        if !self.event_name.is_empty() {
            facts.push(Fact { name: "event_name", shown: Shown::Value(self.event_name.to_owned()) });
        }
        if let Some(body) = self.body.clone() {
            facts.push(Fact { name: "body", shown: Shown::Bytes(body.len()) });
        }
        if self.status.is_error {
            facts.push(Fact { name: "status", shown: Shown::Value("ERROR".to_owned()) });
            facts.push(Fact { name: "status.message", shown: Shown::Bytes(self.status.message.len()) });
        }
        self.for_each_exception(|key, text| {
            let name = super::str(key);
            let is_type = name == "exception.type";
            let shown = if is_type { Shown::Value(text.to_owned()) } else { Shown::Bytes(text.len()) };
            facts.push(Fact { name, shown });
        });
        facts
    }
}

fn shown(value: AnyValue<'_>) -> Shown {
    let text = match value {
        AnyValue::Str(text) => String::from_utf8_lossy(text).into_owned(),
        AnyValue::Bool(truth) => truth.to_string(),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Double(number) => number.to_string(),
        AnyValue::Array(array) => {
            let words: Vec<_> = array.iter().filter_map(|word| word.ok()?.as_str()).collect();
            format!("{words:?}")
        }
        AnyValue::Empty => "(empty)".to_owned(),
        AnyValue::KeyValues(_) | AnyValue::Bytes(_) => "(structured)".to_owned(),
    };
    match text.len() {
        0..=MAX_SHOWN => Shown::Value(text),
        bytes => Shown::Bytes(bytes),
    }
}

/// No word, id or name that tells something is longer.
const MAX_SHOWN: usize = 256;
