//! Callbacks for LLM applications, on any async runtime: stream tokens to a page, log, trace, count
//! the cost, or stop a run. The events and their names are those of LangChain's callbacks.
//!
//! ```no_run
#![doc = include_str!("../examples/first.rs")]
//! ```
//!
//! This is the one crate to add. It has all of `rappel-core`: events, handlers, managers, runs. The
//! runtimes, the ready-made handlers and the clients are modules, each with a feature.
//!
//! - [The guide](guide): first steps on each runtime, writing handlers, tools and agents, a handler per
//!   request, streams to front ends, delivery, cancellation, context, testing, coming from LangChain or
//!   `tracing`.
//! - [`prelude`]: the names that most programs need, those of the enabled features included.
//! - [`CallbackManager`] has handlers, and starts runs. [`CallbackHandler`] and
//!   [`AsyncCallbackHandler`] are what you write.
//!
//! # Features
//! A feature adds names. It never changes behaviour, and it never picks a runtime: a runtime is a
//! value, such as `Tokio::current()`.
#![doc = document_features::document_features!()]
//!
//! # Crates of their own
//! These are not in this crate, because they follow the versions of another crate:
//!
//! - `rappel-opentelemetry`: runs as OpenTelemetry spans and metrics, sent over OTLP.
//! - `rappel-rig`: the events of a `rig` agent.
//! - `rappel-rmcp`: MCP tool calls of `rmcp` as tool runs.
//! - `rappel-redis`: handlers on other machines, over Redis Streams.
//! - `rappel-testkit`: a handler that records, a model that answers by a script, and tests for
//!   runtimes. It is a dev-dependency.
//!
//! Their documentation imports from `rappel_core` and from the runtimes' crates, such as
//! `rappel_tokio::prelude`. The same names are in this crate and in its [`prelude`].

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use rappel_core::*;

#[cfg(any(doc, doctest))]
pub mod guide;
pub mod prelude;

/// On tokio, of either flavor.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio {
    pub use rappel_tokio::{Tokio, TokioError};
}

/// On smol: its global executor, or one of your own.
#[cfg(feature = "smol")]
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
pub mod smol {
    pub use rappel_smol::Smol;
}

/// On async-std. It is discontinued upstream: to move to smol, change `AsyncStd::new()` to
/// `Smol::global()`.
#[cfg(feature = "async-std")]
#[cfg_attr(docsrs, doc(cfg(feature = "async-std")))]
pub mod async_std {
    pub use rappel_async_std::AsyncStd;
}

/// On plain threads, for programs without an async runtime.
#[cfg(feature = "threads")]
#[cfg_attr(docsrs, doc(cfg(feature = "threads")))]
pub mod threads {
    pub use rappel_threads::Threads;
}

/// On executors of one thread, with handlers that are not `Send`.
#[cfg(feature = "local")]
#[cfg_attr(docsrs, doc(cfg(feature = "local")))]
pub mod local {
    pub use rappel_local::{
        FromFuturesLocalSpawn, Inbox, Local, LocalAsyncCallbackHandler, LocalAsyncHandlerFn,
        LocalBoxFuture, LocalCallbackManager, LocalHandlerFuture, LocalSpawnFn, LocalSpawner,
        WrongThread, local_async_handler_fn, local_spawn_fn,
    };
}

/// In WebAssembly: the event loop of a browser or of node.
#[cfg(feature = "wasm")]
#[cfg_attr(docsrs, doc(cfg(feature = "wasm")))]
pub mod wasm {
    pub use rappel_wasm::{JavaScript, Wasm};
}

/// Ready-made handlers: each is one line to register.
#[cfg(feature = "handlers")]
#[cfg_attr(docsrs, doc(cfg(feature = "handlers")))]
pub mod handlers {
    pub use rappel_handlers::*;
}

/// Token and event streams, and what front ends read: the AI SDK, AG-UI, LangChain.
#[cfg(feature = "streams")]
#[cfg_attr(docsrs, doc(cfg(feature = "streams")))]
pub mod streams {
    pub use rappel_streams::*;
}

/// Runs as spans of `tracing`, and the emitter's span in handlers' calls.
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing {
    pub use rappel_tracing::*;
}

/// A chat model for OpenAI-compatible servers.
#[cfg(feature = "openai")]
#[cfg_attr(docsrs, doc(cfg(feature = "openai")))]
pub mod openai {
    pub use rappel_openai::*;
}
