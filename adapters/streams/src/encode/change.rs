//! The changes of a view, which each protocol writes in its words.

use rappel_core::{FinishReason, TokenUsage, Value};

/// A change of the view.
#[derive(Debug)]
pub(super) enum Change {
    /// The first model's run opens, when none is open.
    ModelsOpen,
    /// The last open model's run closes.
    ModelsClosed,
    StepStarted(String),
    StepFinished(String),
    TextStart(String),
    Text(String, String),
    TextEnd(String),
    ReasoningStart(String),
    Reasoning(String, String),
    ReasoningEnd(String),
    /// A tool call's arguments are about to come in pieces.
    CallStart {
        id: String,
        name: String,
    },
    CallArguments {
        id: String,
        delta: String,
    },
    /// A tool call is complete. `streamed`: its start came before. `arguments` is its input as text.
    Call {
        id: String,
        name: String,
        input: Value,
        arguments: String,
        streamed: bool,
        by_model: bool,
    },
    /// A tool call broke off, or its arguments are not JSON.
    CallFailed {
        id: String,
        name: String,
        arguments: String,
        error: String,
        streamed: bool,
    },
    Output {
        id: String,
        output: Value,
        by_model: bool,
    },
    OutputError {
        id: String,
        error: String,
        by_model: bool,
    },
    Custom {
        name: String,
        data: Value,
    },
    Usage {
        model: String,
        usage: TokenUsage,
    },
}

/// How the request ended.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Finished(Option<FinishReason>),
    Cancelled,
    Failed { message: String, code: String },
}
