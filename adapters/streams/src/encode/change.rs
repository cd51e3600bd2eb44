//! The changes of a view, which each protocol writes in its words.

use rappel_core::{FinishReason, TokenUsage, Value};

/// Takes each change as it comes.
pub(super) type Changes<'a> = dyn FnMut(Change<'_>) + 'a;

/// A change of the view.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// The first model's run opens, when none is open.
    ModelsOpen,
    /// The last open model's run closes.
    ModelsClosed,
    StepStarted(&'a str),
    StepFinished(&'a str),
    TextStart(&'a str),
    /// A piece of the text with that id.
    Text(&'a str, &'a str),
    TextEnd(&'a str),
    ReasoningStart(&'a str),
    Reasoning(&'a str, &'a str),
    ReasoningEnd(&'a str),
    /// A tool call's arguments are about to come in pieces.
    CallStart {
        id: &'a str,
        name: &'a str,
    },
    CallArguments {
        id: &'a str,
        delta: &'a str,
    },
    /// A tool call is complete. `streamed`: its start came before. `arguments` is its input as text.
    Call {
        id: &'a str,
        name: &'a str,
        input: &'a Value,
        arguments: &'a str,
        streamed: bool,
        by_model: bool,
    },
    /// A tool call broke off, or its arguments are not JSON.
    CallFailed {
        id: &'a str,
        name: &'a str,
        arguments: &'a str,
        error: &'a str,
        streamed: bool,
    },
    /// A tool call broke off, and another process goes on with it.
    CallLeft {
        id: &'a str,
    },
    Output {
        id: &'a str,
        output: &'a Value,
        by_model: bool,
    },
    OutputError {
        id: &'a str,
        error: &'a str,
        by_model: bool,
    },
    Custom {
        name: &'a str,
        data: &'a Value,
    },
    Usage {
        model: &'a str,
        usage: &'a TokenUsage,
    },
}

/// How the request ended.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Finished(Option<FinishReason>),
    Cancelled,
    /// Another process goes on with it.
    HandedOver,
    Failed {
        message: String,
        code: String,
    },
}
