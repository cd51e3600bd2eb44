//! The lane of a handler: its queued events, and the server that makes its calls.
//!
//! A sync handler's lane is served by workers, one call at a time. An async handler's lane is
//! served by one task for each trace that has something.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::item::part_of;
use super::meta::{LaneCounts, count};
use super::watch::{Running, micros};
use super::{Current, HandlerMeta, LaneEvent, LaneItem, LaneSeat, RunNode, Workers};
use crate::handler::{Delivery, ErasedAsyncHandler, Mode};
use crate::model::error::{FailureCause, HandlerFailure};
use crate::model::event::EventKind;
use crate::queue::{Abandoned, Batch, Item, LaneQueue, Limits, Lost, Part, Push, Rare, Released};
use crate::runtime::Runtime;
use crate::util::{Mutex, WaitGuard, catch_unwind, drop_quietly};

pub(crate) type BoxSyncHandler = Box<dyn crate::handler::CallbackHandler + Send>;

/// What a run's events in its lanes share.
pub(crate) struct Mailbox {
    pub(crate) node: Arc<RunNode>,
    /// Where the run's emitter was at the first event that was queued.
    pub(crate) emitter: Current,
}

pub(crate) type Queue = LaneQueue<LaneItem, Arc<Mailbox>, WaitGuard>;
pub(super) type LaneBatch = Batch<LaneItem, Arc<Mailbox>, WaitGuard>;
pub(super) type LaneReleased = Released<Arc<Mailbox>, WaitGuard>;

pub(crate) struct Lane {
    pub(super) meta: Arc<HandlerMeta>,
    pub(super) mode: Mode,
    pub(super) timeout: Option<Duration>,
    /// The maximum number of queued events per run.
    pub(super) capacity: usize,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) server: Server,
    /// In memory of its own, so that what changes with each event shares no cache line with what
    /// all emitters read.
    pub(super) state: Box<Mutex<LaneState>>,
}

/// Who makes the calls.
pub(super) enum Server {
    /// Workers, one at a time. The handler is in the state.
    Workers(Arc<Workers<Lane>>),
    /// A task for each trace that has something.
    Tasks(Box<dyn ErasedAsyncHandler>),
}

pub(super) struct LaneState {
    /// Made when it is needed: a handler without open runs has none.
    queue: Option<Box<Queue>>,
    limits: Limits,
    /// A sync handler. Absent while it is called: no second call can begin, and no lock is held.
    pub(super) handler: Option<BoxSyncHandler>,
    /// How many events the handler has handled. Counted here and not beside what emitters read.
    pub(super) handled: usize,
    /// Whether a worker serves the lane, or is on its way.
    pub(super) served: bool,
    /// The sync call that is out, if it can time out.
    pub(super) running: Option<Running>,
    /// Whether a task watches over time-outs.
    pub(super) watched: bool,
}

impl LaneState {
    #[inline]
    pub(super) fn queue(&mut self) -> &mut Queue {
        self.queue.get_or_insert_with(|| Box::new(LaneQueue::new(self.limits)))
    }

    /// Events that were handed out have been called for, and so many of them were handled.
    pub(super) fn finish(
        &mut self,
        batch: &mut LaneBatch,
        handled: usize,
        released: &mut LaneReleased,
    ) {
        self.handled += handled;
        self.queue().finish(batch, released);
    }

    /// The lane is idle: gives back what only a burst needed.
    pub(super) fn shrink(&mut self) {
        match &mut self.queue {
            Some(queue) if queue.is_unused() => self.queue = None,
            Some(queue) => queue.shrink(),
            None => {}
        }
    }
}

/// How a lane is made.
pub(crate) struct LaneOptions {
    pub(crate) delivery: Delivery,
    pub(crate) timeout: Option<Duration>,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// An event's way into one lane.
#[derive(Default)]
pub(crate) struct LaneStep {
    /// When the emitter stops waiting: `u64::MAX` is never.
    due: u64,
    pushed: Pushed,
    rare: Option<Box<Rare<LaneItem, WaitGuard>>>,
    /// Whether a watch has to be spawned.
    watch: bool,
}

/// What is left to do after an event was queued.
#[derive(Default)]
enum Pushed {
    #[default]
    Nothing,
    /// Have a worker serve the lane.
    Serve,
    /// Spawn a task that serves a trace.
    Task(usize),
}

impl Lane {
    /// The lane of a sync handler.
    pub(crate) fn of_sync(
        handler: BoxSyncHandler,
        meta: Arc<HandlerMeta>,
        options: LaneOptions,
        workers: &Arc<Workers<Self>>,
    ) -> Arc<Self> {
        Self::new(Some(handler), meta, options, Server::Workers(workers.clone()))
    }

    /// The lane of an async handler.
    pub(crate) fn of_async(
        handler: Box<dyn ErasedAsyncHandler>,
        meta: Arc<HandlerMeta>,
        options: LaneOptions,
    ) -> Arc<Self> {
        Self::new(None, meta, options, Server::Tasks(handler))
    }

    fn new(
        handler: Option<BoxSyncHandler>,
        meta: Arc<HandlerMeta>,
        options: LaneOptions,
        server: Server,
    ) -> Arc<Self> {
        let delivery = options.delivery;
        let limits = Limits {
            capacity: u32::try_from(delivery.capacity()).unwrap_or(u32::MAX),
            open_traces: delivery.open_traces().unwrap_or(usize::MAX),
            overflow: delivery.overflow(),
            waits: delivery.waits_for_room(),
        };
        Arc::new(Self {
            meta,
            mode: delivery.mode(),
            timeout: options.timeout,
            capacity: delivery.capacity(),
            runtime: options.runtime,
            server,
            state: Box::new(Mutex::new(LaneState {
                queue: None,
                limits,
                handler,
                handled: 0,
                served: false,
                running: None,
                watched: false,
            })),
        })
    }

    #[inline]
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.meta.wants(kind)
    }

    /// Finds out when the emitter of an event stops waiting. Called before [`push`](Self::push),
    /// because the clock is user code.
    #[inline]
    pub(crate) fn prepare(&self, step: &mut LaneStep, in_call: bool) {
        step.due = match (self.mode, self.timeout) {
            (Mode::Awaited, Some(after)) if !in_call => self.now().saturating_add(micros(after)),
            _ => u64::MAX,
        };
    }

    /// Queues an event. `seat` is the run's seat in this lane. What the emitter has to wait for
    /// holds the run's answers.
    ///
    /// It calls no user code, so a trace's events can be queued in several lanes under one lock.
    /// [`settle`](Self::settle) does the rest.
    pub(crate) fn push(&self, seat: &mut LaneSeat, step: &mut LaneStep, event: &LaneEvent<'_>) {
        let node = event.node;
        if node.is_refused(self.meta.id) {
            return;
        }
        let part = part_of(event.event, node.info.kind());
        let waits = !event.in_call
            && match self.mode {
                Mode::Awaited => true,
                Mode::Pipelined => part.is_last(),
                Mode::Background => false,
            };
        let answer = if waits { node.answer() } else { None };
        let due = if answer.is_some() { step.due } else { u64::MAX };
        let item = event.item();
        let may_wait = !event.in_call;
        step.pushed = self.state.with(|state| {
            let key = match seat.key() {
                Some(key) => key,
                None => {
                    let mailbox = event.mailbox.clone();
                    let Some(key) = state.queue().admit(node.trace_id(), node.nested, mailbox)
                    else {
                        node.refuse(self.meta.id);
                        count(&self.meta.counters.refused, 1);
                        return Pushed::Nothing;
                    };
                    seat.set(key);
                    key
                }
            };
            if part.is_last() {
                *seat = LaneSeat::default();
            }
            let wait = may_wait.then_some(|| node.answer());
            let Push { ready, rare } = state.queue().push(key, (item, part), (answer, due), wait);
            step.rare = rare;
            step.watch = due != u64::MAX && !core::mem::replace(&mut state.watched, true);
            match (ready, &self.server) {
                (None, _) => Pushed::Nothing,
                (Some(trace), Server::Tasks(_)) => Pushed::Task(trace),
                (Some(trace), Server::Workers(_)) => {
                    state.queue().schedule(trace);
                    let served = core::mem::replace(&mut state.served, true);
                    if served { Pushed::Nothing } else { Pushed::Serve }
                }
            }
        });
    }

    /// Does what is left of a push: wakes a server, counts what was lost, and drops it.
    #[inline]
    pub(crate) fn settle(self: &Arc<Self>, step: &mut LaneStep, event: &LaneEvent<'_>) {
        match (&self.server, core::mem::take(&mut step.pushed)) {
            (Server::Workers(workers), Pushed::Serve) => workers.serve(self.clone()),
            (Server::Tasks(_), Pushed::Task(trace)) => self.spawn_server(trace),
            _ => {}
        }
        if core::mem::take(&mut step.watch) {
            self.spawn_watch();
        }
        if let Some(rare) = step.rare.take() {
            self.settle_rare(*rare, event);
        }
    }

    #[cold]
    fn settle_rare(&self, rare: Rare<LaneItem, WaitGuard>, event: &LaneEvent<'_>) {
        let Rare { evicted, coalesced, released, lost } = rare;
        count(&self.meta.counters.dropped, usize::from(evicted.is_some()));
        count(&self.meta.counters.coalesced, usize::from(coalesced));
        drop_quietly(evicted);
        drop(released);
        let Some(Lost { item, answer, stuck }) = lost else { return };
        count(&self.meta.counters.dropped, 1);
        if stuck && self.meta.raise_error {
            // A gate that cannot be asked stops the run.
            let (name, kind) = (self.meta.name.clone(), event.event.kind());
            let id = event.node.info.id();
            let failure = HandlerFailure::new(name, kind, id, FailureCause::Busy);
            self.meta.inform(failure, event.node);
        }
        drop_quietly(item);
        drop(answer);
    }

    /// No more events of the run will come. `hold` is kept until those that have come are handled.
    pub(crate) fn leave(&self, seat: &mut LaneSeat, hold: Option<WaitGuard>) {
        let Some(key) = seat.key() else { return };
        *seat = LaneSeat::default();
        let mut released = LaneReleased::default();
        self.state.with(|state| state.queue().leave(key, hold, &mut released));
        Self::let_go(&mut released);
    }

    /// The run has ended, and this handler does not want the end. A pipelined handler keeps the
    /// emitter waiting until it has handled the run's other events.
    pub(crate) fn end_unwanted(&self, seat: &mut LaneSeat, node: &RunNode, in_call: bool) {
        let waits = self.mode == Mode::Pipelined && !in_call;
        self.leave(seat, if waits { node.answer() } else { None });
    }

    /// Keeps `guard` until all events that are queued or being handled now are handled.
    pub(crate) fn flush(&self, guard: WaitGuard) {
        let done = self.state.with(|state| match &mut state.queue {
            Some(queue) => queue.flush(guard),
            None => Some(guard),
        });
        drop(done);
    }

    /// Whether `runtime` makes the calls.
    pub(crate) fn is_on(&self, runtime: &Arc<dyn Runtime>) -> bool {
        Arc::ptr_eq(&self.runtime, runtime)
    }

    /// Keeps `guard` until nothing is queued and no call is out.
    pub(crate) fn drain(&self, guard: WaitGuard) {
        let done = self.state.with(|state| match &mut state.queue {
            Some(queue) => queue.drain(guard),
            None => Some(guard),
        });
        drop(done);
    }

    pub(crate) fn counts(&self) -> LaneCounts {
        self.state.with(|state| {
            let queue = state.queue.as_ref();
            LaneCounts {
                handled: state.handled,
                pending: queue.map_or(0, |queue| queue.open_events()),
                open_runs: queue.map_or(0, |queue| queue.open_runs()),
            }
        })
    }

    /// The timer's time in microseconds. A lane without a time-out has no need of it.
    pub(super) fn now(&self) -> u64 {
        self.runtime.timer().map_or(0, |timer| micros(timer.now()))
    }

    /// Drops what the lane has let go of, outside its lock.
    #[inline]
    pub(super) fn let_go(released: &mut LaneReleased) {
        if !released.runs.is_empty() {
            // A place in a mailbox may be the last to hold a user's value.
            released.runs.drain(..).for_each(drop_quietly);
        }
        if !released.holds.is_empty() {
            released.holds.drain(..).for_each(drop);
        }
    }

    /// No server will come: all that waits, or all of one trace, is reported as not called.
    pub(super) fn abandon_waiting(&self, only: Option<usize>) {
        let mut released = LaneReleased::default();
        let abandoned = self.state.with(|state| {
            state.served = false;
            state.queue().abandon(only, &mut released)
        });
        self.report_abandoned(abandoned);
        Self::let_go(&mut released);
    }

    fn report_abandoned(&self, abandoned: Vec<Abandoned<LaneItem, Arc<Mailbox>, WaitGuard>>) {
        for Abandoned { shared, item, answer, expired } in abandoned {
            if item.part() == Part::Start {
                shared.node.refuse(self.meta.id);
            }
            if !expired {
                self.meta.fail(item.kind(), FailureCause::RuntimeGone, &shared.node);
            }
            drop_quietly((item, shared));
            drop(answer);
        }
    }
}

impl Drop for Lane {
    /// A sync handler's state is dropped where it may block, and not on the event loop.
    fn drop(&mut self) {
        let Some(handler) = self.state.get_mut().handler.take() else { return };
        let job = Box::new(move || drop_quietly(handler));
        let _ = catch_unwind(|| self.runtime.spawn_blocking_boxed(job));
    }
}
