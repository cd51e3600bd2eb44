//! What core's `run/cell.rs` takes from its layer: a run that counts its events, instead of bringing
//! them to handlers. The cell and all that attends to its requests is core's.

#[path = "../../../../core/src/run/cell.rs"]
mod cell;

use alloc::sync::Arc;
use core::task::{Context, Poll};

use self::close::CloseRequest;
use self::state::{
    CLOSE, DRIVER, EMITTER, HAND_OVER, INBOX, PendingEvent, Phase, Run, SPAWN, State,
};
use crate::util::WaitGuard;

pub(crate) mod state {
    use alloc::boxed::Box;
    use alloc::sync::Arc;

    use super::cell::{After, Requests};
    use super::engine::Setup;
    use super::fan_out::FanOut;
    use crate::util::sync::AtomicWaker;
    use crate::util::{Mutex, Turn};

    pub(crate) const EMITTER: usize = 1;
    pub(crate) const DRIVER: usize = 2;
    pub(crate) const FLUSH: usize = 4;
    pub(crate) const CLOSE: usize = 8;
    pub(crate) const HAND_OVER: usize = 16;
    pub(crate) const STATS: usize = 32;
    pub(crate) const TAKE_OVER: usize = 64;
    pub(crate) const INBOX: usize = 128;
    pub(crate) const SPAWN: usize = 256;
    pub(crate) const ABANDON: usize = 512;

    pub(crate) struct PendingEvent;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) enum Phase {
        #[default]
        Open,
        Closing,
        Closed,
    }

    pub(crate) struct Run {
        pub(super) node: super::Node,
        pub(super) setup: Arc<Setup>,
        pub(super) emitter: AtomicWaker,
        pub(super) driver: AtomicWaker,
        pub(super) requests: Mutex<Option<Box<Requests>>>,
        pub(super) cell: Turn<State>,
    }

    #[derive(Default)]
    pub(crate) struct State {
        pub(super) phase: Phase,
        pub(super) driven: bool,
        pub(super) driven_by_end: bool,
        pub(super) in_flight: bool,
        pub(super) deferred: usize,
        pub(super) flushed: bool,
        pub(super) fan_out: Option<Box<FanOut>>,
        pub(super) after: Option<Box<After>>,
        /// Events that have been handled.
        pub(super) handled: usize,
    }

    impl State {
        pub(super) fn has_deferred(&self) -> bool {
            self.deferred > 0
        }

        pub(super) fn after(&mut self) -> &mut After {
            self.after.get_or_insert_default()
        }
    }
}

pub(crate) mod engine {
    use alloc::sync::Arc;

    use loom::sync::atomic::{AtomicUsize, Ordering};

    use crate::util::WaitGuard;

    #[derive(Clone, Copy)]
    pub(crate) struct RunId;

    pub(crate) struct Engine;

    impl Engine {
        pub(crate) fn unregister_run(&self, _: u32, _: RunId) {}
    }

    /// The run has one handler, with a lane.
    pub(crate) struct Setup {
        pub(crate) engine: Engine,
        pub(crate) lane: Arc<Lane>,
    }

    impl Setup {
        pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
            core::iter::once(&self.lane)
        }
    }

    /// Handles its events at once, so a flush waits for nothing in it.
    pub(crate) struct Lane {
        pub(crate) flushes: AtomicUsize,
    }

    impl Lane {
        pub(crate) fn flush(&self, guard: WaitGuard) {
            self.flushes.fetch_add(1, Ordering::Relaxed);
            drop(guard);
        }
    }
}

mod fan_out {
    pub(crate) trait Carry: Send {}

    pub(crate) struct FanOut;

    impl FanOut {
        pub(crate) fn add_counts(&mut self) {}
    }
}

mod close {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use crate::dispatch::OpenRun;

    pub(crate) struct CloseRequest;

    #[derive(Default)]
    pub(crate) struct Unused;

    impl Unused {
        pub(super) fn drop_quietly(self) {}
    }

    pub(super) fn close_all(_: Vec<Arc<dyn OpenRun>>) {}
}

/// A run as its events see it.
pub(crate) struct Node {
    info: Info,
}

struct Info;

impl Info {
    fn id(&self) -> engine::RunId {
        engine::RunId
    }
}

impl Node {
    fn close_work(&self) {}

    fn detach(&self) {}
}

// What other files of core's `run` do with the cell, as short as it can be.
impl Run {
    pub(crate) fn new() -> Arc<Self> {
        use loom::sync::atomic::AtomicUsize;

        use crate::util::sync::AtomicWaker;
        use crate::util::{Mutex, Turn};

        let lane = Arc::new(engine::Lane { flushes: AtomicUsize::new(0) });
        let setup = engine::Setup { engine: engine::Engine, lane };
        Arc::new(Self {
            node: Node { info: Info },
            setup: Arc::new(setup),
            emitter: AtomicWaker::new(),
            driver: AtomicWaker::new(),
            requests: Mutex::new(None),
            cell: Turn::new(State::default()),
        })
    }

    fn empty_inbox(&self, state: &mut State) {
        state.deferred += self.take_left(|requests| &mut requests.inbox).len();
        if state.deferred > 0 {
            self.hand_over(state);
        }
    }

    fn begin_close(&self, state: &mut State) {
        if state.phase != Phase::Open || self.take_left(|requests| &mut requests.close).is_none() {
            return;
        }
        self.empty_inbox(state);
        state.phase = Phase::Closing;
        if !state.in_flight && state.deferred == 0 {
            self.finish(state);
        } else {
            self.hand_over(state);
        }
    }

    fn finish(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.driven = false;
        state.after().finished = true;
        // The driver ends.
        self.attend_later(EMITTER | SPAWN);
        self.release_flushes(state);
    }

    /// The driver is there already: it waits until it is needed.
    fn spawn_driver(&self) {
        self.driver.wake();
    }

    /// The runtime of a model is never gone.
    fn abandon(&self, _: &mut State) {}

    fn complete(&self, state: &mut State) {
        state.in_flight = false;
        state.handled += 1;
        self.release_flushes(state);
    }

    /// Emits an event, whose handler is pending once. Returns whether the run has accepted it.
    pub(crate) fn poll_emit(
        self: &Arc<Self>,
        accepted: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let polled = self.cell_or_register(&self.emitter, EMITTER, cx, |state, cx| {
            if state.driven {
                // The driver wakes the emitter when the run has ended.
                self.emitter.register(cx.waker());
                Poll::Pending
            } else if *accepted {
                if state.in_flight {
                    self.complete(state);
                }
                Poll::Ready(true)
            } else if state.phase != Phase::Open {
                Poll::Ready(false)
            } else {
                *accepted = true;
                state.in_flight = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        });
        polled.unwrap_or(Poll::Pending)
    }

    /// Drives the run when that is needed, until the run is closed.
    pub(crate) fn poll_drive(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        // For when it is needed.
        self.driver.register(cx.waker());
        let drive = |state: &mut State, _: &mut Context<'_>| self.drive_held(state);
        self.cell_or_register(&self.driver, DRIVER, cx, drive).unwrap_or(Poll::Pending)
    }

    fn drive_held(&self, state: &mut State) -> Poll<()> {
        if state.driven {
            if state.in_flight {
                self.complete(state);
            }
            state.handled += core::mem::take(&mut state.deferred);
            state.driven = false;
            self.attend_later(EMITTER);
            match state.phase {
                Phase::Closing => self.finish(state),
                _ => self.release_flushes(state),
            }
        }
        match state.phase {
            Phase::Closed => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    pub(crate) fn close(self: &Arc<Self>) {
        self.leave(|requests| requests.close = Some((CloseRequest, None)));
        self.request(CLOSE);
    }

    /// The emitter gives up on its event.
    pub(crate) fn give_up(self: &Arc<Self>) {
        self.request(HAND_OVER);
    }

    /// Emits an event as a handler does inside its call, if the cell is taken.
    pub(crate) fn send_to_inbox(self: &Arc<Self>) {
        self.leave(|requests| requests.inbox.push_back((PendingEvent, None)));
        self.request(INBOX);
    }

    /// The events that were handled, of a run that is at rest.
    pub(crate) fn handled(&self) -> usize {
        assert!(!self.is_anything_left(Phase::Open), "a request was lost");
        let cell = self.cell.try_hold().expect("it has been given back");
        assert!(!cell.in_flight && cell.deferred == 0 && !cell.flushed);
        let handled = cell.handled;
        assert_eq!(self.cell.release(cell), 0, "a request is left");
        handled
    }

    /// Keeps the guard until the event in flight is handled.
    pub(crate) fn flush_all(self: &Arc<Self>, guard: WaitGuard) {
        self.flush(guard);
    }
}
