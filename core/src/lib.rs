#![doc = include_str!("../README.md")]
//!
//! A handler is written once, sync or async. It gets the events of each run in order, and none is
//! lost. An event that no handler is interested in costs about a nanosecond.
//!
//! Another runtime is adapted with [`FromFuturesSpawn`] or [`spawn_fn`], and
//! [`CallbackManager::pair`] needs none.
//!
//! - Write a [`CallbackHandler`], whose methods may block, or an [`AsyncCallbackHandler`].
//! - Register it with a [`CallbackManager`].
//! - Give the manager to a [`ChatModel`], or emit events from your own client:
//!   [`on_llm_start`](CallbackManager::on_llm_start) returns an [`LlmRun`], and
//!   [`with_callbacks`](WithCallbacks::with_callbacks) wraps a stream.
//!
//! # Modules
//! The root has every name. The modules group them: [`event`] (events and their payloads),
//! [`message`], [`result`], [`handler`], [`runtime`] and [`error`]. The [`prelude`] has what handlers
//! and emitters need most.
//!
//! # Features
//! | feature | what it adds | without it |
//! |---|---|---|
//! | `std` (default) | panics of handlers are caught; the current run, in a thread-local; the system's clock and randomness; `wait()` for sync code; `Arc<Mutex<H>>` as a handler | a panic is not caught; no current run; managers need a [`Clock`] and an [`Entropy`] ([`CallbackManager::with_sources`]); failures are reported only to [`on_handler_failure`](CallbackManager::on_handler_failure) |
//! | `serde` | `Serialize` and `Deserialize` for events, run info, messages, results and errors; the module `record` | |
//! | `tracing` | failures of handlers are reported with `tracing::warn!` | they are written to standard error |
//!
//! Without `std` the crate needs `alloc`, pointer-sized atomics and an implementation of
//! `critical-section`. On `wasm32-unknown-unknown` it must be built without `std`, which has no clock
//! there: `rappel-wasm` does that.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(all(feature = "std", target_family = "wasm", target_os = "unknown"))]
compile_error!(
    "on this target `std` has no clock and panics when it is asked for the time: \
     build rappel-core without its feature `std`, as rappel-wasm does"
);

// The layers, lowest first. A file imports only from its own layer or a lower one.
mod dispatch;
mod ext;
pub mod handler;
mod manager;
mod model;
pub mod prelude;
mod queue;
mod run;
pub mod runtime;
mod util;

/// Events, their kinds, and their payloads.
pub mod event {
    pub use crate::model::context::{EventContext, Losses, RecordedAt};
    pub use crate::model::document::Document;
    pub use crate::model::emitter::{CapturedContext, EmitterContext};
    pub use crate::model::event::{
        AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent,
        Event, EventGroup, EventKind, Interest, LlmEnd, LlmError, LlmNewToken, LlmStart,
        RetrieverEnd, RetrieverError, RetrieverStart, Retry, Text, ToolEnd, ToolError, ToolStart,
    };
    pub use crate::model::run_info::{RemoteDelivery, RunId, RunIdError, RunInfo, RunKind};
    pub use crate::model::traceparent::{TraceParent, TraceParentError};
}

/// Messages: the input of a chat model.
pub mod message {
    pub use crate::model::message::{
        Content, ContentPart, Conversation, Message, Role, ToolCall, buffer_string,
    };
}

/// Results: the output of a model.
pub mod result {
    pub use crate::model::result::{
        FinishReason, Generation, LlmChunk, LlmResult, TokenLogprob, TokenUsage, ToolCallChunk,
        TopLogprob,
    };
    pub use crate::model::token::Token;
}

/// Events as data: a record of each event, which can be written down, read back and replayed.
#[cfg(feature = "serde")]
pub mod record {
    pub use crate::manager::{ReplayCounts, ReplayError, Replayer};
    pub use crate::model::record::{About, EventRecord, EventRecordRef, RecordedError, Recorder};
}

/// Errors of handlers, of runs and of emitting.
pub mod error {
    pub use crate::model::error::{
        EmitError, FailureCause, HandlerError, HandlerFailure, HandlerResult, RegisterError,
        RunError, SharedError,
    };
}

#[doc(inline)]
pub use dispatch::Scoped;
#[doc(no_inline)]
pub use error::{
    EmitError, FailureCause, HandlerError, HandlerFailure, HandlerResult, RegisterError, RunError,
    SharedError,
};
#[doc(no_inline)]
pub use event::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent,
    Document, Event, EventContext, EventGroup, EventKind, Interest, LlmEnd, LlmError, LlmNewToken,
    LlmStart, Losses, RecordedAt, RemoteDelivery, RetrieverEnd, RetrieverError, RetrieverStart,
    Retry, RunId, RunIdError, RunInfo, RunKind, Text, ToolEnd, ToolError, ToolStart, TraceParent,
    TraceParentError,
};
pub use ext::{
    CallOptions, CallbackStream, ChatModel, ChatModelExt, Driver, FromRunError, InCurrentRun,
    InRun, Inside, LlmStream, Paired, RequireLast, RunFuture, ToLlmChunk, WithCallbacks,
};
#[doc(no_inline)]
pub use handler::{
    AsyncCallbackHandler, AsyncHandlerFn, Awaited, Background, BoxHandler, CallbackHandler,
    Delivery, DynAsyncHandler, HandlerFn, HandlerFuture, HandlerId, HandlerOptions, HandlerStats,
    Overflow, Pipelined, SendHandler, ShutdownReport, async_handler_fn, handler_fn,
};
pub use manager::{CallbackManager, Dispatcher, Flush, Shutdown};
#[doc(no_inline)]
pub use message::{Content, ContentPart, Conversation, Message, Role, ToolCall, buffer_string};
#[cfg(feature = "serde")]
#[doc(no_inline)]
pub use record::{EventRecord, Recorder, ReplayCounts, ReplayError, Replayer};
#[doc(no_inline)]
pub use result::{
    FinishReason, Generation, LlmChunk, LlmResult, Token, TokenLogprob, TokenUsage, ToolCallChunk,
    TopLogprob,
};
pub use run::{ChainRun, Emit, End, Kept, LlmRun, RetrieverRun, SendEvent, Start, ToolRun};
#[doc(no_inline)]
pub use runtime::{
    BlockingExecutor, BlockingFn, Clock, Entropy, FromFuturesSpawn, SpawnError, SpawnFn, Spawner,
    Timer, blocking_fn, spawn_fn,
};
/// JSON, for inputs, outputs, metadata and other fields: re-exported from `serde_json`.
pub use serde_json::{Map, Value, json};
