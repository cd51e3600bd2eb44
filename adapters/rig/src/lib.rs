//! Agents of [rig](https://docs.rs/rig-agent) with callbacks.
//!
//! [`RigHook`] is a hook of a rig agent. It emits the agent's events to a rappel manager:
//!
//! ```
//! use rappel_core::CallbackManager;
//! use rappel_rig::RigHook;
//! use rig_agent::core::{DynModel, operation::Completion};
//! use rig_agent::{Agent, AgentBuilder};
//!
//! fn agent(model: impl Into<DynModel<Completion>>, callbacks: &CallbackManager) -> Agent {
//!     AgentBuilder::new(model).name("assistant").add_hook(RigHook::new(callbacks)).build()
//! }
//! ```
//!
//! | of rig | of rappel |
//! |---|---|
//! | a run of an agent | a chain's run that is an agent, and `on_agent_finish` |
//! | a completion, streamed or not | a chat model's run with usage, finish reason, tool calls and ids |
//! | a delta of text, of reasoning, of a tool call | `on_llm_new_token` |
//! | a tool call | `on_agent_action`, and a tool's run with the call's id |
//! | a retrieval of tools, and of an [`index`](RigHook::index) | a retriever's run |
//! | memory: load, append, clear | a chain's run with the name `memory` |
//! | a tool call that cannot be dispatched | a custom event with the name `invalid_tool_call` |
//! | an agent that a tool starts | an agent's run under the tool's run |
//!
//! A run of rig that is dropped ends all its open runs as cancelled, children first.
//!
//! # What the hook does not do
//! - It steers nothing: it returns rig's neutral action each time. A handler with `raise_error` does
//!   not stop a rig agent. Use a hook of your own for that.
//! - It does not see a retrieval of `dynamic_context` without [`RigHook::index`], embeddings, nor what
//!   a hook after it changes. Add it first. The page `docs/rig.md` of the repository has the whole list.
//!
//! # Handlers of one request
//! A hook is for a manager. Where a run starts inside a run or a manager of rappel
//! ([`in_scope`](rappel_core::InRun::in_scope), [`in_run`](rappel_core::InRun::in_run)), it gets those
//! handlers too, and is a child of that run. So an agent for the whole process can have handlers for
//! each request.
//!
//! # Sub-agents
//! The run of an agent that another agent's tool starts is a child of the tool's run, and gets its
//! handlers. Both agents need a hook. Rig does not say who started an agent. The hook finds the call in
//! one of two ways:
//!
//! - by rig's span of the tool call, `execute_tool`. This is exact. It needs a subscriber of `tracing`
//!   that wants rig's spans, which have the level INFO.
//! - without such a subscriber, by the tool's name and the prompt, for an agent that is the tool itself
//!   ([`Agent::into_tool`](rig_agent::Agent::into_tool)). If calls of different traces that are open at
//!   the same time have the same name and the same prompt, the agent's run is a root run.
//!
//! # Spans
//! Rig makes `tracing` spans of its own (`invoke_agent`, `chat`, `execute_tool`). If they are exported,
//! and rappel's spans are exported too, each call has two spans. Export one of them. This keeps rig's
//! out of the layer that exports:
//!
//! ```
//! use tracing_subscriber::filter::filter_fn;
//! use tracing_subscriber::layer::{Layer, SubscriberExt};
//! use tracing_subscriber::registry::Registry;
//!
//! # fn example(exporter: impl Layer<Registry> + Send + Sync) {
//! let exporter = exporter.with_filter(filter_fn(|span| !span.target().starts_with("rig")));
//! let subscriber = Registry::default().with(exporter);
//! # let _ = subscriber;
//! # }
//! ```
//!
//! # Versions
//! This crate has its own version line: a minor release of rig or of `rappel-core` is a new minor
//! version. The README has a table. [`rig_agent`] is re-exported.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod agent;
mod convert;
mod hook;
mod model;
mod open;
mod retriever;

use std::fmt;
use std::sync::Arc;

use rappel_core::CallbackManager;
pub use retriever::ObservedIndex;
pub use rig_agent;

/// A hook that emits what a rig agent does to a manager's handlers.
///
/// Add it once to an agent ([`AgentBuilder::add_hook`](rig_agent::AgentBuilder::add_hook)) or to a
/// prompt, before other hooks. It returns rig's neutral action each time. Its panics are caught and
/// reported with `tracing::warn!`. A clone is the same hook.
///
/// # Cancel safety
/// A run of rig that is dropped, streamed or not, ends its open runs as cancelled.
#[derive(Clone)]
pub struct RigHook(Arc<Settings>);

struct Settings {
    callbacks: CallbackManager,
    model: Arc<str>,
}

impl RigHook {
    /// Makes a hook for the handlers, tags and metadata of `callbacks`.
    #[must_use]
    pub fn new(callbacks: &CallbackManager) -> Self {
        Self(Arc::new(Settings { callbacks: callbacks.clone(), model: Arc::from("model") }))
    }

    /// Sets the name of the model's runs. Rig does not tell a hook the name of the model before its
    /// answer. Without it the name is `model`, if the request itself does not name a model.
    #[must_use]
    pub fn with_model(self, name: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Settings { callbacks: self.0.callbacks.clone(), model: name.into() }))
    }
}

impl fmt::Debug for RigHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RigHook")
            .field("callbacks", &self.0.callbacks)
            .field("model", &self.0.model)
            .finish()
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
