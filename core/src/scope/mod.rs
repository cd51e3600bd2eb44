//! A started run: it accepts events one after the other, and ends exactly once.
//!
//! [`Scope`] is what the public runs hold. Under it, [`RunCore`] keeps the event that is in flight *in the run*, not in the future that
//! emitted it. So that future can be dropped, or leaked, at any await point: whoever comes next, the next emitter or a task that the
//! drop spawned, polls the event on to its end.

mod emit;
mod family;
mod heard;
mod places;
mod turn;
mod unsent;
mod waiting;

#[cfg(feature = "std")]
pub(crate) use emit::InFlight;
pub(crate) use emit::OwnedEmit;
pub use emit::{Emit, End, SendEvent, Start};
pub(crate) use family::Family;
pub(crate) use heard::has_changed;
pub(crate) use places::{Place, Places};
pub(crate) use turn::{Booked, Emission, Facts, RunCore};
pub(crate) use unsent::Unsent;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;

use crate::dispatch::Tickets;
use crate::error::{FailureCause, HandlerFailure, RunError};
use crate::event::{ChainError, Event, EventKind, LlmError, RetrieverError, ToolError};
use crate::ledger::Ticket;
use crate::result::LlmResult;
use crate::run_info::{RunInfo, RunKind};
use crate::waiters::Waiter;

/// A run as its owner holds it. Dropped before its end, it ends as cancelled.
pub(crate) struct Scope(Arc<RunCore>);

impl Scope {
    pub(crate) fn new(facts: Facts) -> Self {
        Self(RunCore::new(facts))
    }

    pub(crate) fn info(&self) -> &RunInfo {
        &self.0.facts.info
    }

    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.0.facts
    }

    pub(crate) fn core(&self) -> &Arc<RunCore> {
        &self.0
    }

    /// Emits an event that the run goes on after. `make` is called only if somebody may want it.
    #[inline(always)]
    pub(crate) fn emit<E: Into<Unsent>>(&self, kind: EventKind, make: impl FnOnce() -> E) -> Emit<'_> {
        Emit::new(self, kind, make)
    }

    /// Ends the run.
    pub(crate) fn end(self, event: Event) -> End {
        End::new(self, event)
    }

    /// Ends the run in an error.
    pub(crate) fn error(self, error: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> End {
        let event = error_event(self.info().kind(), RunError::failed(error));
        self.end(event)
    }
}

/// The event that a run of that kind fails with. An LLM's partial result is filled in when the event is accepted.
pub(crate) fn error_event(kind: RunKind, error: RunError) -> Event {
    match kind {
        RunKind::Llm | RunKind::ChatModel => LlmError::new(error, LlmResult::new()).into(),
        RunKind::Chain | RunKind::None => ChainError::new(error).into(),
        RunKind::Tool => ToolError::new(error).into(),
        RunKind::Retriever => RetrieverError::new(error).into(),
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let closing = Closing::of(&self.0, |stopped_by| stopped_by.map_or(RunError::Cancelled, RunError::Stopped));
        if let Some(closing) = closing {
            self.0.facts.setup.engine.spawn(closing.deliver());
        }
    }
}

/// The last event of a run that was given up, or closed by a shutdown, on its way through the spawner.
pub(crate) struct Closing {
    core: Arc<RunCore>,
    emission: Emission,
    kind: EventKind,
    accepted: bool,
}

impl Closing {
    /// Closes a run that has started and not ended; `None` if it is none such, or if nobody is to be told.
    pub(crate) fn of(core: &Arc<RunCore>, error: impl FnOnce(Option<HandlerFailure>) -> RunError) -> Option<Self> {
        let stopped_by = core.close_unended()?;
        let facts = &core.facts;
        let open_children = facts.end_family();
        let mut event = error_event(facts.info.kind(), error(stopped_by));
        event.set_open_children(open_children);
        let kind = event.kind();
        if !facts.setup.wants(kind) {
            // Nobody is to be told. But an event that its emitter leaked may still be in flight, and nobody comes after us to poll it.
            if core.has_flight() {
                see_through(core);
            }
            core.let_go();
            return None;
        }
        // Counted at once: a flush that begins after it waits for this event too.
        let booked = Booked {
            event: Ticket::new(&facts.setup.engine.ledger),
            handlers: Tickets::of_all(facts, kind),
        };
        Some(Self {
            core: core.clone(),
            emission: Emission::closing(event, booked),
            kind,
            accepted: false,
        })
    }

    pub(crate) async fn deliver(mut self) {
        let result = poll_fn(|cx| {
            let poll = self.core.poll_emission(&mut self.emission, cx);
            self.accepted |= self.emission.is_accepted();
            poll
        })
        .await;
        // Nobody is there to raise it to, and every failure has been reported.
        drop(result);
        drop(self);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if self.accepted {
            return;
        }
        let facts = &self.core.facts;
        for handler in facts.setup.handlers().filter(|handler| handler.wants(self.kind)) {
            handler.counters.failed();
            let failure = HandlerFailure::new(handler.name.clone(), self.kind, facts.info.id(), FailureCause::RuntimeGone);
            facts.setup.reporter.report(&failure);
        }
        self.core.let_go();
    }
}

/// Has the spawner poll the event in flight on until it is handled. What comes of it is left to its emitter, who may still be there, or may have handed
/// it over already: who waited for what another one has taken would wait in a circle.
fn see_through(core: &Arc<RunCore>) {
    let core = core.clone();
    let engine = core.facts.setup.engine.clone();
    let task = async move {
        let mut waiter = Waiter::default();
        poll_fn(|cx| core.poll_idle(None, &mut waiter, cx)).await;
    };
    engine.spawn(task);
}

/// Has the spawner poll the run's events on until number `sequence` is handled, for an emitter that was dropped meanwhile. Once for each emitter.
fn hand_over(core: &Arc<RunCore>, sequence: u64) {
    let core = core.clone();
    let engine = core.facts.setup.engine.clone();
    let task = async move {
        let mut emission = Emission::accepted(sequence);
        let result = poll_fn(|cx| core.poll_emission(&mut emission, cx)).await;
        drop(result);
    };
    // Where that fails, the event stays in the run, and is reported as lost when that is dropped.
    engine.spawn(task);
}

/// Drops an emission that may be in flight.
fn abandon(core: &Arc<RunCore>, emission: &Emission) {
    match emission {
        Emission::Done | Emission::ShutDown => {}
        Emission::Accepted { sequence, .. } if core.is_handling(*sequence) => hand_over(core, *sequence),
        Emission::Accepted { sequence, .. } => core.forget_outcome(*sequence),
        // It may have been the only one that the event before it woke: another one has to take over.
        Emission::New { .. } => core.wake_waiting(),
    }
}
