//! The format of an answer.

use rappel_core::Value;
use serde::Serialize;

/// The format of an answer. It is set with
/// [`ChatOpenAiBuilder::response_format`](crate::ChatOpenAiBuilder::response_format).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Text.
    Text,
    /// A JSON object. The conversation must ask for one, too.
    JsonObject,
    /// JSON that matches a schema. It is made by [`json_schema`](Self::json_schema).
    #[non_exhaustive]
    JsonSchema {
        /// The schema and its name.
        json_schema: JsonSchema,
    },
}

/// For [`CallOptions::response_format`](rappel_core::CallOptions::response_format).
impl From<ResponseFormat> for Value {
    fn from(format: ResponseFormat) -> Self {
        // Texts and JSON can be written as JSON.
        serde_json::to_value(format).unwrap_or_default()
    }
}

/// The schema of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JsonSchema {
    /// The name: letters, digits, `_` and `-`. OpenAI allows at most 64 characters.
    pub name: String,
    /// The JSON schema.
    pub schema: Value,
    /// Whether the answer must match the schema exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl ResponseFormat {
    /// JSON that matches the schema.
    pub fn json_schema(name: impl Into<String>, schema: impl Into<Value>) -> Self {
        Self::JsonSchema {
            json_schema: JsonSchema { name: name.into(), schema: schema.into(), strict: None },
        }
    }

    /// Whether the answer must match the schema exactly. It has no effect on the other formats.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        if let Self::JsonSchema { json_schema } = &mut self {
            json_schema.strict = Some(strict);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rappel_core::json;

    use super::*;

    #[test]
    fn a_format_is_openais() {
        let sent = |format: ResponseFormat| serde_json::to_value(format).unwrap();
        assert_eq!(sent(ResponseFormat::Text.strict(true)), json!({"type": "text"}));
        assert_eq!(sent(ResponseFormat::JsonObject), json!({"type": "json_object"}));
        assert_eq!(
            sent(ResponseFormat::json_schema("joke", json!({"type": "object"})).strict(true)),
            json!({"type": "json_schema", "json_schema": {"name": "joke", "schema": {"type": "object"}, "strict": true}})
        );
    }
}
