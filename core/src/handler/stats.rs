//! Which handler it is, and what happened to its events, in numbers.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::util::sync::{AtomicUsize, Ordering};

/// The id of a registered handler, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(usize);

impl HandlerId {
    /// A new id. Ids increase in the order of registration.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What happened to a handler's events since it was registered. The counts wrap around at
/// `usize::MAX`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// The handler's id.
    pub id: HandlerId,
    /// The handler's name.
    pub name: Arc<str>,
    /// Calls that returned `Ok`.
    pub handled: usize,
    /// Calls that failed by an error, a panic or a time-out, and events for which the handler could
    /// not be called. Each of them was reported.
    pub failed: usize,
    /// Events that were dropped because a queue was full.
    pub dropped: usize,
    /// Tokens that were joined to an earlier token before the handler was called.
    pub coalesced: usize,
    /// Runs that were refused, because the limit of the handler's delivery was reached or a call
    /// has not returned. The handler gets no event of them, nor of runs under them, which are not
    /// counted.
    pub refused_runs: usize,
    /// Events that are queued or being handled.
    pub pending: usize,
    /// Runs that the handler's queue has accepted and not yet finished: from the first event until
    /// the end is handled. It is 0 for a handler that is called on the emitter's task.
    pub open_runs: usize,
}

/// The result of a [shutdown](crate::CallbackManager::shutdown).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Runs that were still open at the deadline. They were closed and ended as cancelled.
    pub closed_runs: usize,
    /// Runs that are still open at the end of the shutdown. The last event of each has not reached
    /// every handler: a handler has not returned in time, or an [`Emit`](crate::Emit) was leaked.
    pub open_runs: usize,
    /// What is said of each work set with
    /// [`on_shutdown`](crate::CallbackManager::on_shutdown) that failed, panicked or did not end in
    /// time.
    pub unfinished: Vec<String>,
    /// The stats of every handler that was registered with managers of the same
    /// [`new`](crate::CallbackManager::new) and that a manager or a run still has, in the order of
    /// registration. Their [`pending`](HandlerStats::pending) events were not delivered, nor was
    /// what is left of the [`open_runs`](Self::open_runs).
    pub handlers: Vec<HandlerStats>,
}

impl ShutdownReport {
    /// Returns `true` if no run was closed or is open, no work is unfinished, and no handler has
    /// failed calls, dropped events, refused runs or pending events. Coalesced tokens do not count,
    /// because their text was delivered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let is_clean = |stats: &HandlerStats| {
            [stats.failed, stats.dropped, stats.refused_runs, stats.pending] == [0; 4]
        };
        (self.closed_runs, self.open_runs) == (0, 0)
            && self.unfinished.is_empty()
            && self.handlers.iter().all(is_clean)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{HandlerId, HandlerStats, ShutdownReport};

    fn report(change: impl FnOnce(&mut ShutdownReport, &mut HandlerStats)) -> ShutdownReport {
        let mut stats = HandlerStats {
            id: HandlerId::next(),
            name: "handler".into(),
            handled: 3,
            failed: 0,
            dropped: 0,
            coalesced: 0,
            refused_runs: 0,
            pending: 0,
            open_runs: 0,
        };
        let mut report = ShutdownReport {
            closed_runs: 0,
            open_runs: 0,
            unfinished: Vec::new(),
            handlers: Vec::new(),
        };
        change(&mut report, &mut stats);
        report.handlers.push(stats);
        report
    }

    #[test]
    fn a_report_is_clean_if_nothing_is_lost_and_nothing_was_closed() {
        assert!(report(|_, _| {}).is_clean());
        assert!(report(|_, stats| stats.coalesced = 1).is_clean(), "no text is lost");
        assert!(!report(|report, _| report.closed_runs = 1).is_clean());
        assert!(!report(|report, _| report.open_runs = 1).is_clean());
        assert!(!report(|report, _| report.unfinished.push("work".into())).is_clean());
        assert!(!report(|_, stats| stats.failed = 1).is_clean());
        assert!(!report(|_, stats| stats.dropped = 1).is_clean());
        assert!(!report(|_, stats| stats.refused_runs = 1).is_clean());
        assert!(!report(|_, stats| stats.pending = 1).is_clean());
    }
}
