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
//! | in rig | in rappel |
//! |---|---|
//! | a run of an agent | an agent's run, which is a chain's run, and `on_agent_finish` if it answers |
//! | a completion, streamed or not | a chat model's run with usage, finish reason, tool calls and ids |
//! | a delta of text, of reasoning, of a tool call | `on_llm_new_token` |
//! | a tool call | `on_agent_action`, and a tool's run with the call's id |
//! | a retrieval of tools, and of an [`index`](RigHook::index) | a retriever's run |
//! | memory: load, append, clear | a chain's run with the name `memory` |
//! | a tool call that rig cannot dispatch | a custom event with the name `invalid_tool_call` |
//! | an agent that a tool starts | an agent's run under the tool's run |
//!
//! If rig's run of an agent is dropped, all its open runs end as cancelled, children first.
//!
//! # What the hook does not do
//! - It does not control the agent: it always lets rig continue. A handler with `raise_error` does not
//!   stop a rig agent. Write a hook of your own for that.
//! - It does not see what a later hook changes. Add it first.
//! - It does not see embeddings. It sees retrievals of `dynamic_context` only with [`RigHook::index`].
//!
//! The page `docs/rig.md` of the repository has the whole list.
//!
//! # Handlers of one request
//! A hook has the handlers of one manager. If an agent's run starts inside a run or a manager of rappel
//! ([`in_run`](rappel_core::InRun::in_run), [`in_scope`](rappel_core::InRun::in_scope)), it also gets
//! the handlers of that run or manager. Inside a run, it is a child of that run. So one agent for the
//! whole process can have other handlers for each request.
//!
//! # Sub-agents
//! If a tool of an agent starts another agent, that agent's run is a child of the tool's run, and gets
//! the tool's handlers. Both agents need a hook. Rig does not tell a hook which tool call started an
//! agent. The hook finds the call in one of two ways:
//!
//! - By rig's span of the tool call, `execute_tool`. This is exact. It needs a `tracing` subscriber that
//!   enables rig's spans. They have the level INFO.
//! - Without this span, by the tool's name and the prompt. This works if the agent itself is the tool
//!   ([`Agent::into_tool`](rig_agent::Agent::into_tool)). If open calls of different traces have the same
//!   name and the same prompt, the agent's run is a root run.
//!
//! # Spans
//! Rig makes `tracing` spans of its own (`invoke_agent`, `chat`, `execute_tool`). If you export them and
//! rappel's spans, each call has two spans. Export only one of the two. This removes rig's spans from
//! the layer that exports:
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
//! A minor release of rig or of `rappel-core` leads to a new minor version of this crate. The README has
//! a table. This crate re-exports [`rig_agent`].

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

/// A hook of a rig agent that emits the agent's events to a manager's handlers.
///
/// Add it once to an agent ([`AgentBuilder::add_hook`](rig_agent::AgentBuilder::add_hook)) or to a
/// prompt, before other hooks. A clone is the same hook, so do not add both to one agent. The hook
/// always lets rig continue. It catches its own panics, and reports them with `tracing::warn!`.
///
/// # Cancel safety
/// If rig's run of an agent is dropped, streamed or not, its open runs end as cancelled.
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

    /// Sets the name of the model's runs for requests that do not name a model. The default is `model`.
    /// Rig does not tell a hook the name of the model before its answer.
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
