//! The counts of a worker.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What this worker has done since it was made. Other workers of the group have their own counts.
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
    /// Records that were given to the handlers.
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
    /// Records that were in the stream twice. The second one was skipped.
    repeated,
    /// Records of traces that had been closed before. They were skipped.
    late,
    /// Records of a kind that this version does not know. They were skipped.
    unknown,
    /// Failures of handlers.
    failures,
    /// Traces that were closed because a handler did not answer within `handler_timeout`. Each time that
    /// the worker stopped waiting for background handlers is counted, too.
    timed_out,
    /// Replays of a trace because a handler failed: see `OnHandlerError::Retry`.
    retried,
    /// Traces that were open when this worker gave up or lost their partition.
    handed_over,
    /// How often this worker took a partition.
    taken,
    /// How often this worker lost a partition: another worker took it, or Redis was away for longer than
    /// the lease.
    lost_leases,
}

pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
