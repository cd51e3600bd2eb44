//! The tools that a model may call.

use rappel_core::Value;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A function that the model may call. It is set with
/// [`ChatOpenAiBuilder::tools`](crate::ChatOpenAiBuilder::tools).
///
/// The answer has the calls in [`Generation::tool_calls`](rappel_core::Generation::tool_calls). The
/// program makes them, and sends each result with the next turn of the conversation, as a
/// [`Message::tool`](rappel_core::Message::tool).
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "type", rename = "function")]
pub struct Tool {
    function: Function,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Function {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl Tool {
    /// The function `name`, without parameters.
    pub fn function(name: impl Into<String>) -> Self {
        Self {
            function: Function {
                name: name.into(),
                description: None,
                parameters: None,
                strict: None,
            },
        }
    }

    /// What the function does, and when to use it.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.function.description = Some(description.into());
        self
    }

    /// The parameters: a JSON schema of an object.
    #[must_use]
    pub fn parameters(mut self, schema: impl Into<Value>) -> Self {
        self.function.parameters = Some(schema.into());
        self
    }

    /// Whether the arguments must match the schema exactly. Not all servers support it.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.function.strict = Some(strict);
        self
    }
}

/// Whether the model calls a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// The model calls no tool.
    None,
    /// The model calls at least one tool.
    Required,
    /// The model calls this function.
    Function(String),
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::None => serializer.serialize_str("none"),
            Self::Required => serializer.serialize_str("required"),
            Self::Function(name) => {
                let mut choice = serializer.serialize_map(Some(2))?;
                choice.serialize_entry("type", "function")?;
                choice.serialize_entry("function", &Named { name })?;
                choice.end()
            }
        }
    }
}

/// For [`CallOptions::tools`](rappel_core::CallOptions::tools).
impl From<Tool> for Value {
    fn from(tool: Tool) -> Self {
        // Texts and JSON can be written as JSON.
        serde_json::to_value(tool).unwrap_or_default()
    }
}

/// For [`CallOptions::tool_choice`](rappel_core::CallOptions::tool_choice).
impl From<ToolChoice> for Value {
    fn from(choice: ToolChoice) -> Self {
        serde_json::to_value(choice).unwrap_or_default()
    }
}

#[derive(serde::Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rappel_core::json;

    use super::*;

    fn sent(value: impl Serialize) -> Value {
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn a_tool_is_openais() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let add = Tool::function("add").description("adds").parameters(schema.clone()).strict(true);
        assert_eq!(
            sent(add),
            json!({"type": "function", "function": {"name": "add", "description": "adds", "parameters": schema, "strict": true}})
        );
        assert_eq!(
            sent(Tool::function("now")),
            json!({"type": "function", "function": {"name": "now"}})
        );
    }

    #[test]
    fn a_choice_is_openais() {
        assert_eq!(
            sent([ToolChoice::Auto, ToolChoice::None, ToolChoice::Required]),
            json!(["auto", "none", "required"])
        );
        assert_eq!(
            sent(ToolChoice::Function("add".to_owned())),
            json!({"type": "function", "function": {"name": "add"}})
        );
    }
}
