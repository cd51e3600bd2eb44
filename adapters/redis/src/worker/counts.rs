//! What a worker has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What a worker has done since it began. The counts are those of this process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct WorkerCounts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: AtomicU64,)+
        }

        impl Counts {
            pub(crate) fn snapshot(&self) -> WorkerCounts {
                WorkerCounts { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counts! {
    /// Records that were handed to the handlers.
    records,
    /// Traces that were handled whole and acknowledged.
    whole,
    /// Traces that were closed because records of them are missing: trimmed, refused by a full
    /// publisher, or unreadable.
    incomplete,
    /// Traces that were closed because their publisher is gone.
    orphans,
    /// Traces that were closed because they were open for longer than `max_trace_age`.
    old,
    /// Traces that went to the dead letters as a whole.
    dead_traces,
    /// Records that went to the dead letters.
    dead_records,
    /// Records that came again, and were skipped.
    repeated,
    /// Records of traces that had been closed before, and were skipped.
    late,
    /// Records of a kind that this version does not know, which were skipped.
    unknown,
    /// Failures of handlers.
    failures,
    /// Traces that were given up because a handler did not answer in time, and times at which a
    /// handler that nothing waits for was not waited for any longer.
    timed_out,
    /// Traces that were begun again because a handler failed.
    retried,
    /// Traces that were handed over to another worker while they were open.
    handed_over,
    /// Partitions that were taken.
    taken,
    /// Partitions that were lost to another worker, or because Redis was away for too long.
    lost_leases,
}

pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
