//! The payloads of the events of tools.

use alloc::string::String;
use alloc::sync::Arc;

use serde_json::Value;

#[cfg(feature = "serde")]
use super::is_default;
use super::start::{StartOrigin, start_setters};
use crate::model::error::RunError;
use crate::model::run_info::RunId;
use crate::util::setters;

start_setters!(ToolStart);

/// A tool was called.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ToolStart {
    /// The tool's name.
    pub name: Arc<str>,
    /// The input as text.
    pub input: String,
    /// The input as JSON, if the tool has structured input.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub inputs: Option<Value>,
    /// The description of the tool that the model got.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub description: Option<String>,
    /// The id of the model's tool call.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tool_call_id: Option<String>,
    /// The type of the tool, in the words of OpenTelemetry: `function`, `extension` or `datastore`.
    #[cfg_attr(
        feature = "serde",
        serde(default, rename = "type", skip_serializing_if = "Option::is_none")
    )]
    pub tool_type: Option<String>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) origin: StartOrigin,
}

impl ToolStart {
    /// Makes the start of the tool `name`.
    pub fn new(name: impl Into<Arc<str>>, input: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            input: input.into(),
            inputs: None,
            description: None,
            tool_call_id: None,
            tool_type: None,
            origin: StartOrigin::default(),
        }
    }

    setters! {
        /// Sets the input as JSON.
        with_inputs(inputs: impl Into<Value>) { self.inputs = Some(inputs.into()) }
        /// Sets the description.
        with_description(description: impl Into<String>) {
            self.description = Some(description.into())
        }
        /// Sets the id of the model's tool call.
        with_tool_call_id(id: impl Into<String>) { self.tool_call_id = Some(id.into()) }
        /// Sets the type of the tool: `function`, `extension` or `datastore`.
        with_tool_type(tool_type: impl Into<String>) { self.tool_type = Some(tool_type.into()) }
    }
}

/// A tool finished.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ToolEnd {
    /// The tool's output.
    #[cfg_attr(feature = "serde", serde(default))]
    pub output: Value,
    /// The id of the model's tool call. It is filled in from the start if it is `None`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tool_call_id: Option<String>,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub open_children: usize,
}

impl ToolEnd {
    /// Makes the end with that output.
    pub fn new(output: impl Into<Value>) -> Self {
        Self { output: output.into(), tool_call_id: None, open_children: 0 }
    }
}

/// A tool failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ToolError {
    /// The error.
    pub error: RunError,
    /// The id of the model's tool call. It is filled in from the start if it is `None`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tool_call_id: Option<String>,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub open_children: usize,
}

impl ToolError {
    /// Makes the error.
    #[must_use]
    pub fn new(error: RunError) -> Self {
        Self { error, tool_call_id: None, open_children: 0 }
    }
}
