//! Time-outs of a lane: one task that looks when the next emitter's or call's time is up.
//!
//! It sleeps until then and looks again. So a lane whose calls are quick wakes it once per
//! time-out, not once per call.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::time::Duration;

use super::lane::{Lane, LaneReleased, Mailbox};
use super::meta::count;
use crate::handler::Mode;
use crate::model::error::FailureCause;
use crate::model::event::EventKind;
use crate::util::{WaitGuard, catch_unwind, drop_quietly};

/// The sync call that is out.
pub(super) struct Running {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) kind: EventKind,
    pub(super) answer: Option<WaitGuard>,
    pub(super) due: u64,
    /// Its failure has been counted already.
    pub(super) expired: bool,
}

/// Saturates after 584,000 years.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX - 1)
}

impl Lane {
    pub(super) fn spawn_watch(self: &Arc<Self>) {
        // The watch does not keep the handler.
        let watch = watch(Arc::downgrade(self));
        // If that fails, the runtime is gone, and its timer with it.
        let _ = catch_unwind(|| self.runtime.spawn_boxed(Box::pin(watch)));
    }

    /// Gives up calls and emitters whose time is up. Returns when the next one's time is up, or
    /// `None` if nothing is left to watch.
    fn look(&self) -> Option<u64> {
        let now = self.now();
        let mut released = LaneReleased::default();
        let mut expired = alloc::vec::Vec::new();
        let (given_up, next) = self.state.with(|state| {
            let mut next = u64::MAX;
            let mut given_up = None;
            match &state.running {
                Some(running) if running.due <= now => {
                    given_up =
                        state.running.take().map(|running| (running, state.queue().give_up()));
                }
                Some(running) => next = running.due,
                None => {}
            }
            if self.mode == Mode::Awaited {
                let due = state.queue().expire(now, &mut released, |mailbox, item| {
                    expired.push((mailbox.clone(), item.kind()));
                });
                next = next.min(due);
            }
            state.watched = next != u64::MAX;
            (given_up, next)
        });
        let cause = || FailureCause::TimedOut(self.timeout.unwrap_or_default());
        if let Some((running, mut given_up)) = given_up {
            if !running.expired {
                self.meta.fail(running.kind, cause(), &running.mailbox.node);
            }
            count(&self.meta.counters.dropped, given_up.lost.len());
            drop_quietly(given_up.lost);
            drop(running.answer);
            Self::let_go(&mut given_up.released);
        }
        for (mailbox, kind) in expired {
            self.meta.fail(kind, cause(), &mailbox.node);
        }
        Self::let_go(&mut released);
        (next != u64::MAX).then_some(next)
    }
}

async fn watch(lane: Weak<Lane>) {
    loop {
        let Some(strong) = lane.upgrade() else { return };
        let Some(due) = strong.look() else { return };
        let Some(timer) = strong.runtime.timer() else { return };
        let sleep = timer.sleep(Duration::from_micros(due.saturating_sub(strong.now())));
        // A sleep begins when it is made. The time may have come before that.
        if strong.now() < due {
            drop(strong);
            sleep.await;
        }
    }
}
