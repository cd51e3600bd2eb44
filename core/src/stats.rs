//! What has become of a handler's events, in numbers.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::registration::HandlerId;

/// One handler's counts. They wrap around at `usize::MAX`.
#[derive(Default)]
pub(crate) struct Counters {
    handled: AtomicUsize,
    failed: AtomicUsize,
    dropped: AtomicUsize,
    joined: AtomicUsize,
    refused: AtomicUsize,
}

impl Counters {
    #[inline]
    pub(crate) fn handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn joined(&self) {
        self.joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, id: HandlerId, name: Arc<str>, pending: usize, open_runs: usize) -> HandlerStats {
        HandlerStats {
            id,
            name,
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            joined: self.joined.load(Ordering::Relaxed),
            refused_runs: self.refused.load(Ordering::Relaxed),
            pending,
            open_runs,
        }
    }
}

/// What has become of a handler's events, since it was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Which handler.
    pub id: HandlerId,
    /// Its name.
    pub name: Arc<str>,
    /// Calls that it answered with `Ok`.
    pub handled: usize,
    /// Calls that failed, by an error, a panic or a time-out, and events for which it could not be called. Each was reported.
    pub failed: usize,
    /// Events that were dropped for want of room, as its delivery allows.
    pub dropped: usize,
    /// Tokens that were joined to another one before it was called.
    pub joined: usize,
    /// Runs that it heard nothing of, as it had taken as many as its delivery allows.
    pub refused_runs: usize,
    /// Events that it has not handled yet: those that wait for it, and its calls that go on.
    pub pending: usize,
    /// Runs that it has a mailbox for: those of which it has taken an event, until their end is handled. None where it is called on the emitter's task.
    pub open_runs: usize,
}

/// What a [shutdown](crate::CallbackManager::shutdown) came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Runs that were still open at the deadline, and were ended as cancelled.
    pub closed_runs: usize,
    /// Each handler that was registered with managers of the same [`new`](crate::CallbackManager::new), and still is with a manager or a run; in the order
    /// of registration. What is [`pending`](HandlerStats::pending) was left undelivered.
    pub handlers: Vec<HandlerStats>,
}

impl ShutdownReport {
    /// Whether every handler has handled all of its events, none of which failed or were dropped.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let clean = |stats: &HandlerStats| stats.failed + stats.dropped + stats.refused_runs + stats.pending == 0;
        self.closed_runs == 0 && self.handlers.iter().all(clean)
    }
}
