//! Holding the cell of a run's state, and attending to what others have left for its holder.
//!
//! The cell is a [`Turn`]: it is only ever tried. A task that finds it taken leaves a bit in its word.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Context;

use super::close::Unused;
use super::engine::Entry;
use super::state::{
    CLOSE, DRIVER, EMITTER, FLUSH, HAND_OVER, INBOX, Phase, Run, STATS, State, TAKE_OVER,
};
use crate::dispatch::OpenRun;
use crate::util::sync::AtomicWaker;
use crate::util::{Locked, WaitGuard, catch_unwind};

/// What is done after the cell was released.
#[derive(Default)]
pub(super) struct After {
    pub(super) spawn_driver: bool,
    pub(super) wake_emitter: bool,
    pub(super) close_work: bool,
    pub(super) finished: bool,
    pub(super) flushes: Vec<WaitGuard>,
    pub(super) entry: Option<Entry>,
    pub(super) children: Vec<Arc<dyn OpenRun>>,
    pub(super) unused: Unused,
}

/// What is in a run's cell.
pub(super) struct Held {
    pub(super) state: State,
    /// What is done after the cell was released. Most polls leave nothing.
    pub(super) after: Option<Box<After>>,
}

impl Run {
    /// Holds the cell while `f` runs. `None` if the cell is taken.
    pub(super) fn try_cell<O>(self: &Arc<Self>, f: impl FnOnce(&mut Held) -> O) -> Option<O> {
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
        f: impl FnOnce(&mut Held, &mut Context<'_>) -> O,
    ) -> Option<O> {
        let locked = self.cell.hold_or_request(bit, || waker.register(cx.waker()))?;
        Some(self.hold(locked, |held| f(held, cx)))
    }

    /// Has the holder of the cell attend to `bits`, or does it here.
    pub(super) fn request(self: &Arc<Self>, bits: usize) {
        if let Some(locked) = self.cell.request(bits) {
            self.hold(locked, |_| ());
        }
    }

    /// Runs `f`, releases the cell, and attends to the word.
    #[inline(always)]
    fn hold<O>(self: &Arc<Self>, locked: Locked<'_, Held>, f: impl FnOnce(&mut Held) -> O) -> O {
        // If `f` panics, the cell is released first, and then this attends to the word.
        let attend = Attend(self);
        let mut locked = locked;
        let out = f(&mut locked);
        core::mem::forget(attend);
        let after = locked.after.take();
        let bits = self.cell.release(locked);
        if bits != 0 || after.is_some() {
            self.finish_release(bits, after);
        }
        out
    }

    #[cold]
    fn finish_release(self: &Arc<Self>, bits: usize, after: Option<Box<After>>) {
        if let Some(after) = after {
            self.run_after(*after);
        }
        if bits != 0 {
            self.attend(bits);
        }
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

    #[cold]
    fn attend(self: &Arc<Self>, mut bits: usize) {
        loop {
            if bits & EMITTER != 0 {
                let _ = catch_unwind(|| self.emitter.wake());
            }
            if bits & DRIVER != 0 {
                let _ = catch_unwind(|| self.driver.wake());
            }
            let rest = bits & (FLUSH | CLOSE | HAND_OVER | STATS | TAKE_OVER | INBOX);
            if rest == 0 {
                return;
            }
            // If the cell is taken, its holder attends to them.
            let Some(mut locked) = self.cell.hold_or_request(rest, || {}) else { return };
            let mut after = After::default();
            self.apply(rest, &mut locked, &mut after);
            bits = self.cell.release(locked);
            self.run_after(after);
        }
    }

    fn apply(self: &Arc<Self>, bits: usize, state: &mut State, after: &mut After) {
        // What was emitted before the close comes before the end.
        if bits & INBOX != 0 {
            self.empty_inbox(state, after);
        }
        if bits & CLOSE != 0 {
            self.begin_close(state, after);
        }
        if bits & HAND_OVER != 0 && state.in_flight && !state.driven {
            state.driven = true;
            after.spawn_driver = true;
        }
        if bits & FLUSH != 0 {
            state.flushed = true;
        }
        if bits & (TAKE_OVER | FLUSH) != 0 {
            self.take_over(state, after);
        }
        if bits & STATS != 0 {
            self.add_counts(state);
        }
        self.release_flushes(state, after);
    }

    /// Has a task drive the run in place of its `End`.
    pub(super) fn take_over(&self, state: &mut State, after: &mut After) {
        after.spawn_driver |= core::mem::take(&mut state.driven_by_end);
    }

    /// Lets flushes go if the run has nothing more to do.
    pub(super) fn release_flushes(&self, state: &mut State, after: &mut After) {
        let idle = !state.in_flight && !state.has_deferred() && state.phase != Phase::Closing;
        // What was emitted inside the call that has just returned may still be in the inbox.
        if state.flushed && idle && !self.is_anything_left(state.phase) {
            state.flushed = false;
            after.flushes = self.take_left(|requests| &mut requests.flushes);
        }
    }

    pub(super) fn add_counts(&self, state: &mut State) {
        if let Some(fan_out) = &mut state.fan_out {
            fan_out.add_counts();
        }
    }

    #[cold]
    fn run_after(self: &Arc<Self>, after: After) {
        let After {
            spawn_driver,
            wake_emitter,
            close_work,
            finished,
            flushes,
            entry,
            children,
            unused,
        } = after;
        unused.drop_quietly();
        if close_work {
            self.node.close_work();
        }
        super::close::close_all(children);
        if finished {
            self.node.detach();
        }
        if let Some(entry) = entry {
            self.setup.engine.unregister_run(entry, self.node.info.id());
        }
        self.pass_on(flushes);
        if spawn_driver {
            self.spawn_driver();
        }
        if wake_emitter {
            let _ = catch_unwind(|| self.emitter.wake());
        }
    }

    /// Flushes that waited for the event in flight wait for the lanes that it was queued in.
    fn pass_on(&self, flushes: Vec<WaitGuard>) {
        for guard in flushes {
            for lane in self.setup.lanes() {
                lane.flush(guard.again());
            }
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

impl core::ops::Deref for Held {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        &self.state
    }
}

impl core::ops::DerefMut for Held {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Held {
    /// The state and what is to be done after the release.
    pub(super) fn parts(&mut self) -> (&mut State, &mut After) {
        (&mut self.state, self.after.get_or_insert_default())
    }
}
