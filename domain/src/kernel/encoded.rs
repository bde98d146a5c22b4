//! Codec of events and rejections: serde's enum tag is the public name, the fields of the variant are the stored body.

use std::fmt;

use compact_str::CompactString;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::{Deserializer, Serialize};

/// An enum value, encoded as its public name and its content in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Dotted for events (`stock.reserved`), in capitals for rejections (`OUT_OF_STOCK`).
    pub name: CompactString,
    /// A JSON object; `{}` where the variant has no fields.
    pub body: String,
}

/// Error of encoding or decoding: a value that this version of the code cannot represent.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` cannot be read: {reason}")]
pub struct Unreadable {
    pub name: String,
    pub reason: String,
}

/// Initial buffer size in bytes; most events fit in it, name included.
const USUAL_BYTES: usize = 256;

/// Encodes an enum value as its name and its content.
///
/// Fails only for types that are not enums or that JSON cannot represent.
pub fn encode<T: Serialize>(value: &T) -> Result<Encoded, Unreadable> {
    let unreadable = |reason: String| Unreadable { name: std::any::type_name::<T>().into(), reason };
    let mut text = to_json(value).map_err(|error| unreadable(error.to_string()))?;
    // Serde tags externally: {"name":{…}}, or "name" for a unit variant. Names contain nothing that JSON escapes.
    if let Some(name) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(Encoded { name: name.into(), body: "{}".into() });
    }
    let tag = text.strip_prefix("{\"").filter(|rest| rest.ends_with('}')).and_then(|rest| rest.split_once("\":"));
    let Some((name, body)) = tag else { return Err(unreadable("it is not an enum".into())) };
    let (name, begins) = (CompactString::from(name), text.len().saturating_sub(body.len()));
    // The body reuses the buffer: the tag and the outer braces are cut off.
    text.drain(..begins);
    text.pop();
    Ok(Encoded { name, body: text })
}

fn to_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut text, value)?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// Decodes an enum value from its name and its content.
pub fn decode<T: DeserializeOwned>(name: &str, body: &str) -> Result<T, Unreadable> {
    T::deserialize(Tagged { name, body }).map_err(|error| Unreadable { name: name.into(), reason: error.to_string() })
}

/// Deserializer of an externally tagged enum whose tag and content are separate texts.
struct Tagged<'a> {
    name: &'a str,
    body: &'a str,
}

type JsonError = serde_json::Error;

impl<'de> Deserializer<'de> for Tagged<'de> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, JsonError> {
        Err(serde::de::Error::custom("only enums have a stored name"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = JsonError;
    type Variant = Body<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Body<'de>), JsonError> {
        let name: StrDeserializer<'_, JsonError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Body(self.body)))
    }
}

struct Body<'a>(&'a str);

impl<'de> VariantAccess<'de> for Body<'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, JsonError> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = seed.deserialize(&mut json)?;
        json.end().map(|()| value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, JsonError> {
        Err(serde::de::Error::custom("stored variants have named fields"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, JsonError> {
        let mut json = serde_json::Deserializer::from_str(self.0);
        let value = json.deserialize_map(visitor)?;
        json.end().map(|()| value)
    }
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.body)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Sample {
        #[serde(rename = "sample.moved")]
        Moved { to: String },
        #[serde(rename = "sample.closed")]
        Closed {},
    }

    #[test]
    fn encoded_value_decodes_to_the_same_value() {
        let moved = Sample::Moved { to: "a \"quoted\": place}".into() };
        let encoded = encode(&moved).expect("an enum");
        assert_eq!(encoded.name, "sample.moved");
        assert_eq!(decode::<Sample>(&encoded.name, &encoded.body).expect("readable"), moved);

        let encoded = encode(&Sample::Closed {}).expect("an enum");
        assert_eq!((encoded.name.as_str(), encoded.body.as_str()), ("sample.closed", "{}"));
        assert_eq!(decode::<Sample>("sample.closed", "{}").expect("readable"), Sample::Closed {});
    }

    #[test]
    fn unknown_name_or_broken_content_is_an_error() {
        assert!(decode::<Sample>("sample.lost", "{}").is_err());
        assert!(decode::<Sample>("sample.moved", "{\"to\":1}").is_err());
        assert!(decode::<Sample>("sample.moved", "{\"to\":\"x\"} extra").is_err());
        assert!(encode(&5).is_err());
    }
}
