//! What is in force where an event is emitted.

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::context::EventContext;

/// Captures what is in force where an event is emitted, so that it is in force again in the
/// handlers' calls for that event: the current span of a tracing system, for example.
///
/// Set it with
/// [`CallbackManager::with_emitter_context`](crate::CallbackManager::with_emitter_context).
/// `rappel-tracing` has one.
pub trait EmitterContext: Send + Sync + 'static {
    /// Captures what is in force on this thread. It is called for each event that a handler wants.
    /// `None` if there is nothing to carry.
    fn capture(&self) -> Option<Arc<dyn CapturedContext>>;
}

/// What an [`EmitterContext`] has captured.
pub trait CapturedContext: Send + Sync + 'static {
    /// Calls `call` once, with what was captured in force. It may be called on any thread, and more
    /// than once, as an async handler is polled more than once.
    fn within(&self, call: &mut dyn FnMut());
}

/// What was captured for an event, if anything was.
#[derive(Clone, Default)]
pub(crate) struct Captured(pub(crate) Option<Arc<dyn CapturedContext>>);

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "captured" } else { "nothing" })
    }
}

impl Captured {
    pub(crate) const fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl EventContext {
    /// Makes a handler's call where the emitter's context is in force.
    #[inline(always)]
    pub(crate) fn within_emitter<O>(&self, call: impl FnOnce() -> O) -> O {
        match &self.emitter.0 {
            None => call(),
            Some(captured) => within(&**captured, call),
        }
    }
}

#[cold]
fn within<O>(captured: &dyn CapturedContext, call: impl FnOnce() -> O) -> O {
    let (mut call, mut output) = (Some(call), None);
    captured.within(&mut || {
        if let Some(call) = call.take() {
            output = Some(call());
        }
    });
    match (output, call) {
        (Some(output), _) => output,
        // It has not called: the handler's call counts more than what is in force.
        (None, Some(call)) => call(),
        (None, None) => unreachable!("a call that was made has an output"),
    }
}

pin_project! {
    /// A handler's call, polled where the emitter's context is in force.
    pub(crate) struct WithinEmitter<'a, F> {
        #[pin]
        call: F,
        cx: &'a EventContext,
    }
}

impl<'a, F> WithinEmitter<'a, F> {
    pub(crate) fn new(cx: &'a EventContext, call: F) -> Self {
        Self { call, cx }
    }
}

impl<F: Future> Future for WithinEmitter<'_, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.cx.within_emitter(|| this.call.poll(task))
    }
}
