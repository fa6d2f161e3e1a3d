//! Reads the YAML of other tools as JSON values.

use std::fmt;

use serde::{Deserialize, de};
use serde_json::Value;

use crate::cassette::yaml::{Tagged, read_foreign};
use crate::error::Result;

/// The only member of an object that stands for `!!binary` bytes; it holds their base64.
pub(super) const BINARY: &str = "!!binary";

/// Reads the YAML documents of a file as JSON values. Tags are ignored, except [`BINARY`].
///
/// # Errors
/// [`ErrorKind::Io`](crate::error::ErrorKind::Io), with the line, when a document cannot be read.
pub(super) fn read(documents: &[u8], source: &str) -> Result<Vec<Value>> {
    let values = read_foreign::<Any>(documents, source)?;
    Ok(values.into_iter().map(|any| any.0).collect())
}

/// A YAML value, with its tag if it is binary.
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        Ok(Self(match (value, tag.as_deref()) {
            (Value::String(base64), Some("!binary" | "tag:yaml.org,2002:binary")) => {
                let base64: String = base64.split_ascii_whitespace().collect();
                Value::Object([(BINARY.to_owned(), base64.into())].into_iter().collect())
            }
            (value, _) => value,
        }))
    }
}

/// A YAML value without its tag.
struct Untagged(Value);

impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor).map(Self)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Any(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some((name, Any(value))) = map.next_entry::<String, Any>()? {
            members.insert(name, value);
        }
        Ok(members.into())
    }
}
