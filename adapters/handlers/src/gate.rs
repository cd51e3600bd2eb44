//! Asking before a model or a tool runs.

use std::fmt;

use rappel_core::handler::AsyncEventFn;
use rappel_core::{
    AsyncCallbackHandler, AsyncHandlerFn, Awaited, CallbackManager, Event, EventContext, EventKind,
    HandlerError, HandlerFuture, HandlerId, HandlerResult, Interest, async_handler_fn,
};

use crate::Register;

/// Asks an async closure before each model and each tool runs. If it returns an error, the run is
/// stopped.
///
/// It is LangChain's `HumanApprovalCallbackHandler` and `UpstashRatelimitHandler`: ask a person, a
/// policy or a rate limiter. [`Budget`](crate::Budget) is a gate that counts.
///
/// ```
/// use rappel_handlers::{Gate, With};
/// use rappel_threads::prelude::*;
///
/// let gate = Gate::tools(async |event, _cx| match event {
///     Event::ToolStart(start) if &*start.name == "shell" => Err("no shells here".into()),
///     _ => Ok(()),
/// });
/// let callbacks = CallbackManager::new(Threads::new()).with(gate);
///
/// let refused = callbacks.on_tool_start(ToolStart::new("shell", "rm -r /")).wait();
/// assert!(matches!(refused, Err(EmitError::Raised(_))));
/// assert!(callbacks.on_tool_start(ToolStart::new("clock", "")).wait().is_ok());
/// ```
///
/// The other handlers have seen the start, and get the end of the run: an error that is
/// [`RunError::Stopped`](rappel_core::RunError::Stopped). A model of rappel returns that error to
/// its caller. It sends no request.
///
/// The closure is cloned for each event. Share state with an `Arc`.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it awaited, with `raise_error`. The start of the run
/// waits for the closure. Several runs ask at the same time. The closure runs on the emitter's task
/// and must not block its thread.
///
/// # Failures
/// An error of the closure stops the run. So does a panic.
#[derive(Clone)]
pub struct Gate<F> {
    ask: AsyncHandlerFn<F>,
    kinds: Interest,
}

const MODELS: Interest = Interest::only(EventKind::LlmStart).with(EventKind::ChatModelStart);

impl<F> Gate<F>
where
    F: AsyncFn(&Event, &EventContext) -> HandlerResult,
    F: for<'a> AsyncEventFn<'a> + Clone + Send + Sync + 'static,
{
    /// Asks before models and tools run.
    pub fn new(ask: F) -> Self {
        Self { ask: async_handler_fn(ask), kinds: MODELS.with(EventKind::ToolStart) }
    }

    /// Asks before models run.
    pub fn models(ask: F) -> Self {
        Self { kinds: MODELS, ..Self::new(ask) }
    }

    /// Asks before tools run.
    pub fn tools(ask: F) -> Self {
        Self { kinds: Interest::only(EventKind::ToolStart), ..Self::new(ask) }
    }
}

impl<F> AsyncCallbackHandler for Gate<F>
where
    F: for<'a> AsyncEventFn<'a> + Clone + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        "Gate"
    }

    fn interest(&self) -> Interest {
        self.kinds
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        if self.kinds.contains(event.kind()) {
            self.ask.on_event(event, cx)
        } else {
            HandlerFuture::new(std::future::ready(Err(HandlerError::unhandled())))
        }
    }
}

impl<F> Register for Gate<F>
where
    F: for<'a> AsyncEventFn<'a> + Clone + Send + Sync + 'static,
{
    fn register(self, callbacks: &mut CallbackManager) -> HandlerId {
        register_gate(self, callbacks)
    }
}

/// Registers an async handler that can stop runs.
pub(crate) fn register_gate(
    gate: impl AsyncCallbackHandler,
    callbacks: &mut CallbackManager,
) -> HandlerId {
    match callbacks.add_async_handler_options(gate, Awaited::new().raise_error()) {
        Ok(id) => id,
        Err(error) => unreachable!("only a time-out is refused: {error}"),
    }
}

impl<F> fmt::Debug for Gate<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}
