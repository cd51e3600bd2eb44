//! A run, and the cell that its state is in.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::pin::Pin;
use core::sync::atomic::AtomicU32;
use core::time::Duration;

use super::cell::{After, Requests};
use super::fan_out::{Carry, FanOut, carrier};
use super::partial::Partial;
use super::seats::Seats;
use super::setup::Setup;
use crate::dispatch::{Current, RunNode, Ticks, interest_changes};
use crate::model::context::RecordedAt;
use crate::model::emitter::Captured;
use crate::model::error::{EmitError, HandlerFailure};
use crate::model::event::{Event, EventKind, LlmNewToken};
use crate::model::result::LlmResult;
use crate::model::run_info::RunKind;
use crate::util::sync::{AtomicWaker, Ordering};
use crate::util::{Mutex, Turn, drop_quietly};

/// An event that has not happened yet. Tokens are many, and need no box.
pub(crate) enum PendingEvent {
    Token(LlmNewToken),
    Other(Box<Event>),
    /// It has happened, or concerns no handler.
    Sent,
}

impl PendingEvent {
    #[inline]
    pub(super) fn kind(&self) -> EventKind {
        match self {
            Self::Token(_) | Self::Sent => EventKind::LlmNewToken,
            Self::Other(event) => event.kind(),
        }
    }
}

impl From<LlmNewToken> for PendingEvent {
    #[inline]
    fn from(token: LlmNewToken) -> Self {
        Self::Token(token)
    }
}

impl From<Event> for PendingEvent {
    fn from(event: Event) -> Self {
        Self::Other(Box::new(event))
    }
}

/// What the run's next event of that kind is given, instead of what is found out here.
pub(crate) struct Stamp {
    pub(crate) kind: EventKind,
    pub(crate) time: Option<Duration>,
    /// Where it was recorded, if it is replayed.
    pub(crate) recorded: Option<Arc<RecordedAt>>,
}

/// What an event comes to for its emitter. Boxed, because it mostly is no error.
pub(crate) type Outcome = Result<(), Box<EmitError>>;

/// A run.
pub(crate) struct Run {
    pub(crate) node: Arc<RunNode>,
    pub(crate) setup: Arc<Setup>,
    /// The kinds of event that make a difference, as bits. All, once the run is closed.
    pub(super) mask: AtomicU32,
    /// The emitter's task, while it waits for the cell or for an event that another task drives.
    pub(super) emitter: AtomicWaker,
    /// The driving task, while it waits for the cell.
    pub(super) driver: AtomicWaker,
    /// What the bits of the cell's word are about. Most of the time there is nothing.
    pub(super) requests: Mutex<Option<Box<Requests>>>,
    /// It is only ever tried and never waited for, so user code may run while it is held.
    pub(super) cell: Turn<State>,
}

/// Bits of the word.
pub(super) const EMITTER: usize = 1;
pub(super) const DRIVER: usize = 2;
pub(super) const FLUSH: usize = 4;
pub(super) const CLOSE: usize = 8;
pub(super) const HAND_OVER: usize = 16;
pub(super) const STATS: usize = 32;
/// A task drives the run to its end in place of its `End`, which may be leaked.
pub(super) const TAKE_OVER: usize = 64;
/// There is an event in the inbox.
pub(super) const INBOX: usize = 128;
/// The holder itself has to spawn a task that drives the run.
pub(super) const SPAWN: usize = 256;
/// The driver is gone with its runtime.
pub(super) const ABANDON: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    #[default]
    NotStarted,
    Open,
    /// Its last event is decided. It is delivered when the children are closed.
    Closing,
    Closed,
}

/// What a run's cell holds.
#[derive(Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Whether a task, or an `End`, drives the run. Else its emitter does.
    pub(super) driven: bool,
    /// Whether an `End` drives the run. It may be leaked, so a task may take over.
    pub(super) driven_by_end: bool,
    pub(super) in_flight: bool,
    /// Whether the start has been accepted. Else no handler gets an end.
    pub(super) started: bool,
    /// The number of the next event.
    pub(super) sequence: u64,
    /// Between events. In flight, the carrier has it.
    pub(super) fan_out: Option<Box<FanOut>>,
    pub(super) carrier: Option<Pin<Box<dyn Carry>>>,
    /// Where the run's emitter was at its last event, and the handlers' place for it.
    pub(super) emitter: Current,
    pub(super) inside: Current,
    /// The run's seats in its lanes, while there is no fan-out.
    pub(super) seats: Seats,
    /// Whether the emitter of the event in flight waits for its outcome.
    pub(super) awaited: bool,
    /// Whether that emitter blocks its thread, and a driver has to poll the event.
    pub(super) waits_for_driver: bool,
    /// What few runs have, or have at their end only.
    pub(super) rare: Option<Box<Rare>>,
    /// Whether the event in flight is a token. Then the next one probably is one, too.
    pub(super) streams: bool,
    /// Whether the event in flight is the last one.
    pub(super) ends: bool,
    /// Whether a shutdown has closed the run.
    pub(super) shut_down: bool,
    /// Made for the first token that is kept.
    pub(super) partial: Option<Box<Partial>>,
    /// Whether the partial result is the run's result, and so is kept whole.
    pub(super) keeps_result: bool,
    /// Its key in the engine, while it is open there.
    pub(super) entry: Option<u32>,
    /// The kinds that handlers want, and whether tokens carry their time.
    pub(super) kinds: u32,
    pub(super) token_times: bool,
    /// How many bytes of text the partial result may have. `None` if tokens are not added to it.
    pub(super) partial_limit: Option<usize>,
    /// The interest changes that `kinds` knows of.
    changes: usize,
    /// Flushes wait for the event in flight.
    pub(super) flushed: bool,
    pub(super) ticks: Ticks,
    /// What is done after the cell was released. Most polls leave nothing.
    pub(super) after: Option<Box<After>>,
}

/// What few runs have, or have at their end only.
#[derive(Default)]
pub(super) struct Rare {
    /// What was raised by the last event. If the owner gives up now, this stopped the run.
    pub(super) raised: Option<Box<HandlerFailure>>,
    /// What an event has raised that was emitted inside a call. The next emit returns it.
    pub(super) kept: Option<Box<EmitError>>,
    /// Events that were emitted inside a handler's call for an event of this run.
    pub(super) deferred: VecDeque<(PendingEvent, Current)>,
    /// What came of an event that another task drove, for its emitter.
    pub(super) outcome: Option<(u64, Outcome)>,
    /// What came of the last event, for an `End` that waits for another task.
    pub(super) end_outcome: Option<Outcome>,
    /// The last event, once it is decided, and where that was.
    pub(super) end: Option<(Box<Event>, Current)>,
    /// A tool's error names the call that its start named.
    pub(super) tool_call_id: Option<String>,
    pub(super) stamp: Option<Box<Stamp>>,
    /// What was in force where the end was decided.
    pub(super) captured: Captured,
}

impl State {
    /// Whether the next event of that kind is replayed from a record.
    pub(super) fn is_recorded(&self, kind: EventKind) -> bool {
        let stamp = self.rare.as_ref().and_then(|rare| rare.stamp.as_ref());
        stamp.is_some_and(|stamp| stamp.kind == kind && stamp.recorded.is_some())
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What an emitter gets that comes too late.
    pub(super) fn closed_error(&self) -> EmitError {
        match self.shut_down {
            true => EmitError::ShutDown,
            false => EmitError::RunClosed,
        }
    }

    pub(super) fn after(&mut self) -> &mut After {
        self.after.get_or_insert_default()
    }

    /// Whether events wait that were emitted inside a handler's call.
    #[inline(always)]
    pub(super) fn has_deferred(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.deferred.is_empty())
    }

    /// Puts away what carries events and where the emitter was. Adds the counts to the handlers'.
    pub(super) fn put_away(&mut self) {
        if let Some(fan_out) = &mut self.fan_out {
            fan_out.add_counts();
            self.seats = core::mem::take(&mut fan_out.seats);
        }
        if self.fan_out.is_some() || self.carrier.is_some() {
            let unused = &mut self.after.get_or_insert_default().unused;
            unused.fan_out = self.fan_out.take();
            unused.carrier = self.carrier.take();
            unused.places = (self.emitter.take(), self.inside.take());
        }
    }

    pub(super) fn take_partial(&mut self) -> LlmResult {
        self.partial.take().map(|partial| partial.into_result()).unwrap_or_default()
    }

    pub(super) fn pop_deferred(&mut self) -> Option<(PendingEvent, Current)> {
        self.rare.as_mut()?.deferred.pop_front()
    }

    /// Whether the run has a seat in any lane.
    pub(super) fn has_seats(&self) -> bool {
        self.fan_out.as_ref().map_or(&self.seats, |fan_out| &fan_out.seats).is_any_taken()
    }
}

impl Run {
    pub(crate) fn new(node: RunNode, setup: Arc<Setup>) -> Arc<Self> {
        let node = Arc::new(if setup.has_lanes() { node.with_answers() } else { node });
        Arc::new(Self {
            node,
            setup,
            mask: AtomicU32::new(0),
            emitter: AtomicWaker::new(),
            driver: AtomicWaker::new(),
            requests: Mutex::new(None),
            cell: Turn::new(State::default()),
        })
    }

    /// Whether an event of `kind` makes a difference.
    #[inline(always)]
    pub(crate) fn is_enabled(&self, kind: EventKind) -> bool {
        self.mask.load(Ordering::Relaxed) & kind.bit() != 0
    }

    /// Every event goes the long way from here on, and finds that the run is closed.
    pub(super) fn enable_all(&self) {
        if self.setup.has_handlers() {
            self.mask.store(u32::MAX, Ordering::Relaxed);
        }
    }

    /// Finds out anew which kinds of event make a difference.
    #[cold]
    pub(super) fn rebuild_interest(&self, state: &mut State) {
        // First the count, then the kinds: a change in between is found at the next event.
        state.changes = interest_changes();
        let kinds = self.setup.wanted_kinds();
        state.kinds = kinds;
        state.token_times = self.setup.wants_token_times();
        let hears_errors = kinds & EventKind::LlmError.bit() != 0;
        let limit = if state.keeps_result { usize::MAX } else { self.setup.partial_limit };
        state.partial_limit = (hears_errors || state.keeps_result).then_some(limit);
        let hears_end = state.keeps_result && kinds & EventKind::LlmEnd.bit() != 0;
        let is_model = matches!(self.node.info.kind(), RunKind::Llm | RunKind::ChatModel);
        let mut mask = kinds;
        if is_model && (hears_errors || hears_end) {
            mask |= EventKind::LlmNewToken.bit();
        }
        self.mask.store(mask, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn refresh_interest(&self, state: &mut State) {
        if state.changes != interest_changes() {
            self.rebuild_interest(state);
        }
    }

    /// Makes the carrier and the fan-out.
    #[cold]
    pub(super) fn prepare(&self, state: &mut State) {
        if state.carrier.is_none() {
            let seats = core::mem::take(&mut state.seats);
            state.fan_out = Some(Box::new(FanOut::new(self, seats)));
            state.carrier = Some(carrier());
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Only if its runtime is gone: else it has finished.
        let Some(mut state) = self.cell.try_hold() else { return };
        let (entry, fan_out) = (state.entry.take(), state.fan_out.take());
        let mut seats = core::mem::take(&mut state.seats);
        let rest = (state.carrier.take(), state.rare.take());
        let places = (state.emitter.take(), state.inside.take());
        let requests = self.requests.with(Option::take);
        drop(state);
        drop_quietly(rest);
        drop_quietly(requests);
        drop_quietly(fan_out);
        drop_quietly(seats.leave(&self.setup));
        drop_quietly(places);
        self.node.detach();
        if let Some(entry) = entry {
            self.setup.engine.unregister_run(entry, self.node.info.id());
        }
    }
}
