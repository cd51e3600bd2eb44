//! Calls of an inner handler, as the dispatcher makes them.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, EventKind, HandlerResult, Interest,
    RunError,
};

/// A handler inside a wrapper that needs events of its own: it is called only for the kinds that it
/// is interested in, and an event that it does not handle is no failure.
#[derive(Debug)]
pub(crate) struct Inner<H> {
    pub(crate) handler: H,
    /// The kinds that the wrapper passes.
    pub(crate) passed: Interest,
    /// What the handler said, which is asked once.
    interest: OnceLock<Interest>,
}

impl<H> Inner<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, passed: Interest::all(), interest: OnceLock::new() }
    }
}

impl<H: CallbackHandler> Inner<H> {
    pub(crate) fn interest(&self) -> Interest {
        *self.interest.get_or_init(|| both(self.handler.interest(), self.passed))
    }

    /// Calls the handler. `Ok` if it does not handle the event: a wrapper that returned `unhandled`
    /// would not get the next event of the kind.
    pub(crate) fn call(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let interest = self.interest();
        if !interest.contains(event.kind()) {
            return Ok(());
        }
        let result = match (self.handler.on_event(event, cx), event) {
            (Err(error), Event::ChatModelStart(start))
                if error.is_unhandled() && interest.contains(EventKind::LlmStart) =>
            {
                self.handler.on_event(&Event::LlmStart(start.to_llm_start()), cx)
            }
            (result, _) => result,
        };
        handled(result)
    }
}

impl<H: AsyncCallbackHandler> Inner<H> {
    pub(crate) fn async_interest(&self) -> Interest {
        *self.interest.get_or_init(|| both(self.handler.interest(), self.passed))
    }

    /// As `call`, for an async handler.
    pub(crate) async fn call_async(&self, event: &Event, cx: &EventContext) -> HandlerResult {
        let interest = self.async_interest();
        if !interest.contains(event.kind()) {
            return Ok(());
        }
        let result = match (self.handler.on_event(event, cx).await, event) {
            (Err(error), Event::ChatModelStart(start))
                if error.is_unhandled() && interest.contains(EventKind::LlmStart) =>
            {
                let start = Event::LlmStart(start.to_llm_start());
                self.handler.on_event(&start, cx).await
            }
            (result, _) => result,
        };
        handled(result)
    }
}

fn handled(result: HandlerResult) -> HandlerResult {
    match result {
        Err(error) if error.is_unhandled() => Ok(()),
        result => result,
    }
}

/// The state of a wrapper of async handlers. It is not locked while a handler runs.
pub(crate) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kinds that are in both sets.
pub(crate) fn both(one: Interest, other: Interest) -> Interest {
    let mut both = one;
    for kind in EventKind::ALL {
        if !other.contains(*kind) {
            both = both.without(*kind);
        }
    }
    both
}

/// The starts and ends of all runs.
pub(crate) fn starts_and_ends() -> Interest {
    let kinds = EventKind::ALL.iter().filter(|kind| kind.is_start() || kind.is_end());
    kinds.fold(Interest::none(), |all, kind| all.with(*kind))
}

/// Whether a run of any kind fails with this event. A run that another process goes on with has not
/// failed.
pub(crate) fn is_failure(event: &Event) -> bool {
    event.error().is_some_and(|error| !matches!(error, RunError::HandedOver))
}
