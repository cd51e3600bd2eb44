//! A handler for each trace.

use std::fmt;

use rappel_core::{
    CallbackHandler, Event, EventContext, HandlerOptions, HandlerResult, Interest, RunInfo,
    SendHandler,
};

use crate::Suited;
use crate::call::{Inner, starts_and_ends};
use crate::traces::{Ended, Traces};

/// Makes a handler for each trace, and drops it when the trace has ended.
///
/// A trace is a root run and all runs under it. So the handler's fields are the state of one
/// request, and need no map of runs.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_handlers::{PerTrace, With};
/// use rappel_threads::prelude::*;
///
/// let callbacks = CallbackManager::new(Threads::new()).with(PerTrace::new(|root: &RunInfo| {
///     let (name, mut tokens) = (root.name().to_owned(), 0);
///     handler_fn(move |event, _cx| {
///         match event {
///             Event::LlmNewToken(_) => tokens += 1,
///             Event::LlmEnd(_) => println!("{name}: {tokens} tokens"),
///             _ => {}
///         }
///         Ok(())
///     })
/// }));
/// # let _ = callbacks;
/// ```
///
/// A custom event that is emitted on a manager belongs to the trace of the run that the manager is
/// a child of. Without such a run it is not delivered. A detached run belongs to the trace of its
/// parent if that is open, and begins a trace otherwise.
///
/// # Async handlers
/// It makes sync handlers only. A handler that belongs to one trace has its state in `&mut self`,
/// which an async handler cannot have: parallel runs call it side by side. An async handler keeps a
/// map by [`RunInfo::root_id`](rappel_core::RunInfo::root_id).
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined, with a queue of 256 events for each
/// run. [`with_options`](Self::with_options) sets others. The traces are served in turn, on one lane.
///
/// # Failures
/// Those of the handlers. If making or dropping a handler panics, that is a failure of the event.
///
/// # Memory
/// One handler for each open trace.
pub struct PerTrace<F, H> {
    make: F,
    traces: Traces<Inner<H>>,
    interest: Interest,
    options: HandlerOptions,
}

impl<F, H> PerTrace<F, H>
where
    F: FnMut(&RunInfo) -> H + 'static,
    H: CallbackHandler,
{
    /// Makes a handler with `make` when the first run of a trace starts.
    pub fn new(make: F) -> Self {
        let options = rappel_core::Delivery::pipelined(256).into();
        Self { make, traces: Traces::default(), interest: Interest::all(), options }
    }

    /// Sets the kinds of events that the handlers are interested in. The default is all. Starts and
    /// ends of runs are added, because traces are made of them.
    #[must_use]
    pub fn interest(mut self, interest: Interest) -> Self {
        self.interest = interest;
        self
    }

    /// Sets the options that [`With::with`](crate::With::with) registers it with.
    #[must_use]
    pub fn with_options(mut self, options: impl Into<HandlerOptions>) -> Self {
        self.options = options.into();
        self
    }
}

impl<F, H> CallbackHandler for PerTrace<F, H>
where
    F: FnMut(&RunInfo) -> H + 'static,
    H: CallbackHandler,
{
    fn interest(&self) -> Interest {
        self.interest | starts_and_ends()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let Self { make, traces, interest, .. } = self;
        let kind = event.kind();
        let handler = if kind.is_start() {
            Some(traces.start(cx, || Inner::new(make(cx))))
        } else {
            traces.get_mut(cx.id())
        };
        let wanted = interest.contains(kind);
        let Some(handler) = handler else { return Ok(()) };
        if !kind.is_end() {
            return if wanted { handler.call(event, cx) } else { Ok(()) };
        }
        // The run is closed before the handler is called: that may panic.
        match traces.end(cx.id()) {
            Some(Ended::Run(handler)) if wanted => handler.call(event, cx),
            Some(Ended::Trace(mut handler)) if wanted => handler.call(event, cx),
            _ => Ok(()),
        }
    }
}

impl<F, H> Suited for PerTrace<F, H>
where
    F: FnMut(&RunInfo) -> H + 'static,
    H: CallbackHandler,
    Self: SendHandler,
{
    fn options(&self) -> HandlerOptions {
        self.options.clone()
    }
}

impl<F, H> fmt::Debug for PerTrace<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerTrace").field("open_traces", &self.traces.len()).finish_non_exhaustive()
    }
}
