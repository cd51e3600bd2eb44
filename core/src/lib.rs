//! The core of **rappel**: callbacks for LLM applications, on any async runtime.
//!
//! A user writes a handler once, sync or async; it sees each run's events in order, none is lost, and what nobody listens to costs next
//! to nothing. Applications depend on the adapter crate of their runtime, `rappel-tokio`, `rappel-smol`, `rappel-async-std` or `rappel-wasm`,
//! which re-exports all of this. Those that have no runtime take [`Threads`], or [`CallbackManager::pair`]; those that have another one [`FromFuturesSpawn`] or [`spawn_fn`], and those
//! whose handlers are not `Send` take `rappel-local`.
//! Authors of LLM crates that run on any runtime depend on this crate.
//!
//! - Write a [`CallbackHandler`] (its methods may block; they are called off the event loop) or an [`AsyncCallbackHandler`].
//! - Register it with a [`CallbackManager`].
//! - Give the manager to a [`ChatModel`], or emit from your own client: [`on_chat_model_start`](CallbackManager::on_chat_model_start)
//!   gives an [`LlmRun`], and [`with_callbacks`](WithCallbacks::with_callbacks) wraps a stream with it.
//!
//! # Tiers
//! | tier | what there is |
//! |---|---|
//! | `alloc` only | events, managers, runs, every delivery, on a runtime of your own or on none: [`CallbackManager::pair_with_sources`] |
//! | `std` | panic isolation; the current run, in a thread-local; the system's clock and randomness; [`Threads`]; [`CallbackManager::pair`] and [`blocking`](CallbackManager::blocking) |
//!
//! # Features
//! | feature | what it adds | what is lost without it |
//! |---|---|---|
//! | `std` (default) | panic isolation, the system's clock and randomness, [`Threads`], `Arc<Mutex<H>>` as a handler | a handler's panic is the target's affair; [`CallbackManager::with_sources`] wants a clock and random bytes; failures are reported to nobody unless you set [`on_handler_failure`](CallbackManager::on_handler_failure) |
//! | `serde` | `Serialize`, `Deserialize` for messages, results and run ids | those impls |
//! | `tracing` | failures of handlers go to `tracing::warn!` | they go to standard error |
//!
//! Without `std` the crate needs `alloc`, atomics of pointer width, and an implementation of `critical-section`. On `wasm32-unknown-unknown` it is to be
//! without `std`, which has no clock there: `rappel-wasm` sees to that.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(all(feature = "std", target_family = "wasm", target_os = "unknown"))]
compile_error!(
    "on this target `std` has no clock, and panics when it is asked: build rappel-core without its feature `std`, as rappel-wasm does"
);

#[cfg(feature = "std")]
mod blocking;
mod carrier;
mod contain;
mod context;
mod deadline;
mod dispatch;
mod engine;
mod envelope;
mod error;
mod event;
mod handler;
mod in_place;
mod instrument;
mod lane;
mod latch;
mod ledger;
mod manager;
mod message;
mod model;
#[cfg(feature = "std")]
mod park;
pub mod prelude;
mod registration;
mod report;
mod result;
mod run_info;
mod runs;
pub mod runtime;
mod runtimes;
mod scope;
mod seat;
mod shutdown;
mod stats;
mod stream;
mod sync;
mod token;
mod waiters;

#[cfg(feature = "std")]
pub use blocking::Blocking;
pub use context::InCurrentRun;
pub use error::{EmitError, FailureCause, HandlerError, HandlerFailure, HandlerResult, RunError, SharedError, StartError};
pub use event::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent, Document, Event, EventGroup, EventKind,
    Interest, LlmEnd, LlmError, LlmNewToken, LlmStart, RetrieverEnd, RetrieverError, RetrieverStart, Retry, Text, ToolEnd, ToolError,
    ToolStart,
};
pub use handler::{
    AsyncCallbackHandler, AsyncHandlerFn, Awaited, AwaitedOnly, Background, CallbackHandler, HandlerFn, HandlerFuture, HandlerOptions,
    IntoDelivery, IsAwaited, Pipelined, Queued, Timed, TimedBy, Untimed, Waits, async_handler_fn, handler_fn,
};
pub use instrument::{InRun, RunFuture};
pub use lane::{Losses, Overflow};
pub use ledger::Flush;
pub use manager::{CallbackManager, IntoCallbacks};
pub use message::{Content, ContentPart, Message, Role, ToolCall, buffer_string};
pub use model::{CallOptions, ChatModel, LlmStream};
pub use registration::HandlerId;
pub use result::{FinishReason, Generation, LlmChunk, LlmResult, TokenLogprob, TokenUsage, ToolCallChunk, TopLogprob};
pub use run_info::{RunId, RunIdError, RunInfo, RunKind};
pub use runs::{ChainRun, LlmRun, Parent, RetrieverRun, ToolRun};
#[doc(no_inline)]
pub use runtime::{BlockingExecutor, Clock, Entropy, Erased, SpawnError, Spawner, Timer};
#[cfg(feature = "std")]
pub use runtimes::Threads;
pub use runtimes::{BlockingFn, Driver, FromFuturesSpawn, Paired, SpawnFn, blocking_fn, spawn_fn};
pub use scope::{Emit, End, SendEvent, Start};
/// JSON, as inputs, outputs, metadata and extras are: `serde_json`'s, re-exported.
pub use serde_json::{Map, Value, json};
pub use stats::{HandlerStats, ShutdownReport};
pub use stream::{AsLlmChunk, CallbackStream, WithCallbacks};
pub use token::Token;
