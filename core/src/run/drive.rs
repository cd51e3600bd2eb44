//! Accepting a run's events, and polling them to their end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use super::state::{EMITTER, Outcome, PendingEvent, Phase, Run, State};
use crate::dispatch::{FrameKind, Here, Place, current, here, is_handling, is_in_call, tick};
use crate::model::error::EmitError;
use crate::model::event::EventKind;
use crate::util::drop_quietly;

/// An event as its emitter holds it.
pub(crate) struct EmitState {
    pub(super) stage: Stage,
    pub(super) event: PendingEvent,
}

/// How far an event has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not accepted yet: dropped now, it has not happened. It was begun with `start_send`, or an
    /// `Emit` has it.
    New {
        by_hand: bool,
    },
    /// Accepted under this number.
    Accepted(u64),
    Done,
}

impl EmitState {
    #[inline(always)]
    pub(super) fn new(event: PendingEvent, by_hand: bool) -> Self {
        Self { stage: Stage::New { by_hand }, event }
    }

    #[inline(always)]
    pub(crate) const fn done() -> Self {
        Self { stage: Stage::Done, event: PendingEvent::Sent }
    }

    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }
}

impl Run {
    /// Accepts an event when the one before it is handled, and polls it to its end. `remote` says
    /// that no handler may be polled here: the runtime polls them.
    pub(super) fn poll_emit(
        self: &Arc<Self>,
        emit: &mut EmitState,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EmitError>> {
        let polled = self.cell_or_register(&self.emitter, EMITTER, cx, |state, cx| {
            self.poll_held(state, emit, remote, cx)
        });
        polled.unwrap_or_else(|| self.poll_taken(emit))
    }

    /// The cell is held, perhaps until the call returns or is pending that this emitter is in.
    #[cold]
    fn poll_taken(self: &Arc<Self>, emit: &mut EmitState) -> Poll<Result<(), EmitError>> {
        match emit.stage {
            Stage::New { .. } if is_handling(&self.node) => Poll::Ready(self.send_to_inbox(emit)),
            _ => Poll::Pending,
        }
    }

    #[inline(always)]
    fn poll_held(
        self: &Arc<Self>,
        state: &mut State,
        emit: &mut EmitState,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EmitError>> {
        match emit.stage {
            Stage::Done => return Poll::Ready(Ok(())),
            Stage::Accepted(sequence) => {
                let outcome = ready!(self.poll_accepted(state, sequence, remote, cx));
                emit.stage = Stage::Done;
                return Poll::Ready(self.answer(state, outcome));
            }
            Stage::New { .. } => {}
        }
        if state.in_flight || state.has_deferred() {
            if state.phase != Phase::Open {
                // The run's end may wait for the call that this emitter is in.
                emit.stage = Stage::Done;
                return Poll::Ready(Err(state.closed_error()));
            }
            if is_in_call() {
                // What is in flight may wait for this call.
                return Poll::Ready(self.defer(state, emit));
            }
            ready!(self.poll_earlier(state, remote, cx));
        }
        if !remote && tick(&mut state.ticks) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        emit.stage = Stage::Done;
        if state.phase != Phase::Open {
            return Poll::Ready(Err(state.closed_error()));
        }
        let here = here(&state.emitter);
        if here.too_deep {
            return Poll::Ready(Err(EmitError::TooDeep));
        }
        let Some(sequence) = self.accept(state, &mut emit.event, here) else {
            return Poll::Ready(Ok(()));
        };
        match self.poll_unfinished(state, remote, cx) {
            Poll::Ready(outcome) => Poll::Ready(self.answer(state, outcome)),
            Poll::Pending => {
                emit.stage = Stage::Accepted(sequence);
                state.awaited = true;
                Poll::Pending
            }
        }
    }

    /// What an emitter gets. What was kept for it comes if its own event raised nothing.
    #[inline(always)]
    fn answer(&self, state: &mut State, outcome: Outcome) -> Result<(), EmitError> {
        match outcome {
            Ok(()) => match &mut state.rare {
                None => Ok(()),
                Some(rare) => rare.kept.take().map_or(Ok(()), |error| Err(*error)),
            },
            Err(error) => Err(*error),
        }
    }

    /// Polls what is in flight before an event of the emitter. It was leaked, or handed over.
    #[cold]
    fn poll_earlier(
        self: &Arc<Self>,
        state: &mut State,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if state.driven || remote || state.has_deferred() {
            self.wait_for_driver(state, cx);
            return Poll::Pending;
        }
        let Poll::Ready(outcome) = self.poll_in_flight(state, cx) else {
            // A closer may have the event driven by a task from here on.
            self.emitter.register(cx.waker());
            return Poll::Pending;
        };
        self.complete(state, None);
        drop_quietly(outcome);
        Poll::Ready(())
    }

    /// The emitter waits until a task has driven the run to rest.
    #[cold]
    fn wait_for_driver(self: &Arc<Self>, state: &mut State, cx: &mut Context<'_>) {
        // The cell is held, so the driver cannot be done before the waker is registered.
        self.emitter.register(cx.waker());
        self.hand_over(state);
    }

    /// Polls an event that was accepted at an earlier poll.
    #[cold]
    fn poll_accepted(
        self: &Arc<Self>,
        state: &mut State,
        sequence: u64,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        let kept = state
            .rare
            .as_mut()
            .and_then(|rare| rare.outcome.take_if(|(number, _)| *number == sequence));
        if let Some((_, outcome)) = kept {
            return Poll::Ready(outcome);
        }
        if !state.in_flight {
            // Its driver is gone with the runtime, and has reported it.
            let error = self.node.take_raised().unwrap_or_else(|| state.closed_error());
            return Poll::Ready(Err(Box::new(error)));
        }
        self.poll_unfinished(state, remote, cx)
    }

    /// Polls the emitter's event, which is in flight.
    #[inline(always)]
    fn poll_unfinished(
        self: &Arc<Self>,
        state: &mut State,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        if state.driven || (remote && self.has_handlers_here()) {
            state.waits_for_driver = remote;
            self.wait_for_driver(state, cx);
            return Poll::Pending;
        }
        let Poll::Ready(outcome) = self.poll_in_flight(state, cx) else {
            // A closer may have the event driven by a task from here on.
            self.emitter.register(cx.waker());
            return Poll::Pending;
        };
        self.complete(state, outcome.as_ref().err().map(|error| &**error));
        Poll::Ready(outcome)
    }

    /// Whether handlers are called where an event is polled.
    pub(super) fn has_handlers_here(&self) -> bool {
        !self.setup.in_place.is_empty() || !self.setup.inline.is_empty()
    }

    /// Accepts an event that was emitted while the run was open. No other one is in flight. Returns
    /// its number, or `None` if no handler wants it.
    #[inline(always)]
    pub(super) fn accept(
        self: &Arc<Self>,
        state: &mut State,
        event: &mut PendingEvent,
        here: Here,
    ) -> Option<u64> {
        self.refresh_interest(state);
        let (kind, timed) = match &*event {
            PendingEvent::Token(token) => {
                if let Some(limit) = state.partial_limit {
                    match &mut state.partial {
                        Some(partial) => partial.push(token, limit),
                        none => none.insert(Box::default()).push(token, limit),
                    }
                }
                state.streams = true;
                (EventKind::LlmNewToken, state.token_times)
            }
            event => {
                let kind = event.kind();
                state.started |= kind.is_start();
                state.streams = false;
                (kind, kind.is_start() || state.token_times)
            }
        };
        if state.kinds & kind.bit() == 0 {
            return None;
        }
        let sequence = state.sequence;
        self.begin(state, event, timed, here);
        Some(sequence)
    }

    /// Puts an event in flight.
    #[inline(always)]
    pub(super) fn begin(
        self: &Arc<Self>,
        state: &mut State,
        event: &mut PendingEvent,
        timed: bool,
        here: Here,
    ) {
        if state.fan_out.is_none() {
            self.prepare(state);
        }
        let sequence = state.sequence;
        state.sequence += 1;
        let mut time = None;
        if timed || state.rare.is_some() {
            time = self.time_of(state, event.kind(), timed);
        }
        if here.moved || state.inside.is_none() {
            self.move_emitter(state);
        }
        if self.setup.emitter_context.is_some() {
            self.capture(state);
        }
        let Some(fan_out) = &mut state.fan_out else { return };
        fan_out.load(event, sequence, time, here.in_call);
        state.in_flight = true;
    }

    /// The time of the run's next event. What the last event raised is over.
    #[inline(never)]
    fn time_of(&self, state: &mut State, kind: EventKind, timed: bool) -> Option<Duration> {
        if let Some(rare) = &mut state.rare {
            drop_quietly(rare.raised.take());
            if rare.stamp.is_some() || self.node.info.is_replayed() {
                return self.apply_stamp(state, kind);
            }
        }
        if timed { self.setup.engine.clock.now() } else { None }
    }

    /// The emitter is somewhere else than at the run's last event.
    #[cold]
    fn move_emitter(self: &Arc<Self>, state: &mut State) {
        let emitter = current();
        let inside = Some(Place::in_call(&emitter, &self.node, FrameKind::Task));
        if let Some(fan_out) = &mut state.fan_out {
            fan_out.emitter = emitter.clone();
        }
        let old = (
            core::mem::replace(&mut state.emitter, emitter),
            core::mem::replace(&mut state.inside, inside),
        );
        if let Some(place) = &old.1 {
            place.end_call();
        }
        drop_quietly(old);
    }

    /// Polls the event in flight.
    #[inline(always)]
    pub(super) fn poll_in_flight(
        self: &Arc<Self>,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        let State { carrier, fan_out, inside, .. } = state;
        let Some(carrier) = carrier else { return Poll::Ready(Ok(())) };
        let event = fan_out.take();
        let done = ready!(carrier.as_mut().carry(event, inside, cx));
        match &mut state.fan_out {
            // Spelled out, so that nothing is dropped here.
            room @ None => *room = Some(done),
            Some(_) => unreachable!("the carrier had it"),
        }
        Poll::Ready(match self.node.take_raised() {
            None => Ok(()),
            Some(error) => Err(Box::new(error)),
        })
    }

    /// The event in flight has been handled, with an error for the emitter or without.
    #[inline(always)]
    pub(super) fn complete(self: &Arc<Self>, state: &mut State, error: Option<&EmitError>) {
        state.in_flight = false;
        if let Some(EmitError::Raised(failure)) = error {
            drop_quietly(state.rare().raised.replace(failure.clone()));
        }
        // Code that has taken the handlers' place along is in no call from here on.
        if !state.inside.as_ref().is_some_and(Place::is_unshared) {
            if let Some(place) = state.inside.take() {
                place.end_call();
            }
        }
        if state.flushed || !state.streams {
            self.put_away(state);
        }
    }

    /// The run may be idle for a while. It keeps the place of its event in flight for tokens only.
    #[cold]
    fn put_away(&self, state: &mut State) {
        if !state.streams {
            state.put_away();
        }
        self.release_flushes(state);
    }
}
