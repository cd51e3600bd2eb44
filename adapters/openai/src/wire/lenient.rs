//! Reading JSON fields that may be of any type.
//!
//! Each function is for `deserialize_with`. None fails on well-formed JSON: a value of an
//! unexpected type counts as absent. Only a list that is too long is an error.

use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::MapAccessDeserializer,
    },
};
use serde_json::{Map, Value};

/// A string. A number counts as its digits.
pub(super) fn text<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Value::deserialize(json).map(|value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A string that is not empty: some servers send `""` for none.
pub(super) fn words<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Ok(text(json)?.filter(|text| !text.is_empty()))
}

/// The text of a message: a string, or the texts of a list of parts.
pub(super) fn content<'de, D: Deserializer<'de>>(json: D) -> Result<Said, D::Error> {
    let mut said = Said::default();
    match Value::deserialize(json)? {
        Value::String(text) => said.text = Some(text),
        Value::Array(parts) => {
            said.text = Some(parts.iter().filter_map(part_text).collect());
            said.thought = parts.iter().flat_map(part_thoughts).collect();
        }
        part @ Value::Object(_) => said.text = part_text(&part).map(str::to_owned),
        _ => {}
    }
    Ok(said)
}

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// `None` means no content. The first chunk of a stream often has `Some("")`.
    pub(crate) text: Option<String>,
    /// The reasoning, which Mistral sends as parts of the content.
    pub(crate) thought: String,
}

fn part_text(part: &Value) -> Option<&str> {
    part.as_str().or_else(|| part.get("text")?.as_str())
}

fn part_thoughts(part: &Value) -> impl Iterator<Item = &str> {
    let thoughts = part.get("thinking");
    let list = thoughts.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(part_text).chain(thoughts.and_then(Value::as_str))
}

/// The fields that are not known. A field that is null is left out.
pub(super) fn rest<'de, D: Deserializer<'de>>(json: D) -> Result<Map<String, Value>, D::Error> {
    let mut rest = Map::deserialize(json)?;
    rest.retain(|_, value| !value.is_null());
    Ok(rest)
}

/// A tool's arguments: JSON as text, or an object, which is converted to text.
pub(super) fn arguments<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    Value::deserialize(json).map(|value| match value {
        Value::String(text) => Some(text),
        Value::Object(_) => Some(value.to_string()),
        _ => None,
    })
}

/// A whole number that is not negative, as `7`, `7.0` or `"7"`.
pub(super) fn number<'de, D, T>(json: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = match Value::deserialize(json)? {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64().unwrap_or(-1.0))),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().unwrap_or(-1.0)))
        }
        _ => None,
    };
    Ok(number.and_then(|number| number.try_into().ok()))
}

fn whole(number: f64) -> Option<u64> {
    // Up to here a float represents every whole number exactly.
    const EXACT: f64 = (1_u64 << 53) as f64;
    let is_whole = (0.0..=EXACT).contains(&number) && number.fract() == 0.0;
    is_whole.then_some(number as u64)
}

/// An object.
pub(super) fn object<'de, D, T>(json: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    json.deserialize_any(Lenient(PhantomData::<Object<T>>)).map(|object| object.0)
}

/// A list of at most `MOST` objects. Other items are skipped.
///
/// A few bytes of JSON make an object of hundreds of bytes. Without this limit, a body within its
/// own limit could fill the memory.
pub(super) fn objects<'de, D, T, const MOST: usize>(json: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    json.deserialize_any(Lenient(PhantomData::<Objects<T, MOST>>)).map(|objects| objects.0)
}

/// A type that is read from a list or an object. All other JSON counts as absent.
trait Shape: Sized {
    fn absent() -> Self;

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::absent())
    }

    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::absent())
    }
}

struct Object<T>(Option<T>);

impl<T: DeserializeOwned> Shape for Object<T> {
    fn absent() -> Self {
        Self(None)
    }

    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|object| Self(Some(object)))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        object(json).map(Self)
    }
}

struct Objects<T, const MOST: usize>(Vec<T>);

impl<T: DeserializeOwned, const MOST: usize> Shape for Objects<T, MOST> {
    fn absent() -> Self {
        Self(Vec::new())
    }

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut objects = Vec::new();
        while let Some(Object(object)) = list.next_element::<Object<T>>()? {
            objects.extend(object);
            if objects.len() > MOST {
                return Err(A::Error::custom("the list is too long"));
            }
        }
        Ok(Self(objects))
    }
}

/// As [`objects`]. An object counts as a list of one.
pub(super) fn one_or_more<'de, D, T, const MOST: usize>(json: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    json.deserialize_any(Lenient(PhantomData::<OneOrMore<T, MOST>>)).map(|objects| objects.0)
}

struct OneOrMore<T, const MOST: usize>(Vec<T>);

impl<T: DeserializeOwned, const MOST: usize> Shape for OneOrMore<T, MOST> {
    fn absent() -> Self {
        Self(Vec::new())
    }

    fn from_list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Objects::<T, MOST>::from_list(list).map(|objects| Self(objects.0))
    }

    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|object| Self(Vec::from([object])))
    }
}

/// A visitor that accepts every type of JSON value.
struct Lenient<S>(PhantomData<S>);

impl<'de, S: Shape> Visitor<'de> for Lenient<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<S, E> {
        Ok(S::absent())
    }

    fn visit_i64<E>(self, _: i64) -> Result<S, E> {
        Ok(S::absent())
    }

    fn visit_u64<E>(self, _: u64) -> Result<S, E> {
        Ok(S::absent())
    }

    fn visit_f64<E>(self, _: f64) -> Result<S, E> {
        Ok(S::absent())
    }

    fn visit_str<E>(self, _: &str) -> Result<S, E> {
        Ok(S::absent())
    }

    fn visit_unit<E>(self) -> Result<S, E> {
        Ok(S::absent())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S, A::Error> {
        S::from_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<S, A::Error> {
        S::from_object(object)
    }
}
