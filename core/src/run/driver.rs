//! The driver: a task that polls a run's events instead of its emitter, and delivers its end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::state::{ABANDON, DRIVER, EMITTER, Outcome, PendingEvent, Phase, Run, State};
use crate::dispatch::{enter, here};
use crate::model::event::{Event, ToolEnd, ToolError};
use crate::util::drop_quietly;

impl Run {
    /// Drives the run until it is at rest or has ended. Returns what its last event came to.
    pub(super) fn poll_drive(
        self: &Arc<Self>,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        loop {
            if state.in_flight {
                let sequence = state.sequence.saturating_sub(1);
                let outcome = ready!(self.poll_in_flight(state, cx));
                self.complete(state, outcome.as_ref().err().map(|error| &**error));
                if state.ends {
                    state.rare().end_outcome = Some(outcome.clone());
                    self.finish(state);
                    return Poll::Ready(outcome);
                }
                if core::mem::take(&mut state.awaited) {
                    drop_quietly(state.rare().outcome.replace((sequence, outcome)));
                    self.attend_later(EMITTER);
                } else if let Err(error) = outcome {
                    drop_quietly(state.rare().kept.replace(error));
                }
            } else if let Some((mut event, place)) = state.pop_deferred() {
                let _place = enter(place);
                state.awaited = false;
                let here = here(&state.emitter);
                if !here.too_deep {
                    let _ = self.accept(state, &mut event, here);
                }
                drop_quietly(event);
            } else if state.phase == Phase::Closing {
                ready!(self.node.poll_childless(cx));
                self.empty_inbox(state);
                if state.has_deferred() {
                    continue;
                }
                if !self.accept_end(state) {
                    self.finish(state);
                    let raised = self.node.take_raised().map(Box::new);
                    return Poll::Ready(raised.map_or(Ok(()), Err));
                }
            } else {
                state.driven = false;
                self.attend_later(EMITTER);
                self.release_flushes(state);
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Numbers the decided end and puts it in flight. `false` if it concerns no handler.
    fn accept_end(self: &Arc<Self>, state: &mut State) -> bool {
        let Some((mut event, place)) = state.rare().end.take() else { return false };
        let _place = enter(place);
        self.refresh_interest(state);
        self.enable_all();
        // A replayed event has what was recorded.
        let recorded = state.is_recorded(event.kind());
        match &mut *event {
            _ if recorded => {}
            Event::LlmEnd(end) if end.of_tokens => end.result = state.take_partial(),
            Event::LlmError(error) if error.partial.generations.is_empty() => {
                error.partial = state.take_partial();
            }
            Event::ToolError(ToolError { tool_call_id: id @ None, .. })
            | Event::ToolEnd(ToolEnd { tool_call_id: id @ None, .. }) => {
                *id = state.rare().tool_call_id.take();
            }
            _ => {}
        }
        let seated = state.has_seats();
        if !state.started || (state.kinds & event.kind().bit() == 0 && !seated) {
            drop_quietly(event);
            return false;
        }
        (state.ends, state.awaited) = (true, false);
        let here = here(&state.emitter);
        self.begin(state, &mut PendingEvent::Other(event), true, here);
        true
    }

    pub(super) fn spawn_driver(self: &Arc<Self>) {
        self.setup.engine.spawn(Driver { run: self.clone(), done: false });
    }
}

/// A task that drives a run. Dropped before it is done, because its runtime is gone, it reports
/// what is lost.
struct Driver {
    run: Arc<Run>,
    done: bool,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // What the last event came to concerns no emitter, and failures have been reported.
        let run = &self.run;
        let drive = |state: &mut State, cx: &mut Context<'_>| run.poll_drive(state, cx);
        let polled = run.cell_or_register(&run.driver, DRIVER, cx, drive);
        let outcome = ready!(polled.unwrap_or(Poll::Pending));
        self.done = true;
        drop_quietly(outcome);
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.done {
            self.run.request(ABANDON);
        }
    }
}
