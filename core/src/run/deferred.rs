//! Events that are emitted inside a call for an event of the same run. Waiting would never end, so
//! the runtime emits them when the event in flight is handled.

use alloc::sync::Arc;

use super::drive::EmitState;
use super::state::{INBOX, PendingEvent, Phase, Run, State};
use crate::dispatch::{Current, current, is_too_deep};
use crate::model::error::EmitError;
use crate::util::drop_quietly;

/// How many events wait that were emitted inside a call for an event of the same run.
const MOST_DEFERRED: usize = 64;

impl Run {
    /// Keeps an event that is emitted inside a call until the event before it is handled. Waiting
    /// could be waiting for that call.
    #[cold]
    pub(super) fn defer(
        self: &Arc<Self>,
        state: &mut State,
        emit: &mut EmitState,
    ) -> Result<(), EmitError> {
        let EmitState { event, .. } = core::mem::replace(emit, EmitState::done());
        if is_too_deep() {
            return Err(EmitError::TooDeep);
        }
        self.push_deferred(state, (event, current()));
        Ok(())
    }

    /// Leaves an event to the task that holds the cell.
    #[cold]
    pub(super) fn send_to_inbox(self: &Arc<Self>, emit: &mut EmitState) -> Result<(), EmitError> {
        let EmitState { event, .. } = core::mem::replace(emit, EmitState::done());
        if is_too_deep() {
            return Err(EmitError::TooDeep);
        }
        if self.node.has_ended() {
            return Err(match self.setup.engine.is_shut_down() {
                true => EmitError::ShutDown,
                false => EmitError::RunClosed,
            });
        }
        let event = (event, current());
        self.leave(|requests| requests.inbox.push_back(event));
        self.request(INBOX);
        Ok(())
    }

    /// Takes what was left to the task that holds the cell.
    #[cold]
    pub(super) fn empty_inbox(&self, state: &mut State) {
        for event in self.take_left(|requests| &mut requests.inbox) {
            self.push_deferred(state, event);
        }
    }

    fn push_deferred(&self, state: &mut State, event: (PendingEvent, Current)) {
        let late = state.ends || matches!(state.phase, Phase::NotStarted | Phase::Closed);
        let deferred = state.rare.as_ref().map_or(0, |rare| rare.deferred.len());
        if late || deferred >= MOST_DEFERRED {
            let kind = event.0.kind();
            for handler in self.setup.handlers().filter(|handler| handler.meta.wants(kind)) {
                crate::dispatch::count(&handler.meta.counters.dropped, 1);
            }
            drop_quietly(event);
            return;
        }
        state.rare().deferred.push_back(event);
        self.hand_over(state);
    }
}
