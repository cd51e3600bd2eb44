//! The form that an answer is to have.

use rappel_core::Value;
use serde::Serialize;

/// The form that an answer is to have, with [`ChatOpenAiBuilder::response_format`](crate::ChatOpenAiBuilder::response_format).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Text.
    Text,
    /// A JSON object; the conversation has to ask for one, too.
    JsonObject,
    /// JSON of a schema, as [`json_schema`](Self::json_schema) makes it.
    #[non_exhaustive]
    JsonSchema {
        /// The schema, and what it is called.
        json_schema: JsonSchema,
    },
}

/// A schema that an answer is to follow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JsonSchema {
    /// What it is called: letters, digits, `_` and `-`, 64 at most with OpenAI.
    pub name: String,
    /// The JSON schema.
    pub schema: Value,
    /// Whether the answer has to follow it to the letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl ResponseFormat {
    /// JSON of that schema.
    pub fn json_schema(name: impl Into<String>, schema: impl Into<Value>) -> Self {
        Self::JsonSchema {
            json_schema: JsonSchema {
                name: name.into(),
                schema: schema.into(),
                strict: None,
            },
        }
    }

    /// Whether the answer has to follow the schema to the letter; of no account where there is none.
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
