//! The time-out of a sync handler's call: a task that looks when the call that is out is due.
//!
//! It sleeps until the call that it sees is due, and looks again: so a lane whose calls are quick wakes it once in a time-out, not once a call.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::time::Duration;

use super::{Lane, Server, settle_given_up};
use crate::contain::contained;
use crate::deadline::Deadline;
use crate::error::FailureCause;
use crate::registration::Registration;

/// Which call is out, and whether somebody watches over it.
#[derive(Default)]
pub(super) struct Watch {
    out: Option<Out>,
    watching: bool,
}

struct Out {
    key: usize,
    due: Duration,
}

impl Watch {
    /// A call begins; whether a watch has to be set up.
    pub(super) fn begin(&mut self, key: usize, due: Duration) -> bool {
        self.out = Some(Out { key, due });
        !core::mem::replace(&mut self.watching, true)
    }

    /// The call is over.
    pub(super) fn end(&mut self) {
        self.out = None;
    }
}

impl Lane {
    pub(super) fn watch_over(&self, owner: &Arc<Registration>) {
        let (Server::Blocking(workers), Some(deadline)) = (&self.server, &self.deadline) else {
            return;
        };
        // It does not keep the handler.
        let watch = watch(Arc::downgrade(owner), (**deadline).clone());
        // Where that fails the runtime is gone, and its timer.
        let _ = contained(|| workers.runtime().spawn_boxed(Box::pin(watch)));
    }

    /// Gives up on the call that is out if it is due. For how long to sleep; `None` where nothing is left to watch over.
    fn look(&self, owner: &Arc<Registration>, deadline: &Deadline) -> Option<Duration> {
        let now = deadline.now();
        let (given_up, wait) = self.state.with(|state| {
            let Some(watch) = &mut state.watch else { return (None, None) };
            match &watch.out {
                Some(out) if out.due > now => (None, Some(out.due.saturating_sub(now))),
                Some(out) => {
                    let given_up = state.boxes.give_up(out.key);
                    **watch = Watch::default();
                    (Some(given_up), None)
                }
                None => {
                    watch.watching = false;
                    (None, None)
                }
            }
        });
        if let Some(given_up) = given_up {
            settle_given_up(owner, given_up, FailureCause::TimedOut(deadline.after()));
        }
        wait
    }
}

async fn watch(owner: Weak<Registration>, deadline: Deadline) {
    loop {
        let wait = owner.upgrade().and_then(|owner| owner.lane()?.look(&owner, &deadline));
        let Some(wait) = wait else { return };
        deadline.sleep(wait).await;
    }
}
