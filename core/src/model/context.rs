//! What a handler gets beside an event's payload.

use alloc::sync::Arc;
use core::ops::Deref;
use core::time::Duration;

use super::emitter::Captured;
#[cfg(feature = "serde")]
use super::event::is_default;
use super::run_info::RunInfo;

/// The run of an event, and what belongs to this delivery of the event: the second argument of
/// every handler method.
///
/// It dereferences to [`RunInfo`], so `cx.id()`, `cx.name()` and `cx.tags()` are those of the run.
#[derive(Debug, Clone)]
pub struct EventContext {
    pub(crate) run: Arc<RunInfo>,
    pub(crate) sequence: Option<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) losses: Losses,
    pub(crate) recorded: Option<Arc<RecordedAt>>,
    pub(crate) emitter: Captured,
}

/// Where a replayed event was recorded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecordedAt {
    /// The process and the recorder that recorded it: see
    /// `EventRecord::source`.
    pub source: Arc<str>,
    /// The event's number in that source, within its trace.
    pub tseq: u64,
    /// The number of a custom event without a run, among those of that source.
    #[cfg(feature = "serde")]
    pub(crate) custom_seq: Option<u64>,
    /// What that recorder did not get before this event.
    pub losses: Losses,
    /// What the record says about the run, if its start was made up without that.
    pub(crate) run: Option<Arc<RunInfo>>,
}

impl EventContext {
    pub(crate) fn new(run: Arc<RunInfo>) -> Self {
        Self {
            run,
            sequence: None,
            time: None,
            losses: Losses::default(),
            recorded: None,
            emitter: Captured(None),
        }
    }

    /// Notes where the event was recorded.
    pub(crate) fn set_recorded(&mut self, recorded: Option<Arc<RecordedAt>>) {
        if let Some(run) = recorded.as_ref().and_then(|recorded| recorded.run.as_ref()) {
            self.run = run.clone();
        }
        self.recorded = recorded;
    }

    /// Returns the run. Clone the `Arc` to keep it.
    #[must_use]
    pub fn run(&self) -> &Arc<RunInfo> {
        &self.run
    }

    /// Makes the context that says `run` about the event's run, for a handler that passes copies of
    /// events on: without secrets, for example. The rest of the context stays.
    #[must_use]
    pub fn with_run(mut self, run: Arc<RunInfo>) -> Self {
        if let Some(recorded) = self.recorded.as_mut().filter(|recorded| recorded.run.is_some()) {
            Arc::make_mut(recorded).run = Some(run.clone());
        }
        self.run = run;
        self
    }

    /// Returns the event's number within its run: 0 for the start, then one more for each event
    /// that at least one handler is interested in.
    ///
    /// `None` only for a custom event that was emitted on a manager. A coalesced token has the
    /// number of its first piece.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Returns when the event was emitted, as the time since 1970.
    ///
    /// Starts, ends and errors have a time if the clock knows it. Tokens and other events have a
    /// time only if a handler asks for it with
    /// [`Interest::with_token_times`](crate::Interest::with_token_times).
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.time
    }

    /// Returns where the event was recorded, if it is replayed.
    #[must_use]
    pub fn recorded(&self) -> Option<&RecordedAt> {
        self.recorded.as_deref()
    }

    /// Returns `true` if a replay made the event: the start of a run whose trace starts in the
    /// middle, or the end of a run whose trace ends in the middle. It stands in no record.
    #[must_use]
    pub fn is_made_up(&self) -> bool {
        self.run.is_replayed() && self.recorded.is_none()
    }

    /// Returns what this handler did not get before this event, because its queue was full.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }
}

impl Deref for EventContext {
    type Target = RunInfo;

    #[inline]
    fn deref(&self) -> &RunInfo {
        &self.run
    }
}

/// What a handler did not get, or not one by one, because its queue was full. See
/// [`Overflow`](crate::Overflow).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Losses {
    /// Events of this run that were dropped since the handler's last event of this run.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub dropped: usize,
    /// Whole runs that were refused since the handler's last event of any run.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub refused_runs: usize,
    /// Tokens of this run that were joined to an earlier token since the handler's last event of
    /// this run. Their text is not lost.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub coalesced: usize,
}

impl Losses {
    /// Returns the sum of both.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self {
            dropped: self.dropped.saturating_add(more.dropped),
            refused_runs: self.refused_runs.saturating_add(more.refused_runs),
            coalesced: self.coalesced.saturating_add(more.coalesced),
        }
    }

    /// Returns `true` if nothing was dropped, refused or coalesced.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.dropped == 0 && self.refused_runs == 0 && self.coalesced == 0
    }
}
