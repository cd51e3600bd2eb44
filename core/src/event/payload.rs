//! The payload of each event.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::time::Duration;

use serde_json::{Map, Value};

use crate::error::RunError;
use crate::lane::Losses;
use crate::message::{Message, buffer_string};
use crate::result::{LlmChunk, LlmResult, ToolCallChunk};
use crate::run_info::RunId;
use crate::token::Token;

/// What the engine writes on an event when it accepts it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamp {
    pub(crate) sequence: u64,
    pub(crate) time: Option<Duration>,
    pub(crate) losses: Losses,
}

pub(crate) trait Stamped {
    fn stamp(&self) -> &Stamp;
    fn stamp_mut(&mut self) -> &mut Stamp;
}

macro_rules! stamped {
    ($($payload:ident),+ $(,)?) => {$(
        impl Stamped for $payload {
            fn stamp(&self) -> &Stamp {
                &self.stamp
            }

            fn stamp_mut(&mut self) -> &mut Stamp {
                &mut self.stamp
            }
        }

        impl $payload {
            /// The event's place among those of its run that anybody hears: 0 for the start, then one more for each.
            #[must_use]
            pub fn sequence(&self) -> u64 {
                self.stamp.sequence
            }

            /// When a start, an end or an error was emitted, since 1970, and a token where a handler asked for that
            /// ([`Interest::with_token_times`](crate::Interest::with_token_times)); `None` for the others, and where the clock does not know.
            #[must_use]
            pub fn time(&self) -> Option<Duration> {
                self.stamp.time
            }

            /// What this handler did not get before this event, for want of room: see [`Overflow`](crate::Overflow).
            #[must_use]
            pub fn losses(&self) -> Losses {
                self.stamp.losses
            }
        }
    )+};
}
stamped!(
    LlmStart,
    ChatModelStart,
    LlmNewToken,
    LlmEnd,
    LlmError,
    ChainStart,
    ChainEnd,
    ChainError,
    ToolStart,
    ToolEnd,
    ToolError,
    RetrieverStart,
    RetrieverEnd,
    RetrieverError,
    AgentAction,
    AgentFinish,
    Text,
    Retry,
    CustomEvent,
);

macro_rules! starts {
    ($($payload:ident),+ $(,)?) => {$(
        impl $payload {
            /// Makes the run's id the caller's instead of a new one.
            #[must_use]
            pub fn with_run_id(mut self, id: RunId) -> Self {
                self.run_id = Some(id);
                self
            }
        }
    )+};
}
starts!(LlmStart, ChatModelStart, ChainStart, ToolStart, RetrieverStart);

macro_rules! model_starts {
    ($($payload:ident),+) => {$(
        impl $payload {
            /// Sets what the model was called with.
            #[must_use]
            pub fn with_invocation_params(mut self, params: Map<String, Value>) -> Self {
                self.invocation_params = params;
                self
            }

            /// Tells how many were asked together.
            #[must_use]
            pub fn with_batch_size(mut self, size: usize) -> Self {
                self.batch_size = size;
                self
            }
        }
    )+};
}
model_starts!(LlmStart, ChatModelStart);

/// A text model was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LlmStart {
    /// The name of what was asked: of a model's class or of the model, as its author likes.
    pub name: Arc<str>,
    /// The prompt. Of a batch, each prompt has a run and a start of its own.
    pub prompt: String,
    /// How many prompts were asked together.
    pub batch_size: usize,
    /// What the model was called with: its name, temperature and so on; never a secret.
    pub invocation_params: Map<String, Value>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) stamp: Stamp,
}

impl LlmStart {
    /// The start of a run of the model `name`.
    pub fn new(name: impl Into<Arc<str>>, prompt: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            prompt: prompt.into(),
            batch_size: 1,
            invocation_params: Map::new(),
            run_id: None,
            stamp: Stamp::default(),
        }
    }
}

/// A chat model was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChatModelStart {
    /// The name of what was asked: of a model's class or of the model, as its author likes.
    pub name: Arc<str>,
    /// The conversation. Of a batch, each conversation has a run and a start of its own.
    pub messages: Vec<Message>,
    /// How many conversations were asked together.
    pub batch_size: usize,
    /// What the model was called with: its name, temperature and so on; never a secret.
    pub invocation_params: Map<String, Value>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) stamp: Stamp,
}

impl ChatModelStart {
    /// The start of a run of the model `name`.
    pub fn new(name: impl Into<Arc<str>>, messages: impl Into<Vec<Message>>) -> Self {
        Self {
            name: name.into(),
            messages: messages.into(),
            batch_size: 1,
            invocation_params: Map::new(),
            run_id: None,
            stamp: Stamp::default(),
        }
    }

    /// The same start for a handler that knows text models only: the messages as text.
    #[must_use]
    pub fn to_llm_start(&self) -> LlmStart {
        LlmStart {
            name: self.name.clone(),
            prompt: buffer_string(&self.messages),
            batch_size: self.batch_size,
            invocation_params: self.invocation_params.clone(),
            run_id: self.run_id,
            stamp: self.stamp,
        }
    }
}

/// A model streamed a token: of its text, or of what is no part of that, its [`reasoning`](Self::reasoning), a [`refusal`](Self::refusal) or
/// [tool calls](Self::tool_calls).
///
/// A handler that prints `token` prints the answer, and nothing else.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LlmNewToken {
    /// A piece of the answer's text; empty where the event brings something else.
    pub token: Token,
    /// The chunk that the token came in, where the model streams chunks.
    pub chunk: Option<Box<LlmChunk>>,
    pub(crate) stamp: Stamp,
}

impl LlmNewToken {
    /// A token without a chunk.
    pub fn new(token: impl Into<Token>) -> Self {
        Self {
            token: token.into(),
            chunk: None,
            stamp: Stamp::default(),
        }
    }

    /// Which of several answers it is a piece of, from 0.
    #[must_use]
    pub fn choice(&self) -> u32 {
        self.chunk.as_ref().map_or(0, |chunk| chunk.index)
    }

    /// A piece of what the model thinks aloud; mostly empty.
    #[must_use]
    pub fn reasoning(&self) -> &str {
        self.chunk.as_ref().map_or("", |chunk| &chunk.reasoning)
    }

    /// A piece of why the model will not answer; mostly empty.
    #[must_use]
    pub fn refusal(&self) -> &str {
        self.chunk.as_ref().map_or("", |chunk| &chunk.refusal)
    }

    /// Pieces of tool calls; mostly none.
    #[must_use]
    pub fn tool_calls(&self) -> &[ToolCallChunk] {
        self.chunk.as_ref().map_or(&[], |chunk| &chunk.tool_calls)
    }

    /// Joins a later token to this one, if it is of the same choice.
    pub(crate) fn join(&mut self, newer: &Self) -> bool {
        if self.choice() != newer.choice() {
            return false;
        }
        if self.chunk.is_some() || newer.chunk.is_some() {
            let mut chunk = self.chunk.take().unwrap_or_else(|| Box::new(LlmChunk::new(self.token.clone())));
            match &newer.chunk {
                Some(more) => chunk.join((**more).clone()),
                None => chunk.join(LlmChunk::new(newer.token.clone())),
            }
            self.chunk = Some(chunk);
        }
        self.token.push_str(&newer.token);
        true
    }
}

impl From<&str> for LlmNewToken {
    #[inline]
    fn from(token: &str) -> Self {
        Self::new(token)
    }
}

impl From<String> for LlmNewToken {
    #[inline]
    fn from(token: String) -> Self {
        Self::new(token)
    }
}

impl From<Token> for LlmNewToken {
    #[inline]
    fn from(token: Token) -> Self {
        Self::new(token)
    }
}

impl From<LlmChunk> for LlmNewToken {
    #[inline]
    fn from(chunk: LlmChunk) -> Self {
        Self {
            token: chunk.text.clone(),
            chunk: Some(Box::new(chunk)),
            stamp: Stamp::default(),
        }
    }
}

/// A model is done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LlmEnd {
    /// What it made.
    pub result: LlmResult,
    /// Whether the result is what the run's tokens make together, which is filled in when the end is accepted: an end that does not come to
    /// that leaves them to the error that takes its place.
    pub(crate) of_tokens: bool,
    pub(crate) stamp: Stamp,
}

impl LlmEnd {
    /// The end with that result.
    #[must_use]
    pub fn new(result: LlmResult) -> Self {
        Self {
            result,
            of_tokens: false,
            stamp: Stamp::default(),
        }
    }

    pub(crate) fn of_tokens() -> Self {
        Self {
            of_tokens: true,
            ..Self::new(LlmResult::new())
        }
    }
}

/// A model's run failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LlmError {
    /// What went wrong.
    pub error: RunError,
    /// What there was by then; empty where no token had come.
    pub partial: LlmResult,
    pub(crate) stamp: Stamp,
}

impl LlmError {
    /// The error, with what there was by then.
    #[must_use]
    pub fn new(error: RunError, partial: LlmResult) -> Self {
        Self {
            error,
            partial,
            stamp: Stamp::default(),
        }
    }
}

/// A chain began.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChainStart {
    /// The chain's name.
    pub name: Arc<str>,
    /// What it was given.
    pub inputs: Value,
    pub(crate) run_id: Option<RunId>,
    pub(crate) stamp: Stamp,
}

impl ChainStart {
    /// The start of the chain `name`.
    pub fn new(name: impl Into<Arc<str>>, inputs: impl Into<Value>) -> Self {
        Self {
            name: name.into(),
            inputs: inputs.into(),
            run_id: None,
            stamp: Stamp::default(),
        }
    }
}

/// A chain is done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChainEnd {
    /// What it made.
    pub outputs: Value,
    /// How many runs inside this one were still open: each is cut off, and ends as cancelled.
    pub open_children: usize,
    pub(crate) stamp: Stamp,
}

impl ChainEnd {
    /// The end with those outputs.
    pub fn new(outputs: impl Into<Value>) -> Self {
        Self {
            outputs: outputs.into(),
            open_children: 0,
            stamp: Stamp::default(),
        }
    }
}

/// A chain failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChainError {
    /// What went wrong.
    pub error: RunError,
    /// How many runs inside this one were still open: each is cut off, and ends as cancelled.
    pub open_children: usize,
    pub(crate) stamp: Stamp,
}

/// A tool was called.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolStart {
    /// The tool's name.
    pub name: Arc<str>,
    /// Its input as text.
    pub input: String,
    /// Its input by name, where the tool has structured input.
    pub inputs: Option<Value>,
    /// What the tool is for, as the model was told.
    pub description: Option<String>,
    /// The id of the model's tool call.
    pub tool_call_id: Option<String>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) stamp: Stamp,
}

impl ToolStart {
    /// The start of the tool `name`.
    pub fn new(name: impl Into<Arc<str>>, input: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            input: input.into(),
            inputs: None,
            description: None,
            tool_call_id: None,
            run_id: None,
            stamp: Stamp::default(),
        }
    }

    /// Sets the input by name.
    #[must_use]
    pub fn with_inputs(mut self, inputs: impl Into<Value>) -> Self {
        self.inputs = Some(inputs.into());
        self
    }

    /// Sets what the tool is for.
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

/// A tool is done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolEnd {
    /// What it made.
    pub output: Value,
    /// How many runs inside this one were still open: each is cut off, and ends as cancelled.
    pub open_children: usize,
    pub(crate) stamp: Stamp,
}

impl ToolEnd {
    /// The end with that output.
    pub fn new(output: impl Into<Value>) -> Self {
        Self {
            output: output.into(),
            open_children: 0,
            stamp: Stamp::default(),
        }
    }
}

/// A tool failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ToolError {
    /// What went wrong.
    pub error: RunError,
    /// The id of the model's tool call.
    pub tool_call_id: Option<String>,
    /// How many runs inside this one were still open: each is cut off, and ends as cancelled.
    pub open_children: usize,
    pub(crate) stamp: Stamp,
}

/// A retriever was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetrieverStart {
    /// The retriever's name.
    pub name: Arc<str>,
    /// What is searched.
    pub query: String,
    pub(crate) run_id: Option<RunId>,
    pub(crate) stamp: Stamp,
}

impl RetrieverStart {
    /// The start of the retriever `name`.
    pub fn new(name: impl Into<Arc<str>>, query: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            query: query.into(),
            run_id: None,
            stamp: Stamp::default(),
        }
    }
}

/// A retriever is done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetrieverEnd {
    /// What it found, best first.
    pub documents: Vec<Document>,
    /// How many runs inside this one were still open: each is cut off, and ends as cancelled.
    pub open_children: usize,
    pub(crate) stamp: Stamp,
}

impl RetrieverEnd {
    /// The end with those documents.
    pub fn new(documents: impl Into<Vec<Document>>) -> Self {
        Self {
            documents: documents.into(),
            open_children: 0,
            stamp: Stamp::default(),
        }
    }
}

/// A piece of text that a retriever found.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Document {
    /// The text.
    pub page_content: String,
    /// Where it is from, and what else is known of it.
    pub metadata: Map<String, Value>,
    /// Its id in the store.
    pub id: Option<String>,
}

impl Document {
    /// A document of that text.
    pub fn new(page_content: impl Into<String>) -> Self {
        Self {
            page_content: page_content.into(),
            ..Self::default()
        }
    }

    /// Sets where it is from, and what else is known of it.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets its id in the store.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// A retriever failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetrieverError {
    /// What went wrong.
    pub error: RunError,
    /// How many runs inside this one were still open: each is cut off, and ends as cancelled.
    pub open_children: usize,
    pub(crate) stamp: Stamp,
}

/// An agent chose a tool.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentAction {
    /// The tool's name.
    pub tool: String,
    /// The tool's input.
    pub tool_input: Value,
    /// What the model said on the way.
    pub log: String,
    pub(crate) stamp: Stamp,
}

impl AgentAction {
    /// The choice of `tool`.
    pub fn new(tool: impl Into<String>, tool_input: impl Into<Value>, log: impl Into<String>) -> Self {
        Self {
            tool: tool.into(),
            tool_input: tool_input.into(),
            log: log.into(),
            stamp: Stamp::default(),
        }
    }
}

/// An agent is done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AgentFinish {
    /// What it returns.
    pub return_values: Value,
    /// What the model said on the way.
    pub log: String,
    pub(crate) stamp: Stamp,
}

impl AgentFinish {
    /// The end with those values.
    pub fn new(return_values: impl Into<Value>, log: impl Into<String>) -> Self {
        Self {
            return_values: return_values.into(),
            log: log.into(),
            stamp: Stamp::default(),
        }
    }
}

/// Some text for whoever watches.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Text {
    /// The text.
    pub text: String,
    pub(crate) stamp: Stamp,
}

impl Text {
    /// That text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            stamp: Stamp::default(),
        }
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

/// Something failed and will be tried again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Retry {
    /// Which attempt failed, from 1.
    pub attempt: u32,
    /// Why it failed.
    pub cause: Arc<dyn Error + Send + Sync>,
    /// How long it will be before the next attempt.
    pub wait: Duration,
    pub(crate) stamp: Stamp,
}

impl Retry {
    /// The failure of that attempt.
    pub fn new(attempt: u32, cause: impl Into<Box<dyn Error + Send + Sync>>, wait: Duration) -> Self {
        Self {
            attempt,
            cause: Arc::from(cause.into()),
            wait,
            stamp: Stamp::default(),
        }
    }
}

/// An event of the application's own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CustomEvent {
    /// The event's name.
    pub name: Arc<str>,
    /// The event's data.
    pub data: Value,
    pub(crate) run_id: Option<RunId>,
    pub(crate) stamp: Stamp,
}

impl CustomEvent {
    /// The event `name`.
    pub fn new(name: impl Into<Arc<str>>, data: impl Into<Value>) -> Self {
        Self {
            name: name.into(),
            data: data.into(),
            run_id: None,
            stamp: Stamp::default(),
        }
    }

    /// Sends the event under that id, where a manager sends it; a run's own events go under the run's.
    #[must_use]
    pub fn with_run_id(mut self, id: RunId) -> Self {
        self.run_id = Some(id);
        self
    }
}

macro_rules! errors {
    ($($payload:ident),+ $(,)?) => {$(
        impl $payload {
            /// The error.
            #[must_use]
            pub fn new(error: RunError) -> Self {
                Self { error, open_children: 0, stamp: Stamp::default() }
            }
        }
    )+};
}
errors!(ChainError, RetrieverError);

impl ToolError {
    /// The error.
    #[must_use]
    pub fn new(error: RunError) -> Self {
        Self {
            error,
            tool_call_id: None,
            open_children: 0,
            stamp: Stamp::default(),
        }
    }
}
