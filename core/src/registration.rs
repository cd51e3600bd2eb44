//! A registered handler: what it wants, what it has declined, and how it is called.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::contain::{Contained, contained};
use crate::dispatch::Envelope;
use crate::error::{FailureCause, HandlerFailure, HandlerResult};
use crate::event::{Event, EventKind, Interest};
use crate::handler::{AsyncCallbackHandler, CallbackHandler, ErasedAsyncHandler, HandlerOptions};
use crate::lane::{Lane, Seat};
use crate::run_info::RunInfo;
use crate::runtime::Runtime;

/// Tells a registered handler from all others of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandlerId(usize);

impl HandlerId {
    fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) struct Registration {
    pub(crate) id: HandlerId,
    pub(crate) name: Arc<str>,
    pub(crate) run_inline: bool,
    pub(crate) raise_error: bool,
    interest: Interest,
    /// The kinds that it answered `unhandled` to.
    declined: AtomicU32,
    /// The kinds that it has handled at least once: those are never muted.
    handled: AtomicU32,
    target: Target,
}

/// Where a handler's calls are made.
enum Target {
    /// On the emitter's task.
    Async(Box<dyn ErasedAsyncHandler>),
    /// On the emitter's task, one call at a time.
    Inline(Seat),
    /// On the blocking executor, one call at a time, in order.
    Lane(Lane),
}

impl Registration {
    pub(crate) fn sync(handler: impl CallbackHandler, options: &HandlerOptions, runtime: &Arc<dyn Runtime>) -> Arc<Self> {
        let name = options.name.clone().unwrap_or_else(|| Arc::from(handler.name()));
        let interest = handler.interest();
        let target = if options.run_inline {
            Target::Inline(Seat::new(Box::new(handler)))
        } else {
            Target::Lane(Lane::new(Box::new(handler), runtime.clone()))
        };
        Self::new(name, interest, options, target)
    }

    pub(crate) fn asynchronous(handler: impl AsyncCallbackHandler, options: &HandlerOptions) -> Arc<Self> {
        let name = options.name.clone().unwrap_or_else(|| Arc::from(handler.name()));
        let interest = handler.interest();
        Self::new(name, interest, options, Target::Async(Box::new(handler)))
    }

    fn new(name: Arc<str>, interest: Interest, options: &HandlerOptions, target: Target) -> Arc<Self> {
        Arc::new(Self {
            id: HandlerId::next(),
            name,
            run_inline: options.run_inline,
            raise_error: options.raise_error,
            interest,
            declined: AtomicU32::new(0),
            handled: AtomicU32::new(0),
            target,
        })
    }

    pub(crate) fn lane(&self) -> Option<&Lane> {
        match &self.target {
            Target::Lane(lane) => Some(lane),
            Target::Async(_) | Target::Inline(_) => None,
        }
    }

    /// Whether it wants events of `kind`, as far as is known.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.takes(kind) || (kind == EventKind::ChatModelStart && self.interest.contains(kind) && self.takes(EventKind::LlmStart))
    }

    /// Whether it wants tokens, and the time of each.
    pub(crate) fn wants_token_times(&self) -> bool {
        self.interest.has_token_times() && self.takes(EventKind::LlmNewToken)
    }

    /// Whether it is to be asked about `kind` itself.
    fn takes(&self, kind: EventKind) -> bool {
        let muted = self.declined.load(Ordering::Relaxed) & !self.handled.load(Ordering::Relaxed);
        self.interest.contains(kind) && muted & kind.bit() == 0
    }

    /// Learns from an answer; `None` where the handler did not handle the event.
    fn learn(&self, kind: EventKind, answer: Result<HandlerResult, FailureCause>) -> Option<Result<(), FailureCause>> {
        let outcome = match answer {
            Ok(Err(error)) => match error.into_cause() {
                None => {
                    self.declined.fetch_or(kind.bit(), Ordering::Relaxed);
                    return None;
                }
                Some(cause) => Err(FailureCause::Error(cause)),
            },
            Ok(Ok(())) => Ok(()),
            Err(cause) => Err(cause),
        };
        self.handled.fetch_or(kind.bit(), Ordering::Relaxed);
        Some(outcome)
    }

    /// What stands in for `event` where it is not handled: for a chat model's start, the start with the messages as text.
    fn instead_of(&self, event: &Event) -> Option<Event> {
        match event {
            Event::ChatModelStart(start) if self.takes(EventKind::LlmStart) => Some(Event::LlmStart(start.to_llm_start())),
            _ => None,
        }
    }

    /// Has the handler handle the event; gives back its failure, reported already.
    pub(crate) async fn call(self: &Arc<Self>, envelope: &Arc<Envelope>) -> Option<HandlerFailure> {
        let mut cut = CutShort {
            registration: self,
            envelope,
            armed: true,
        };
        match &self.target {
            Target::Async(handler) => {
                let outcome = self.call_async(&**handler, &envelope.event, envelope.run()).await;
                cut.armed = false;
                self.report(outcome, envelope)
            }
            Target::Inline(seat) => {
                let mut handler = seat.take().await;
                cut.armed = false;
                self.call_sync(handler.get(), envelope)
            }
            Target::Lane(lane) => {
                // From here on the lane knows of it, and its drain calls the handler whether we wait or not.
                cut.armed = false;
                lane.enqueue(self, envelope).await
            }
        }
    }

    async fn call_async(&self, handler: &dyn ErasedAsyncHandler, event: &Event, run: &RunInfo) -> Result<(), (EventKind, FailureCause)> {
        let kind = event.kind();
        if self.takes(kind) {
            // In an async block, so that a panic of the method before its first `await` is contained too.
            let answer = Contained::new(async { handler.call(event, run).await }).await;
            if let Some(outcome) = self.learn(kind, answer) {
                return outcome.map_err(|cause| (kind, cause));
            }
        }
        let Some(event) = self.instead_of(event) else { return Ok(()) };
        let answer = Contained::new(async { handler.call(&event, run).await }).await;
        self.learn(event.kind(), answer)
            .unwrap_or(Ok(()))
            .map_err(|cause| (event.kind(), cause))
    }

    /// Calls a sync handler on this thread; gives back its failure, reported already.
    pub(crate) fn call_sync(&self, handler: &mut dyn CallbackHandler, envelope: &Envelope) -> Option<HandlerFailure> {
        let outcome = self.ask_sync(handler, &envelope.event, envelope.run());
        self.report(outcome, envelope)
    }

    fn ask_sync(&self, handler: &mut dyn CallbackHandler, event: &Event, run: &RunInfo) -> Result<(), (EventKind, FailureCause)> {
        let kind = event.kind();
        if self.takes(kind) {
            let answer = contained(|| handler.on_event(event, run));
            if let Some(outcome) = self.learn(kind, answer) {
                return outcome.map_err(|cause| (kind, cause));
            }
        }
        let Some(event) = self.instead_of(event) else { return Ok(()) };
        let answer = contained(|| handler.on_event(&event, run));
        self.learn(event.kind(), answer)
            .unwrap_or(Ok(()))
            .map_err(|cause| (event.kind(), cause))
    }

    /// Reports that the runtime was shut down before the handler was called.
    pub(crate) fn report_uncalled(&self, envelope: &Envelope) -> HandlerFailure {
        let kind = envelope.event.kind();
        let failure = HandlerFailure::new(self.name.clone(), kind, envelope.run().id(), FailureCause::RuntimeGone);
        envelope.reporter().report(&failure);
        failure
    }

    fn report(&self, outcome: Result<(), (EventKind, FailureCause)>, envelope: &Envelope) -> Option<HandlerFailure> {
        let (kind, cause) = outcome.err()?;
        let failure = HandlerFailure::new(self.name.clone(), kind, envelope.run().id(), cause);
        envelope.reporter().report(&failure);
        Some(failure)
    }
}

/// Reports a call that is dropped before it began, or before its end: which happens only where the runtime was shut down under it.
struct CutShort<'a> {
    registration: &'a Registration,
    envelope: &'a Envelope,
    armed: bool,
}

impl Drop for CutShort<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.registration.report_uncalled(self.envelope);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("name", &self.name.to_string())
            .field("inline", &self.run_inline)
            .finish_non_exhaustive()
    }
}
