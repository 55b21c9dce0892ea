//! Types a tree of nodes by serde, so that every error has its place.
//!
//! Any type that derives `Deserialize` can be read. It needs no `deny_unknown_fields`: a key that a struct does not have
//! is always an error. A map key without a value (`grpc:`) leaves its default.

mod error;

use super::diagnostic::{Diagnostic, Findings, Problem};
use super::node::{Map, Node, Path, Scalar, Value};
use super::scalar;
use super::source::Origin;
use error::{Error, Fault, describe};
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;

/// Reads what stands at `path`; `None` if nothing stands there or it cannot be read.
///
/// Reading stops at the first wrong value, so that value is noted, taken out of the tree, and all is read again until
/// the rest is right: one call finds all errors.
pub fn read<T: DeserializeOwned>(tree: &mut Node, path: &Path, findings: &mut Findings) -> Option<T> {
    let mut last_removed = None;
    loop {
        let node = tree.find(path)?;
        let noted = RefCell::new(Findings::default());
        let result = T::deserialize(Deserializer { node, path: path.clone(), noted: &noted });
        noted.into_inner().errors.into_iter().for_each(|error| findings.error(error));
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error.at(node, path),
        };
        // What was taken out is missing now, and has been told.
        if !error.is_lack_of(last_removed.as_ref()) {
            findings.errors.extend(error.diagnostic());
        }
        let wrong = error.path()?;
        if wrong == path || tree.remove(wrong).is_none() {
            return None;
        }
        last_removed = Some(wrong.clone());
    }
}

struct Deserializer<'a> {
    node: &'a Node,
    path: Path,
    /// Errors that do not end the reading.
    noted: &'a RefCell<Findings>,
}

impl<'a> Deserializer<'a> {
    fn wrong_type(&self, expected: &str) -> Error {
        let (expected, found) = (expected.to_owned(), describe(self.node, &self.path));
        Error::new(Fault::WrongType { expected, found }).at(self.node, &self.path)
    }

    /// The text of a scalar, whatever it looks like.
    fn text(&self, expected: &str) -> Result<&'a str, Error> {
        if let Some(verbatim) =
            self.node.expansion.as_ref().and_then(|expansion| expansion.verbatim.as_deref())
        {
            return Ok(verbatim);
        }
        match &self.node.value {
            Value::Scalar(scalar) => Ok(&scalar.text),
            Value::Null => Err(Error::new(Fault::Null).at(self.node, &self.path)),
            Value::List(_) | Value::Map(_) => Err(self.wrong_type(expected)),
        }
    }

    /// The text of a scalar that is not marked as text.
    fn plain(&self, expected: &str) -> Result<&'a str, Error> {
        match &self.node.value {
            Value::Scalar(Scalar { text, plain: true }) => Ok(text),
            Value::Null => Err(Error::new(Fault::Null).at(self.node, &self.path)),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => Err(self.wrong_type(expected)),
        }
    }

    fn whole_number(&self, least: i128, most: i128) -> Result<i128, Error> {
        let expected = match most {
            _ if most > u32::MAX.into() => "a whole number".to_owned(),
            _ => format!("a whole number from {least} to {most}"),
        };
        scalar::integer(self.plain(&expected)?)
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.wrong_type(&expected))
    }

    fn unsigned<T: TryFrom<i128>>(&self, most: u64) -> Result<T, Error> {
        T::try_from(self.whole_number(0, most.into())?).map_err(|_| self.wrong_type("a smaller number"))
    }

    fn signed<T: TryFrom<i128>>(&self, least: i64, most: i64) -> Result<T, Error> {
        T::try_from(self.whole_number(least.into(), most.into())?)
            .map_err(|_| self.wrong_type("a smaller number"))
    }

    fn number(&self) -> Result<f64, Error> {
        let expected = "a number";
        scalar::float(self.plain(expected)?).ok_or_else(|| self.wrong_type(expected))
    }

    fn below(&self, node: &'a Node, path: Path) -> Deserializer<'a> {
        Deserializer { node, path, noted: self.noted }
    }

    /// Notes the keys of a map that its type does not have.
    fn check_keys(&self, map: &'a Map, known: &'static [&'static str]) {
        for (key, _) in map.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let problem = Problem::UnknownKey {
                key: key.name.clone(),
                parent: self.path.clone(),
                known: known.iter().map(|&name| name.to_owned()).collect(),
            };
            self.noted.borrow_mut().error(Diagnostic::at(&key.origin, problem));
        }
    }

    fn visit_map<V: Visitor<'a>>(self, map: &'a Map, visitor: V) -> Result<V::Value, Error> {
        self.visit_entries(
            map.iter().map(|(key, node)| (key.name.as_str(), &key.origin, node)).collect(),
            visitor,
        )
    }

    fn visit_entries<V: Visitor<'a>>(self, entries: Vec<Entry<'a>>, visitor: V) -> Result<V::Value, Error> {
        let (node, path) = (self.node, self.path.clone());
        let entries = Entries { parent: self, entries: entries.into_iter(), value: None };
        visitor.visit_map(entries).map_err(|error| error.at(node, &path))
    }
}

macro_rules! deserialize_numbers {
    ($($method:ident => $visit:ident, $read:ident($($bound:expr),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.$read($($bound.into()),*)?;
            visitor.$visit(number).map_err(|error: Error| error.at(self.node, &self.path))
        })*
    };
}

impl<'de> de::Deserializer<'de> for Deserializer<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (node, path) = (self.node, self.path.clone());
        let located = |error: Error| error.at(node, &path);
        match &self.node.value {
            Value::Null => visitor.visit_unit().map_err(located),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(map) => self.visit_map(map, visitor),
            Value::Scalar(Scalar { text, plain }) => {
                let text = text.as_str();
                if !plain {
                    return visitor.visit_borrowed_str(text).map_err(located);
                }
                if let Some(truth) = scalar::boolean(text) {
                    return visitor.visit_bool(truth).map_err(located);
                }
                if let Some(number) = scalar::integer(text).and_then(|number| u64::try_from(number).ok()) {
                    return visitor.visit_u64(number).map_err(located);
                }
                if let Some(number) = scalar::integer(text).and_then(|number| i64::try_from(number).ok()) {
                    return visitor.visit_i64(number).map_err(located);
                }
                match scalar::float(text) {
                    Some(number) => visitor.visit_f64(number).map_err(located),
                    None => visitor.visit_borrowed_str(text).map_err(located),
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let expected = "true or false";
        match scalar::boolean(self.plain(expected)?) {
            Some(truth) => visitor.visit_bool(truth).map_err(|error: Error| error.at(self.node, &self.path)),
            None => Err(self.wrong_type(expected)),
        }
    }

    deserialize_numbers! {
        deserialize_u8 => visit_u8, unsigned(u8::MAX);
        deserialize_u16 => visit_u16, unsigned(u16::MAX);
        deserialize_u32 => visit_u32, unsigned(u32::MAX);
        deserialize_u64 => visit_u64, unsigned(u64::MAX);
        deserialize_i8 => visit_i8, signed(i8::MIN, i8::MAX);
        deserialize_i16 => visit_i16, signed(i16::MIN, i16::MAX);
        deserialize_i32 => visit_i32, signed(i32::MIN, i32::MAX);
        deserialize_i64 => visit_i64, signed(i64::MIN, i64::MAX);
        deserialize_f32 => visit_f64, number();
        deserialize_f64 => visit_f64, number();
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text("text")?;
        visitor.visit_borrowed_str(text).map_err(|error: Error| error.at(self.node, &self.path))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => Err(Error::new(Fault::Null).at(self.node, &self.path)),
            Value::Scalar(Scalar { text, .. })
                if self.node.expansion.is_none() && !self.path.holds_secrets() =>
            {
                Err(self.wrong_type(&format!("a list such as [{text}]")))
            }
            Value::Scalar(_) | Value::Map(_) => Err(self.wrong_type("a list")),
            Value::List(list) => {
                let (node, path) = (self.node, self.path.clone());
                let elements = Elements { parent: self, elements: list.iter().enumerate() };
                visitor.visit_seq(elements).map_err(|error| error.at(node, &path))
            }
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => Err(Error::new(Fault::Null).at(self.node, &self.path)),
            Value::Map(map) => self.visit_map(map, visitor),
            Value::Scalar(_) | Value::List(_) => Err(self.wrong_type("a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => self.visit_entries(Vec::new(), visitor),
            Value::Map(map) => {
                self.check_keys(map, fields);
                let known = map.iter().filter(|(key, _)| fields.contains(&key.name.as_str()));
                let known = known.map(|(key, node)| (key.name.as_str(), &key.origin, node)).collect();
                self.visit_entries(known, visitor)
            }
            Value::Scalar(_) | Value::List(_) => Err(self.wrong_type(&match fields {
                [] => "nothing".to_owned(),
                _ if fields.len() <= 6 => format!("a map of {}", fields.join(", ")),
                [first, second, third, ..] => format!("a map of {first}, {second}, {third}, …"),
                _ => "a map".to_owned(),
            })),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (node, path) = (self.node, self.path.clone());
        let variant = match &self.node.value {
            Value::Map(map) => match map.iter().collect::<Vec<_>>().as_slice() {
                [(key, value)] => {
                    Variant { name: &key.name, content: Some(self.below(value, path.key(&key.name))) }
                }
                _ => return Err(self.wrong_type("a map of one key")),
            },
            Value::Null | Value::Scalar(_) | Value::List(_) => {
                Variant { name: self.text("a word")?, content: None }
            }
        };
        visitor.visit_enum(variant).map_err(|error| error.at(node, &path))
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct ignored_any }
}

type Entry<'a> = (&'a str, &'a Origin, &'a Node);

struct Entries<'a> {
    parent: Deserializer<'a>,
    entries: std::vec::IntoIter<Entry<'a>>,
    value: Option<Entry<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        let (name, origin, _) = entry;
        self.value = Some(entry);
        let key = seed.deserialize(de::value::BorrowedStrDeserializer::new(name));
        key.map(Some).map_err(|error: Error| error.at_place(origin, &self.parent.path.key(name)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((name, origin, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = self.parent.path.key(name);
        seed.deserialize(self.parent.below(node, path.clone())).map_err(|error| match &node.value {
            Value::Null => error.at_place(origin, &path),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => error.at(node, &path),
        })
    }
}

struct Elements<'a> {
    parent: Deserializer<'a>,
    elements: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, node)) = self.elements.next() else { return Ok(None) };
        let path = self.parent.path.index(index);
        let element = seed.deserialize(self.parent.below(node, path.clone()));
        element.map(Some).map_err(|error| error.at(node, &path))
    }
}

struct Variant<'a> {
    name: &'a str,
    content: Option<Deserializer<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: de::value::StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> Variant<'de> {
    fn content(self) -> Result<Deserializer<'de>, Error> {
        let missing = || de::Error::custom(format!("{:?} needs a value", self.name));
        self.content.ok_or_else(missing)
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(content) => <()>::deserialize(content),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_tuple(self.content()?, length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_struct(self.content()?, "", fields, visitor)
    }
}
