//! The settings of a worker.

use std::time::Duration;

/// What a worker does when a handler fails on an event of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnHandlerError {
    /// The worker counts the failure. It acknowledges the trace when the trace is handled.
    #[default]
    Acknowledge,
    /// When the trace has ended, the worker replays it to all handlers from its first record, at most
    /// this number of times. After that, it acknowledges the trace, even if a handler has failed again.
    Retry(u32),
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lease: Duration,
    pub(crate) margin: Duration,
    pub(crate) max_open: usize,
    pub(crate) max_queued: usize,
    pub(crate) max_concurrent: usize,
    pub(crate) max_attempts: u32,
    pub(crate) max_trace_age: Duration,
    pub(crate) orphan_after: Duration,
    pub(crate) handler_timeout: Duration,
    pub(crate) on_handler_error: OnHandlerError,
    /// Maximum number of entries of one read.
    pub(crate) read: usize,
    /// How long a read waits if there is nothing else to do.
    pub(crate) wait: Duration,
    /// The least time between two commits.
    pub(crate) commit_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            margin: Duration::from_secs(1),
            max_open: 10_000,
            max_queued: 20_000,
            max_concurrent: 64,
            max_attempts: 3,
            max_trace_age: Duration::from_secs(24 * 60 * 60),
            orphan_after: Duration::from_secs(60),
            handler_timeout: Duration::from_secs(60),
            on_handler_error: OnHandlerError::Acknowledge,
            read: 512,
            wait: Duration::from_millis(100),
            commit_every: Duration::from_millis(5),
        }
    }
}
