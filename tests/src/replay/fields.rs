//! Takes fields out of a JSON object, by name and type.
//!
//! serde's derive is too lenient for a checker: it accepts an array for a struct and `null` for an
//! absent field, and it does not name the ill-typed field.

use rappel_core::{Map, Value};

use super::error::Flaw;

/// A type that can be read out of a JSON value.
pub(super) trait FromJson: Sized {
    /// The type's name in errors.
    fn expected() -> String;

    fn from_json(value: Value) -> Option<Self>;
}

/// A JSON object whose fields are taken out one by one. Fields that are left at the end are
/// ignored.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Takes a required field.
    pub(super) fn take<T: FromJson>(&mut self, field: &'static str) -> Result<T, Flaw> {
        self.find(field)?.ok_or(Flaw::Missing(field))
    }

    /// Takes an optional field. A `null` is not an absent field.
    pub(super) fn find<T: FromJson>(&mut self, field: &'static str) -> Result<Option<T>, Flaw> {
        let Some(value) = self.0.remove(field) else {
            return Ok(None);
        };
        let ill_typed = || Flaw::IllTyped { field, expected: T::expected() };
        T::from_json(value).map(Some).ok_or_else(ill_typed)
    }

    /// Takes an optional field, or its type's default if it is absent.
    pub(super) fn find_or_default<T: FromJson + Default>(
        &mut self,
        field: &'static str,
    ) -> Result<T, Flaw> {
        Ok(self.find(field)?.unwrap_or_default())
    }
}

impl FromJson for Fields {
    fn expected() -> String {
        "object".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        Map::from_json(value).map(Self)
    }
}

impl FromJson for Map<String, Value> {
    fn expected() -> String {
        "object".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(fields),
            _ => None,
        }
    }
}

impl FromJson for Value {
    fn expected() -> String {
        "anything".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        Some(value)
    }
}

impl FromJson for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl FromJson for bool {
    fn expected() -> String {
        "bool".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromJson for u64 {
    fn expected() -> String {
        "count".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        value.as_u64()
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn expected() -> String {
        format!("[{}]", T::expected())
    }

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::Array(items) => items.into_iter().map(T::from_json).collect(),
            _ => None,
        }
    }
}
