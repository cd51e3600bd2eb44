//! The state of a run, and how its events take turns.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::task::{Context, Poll, Waker, ready};

use super::heard::Heard;
use super::waiting::Waiting;
use super::{Family, Places, Unsent, error_event};
use crate::carrier::{Carrier, Outcome};
use crate::contain::contained;
use crate::context;
use crate::dispatch::Tickets;
use crate::engine::OpenRun;
use crate::error::{EmitError, HandlerFailure, RunError};
use crate::event::{Event, EventKind};
use crate::ledger::Ticket;
use crate::manager::Setup;
#[cfg(feature = "std")]
use crate::registration::Registration;
use crate::result::{LlmChunk, LlmResult};
use crate::run_info::{RunInfo, RunKind};
use crate::sync::Lock;
use crate::waiters::Waiter;

/// What a run is, made once at its start and shared by all its events.
pub(crate) struct Facts {
    pub(crate) info: RunInfo,
    /// The manager as it was at the start: a run keeps what it started with.
    pub(crate) setup: Arc<Setup>,
    pub(crate) family: Family,
    pub(crate) places: Places,
}

/// A run. See the module for why the event in flight is in here.
pub(crate) struct RunCore {
    pub(crate) facts: Arc<Facts>,
    pub(super) heard: Heard,
    waiting: Arc<Waiting>,
    pub(super) state: Lock<State>,
}

pub(super) struct State {
    turn: Turn,
    /// Kept from one event to the next.
    vehicle: Option<Box<Vehicle>>,
    /// Whether the event in flight is in no ledger: its run is asked for it.
    unbooked: bool,
    /// What flushes wait for that have asked.
    asked: Option<Ticket>,
    phase: Phase,
    sequence: u64,
    /// What came of handled events whose emitters have not asked yet. Mostly empty, and never longer than the emitters are many.
    outcomes: Vec<(u64, Outcome)>,
    /// The failure that was raised by the last event: if the emitter gives up now, that stopped the run.
    raised: Option<Box<HandlerFailure>>,
    partial: LlmResult,
    /// A tool's error names the call that its start named.
    tool_call_id: Option<String>,
    /// What a shutdown waits for, from the start to the end.
    open: Option<OpenRun>,
}

/// Whose turn it is to poll.
enum Turn {
    /// No event is in flight.
    Idle,
    /// An event is in flight, and nobody polls it at the moment.
    Parked(Flight),
    /// Somebody is polling the event in flight, or getting it ready.
    Polling,
}

/// An event on its way, and what brings it to its handlers.
struct Flight(Box<Vehicle>);

/// What a run brings its events to the handlers by, one after the other.
struct Vehicle {
    /// The event's.
    sequence: u64,
    carrier: Carrier,
    /// Wakes everybody who waits.
    waker: Waker,
}

/// What there is to poll.
enum Taken {
    Nothing,
    Flight(Flight),
    /// Somebody else is polling it.
    Elsewhere,
}

impl Vehicle {
    /// Has the event handled. Nothing where that panics.
    ///
    /// What came of it is written down on the way out: handed out of where panics are caught, it would be copied right after it was written, in pieces of
    /// another size, which a processor is slow to do.
    #[inline]
    fn poll(&mut self, poll: impl FnOnce(&mut Carrier, &mut Context<'_>) -> Poll<Outcome>) -> Option<Poll<Outcome>> {
        let Self { carrier, waker, .. } = self;
        let mut outcome = Ok(());
        let is_ready = contained(|| match poll(carrier, &mut Context::from_waker(waker)) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(error) => {
                outcome = error;
                true
            }
            Poll::Pending => false,
        });
        match is_ready {
            Ok(true) => Some(Poll::Ready(outcome)),
            Ok(false) => Some(Poll::Pending),
            Err(_) => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    NotStarted,
    Open,
    /// Given up: its last event is on its way.
    Closing,
    Closed,
}

/// An event from its emission to its end, as the emitter sees it.
pub(crate) enum Emission {
    /// Not accepted yet: dropped now, it has not happened.
    New {
        event: Unsent,
        /// Of an event that closes a run, which its owner has given up, or had to: what flushes wait for since then.
        closing: Option<Box<Booked>>,
        waiter: Waiter,
    },
    /// Accepted, under that number.
    Accepted {
        sequence: u64,
        /// Whether what goes under the number is the run's cancellation instead, as its parent's end has cut it off.
        cut_off: bool,
        waiter: Waiter,
    },
    /// It does not happen, as the callbacks have been shut down.
    ShutDown,
    Done,
}

/// An event that has been counted before it is accepted.
pub(crate) struct Booked {
    pub(crate) event: Ticket,
    pub(crate) handlers: Tickets,
}

impl Emission {
    pub(crate) fn new(event: Unsent) -> Self {
        Self::New {
            event,
            closing: None,
            waiter: Waiter::default(),
        }
    }

    pub(crate) fn closing(event: Event, booked: Booked) -> Self {
        Self::New {
            event: event.into(),
            closing: Some(Box::new(booked)),
            waiter: Waiter::default(),
        }
    }

    pub(crate) fn accepted(sequence: u64) -> Self {
        Self::Accepted {
            sequence,
            cut_off: false,
            waiter: Waiter::default(),
        }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        !matches!(self, Self::New { .. })
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

enum Acceptance {
    /// It is in flight now; or, where the run is cut off, the run's cancellation is instead.
    InFlight { flight: Flight, cut_off: bool },
    /// It does not happen.
    Refused(Box<EmitError>),
    /// Nobody wants it, so it is done.
    Unheard,
    /// Another event came first.
    Behind,
}

impl RunCore {
    pub(crate) fn new(facts: Facts) -> Arc<Self> {
        Arc::new(Self {
            facts: Arc::new(facts),
            heard: Heard::default(),
            waiting: Waiting::new(),
            state: Lock::new(State {
                turn: Turn::Idle,
                vehicle: None,
                unbooked: false,
                asked: None,
                phase: Phase::NotStarted,
                sequence: 0,
                outcomes: Vec::new(),
                raised: None,
                partial: LlmResult::new(),
                tool_call_id: None,
                open: None,
            }),
        })
    }

    /// Has a token handled that is as most are: its run goes on, and async handlers answer at once. Gives it back to [`poll_emission`] otherwise.
    #[inline]
    fn poll_plain(&self, emission: &mut Emission, cx: &mut Context<'_>) -> Option<Poll<Outcome>> {
        let Emission::New {
            event,
            closing: None,
            waiter,
        } = emission
        else {
            return None;
        };
        let Unsent::Token(token, chunk) = &*event else { return None };
        let timed = self.has_plain_tokens()?;
        if context::is_too_deep() {
            return None;
        }
        let time = if timed { self.facts.setup.engine.clock.now() } else { None };
        let mut vehicle = self.state.with(|state| state.take_off(token, chunk.as_deref()))?;
        let sequence = vehicle.sequence;
        self.waiting.before_poll();
        let poll = vehicle.poll(|carrier, cx| carrier.carry(&self.facts, event, sequence, time, cx));
        let mut waiter = *waiter;
        *emission = Emission::Done;
        match self.polled(Flight(vehicle), poll, Some(sequence), &mut waiter, cx) {
            Poll::Ready(Some(outcome)) => Some(Poll::Ready(outcome)),
            Poll::Ready(None) | Poll::Pending => {
                let cut_off = false;
                *emission = Emission::Accepted { sequence, cut_off, waiter };
                Some(Poll::Pending)
            }
        }
    }

    /// Brings an emission on: accepts it when it is its turn, and polls it to its end.
    pub(crate) fn poll_emission(self: &Arc<Self>, emission: &mut Emission, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        match self.poll_plain(emission, cx) {
            Some(Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            Some(poll) => poll.map(|outcome| told(outcome, false)),
            None => self.poll_any(emission, cx),
        }
    }

    fn poll_any(self: &Arc<Self>, emission: &mut Emission, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        loop {
            match emission {
                Emission::New { event, closing, waiter } => match self.accept(event, closing) {
                    Acceptance::InFlight { flight, cut_off } => {
                        let (sequence, mut waiter) = (flight.0.sequence, *waiter);
                        let poll = self.poll_flight(flight, Some(sequence), &mut waiter, cx);
                        *emission = Emission::Accepted { sequence, cut_off, waiter };
                        if let Some(outcome) = ready!(poll) {
                            *emission = Emission::Done;
                            return Poll::Ready(told(outcome, cut_off));
                        }
                    }
                    Acceptance::Refused(error) => {
                        *emission = Emission::Done;
                        return Poll::Ready(Err(*error));
                    }
                    Acceptance::Unheard => {
                        *emission = Emission::Done;
                        return Poll::Ready(Ok(()));
                    }
                    Acceptance::Behind => {
                        // Whoever gave the run up waits for nothing, wherever the task that tells of it is polled.
                        if closing.is_none() && context::is_handling(&self.facts) {
                            *emission = Emission::Done;
                            return Poll::Ready(Err(EmitError::RunBusy));
                        }
                        ready!(self.poll_idle(None, waiter, cx));
                    }
                },
                Emission::Accepted { sequence, cut_off, waiter } => {
                    let outcome = match self.take_outcome(*sequence) {
                        None => ready!(self.poll_idle(Some(*sequence), waiter, cx)),
                        outcome => outcome,
                    };
                    if let Some(outcome) = outcome {
                        let outcome = told(outcome, *cut_off);
                        *emission = Emission::Done;
                        return Poll::Ready(outcome);
                    }
                }
                Emission::ShutDown => {
                    *emission = Emission::Done;
                    return Poll::Ready(Err(EmitError::ShutDown));
                }
                Emission::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Takes the event in, if no other one is in flight; the caller has to poll it then.
    fn accept(self: &Arc<Self>, event: &mut Unsent, closing: &mut Option<Box<Booked>>) -> Acceptance {
        let refused = |error| Acceptance::Refused(Box::new(error));
        if context::is_too_deep() && closing.is_none() {
            if event.kind().is_start() {
                // What was not started never goes on; also where it is not so deep.
                self.state.with(|state| state.phase = Phase::Closed);
            }
            return refused(EmitError::TooDeep);
        }
        let cut_off = self.facts.is_cut_off() && self.is_open();
        if cut_off {
            *event = error_event(self.facts.info.kind(), RunError::Cancelled).into();
        }
        let kind = event.kind();
        let setup = &self.facts.setup;
        let wanted = setup.wants(kind) || (kind.is_end() && self.facts.is_in_pipelined_lane());
        let timed = kind.is_start() || kind.is_end() || (kind == EventKind::LlmNewToken && self.wants_token_times());
        let unbooked = wanted && self.is_asked_for(kind);
        let time = if timed { setup.engine.clock.now() } else { None };
        let accepted = self.state.with(|state| {
            if !matches!(state.turn, Turn::Idle) {
                return Err(Acceptance::Behind);
            }
            if state.phase == Phase::Closed {
                return Err(refused(EmitError::RunClosed));
            }
            if closing.is_none() {
                self.admit(kind, state).map_err(|error| {
                    // What was not started never goes on.
                    if kind.is_start() {
                        state.phase = Phase::Closed;
                    }
                    refused(error)
                })?;
            }
            let sequence = state.sequence;
            state.sequence += 1;
            let closed = state.note(event, &self.facts);
            let mut vehicle = None;
            if wanted {
                state.turn = Turn::Polling;
                state.unbooked = unbooked;
                vehicle = state.vehicle.take();
            }
            Ok((sequence, state.raised.take(), closed, vehicle))
        });
        let (sequence, closed, vehicle) = match accepted {
            // The failure goes here, outside the lock: its cause is the user's.
            Ok((sequence, _raised, closed, vehicle)) => (sequence, closed, vehicle),
            Err(refused) => return refused,
        };
        if !wanted {
            if closed.is_some() {
                self.facts.leave_lanes(None);
            }
            // Those who wait behind it found the run idle, or will.
            return if cut_off {
                refused(EmitError::RunClosed)
            } else {
                Acceptance::Unheard
            };
        }
        let mut vehicle = vehicle.unwrap_or_else(|| self.new_vehicle());
        // Counted before it can be seen; and before a run that it ends is no longer counted as open.
        let (page, tickets) = match closing.take() {
            Some(booked) => (booked.event.into_page(), booked.handlers),
            None if unbooked => (None, Tickets::default()),
            None => (Some(setup.engine.ledger.open()), Tickets::default()),
        };
        drop(closed);
        vehicle.sequence = sequence;
        vehicle.carrier.load(&self.facts, event, sequence, time, page, tickets);
        Acceptance::InFlight {
            flight: Flight(vehicle),
            cut_off,
        }
    }

    #[cold]
    fn new_vehicle(&self) -> Box<Vehicle> {
        Box::new(Vehicle {
            sequence: 0,
            carrier: Carrier::new(&self.facts.setup),
            waker: Waker::from(self.waiting.clone()),
        })
    }

    /// Whether flushes ask the run for an event of `kind`, instead of the ledger. Starts and ends change whether it is asked, and a lane may have an event
    /// for longer than its run.
    fn is_asked_for(&self, kind: EventKind) -> bool {
        self.facts.info.kind() != RunKind::None && !kind.is_start() && !kind.is_end() && !self.facts.setup.has_lanes()
    }

    /// Has a flush that begins now wait for the event in flight, if it cannot know of it otherwise.
    pub(crate) fn book_in_flight(&self) {
        self.state.with(|state| state.book_in_flight(&self.facts));
    }

    /// Whether an event may happen, as far as a shutdown is concerned; a start counts as open from here on.
    fn admit(self: &Arc<Self>, kind: EventKind, state: &mut State) -> Result<(), EmitError> {
        let engine = &self.facts.setup.engine;
        if state.phase == Phase::Closing || engine.is_shut_down() {
            return Err(EmitError::ShutDown);
        }
        if kind.is_start() {
            let inside = self.facts.setup.parent.0.as_ref().is_some_and(|parent| !parent.has_ended());
            state.open = Some(engine.open_run(self, inside)?);
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.state.with(|state| state.phase == Phase::Open)
    }

    /// Polls whatever is in flight; ready when nothing is. Gives what came of event number `mine`, if that was it.
    pub(super) fn poll_idle(&self, mine: Option<u64>, waiter: &mut Waiter, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        match self.take_flight() {
            Taken::Nothing => Poll::Ready(None),
            Taken::Flight(flight) => self.poll_flight(flight, mine, waiter, cx),
            Taken::Elsewhere => {
                // Enlisted before we look again: whoever polls it now must find us.
                self.waiting.enlist(waiter, cx.waker());
                if context::may_help() {
                    self.waiting.want();
                }
                match self.take_flight() {
                    Taken::Nothing => Poll::Ready(None),
                    Taken::Flight(flight) => self.poll_flight(flight, mine, waiter, cx),
                    Taken::Elsewhere => Poll::Pending,
                }
            }
        }
    }

    fn take_flight(&self) -> Taken {
        self.state.with(|state| match mem::replace(&mut state.turn, Turn::Polling) {
            Turn::Idle => {
                state.turn = Turn::Idle;
                Taken::Nothing
            }
            Turn::Parked(flight) => Taken::Flight(flight),
            Turn::Polling => Taken::Elsewhere,
        })
    }

    fn poll_flight(&self, mut flight: Flight, mine: Option<u64>, waiter: &mut Waiter, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        // Whoever polls last may be dropped: so the event in flight wakes everybody who waits.
        self.waiting.before_poll();
        let poll = flight.0.poll(Carrier::poll);
        self.polled(flight, poll, mine, waiter, cx)
    }

    /// Goes on after the event in flight was polled.
    #[inline]
    fn polled(
        &self,
        mut flight: Flight,
        mut poll: Option<Poll<Outcome>>,
        mine: Option<u64>,
        waiter: &mut Waiter,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Outcome>> {
        let sequence = flight.0.sequence;
        let mut more = false;
        if matches!(poll, Some(Poll::Pending)) && context::may_help() {
            // We are inside a sync handler, on a thread that may be the only one there is for them.
            more = self.facts.setup.help();
            poll = flight.0.poll(Carrier::poll);
        }
        // Handlers' panics are contained where they are called. This one is of the runtime's, and must not leave the run stuck: the calls that it cut
        // short report themselves as the carrier goes.
        let panicked = poll.is_none();
        let Poll::Ready(outcome) = poll.unwrap_or(Poll::Ready(Ok(()))) else {
            // Enlisted only now, or an event that is ready at once would wake its own emitter; and before it is parked, so that nobody can be missed.
            self.waiting.enlist(waiter, cx.waker());
            self.state.with(|state| state.turn = Turn::Parked(flight));
            if self.waiting.is_wanted() || more {
                // It was woken while it was polled: we were not on the list yet; and others that came by meanwhile wait, as we may be dropped or leaked.
                // Or it is wanted by somebody else; or there is more to help with, and the code around us gets its turn before that.
                self.waiting.wake_all();
            }
            return Poll::Pending;
        };
        let mut vehicle = Some(flight.0).filter(|_| !panicked);
        let raised = match &outcome {
            Ok(()) => None,
            Err(error) => raised(error),
        };
        // What goes is dropped out here, and is not handed out with the rest: mostly it is nothing, and would be copied all the same.
        let (mut outcome, mut _asked) = (Some(outcome), None);
        let _replaced = self.state.with(|state| {
            state.turn = Turn::Idle;
            // A run that waits for its first token, or for its drop, needs none.
            if state.phase == Phase::Open && state.sequence > 1 {
                mem::swap(&mut state.vehicle, &mut vehicle);
            }
            if mem::take(&mut state.unbooked) && state.asked.is_some() {
                _asked = state.asked.take();
            }
            if mine != Some(sequence) {
                state.outcomes.extend(outcome.take().map(|outcome| (sequence, outcome)));
            }
            mem::replace(&mut state.raised, raised)
        });
        self.waiting.wake_all();
        Poll::Ready(outcome)
    }

    fn take_outcome(&self, sequence: u64) -> Option<Outcome> {
        self.state.with(|state| {
            let index = state.outcomes.iter().position(|(number, _)| *number == sequence)?;
            Some(state.outcomes.swap_remove(index).1)
        })
    }

    /// Drops the outcome that nobody will ask for.
    pub(crate) fn forget_outcome(&self, sequence: u64) {
        drop(self.take_outcome(sequence));
    }

    /// Whether an event is in flight.
    pub(crate) fn has_flight(&self) -> bool {
        self.state.with(|state| !matches!(state.turn, Turn::Idle))
    }

    /// Whether event number `sequence`, which was accepted, is not handled yet.
    pub(crate) fn is_handling(&self, sequence: u64) -> bool {
        self.state
            .with(|state| !matches!(state.turn, Turn::Idle) && state.sequence - 1 == sequence)
    }

    pub(crate) fn wake_waiting(&self) {
        self.waiting.wake_all();
    }

    /// A start that could not be waited for has not happened, and what was not started never goes on.
    #[cfg(feature = "std")]
    pub(crate) fn refuse_start(&self) {
        self.state.with(|state| {
            if state.phase == Phase::NotStarted {
                state.phase = Phase::Closed;
            }
        });
    }

    /// The run has ended, though its end was not accepted: nobody is to be told of it, or nobody can be.
    pub(crate) fn let_go(&self) {
        let _open = self.state.with(|state| {
            // It is not asked any more.
            state.book_in_flight(&self.facts);
            state.open.take()
        });
        self.facts.leave_lanes(None);
    }

    /// Closes a run that has started and not ended; `None` if there is none such. Gives the failure that the emitter gave up on.
    pub(crate) fn close_unended(&self) -> Option<Option<HandlerFailure>> {
        self.state.with(|state| {
            if state.phase != Phase::Open {
                return None;
            }
            state.phase = Phase::Closing;
            Some(state.raised.take().map(|failure| *failure))
        })
    }
}

/// What the emitter is told.
#[inline]
fn told(outcome: Outcome, cut_off: bool) -> Result<(), EmitError> {
    match outcome {
        _ if cut_off => Err(EmitError::RunClosed),
        Ok(()) => Ok(()),
        Err(error) => Err(*error),
    }
}

/// The failure that the emitter may give up on.
#[cold]
fn raised(error: &EmitError) -> Option<Box<HandlerFailure>> {
    match error {
        EmitError::Raised(failure) => Some(Box::new(failure.clone())),
        _ => None,
    }
}

impl State {
    /// Takes in a token of a run that goes on, unless there is more to it; gives the vehicle for it, which is there from the second one on.
    #[inline]
    fn take_off(&mut self, token: &str, chunk: Option<&LlmChunk>) -> Option<Box<Vehicle>> {
        let plain = matches!(self.turn, Turn::Idle) && self.phase == Phase::Open && self.raised.is_none();
        let mut vehicle = self.vehicle.take_if(|_| plain)?;
        vehicle.sequence = self.sequence;
        self.sequence += 1;
        self.turn = Turn::Polling;
        self.unbooked = true;
        match chunk {
            Some(chunk) => self.partial.push_chunk(chunk),
            None => self.partial.push_text(token),
        }
        Some(vehicle)
    }

    fn book_in_flight(&mut self, facts: &Facts) {
        let in_flight = !matches!(self.turn, Turn::Idle);
        if in_flight && self.unbooked && self.asked.is_none() {
            self.asked = Some(Ticket::new(&facts.setup.engine.ledger));
        }
    }

    /// What an accepted event changes in its run. Gives what counted a run as open that it ends.
    fn note(&mut self, event: &mut Unsent, facts: &Facts) -> Option<OpenRun> {
        match event {
            Unsent::Token(token, chunk) => {
                match chunk {
                    Some(chunk) => self.partial.push_chunk(chunk),
                    None => self.partial.push_text(token),
                }
                None
            }
            Unsent::Other(event) => self.note_other(event, facts),
            Unsent::Sent => None,
        }
    }

    fn note_other(&mut self, event: &mut Event, facts: &Facts) -> Option<OpenRun> {
        match event {
            Event::ToolStart(start) => self.tool_call_id.clone_from(&start.tool_call_id),
            Event::ToolError(error) if error.tool_call_id.is_none() => error.tool_call_id = self.tool_call_id.take(),
            Event::LlmEnd(end) if end.of_tokens => end.result = mem::take(&mut self.partial),
            Event::LlmError(error) if error.partial == LlmResult::new() => error.partial = mem::take(&mut self.partial),
            _ => {}
        }
        let kind = event.kind();
        if kind.is_start() {
            self.phase = Phase::Open;
            facts.join_parent();
        } else if kind.is_end() {
            if mem::replace(&mut self.phase, Phase::Closed) == Phase::Open {
                event.set_open_children(facts.end_family());
            }
            return self.open.take();
        }
        None
    }
}

impl Setup {
    /// Whether any handler wants events of `kind`, as far as is known.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.handlers().any(|handler| handler.wants(kind))
    }

    /// The first async handler that is asked about events of `kind` on the emitter's task.
    #[cfg(feature = "std")]
    pub(crate) fn first_async(&self, kind: EventKind) -> Option<&Arc<Registration>> {
        self.handlers().find(|handler| handler.in_place().is_some() && handler.wants(kind))
    }

    /// Makes calls of those sync handlers that wait for somebody who does, and whom an emitter may be waiting for.
    #[cfg(feature = "std")]
    pub(crate) fn help_those_waited_for(&self) {
        let lanes = self.handlers().filter_map(|handler| Some((handler, handler.lane()?)));
        lanes.filter(|(_, lane)| lane.is_waited_for()).for_each(|(handler, lane)| {
            lane.help(handler);
        });
    }

    /// Makes calls of those sync handlers that wait for somebody who does. Whether there are more to make.
    fn help(&self) -> bool {
        // A thread that blocks only for its own events makes no other calls, unless it may be the only one.
        let all = context::is_serving();
        let lanes = self.handlers().filter_map(|handler| Some((handler, handler.lane()?)));
        let lanes = lanes.filter(|(_, lane)| all || lane.is_its_emitters());
        lanes.fold(false, |more, (handler, lane)| lane.help(handler) || more)
    }
}
