//! What core's `run/cell.rs` takes from its layer: a run that counts its events, instead of bringing
//! them to handlers. The cell and all that attends to its requests is core's.

#[path = "../../../../core/src/run/cell.rs"]
mod cell;

use alloc::sync::Arc;
use core::task::{Context, Poll};

use self::cell::{After, Held};
use self::state::{CLOSE, DRIVER, EMITTER, HAND_OVER, INBOX, Phase, Requests, Run, State};
use crate::util::WaitGuard;

pub(crate) mod state {
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use super::cell::Held;
    use super::engine::Setup;
    use super::fan_out::FanOut;
    use crate::util::sync::AtomicWaker;
    use crate::util::{Mutex, Turn, WaitGuard};

    pub(crate) const EMITTER: usize = 1;
    pub(crate) const DRIVER: usize = 2;
    pub(crate) const FLUSH: usize = 4;
    pub(crate) const CLOSE: usize = 8;
    pub(crate) const HAND_OVER: usize = 16;
    pub(crate) const STATS: usize = 32;
    pub(crate) const TAKE_OVER: usize = 64;
    pub(crate) const INBOX: usize = 128;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Phase {
        Open,
        Closing,
        Closed,
    }

    pub(crate) struct Run {
        pub(super) node: super::Node,
        pub(super) setup: Arc<Setup>,
        pub(super) emitter: AtomicWaker,
        pub(super) driver: AtomicWaker,
        pub(super) requests: Mutex<Requests>,
        pub(super) cell: Turn<Held>,
    }

    #[derive(Default)]
    pub(crate) struct Requests {
        pub(super) close: Option<()>,
        pub(super) flushes: Vec<WaitGuard>,
        pub(super) inbox: usize,
    }

    pub(crate) struct State {
        pub(super) phase: Phase,
        pub(super) driven: bool,
        pub(super) driven_by_end: bool,
        pub(super) in_flight: bool,
        pub(super) deferred: usize,
        pub(super) flushed: bool,
        pub(super) fan_out: Option<Box<FanOut>>,
        /// Events that have been handled.
        pub(super) handled: usize,
    }

    impl State {
        pub(super) fn has_deferred(&self) -> bool {
            self.deferred > 0
        }
    }
}

pub(crate) mod engine {
    use alloc::sync::Arc;

    use loom::sync::atomic::{AtomicUsize, Ordering};

    use crate::util::WaitGuard;

    pub(crate) struct Entry;

    #[derive(Clone, Copy)]
    pub(crate) struct RunId;

    pub(crate) struct Engine;

    impl Engine {
        pub(crate) fn unregister_run(&self, _: Entry, _: RunId) {}
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
            requests: Mutex::new(Requests::default()),
            cell: Turn::new(Held {
                after: None,
                state: State {
                    phase: Phase::Open,
                    driven: false,
                    driven_by_end: false,
                    in_flight: false,
                    deferred: 0,
                    flushed: false,
                    fan_out: None,
                    handled: 0,
                },
            }),
        })
    }

    fn leave<O>(&self, leave: impl FnOnce(&mut Requests) -> O) -> O {
        self.requests.with(leave)
    }

    fn take_left<T: Default>(&self, of: impl FnOnce(&mut Requests) -> &mut T) -> T {
        self.requests.with(|requests| core::mem::take(of(requests)))
    }

    fn is_anything_left(&self, phase: Phase) -> bool {
        self.requests.with(|left| left.inbox > 0 || (left.close.is_some() && phase == Phase::Open))
    }

    fn empty_inbox(&self, state: &mut State, after: &mut After) {
        state.deferred += self.take_left(|requests| &mut requests.inbox);
        if state.deferred > 0 && !state.driven {
            state.driven = true;
            after.spawn_driver = true;
        }
    }

    fn begin_close(&self, state: &mut State, after: &mut After) {
        if state.phase != Phase::Open || self.take_left(|requests| &mut requests.close).is_none() {
            return;
        }
        self.empty_inbox(state, after);
        state.phase = Phase::Closing;
        if !state.in_flight && state.deferred == 0 {
            self.finish(state, after);
        } else if !state.driven {
            state.driven = true;
            after.spawn_driver = true;
        }
    }

    fn finish(&self, state: &mut State, after: &mut After) {
        state.phase = Phase::Closed;
        state.driven = false;
        after.finished = true;
        after.wake_emitter = true;
        // It ends.
        after.spawn_driver = true;
        self.release_flushes(state, after);
    }

    /// The driver is there already: it waits until it is needed.
    fn spawn_driver(&self) {
        self.driver.wake();
    }

    fn complete(&self, state: &mut State, after: &mut After) {
        state.in_flight = false;
        state.handled += 1;
        self.release_flushes(state, after);
    }

    /// Emits an event, whose handler is pending once. Returns whether the run has accepted it.
    pub(crate) fn poll_emit(
        self: &Arc<Self>,
        accepted: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let polled = self.cell_or_register(&self.emitter, EMITTER, cx, |cell, cx| {
            if cell.state.driven {
                // The driver wakes the emitter when the run has ended.
                self.emitter.register(cx.waker());
                Poll::Pending
            } else if *accepted {
                if cell.state.in_flight {
                    let (state, after) = cell.parts();
                    self.complete(state, after);
                }
                Poll::Ready(true)
            } else if cell.state.phase != Phase::Open {
                Poll::Ready(false)
            } else {
                *accepted = true;
                cell.state.in_flight = true;
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
        let drive = |cell: &mut Held, _: &mut Context<'_>| self.drive_held(cell);
        self.cell_or_register(&self.driver, DRIVER, cx, drive).unwrap_or(Poll::Pending)
    }

    fn drive_held(&self, cell: &mut Held) -> Poll<()> {
        let (state, after) = cell.parts();
        if state.driven {
            if state.in_flight {
                self.complete(state, after);
            }
            state.handled += core::mem::take(&mut state.deferred);
            state.driven = false;
            after.wake_emitter = true;
            match state.phase {
                Phase::Closing => self.finish(state, after),
                _ => self.release_flushes(state, after),
            }
        }
        match state.phase {
            Phase::Closed => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    pub(crate) fn close(self: &Arc<Self>) {
        self.leave(|requests| requests.close = Some(()));
        self.request(CLOSE);
    }

    /// The emitter gives up on its event.
    pub(crate) fn hand_over(self: &Arc<Self>) {
        self.request(HAND_OVER);
    }

    /// Emits an event as a handler does inside its call, if the cell is taken.
    pub(crate) fn send_to_inbox(self: &Arc<Self>) {
        self.leave(|requests| requests.inbox += 1);
        self.request(INBOX);
    }

    /// The events that were handled, of a run that is at rest.
    pub(crate) fn handled(&self) -> usize {
        assert!(!self.is_anything_left(Phase::Open), "a request was lost");
        let cell = self.cell.try_hold().expect("it has been given back");
        assert!(!cell.state.in_flight && cell.state.deferred == 0 && !cell.state.flushed);
        let handled = cell.state.handled;
        assert_eq!(self.cell.release(cell), 0, "a request is left");
        handled
    }

    /// Keeps the guard until the event in flight is handled.
    pub(crate) fn flush_all(self: &Arc<Self>, guard: WaitGuard) {
        self.flush(guard);
    }
}
