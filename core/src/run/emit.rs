//! The futures that emitting and ending return.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::close::CloseRequest;
use super::handle::RunHandle;
use super::state::{EMITTER, Outcome, Phase, Run, State, TAKE_OVER};
use crate::dispatch::{current, is_in_call, is_too_deep};
use crate::model::error::EmitError;
use crate::model::event::Event;
use crate::model::run_info::RunKind;
use crate::util::drop_quietly;

/// Emits an event. Ready when all awaited handlers have handled it.
///
/// The event is accepted at the first poll at which the run's earlier event is handled. Dropped
/// before that, it has not happened. Dropped after that, its handlers' calls run to their end: the
/// manager's spawner goes on with them, and the run's next event waits for them.
///
/// # Errors
/// [`EmitError::Raised`] if a handler with `raise_error` fails, [`EmitError::RunClosed`] and
/// [`EmitError::ShutDown`] if the run was closed by its parent or by a shutdown,
/// [`EmitError::RuntimeGone`] if the runtime was shut down, [`EmitError::TooDeep`] if handlers emit
/// in a circle.
#[must_use = "an event happens when it is awaited"]
pub struct Emit<'run> {
    /// It keeps the event. `None` if no handler wants it.
    pub(super) handle: Option<&'run mut RunHandle>,
}

impl Future for Emit<'_> {
    type Output = Result<(), EmitError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.handle {
            None => Poll::Ready(Ok(())),
            Some(handle) => handle.poll_sent(false, cx),
        }
    }
}

impl Drop for Emit<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(handle) = &mut self.handle {
            if !handle.event.is_done() {
                handle.give_up();
            }
        }
    }
}

impl fmt::Debug for Emit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.handle.as_ref().is_none_or(|handle| handle.event.is_done());
        f.debug_struct("Emit").field("done", &done).finish_non_exhaustive()
    }
}

/// Ends a run. Ready when its open children are closed and all awaited handlers have handled the
/// end.
///
/// The end is decided at the first poll, or when the future is dropped. The run then ends with that
/// result in any case: the manager's spawner goes on with an end that is dropped. Inside a handler's
/// call it is ready at once.
///
/// # Errors
/// Those of [`Emit`].
#[must_use = "a run ends when its end is awaited or dropped"]
pub struct End {
    pub(super) run: Arc<Run>,
    pub(super) state: EndState,
}

pub(super) enum EndState {
    /// Not decided yet.
    New(Box<Event>, RunHandle),
    /// This future drives the run to its end, unless a task drives it.
    Decided,
    Done,
}

impl End {
    pub(super) fn new(handle: RunHandle, event: Event) -> Self {
        Self { run: handle.run().clone(), state: EndState::New(Box::new(event), handle) }
    }

    pub(super) fn poll_end(
        &mut self,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EmitError>> {
        if let EndState::New(..) = self.state {
            ready!(self.poll_decide(remote, cx))?;
        }
        let outcome: Outcome = match &self.state {
            EndState::Decided => ready!(self.run.poll_end(cx)),
            EndState::New(..) | EndState::Done => Ok(()),
        };
        self.state = EndState::Done;
        Poll::Ready(outcome.map_err(|error| *error))
    }

    /// Decides the end. Children are closed when the cell is released.
    fn poll_decide(&mut self, remote: bool, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        let (run, end) = (&self.run, &mut self.state);
        let decided = run.cell_or_register(&run.emitter, EMITTER, cx, |state, _| {
            let new = core::mem::replace(end, EndState::Done);
            let EndState::New(event, handle) = new else { return Ok(()) };
            handle.let_go();
            *end = run.decide(state, event, remote)?;
            Ok(())
        });
        if let Some(decided) = decided {
            return Poll::Ready(decided);
        }
        if !is_in_call() {
            return Poll::Pending;
        }
        // The task that makes this call may hold the cell until it returns.
        if let EndState::New(event, handle) = core::mem::replace(end, EndState::Done) {
            run.close(CloseRequest::Ended(event));
            handle.let_go();
        }
        Poll::Ready(Ok(()))
    }
}

impl Run {
    /// Decides the end. An error if the run is closed.
    fn decide(
        self: &Arc<Self>,
        state: &mut State,
        event: Box<Event>,
        remote: bool,
    ) -> Result<EndState, EmitError> {
        if state.phase != Phase::Open {
            // An error in it is the user's.
            drop_quietly(event);
            return Err(state.closed_error());
        }
        self.decide_end(state, event, current());
        if self.ends_unheard(state) {
            self.finish(state);
            return Ok(EndState::Done);
        }
        // Waiting inside a call could be waiting for that call.
        let waits = !is_in_call() || self.node.info.kind() == RunKind::None;
        if !waits || state.driven || (remote && self.has_handlers_here()) {
            self.hand_over(state);
        } else {
            (state.driven, state.driven_by_end) = (true, true);
        }
        Ok(if waits { EndState::Decided } else { EndState::Done })
    }
}

impl Future for End {
    type Output = Result<(), EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_end(false, cx)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        match core::mem::replace(&mut self.state, EndState::Done) {
            EndState::New(event, handle) => {
                self.run.close(CloseRequest::Ended(event));
                handle.let_go();
            }
            EndState::Decided => self.run.request(TAKE_OVER),
            EndState::Done => {}
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").field("run", &self.run.node.info.id()).finish_non_exhaustive()
    }
}

/// Sends an event that belongs to no run. Ready when all awaited handlers have handled it.
///
/// The event is accepted at the first poll. Dropped before that, it has not happened. Dropped after
/// that, its handlers' calls run to their end.
///
/// # Errors
/// Those of [`Emit`].
#[must_use = "an event happens when it is awaited"]
pub struct SendEvent(pub(super) Sending);

pub(super) enum Sending {
    New(Box<(Event, Arc<Run>)>),
    Polled(End),
    Done,
}

impl SendEvent {
    pub(crate) fn new(run: Arc<Run>, event: Event) -> Self {
        Self(match run.setup.wants(event.kind()) {
            true => Sending::New(Box::new((event, run))),
            false => Sending::Done,
        })
    }

    pub(super) fn poll_send(
        &mut self,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EmitError>> {
        match core::mem::replace(&mut self.0, Sending::Done) {
            Sending::New(new) => {
                let (event, run) = *new;
                if is_too_deep() {
                    return Poll::Ready(Err(EmitError::TooDeep));
                }
                run.open(|state| {
                    state.entry = Some(run.setup.engine.register_run(&run, true, None)?);
                    Ok(())
                })?;
                self.0 = Sending::Polled(RunHandle::new(run).end(event));
            }
            polled => self.0 = polled,
        }
        match &mut self.0 {
            Sending::Polled(end) => end.poll_end(remote, cx),
            Sending::New(_) | Sending::Done => Poll::Ready(Ok(())),
        }
    }
}

impl Future for SendEvent {
    type Output = Result<(), EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_send(false, cx)
    }
}

impl fmt::Debug for SendEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendEvent")
    }
}

impl Run {
    /// Ready when the run has ended.
    pub(super) fn poll_end_outcome(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        if state.phase == Phase::Closed {
            let outcome = state.rare.as_mut().and_then(|rare| rare.end_outcome.take());
            return Poll::Ready(outcome.unwrap_or(Ok(())));
        }
        // The cell is held, so the run cannot end before the waker is registered.
        self.emitter.register(cx.waker());
        Poll::Pending
    }

    /// Drives the run to its end, unless a task has taken over.
    fn poll_end(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let polled = self.cell_or_register(&self.emitter, EMITTER, cx, |state, cx| {
            if !state.driven_by_end {
                return self.poll_end_outcome(state, cx);
            }
            let poll = self.poll_drive(state, cx);
            if poll.is_pending() {
                // A task may take over from here on.
                self.emitter.register(cx.waker());
            }
            poll
        });
        polled.unwrap_or(Poll::Pending)
    }
}
