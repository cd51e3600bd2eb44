//! Closing a run: its last event, decided by its owner, its parent or a shutdown.
//!
//! A run that closes takes no more children and closes those that are open. It delivers its last
//! event when they are closed. So ends are seen deepest first.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::pin::Pin;

use super::fan_out::{Carry, FanOut};
use super::state::{CLOSE, EMITTER, Phase, Run, State, TAKE_OVER};
use crate::dispatch::{Current, Mailbox, OpenRun, current};
use crate::model::error::{FailureCause, RunError};
use crate::model::event::{Event, error_event};
use crate::util::drop_quietly;

/// Why a run is to be closed. The first request counts.
pub(crate) enum CloseRequest {
    /// Its owner has dropped it.
    Dropped,
    /// Its owner has dropped it because its task panicked.
    #[cfg_attr(
        not(feature = "std"),
        expect(dead_code, reason = "without `std` no panic is noticed")
    )]
    Panicked(Arc<str>),
    /// Its owner has ended it, and has dropped the future that would have done so.
    Ended(Box<Event>),
    Parent,
    Shutdown,
}

/// What the run has no use for. A place may keep this run itself, or the runs before it.
#[derive(Default)]
pub(super) struct Unused {
    pub(super) fan_out: Option<Box<FanOut>>,
    pub(super) carrier: Option<Pin<Box<dyn Carry>>>,
    pub(super) places: (Current, Current),
    pub(super) mailbox: Option<Arc<Mailbox>>,
    /// An end that concerns no handler, and a request that came after the end was decided.
    pub(super) end: Option<(Box<Event>, Current)>,
    pub(super) close: Option<(CloseRequest, Current)>,
}

impl Unused {
    /// Drops each value by itself: their payloads are the user's.
    pub(super) fn drop_quietly(self) {
        let Self { fan_out, carrier, places, mailbox, end, close } = self;
        drop_quietly(fan_out);
        drop_quietly(carrier);
        drop_quietly(places);
        drop_quietly(mailbox);
        drop_quietly(end);
        drop_quietly(close);
    }
}

/// Closes runs and all runs under them, without recursion.
pub(super) fn close_all(mut runs: Vec<Arc<dyn OpenRun>>) {
    while let Some(run) = runs.pop() {
        run.close_by_parent(&mut runs);
    }
}

impl OpenRun for Run {
    fn close_by_parent(self: Arc<Self>, more: &mut Vec<Arc<dyn OpenRun>>) {
        self.leave(|requests| {
            requests.close.get_or_insert((CloseRequest::Parent, None));
        });
        let closed = self.try_cell(|state| {
            self.begin_close(state);
            self.take_over(state);
            if let Some(after) = &mut state.after {
                more.append(&mut after.children);
            }
        });
        if closed.is_none() {
            self.request(CLOSE | TAKE_OVER);
        }
    }
}

impl Run {
    /// Closes the run, if it is open.
    pub(crate) fn close(self: &Arc<Self>, reason: CloseRequest) {
        let place = current();
        let late = self.leave(|requests| match &mut requests.close {
            Some(_) => Some((reason, place)),
            request => request.replace((reason, place)),
        });
        // A payload is the user's.
        drop_quietly(late);
        self.request(CLOSE);
    }

    /// Closes the run because the work inside it has panicked with `payload`.
    #[cfg(feature = "std")]
    pub(crate) fn close_panicked(self: &Arc<Self>, payload: &(dyn core::any::Any + Send)) {
        self.close(CloseRequest::Panicked(crate::util::panic_text(payload)));
    }

    /// Notes that all work ends. It counts if nothing has closed the run before.
    pub(crate) fn mark_shut_down(&self) {
        self.leave(|requests| {
            requests.close.get_or_insert((CloseRequest::Shutdown, None));
        });
    }

    /// Closes the run because all work ends.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        self.close(CloseRequest::Shutdown);
        self.request(TAKE_OVER);
    }

    /// Begins to close an open run as requested.
    pub(super) fn begin_close(self: &Arc<Self>, state: &mut State) {
        if state.phase == Phase::NotStarted {
            return;
        }
        let Some((request, place)) = self.take_left(|requests| &mut requests.close) else {
            return;
        };
        if state.phase != Phase::Open {
            // It came after the end was decided.
            state.after().unused.close = Some((request, place));
            return;
        }
        let kind = self.node.info.kind();
        state.shut_down = matches!(request, CloseRequest::Shutdown);
        if matches!(request, CloseRequest::Parent | CloseRequest::Shutdown) {
            state.after().close_work = true;
        }
        let event = match request {
            CloseRequest::Ended(event) => event,
            CloseRequest::Panicked(message) => {
                Box::new(error_event(kind, RunError::Panicked(message)))
            }
            CloseRequest::Dropped | CloseRequest::Parent | CloseRequest::Shutdown => {
                let raised = state.rare.as_mut().and_then(|rare| rare.raised.take());
                Box::new(error_event(kind, raised.map_or(RunError::Cancelled, RunError::Stopped)))
            }
        };
        self.decide_end(state, event, place);
        if self.ends_unheard(state) {
            self.finish(state);
        } else {
            self.hand_over(state);
        }
    }

    /// Decides the run's last event. Its children are closed after the cell was released.
    pub(super) fn decide_end(&self, state: &mut State, mut event: Box<Event>, place: Current) {
        self.capture_at_end(state);
        // What was emitted before the end comes before it.
        self.empty_inbox(state);
        state.phase = Phase::Closing;
        self.enable_all();
        let children = self.node.close_tree();
        // A replayed end has what was recorded.
        if !state.is_recorded(event.kind()) {
            event.set_open_children(children.len());
        }
        if !children.is_empty() {
            state.after().children.extend(children);
        }
        state.rare().end = Some((event, place));
    }

    /// Whether a run that closes has nothing to wait for and its end concerns no handler.
    pub(super) fn ends_unheard(&self, state: &mut State) -> bool {
        let Some((end, _)) = state.rare.as_ref().and_then(|rare| rare.end.as_ref()) else {
            return false;
        };
        let nothing_open = !state.in_flight && !state.has_deferred();
        let unheard = !self.setup.wants(end.kind()) && !state.has_seats();
        nothing_open && (unheard || !state.started) && self.node.is_childless()
    }

    /// The last event has been delivered, or concerns no handler.
    pub(super) fn finish(&self, state: &mut State) {
        state.phase = Phase::Closed;
        (state.driven, state.driven_by_end) = (false, false);
        state.put_away();
        let after = state.after.get_or_insert_default();
        after.unused.mailbox = state.seats.leave(&self.setup);
        after.unused.end = state.rare.as_mut().and_then(|rare| rare.end.take());
        after.entry = state.entry.take();
        after.finished = true;
        self.attend_later(EMITTER);
        self.release_flushes(state);
    }

    /// The driver is gone before it was done, because its runtime is gone.
    pub(super) fn abandon(&self, state: &mut State) {
        state.driven = false;
        self.attend_later(EMITTER);
        if state.phase != Phase::Closing {
            // An emitter on a thread of its own cannot poll the event, and another driver would be
            // dropped, too. The fan-out reports the calls that it has not made.
            if core::mem::take(&mut state.waits_for_driver) && state.in_flight {
                drop_quietly((state.carrier.take(), state.fan_out.take()));
                state.in_flight = false;
            }
            return;
        }
        // What is in flight reports itself when the run is dropped. The end reports here.
        if let Some((end, _place)) = state.rare().end.take() {
            for handler in self.setup.handlers().filter(|handler| handler.meta.wants(end.kind())) {
                handler.meta.fail(end.kind(), FailureCause::RuntimeGone, &self.node);
            }
            drop_quietly(end);
        }
        drop_quietly(state.carrier.take());
        state.in_flight = false;
        self.finish(state);
    }
}
