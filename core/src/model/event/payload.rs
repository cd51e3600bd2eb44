//! The payloads of all events but those of models and tools.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::time::Duration;

use serde_json::{Map, Value};

#[cfg(feature = "serde")]
use super::is_default;
use super::start::{StartOrigin, start_setters};
use crate::model::document::Document;
use crate::model::error::{RunError, SharedError};
use crate::model::run_info::RunId;
use crate::util::{conversions, setters};

start_setters!(ChainStart, RetrieverStart);

/// A chain of steps started.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ChainStart {
    /// The chain's name.
    pub name: Arc<str>,
    /// The chain's inputs.
    #[cfg_attr(feature = "serde", serde(default))]
    pub inputs: Value,
    /// Whether the chain is an agent: see [`ChainStart::agent`].
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub agent: bool,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) origin: StartOrigin,
}

impl ChainStart {
    /// Makes the start of the chain `name`.
    pub fn new(name: impl Into<Arc<str>>, inputs: impl Into<Value>) -> Self {
        Self {
            name: name.into(),
            inputs: inputs.into(),
            agent: false,
            origin: StartOrigin::default(),
        }
    }

    /// Makes the start of the agent `name`, without inputs. An agent is a chain whose steps a model
    /// chooses. Exporters show it as such: as `invoke_agent` in OpenTelemetry, for example.
    pub fn agent(name: impl Into<Arc<str>>) -> Self {
        Self { agent: true, ..Self::new(name, Map::new()) }
    }

    setters! {
        /// Sets the inputs.
        with_inputs(inputs: impl Into<Value>) { self.inputs = inputs.into() }
    }
}

/// A chain finished.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ChainEnd {
    /// The chain's outputs.
    #[cfg_attr(feature = "serde", serde(default))]
    pub outputs: Value,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ChainError {
    /// The error.
    pub error: RunError,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub open_children: usize,
}

/// A retriever was called.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RetrieverStart {
    /// The retriever's name.
    pub name: Arc<str>,
    /// The query.
    pub query: String,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) origin: StartOrigin,
}

impl RetrieverStart {
    /// Makes the start of the retriever `name`.
    pub fn new(name: impl Into<Arc<str>>, query: impl Into<String>) -> Self {
        Self { name: name.into(), query: query.into(), origin: StartOrigin::default() }
    }
}

/// A retriever finished.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RetrieverEnd {
    /// The documents, best first.
    pub documents: Vec<Document>,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RetrieverError {
    /// The error.
    pub error: RunError,
    /// The number of child runs that were still open. They were closed before this event, each with
    /// an error event ([`RunError::Cancelled`](crate::RunError::Cancelled)).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub open_children: usize,
}

/// An agent chose a tool.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AgentAction {
    /// The tool's name.
    pub tool: String,
    /// The tool's input.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tool_input: Value,
    /// The text of the model that led to it.
    #[cfg_attr(feature = "serde", serde(default))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AgentFinish {
    /// The agent's return values.
    #[cfg_attr(feature = "serde", serde(default))]
    pub return_values: Value,
    /// The text of the model that led to it.
    #[cfg_attr(feature = "serde", serde(default))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

conversions! {
    impl From<&str> for Text = Self::new;
    impl From<String> for Text = Self::new;
}

/// An attempt failed and will be repeated.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Retry {
    /// The number of the attempt that failed, from 1.
    pub attempt: u32,
    /// Why it failed.
    #[cfg_attr(feature = "serde", serde(with = "crate::model::record::shared_error"))]
    pub cause: SharedError,
    /// The time until the next attempt. As JSON it is a number of microseconds.
    #[cfg_attr(feature = "serde", serde(default, with = "crate::model::record::micros"))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CustomEvent {
    /// The event's name.
    pub name: Arc<str>,
    /// The event's data.
    #[cfg_attr(feature = "serde", serde(default))]
    pub data: Value,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) run_id: Option<RunId>,
}

impl CustomEvent {
    /// Makes the event `name`.
    pub fn new(name: impl Into<Arc<str>>, data: impl Into<Value>) -> Self {
        Self { name: name.into(), data: data.into(), run_id: None }
    }

    setters! {
        /// Sets the run id of an event that is emitted on a manager. An event that is emitted on a run
        /// has that run's id.
        with_run_id(id: RunId) { self.run_id = Some(id) }
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
