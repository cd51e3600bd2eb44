//! Holding the cell of a run's state, and attending to what others have left for its holder.
//!
//! The cell is a [`Turn`]: it is only ever tried. A task that finds it taken leaves a bit in its word.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Context;

use super::close::{CloseRequest, Unused};
use super::state::{
    ABANDON, CLOSE, DRIVER, EMITTER, FLUSH, HAND_OVER, INBOX, PendingEvent, Phase, Run, SPAWN,
    STATS, State, TAKE_OVER,
};
use crate::dispatch::{Current, OpenRun};
use crate::util::sync::AtomicWaker;
use crate::util::{Locked, WaitGuard, catch_unwind};

/// What is done after the cell was released.
#[derive(Default)]
pub(super) struct After {
    pub(super) close_work: bool,
    pub(super) finished: bool,
    pub(super) flushes: Vec<WaitGuard>,
    pub(super) entry: Option<u32>,
    pub(super) children: Vec<Arc<dyn OpenRun>>,
    pub(super) unused: Unused,
}

/// What others leave to the holder of the cell.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) close: Option<(CloseRequest, Current)>,
    /// Kept until the event in flight is handled.
    pub(super) flushes: Vec<WaitGuard>,
    /// Events that were emitted inside a handler's call while the cell was held, perhaps by the
    /// task that makes that call.
    pub(super) inbox: VecDeque<(PendingEvent, Current)>,
}

impl Requests {
    fn is_empty(&self) -> bool {
        self.close.is_none() && self.flushes.is_empty() && self.inbox.is_empty()
    }
}

impl Run {
    /// Leaves something for the holder of the cell, who learns of it from the word.
    pub(super) fn leave<O>(&self, leave: impl FnOnce(&mut Requests) -> O) -> O {
        self.requests.with(|requests| leave(requests.get_or_insert_default()))
    }

    /// Whether the holder of the cell has still to be told of an event or of a close.
    pub(super) fn is_anything_left(&self, phase: Phase) -> bool {
        let is_left = |left: &Requests| {
            !left.inbox.is_empty() || (left.close.is_some() && phase == Phase::Open)
        };
        self.requests.with(|left| left.as_ref().is_some_and(|left| is_left(left)))
    }

    /// Takes what was left.
    pub(super) fn take_left<T: Default>(&self, of: impl FnOnce(&mut Requests) -> &mut T) -> T {
        let (taken, _unused) = self.requests.with(|slot| {
            let Some(requests) = slot else { return (T::default(), None) };
            let taken = core::mem::take(of(requests));
            (taken, if requests.is_empty() { slot.take() } else { None })
        });
        taken
    }

    /// Holds the cell while `f` runs. `None` if the cell is taken.
    pub(super) fn try_cell<O>(self: &Arc<Self>, f: impl FnOnce(&mut State) -> O) -> Option<O> {
        let locked = self.cell.try_hold()?;
        Some(self.hold(locked, f))
    }

    /// Holds the cell while `f` runs. If the cell is taken, the task is woken when it is released.
    #[inline(always)]
    pub(super) fn cell_or_register<O>(
        self: &Arc<Self>,
        waker: &AtomicWaker,
        bit: usize,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut State, &mut Context<'_>) -> O,
    ) -> Option<O> {
        let locked = self.cell.hold_or_request(bit, || waker.register(cx.waker()))?;
        Some(self.hold(locked, |state| f(state, cx)))
    }

    /// Has the holder of the cell attend to `bits`, or does it here.
    pub(super) fn request(self: &Arc<Self>, bits: usize) {
        if let Some(locked) = self.cell.request(bits) {
            self.hold(locked, |_| ());
        }
    }

    /// Runs `f`, releases the cell, and attends to the word.
    #[inline(always)]
    fn hold<O>(self: &Arc<Self>, locked: Locked<'_, State>, f: impl FnOnce(&mut State) -> O) -> O {
        // If `f` panics, the cell is released first, and then this attends to the word.
        let attend = Attend(self);
        let mut locked = locked;
        let out = f(&mut locked);
        core::mem::forget(attend);
        let after = locked.after.take();
        let bits = self.cell.release(locked);
        if bits != 0 || after.is_some() {
            self.attend(bits, after);
        }
        out
    }

    /// Keeps `guard` until the event in flight is handled, if there is one.
    pub(crate) fn flush(self: &Arc<Self>, guard: WaitGuard) {
        self.leave(|requests| requests.flushes.push(guard));
        self.request(FLUSH);
    }

    /// Adds the run's counts to those of its handlers, if no event is being handled.
    pub(crate) fn count(self: &Arc<Self>) {
        self.request(STATS);
    }

    /// Does what was left for after the release, and what the bits ask.
    #[cold]
    fn attend(self: &Arc<Self>, mut bits: usize, mut after: Option<Box<After>>) {
        loop {
            if let Some(after) = after {
                self.run_after(*after);
            }
            if bits & SPAWN != 0 {
                self.spawn_driver();
            }
            if bits & EMITTER != 0 {
                let _ = catch_unwind(|| self.emitter.wake());
            }
            if bits & DRIVER != 0 {
                let _ = catch_unwind(|| self.driver.wake());
            }
            let rest = bits & (FLUSH | CLOSE | HAND_OVER | STATS | TAKE_OVER | INBOX | ABANDON);
            if rest == 0 {
                return;
            }
            // If the cell is taken, its holder attends to them.
            let Some(mut locked) = self.cell.hold_or_request(rest, || {}) else { return };
            self.apply(rest, &mut locked);
            after = locked.after.take();
            bits = self.cell.release(locked);
        }
    }

    fn apply(self: &Arc<Self>, bits: usize, state: &mut State) {
        // What was emitted before the close comes before the end.
        if bits & INBOX != 0 {
            self.empty_inbox(state);
        }
        if bits & CLOSE != 0 {
            self.begin_close(state);
        }
        if bits & ABANDON != 0 {
            self.abandon(state);
        }
        if bits & HAND_OVER != 0 && state.in_flight {
            self.hand_over(state);
        }
        if bits & FLUSH != 0 {
            state.flushed = true;
        }
        if bits & (TAKE_OVER | FLUSH) != 0 {
            self.take_over(state);
        }
        if let Some(fan_out) = state.fan_out.as_mut().filter(|_| bits & STATS != 0) {
            fan_out.add_counts();
        }
        self.release_flushes(state);
    }

    /// Has the holder of the cell, which calls this, attend to `bits` when it releases the cell.
    pub(super) fn attend_later(&self, bits: usize) {
        // The cell is held, so this does not take it.
        let _ = self.cell.request(bits);
    }

    /// Has a task drive the run, if neither a task nor an `End` drives it.
    pub(super) fn hand_over(&self, state: &mut State) {
        if !core::mem::replace(&mut state.driven, true) {
            self.attend_later(SPAWN);
        }
    }

    /// Has a task drive the run in place of its `End`.
    pub(super) fn take_over(&self, state: &mut State) {
        if core::mem::take(&mut state.driven_by_end) {
            self.attend_later(SPAWN);
        }
    }

    /// Lets flushes go if the run has nothing more to do.
    pub(super) fn release_flushes(&self, state: &mut State) {
        let idle = !state.in_flight && !state.has_deferred() && state.phase != Phase::Closing;
        // What was emitted inside the call that has just returned may still be in the inbox.
        if state.flushed && idle && !self.is_anything_left(state.phase) {
            state.flushed = false;
            state.after().flushes = self.take_left(|requests| &mut requests.flushes);
        }
    }

    #[cold]
    fn run_after(self: &Arc<Self>, after: After) {
        after.unused.drop_quietly();
        if after.close_work {
            self.node.close_work();
        }
        super::close::close_all(after.children);
        if after.finished {
            self.node.detach();
        }
        if let Some(entry) = after.entry {
            self.setup.engine.unregister_run(entry, self.node.info.id());
        }
        // Flushes that waited for the event in flight wait for the lanes that it was queued in.
        for guard in after.flushes {
            self.setup.lanes().for_each(|lane| lane.flush(guard.again()));
        }
    }
}

/// Attends to the word when a panic has released the cell.
struct Attend<'a>(&'a Arc<Run>);

impl Drop for Attend<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.request(0);
    }
}
