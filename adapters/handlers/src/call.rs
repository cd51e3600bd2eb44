//! Calls of an inner handler, as the dispatcher makes them.

use rappel_core::{CallbackHandler, Event, EventContext, EventKind, HandlerResult, Interest};

/// A handler inside a wrapper that needs events of its own: it is called only for the kinds that it
/// is interested in, and an event that it does not handle is no failure.
#[derive(Debug)]
pub(crate) struct Inner<H> {
    pub(crate) handler: H,
    pub(crate) interest: Interest,
}

impl<H: CallbackHandler> Inner<H> {
    pub(crate) fn new(handler: H) -> Self {
        let interest = handler.interest();
        Self { handler, interest }
    }

    /// Whether the handler is interested in `kind`. A chat model's start may go to `on_llm_start`.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.interest.contains(kind)
    }

    /// Calls the handler. `Ok` if it does not handle the event: a wrapper that returned `unhandled`
    /// would not get the next event of the kind.
    pub(crate) fn call(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        if !self.wants(event.kind()) {
            return Ok(());
        }
        let result = match (self.handler.on_event(event, cx), event) {
            (Err(error), Event::ChatModelStart(start))
                if error.is_unhandled() && self.wants(EventKind::LlmStart) =>
            {
                self.handler.on_event(&Event::LlmStart(start.to_llm_start()), cx)
            }
            (result, _) => result,
        };
        match result {
            Err(error) if error.is_unhandled() => Ok(()),
            result => result,
        }
    }
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

/// Whether a run of any kind ends with an error of this kind.
pub(crate) fn is_error(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::LlmError
            | EventKind::ChainError
            | EventKind::ToolError
            | EventKind::RetrieverError
    )
}
