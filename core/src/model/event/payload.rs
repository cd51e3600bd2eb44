//! The payloads of all events but those of models.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::time::Duration;

use serde_json::Value;

use crate::model::document::Document;
use crate::model::error::{RunError, SharedError};
use crate::model::run_info::RunId;

macro_rules! run_id_setter {
    ($($payload:ident),+ $(,)?) => {$(
        impl $payload {
            /// Sets the run's id. Without it the run gets a new one.
            #[must_use]
            pub fn with_run_id(mut self, id: RunId) -> Self {
                self.run_id = Some(id);
                self
            }
        }
    )+};
}
pub(super) use run_id_setter;

run_id_setter!(ChainStart, ToolStart, RetrieverStart);

/// A chain of steps started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChainStart {
    /// The chain's name.
    pub name: Arc<str>,
    /// The chain's inputs.
    pub inputs: Value,
    pub(crate) run_id: Option<RunId>,
}

impl ChainStart {
    /// Makes the start of the chain `name`.
    pub fn new(name: impl Into<Arc<str>>, inputs: impl Into<Value>) -> Self {
        Self { name: name.into(), inputs: inputs.into(), run_id: None }
    }
}

/// A chain finished.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChainEnd {
    /// The chain's outputs.
    pub outputs: Value,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    pub open_children: usize,
}

impl ChainEnd {
    /// Makes the end with those outputs.
    pub fn new(outputs: impl Into<Value>) -> Self {
        Self { outputs: outputs.into(), open_children: 0 }
    }
}

/// A chain failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChainError {
    /// The error.
    pub error: RunError,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    pub open_children: usize,
}

/// A tool was called.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolStart {
    /// The tool's name.
    pub name: Arc<str>,
    /// The input as text.
    pub input: String,
    /// The input as JSON, if the tool has structured input.
    pub inputs: Option<Value>,
    /// The description of the tool that the model got.
    pub description: Option<String>,
    /// The id of the model's tool call.
    pub tool_call_id: Option<String>,
    pub(crate) run_id: Option<RunId>,
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
            run_id: None,
        }
    }

    /// Sets the input as JSON.
    #[must_use]
    pub fn with_inputs(mut self, inputs: impl Into<Value>) -> Self {
        self.inputs = Some(inputs.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the id of the model's tool call.
    #[must_use]
    pub fn with_tool_call_id(mut self, id: impl Into<String>) -> Self {
        self.tool_call_id = Some(id.into());
        self
    }
}

/// A tool finished.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolEnd {
    /// The tool's output.
    pub output: Value,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    pub open_children: usize,
}

impl ToolEnd {
    /// Makes the end with that output.
    pub fn new(output: impl Into<Value>) -> Self {
        Self { output: output.into(), open_children: 0 }
    }
}

/// A tool failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolError {
    /// The error.
    pub error: RunError,
    /// The id of the model's tool call.
    pub tool_call_id: Option<String>,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    pub open_children: usize,
}

/// A retriever was called.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetrieverStart {
    /// The retriever's name.
    pub name: Arc<str>,
    /// The query.
    pub query: String,
    pub(crate) run_id: Option<RunId>,
}

impl RetrieverStart {
    /// Makes the start of the retriever `name`.
    pub fn new(name: impl Into<Arc<str>>, query: impl Into<String>) -> Self {
        Self { name: name.into(), query: query.into(), run_id: None }
    }
}

/// A retriever finished.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetrieverEnd {
    /// The documents, best first.
    pub documents: Vec<Document>,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    pub open_children: usize,
}

impl RetrieverEnd {
    /// Makes the end with those documents.
    pub fn new(documents: impl Into<Vec<Document>>) -> Self {
        Self { documents: documents.into(), open_children: 0 }
    }
}

/// A retriever failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetrieverError {
    /// The error.
    pub error: RunError,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    pub open_children: usize,
}

/// An agent chose a tool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentAction {
    /// The tool's name.
    pub tool: String,
    /// The tool's input.
    pub tool_input: Value,
    /// The text of the model that led to it.
    pub log: String,
}

impl AgentAction {
    /// Makes the choice of `tool`.
    pub fn new(
        tool: impl Into<String>,
        tool_input: impl Into<Value>,
        log: impl Into<String>,
    ) -> Self {
        Self { tool: tool.into(), tool_input: tool_input.into(), log: log.into() }
    }
}

/// An agent finished.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentFinish {
    /// The agent's return values.
    pub return_values: Value,
    /// The text of the model that led to it.
    pub log: String,
}

impl AgentFinish {
    /// Makes the end with those values.
    pub fn new(return_values: impl Into<Value>, log: impl Into<String>) -> Self {
        Self { return_values: return_values.into(), log: log.into() }
    }
}

/// Some text of a chain, for display.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Text {
    /// The text.
    pub text: String,
}

impl Text {
    /// Makes an event of that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl From<&str> for Text {
    #[inline]
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Text {
    #[inline]
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// An attempt failed and will be repeated.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Retry {
    /// The number of the attempt that failed, from 1.
    pub attempt: u32,
    /// Why it failed.
    pub cause: SharedError,
    /// The time until the next attempt.
    pub wait: Duration,
}

impl Retry {
    /// Makes the event of a failed attempt.
    pub fn new(
        attempt: u32,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
        wait: Duration,
    ) -> Self {
        Self { attempt, cause: Arc::from(cause.into()), wait }
    }
}

/// An event that the application defines.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CustomEvent {
    /// The event's name.
    pub name: Arc<str>,
    /// The event's data.
    pub data: Value,
    pub(crate) run_id: Option<RunId>,
}

impl CustomEvent {
    /// Makes the event `name`.
    pub fn new(name: impl Into<Arc<str>>, data: impl Into<Value>) -> Self {
        Self { name: name.into(), data: data.into(), run_id: None }
    }

    /// Sets the run id of an event that is emitted on a manager. An event that is emitted on a run
    /// has that run's id.
    #[must_use]
    pub fn with_run_id(mut self, id: RunId) -> Self {
        self.run_id = Some(id);
        self
    }
}

macro_rules! errors {
    ($($payload:ident),+ $(,)?) => {$(
        impl $payload {
            /// Makes the error.
            #[must_use]
            pub fn new(error: RunError) -> Self {
                Self { error, open_children: 0 }
            }
        }
    )+};
}
errors!(ChainError, RetrieverError);

impl ToolError {
    /// Makes the error.
    #[must_use]
    pub fn new(error: RunError) -> Self {
        Self { error, tool_call_id: None, open_children: 0 }
    }
}
