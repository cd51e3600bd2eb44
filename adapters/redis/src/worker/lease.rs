//! A worker's hold on a partition.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A monotonic clock.
pub(crate) trait Clock: Send + Sync {
    /// The time since some moment.
    fn now(&self) -> Duration;
}

/// The clock of this machine.
#[derive(Debug)]
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The lease of a partition, as its worker counts it: from when a renewal was sent, so that it ends
/// here before it ends at the server.
///
/// It is shared between the thread that renews it and the one that makes calls.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) epoch: u64,
    ttl: Duration,
    margin: Duration,
    /// The end in nanoseconds of the clock. 0 if it is lost.
    end: AtomicU64,
    stopped: AtomicBool,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Lease {
    /// A lease that was asked for at `sent`. No call starts within `margin` of its end.
    pub(crate) fn new(epoch: u64, ttl: Duration, margin: Duration, sent: Duration) -> Self {
        let end = AtomicU64::new(nanos(sent + ttl));
        Self { epoch, ttl, margin, end, stopped: AtomicBool::new(false) }
    }

    /// The renewal that was sent at `sent` was granted.
    pub(crate) fn renewed(&self, sent: Duration) {
        let end = nanos(sent + self.ttl);
        let later = |now: u64| (now != 0).then_some(now.max(end));
        // If it is lost, it stays lost.
        let _ = self.end.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    /// Another worker has the partition, or may have it.
    pub(crate) fn lose(&self) {
        self.end.store(0, Ordering::Release);
    }

    /// Whether a handler's call may start now.
    pub(crate) fn may_call(&self, now: Duration) -> bool {
        !self.is_stopped() && nanos(now + self.margin) < self.end.load(Ordering::Acquire)
    }

    /// No further call starts: the partition is to be given up.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether it has ended. It then never comes back.
    pub(crate) fn is_lost(&self, now: Duration) -> bool {
        let end = self.end.load(Ordering::Acquire);
        if end != 0 && nanos(now) >= end {
            // Unless a renewal has come in between.
            let _ = self.end.compare_exchange(end, 0, Ordering::AcqRel, Ordering::Acquire);
        }
        self.end.load(Ordering::Acquire) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Lease;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn no_call_starts_within_the_margin_and_what_is_lost_stays_lost() {
        let lease = Lease::new(1, at(10), at(2), at(100));
        assert!(lease.may_call(at(107)) && !lease.may_call(at(108)));
        assert!(!lease.is_lost(at(109)));
        lease.renewed(at(105));
        assert!(lease.may_call(at(112)));
        assert!(lease.is_lost(at(115)));
        lease.renewed(at(116));
        assert!(!lease.may_call(at(116)) && lease.is_lost(at(116)));
    }

    #[test]
    fn an_early_renewal_that_is_answered_late_takes_nothing_away() {
        let lease = Lease::new(1, at(10), at(1), at(100));
        lease.renewed(at(105));
        lease.renewed(at(103));
        assert!(lease.may_call(at(113)));
        lease.lose();
        assert!(lease.is_lost(at(101)));
    }
}
