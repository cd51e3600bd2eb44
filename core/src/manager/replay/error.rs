//! What a replay has done, and why a record was not replayed.

use crate::model::error::EmitError;
use crate::model::event::EventKind;
use crate::model::run_info::RunId;

/// What a [`Replayer`](super::Replayer) has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReplayCounts {
    /// Records whose event went to the handlers.
    pub replayed: u64,
    /// Records that had been replayed before.
    pub repeated: u64,
    /// Records of an unknown kind.
    pub unknown: u64,
    /// Runs that were opened with a made-up start.
    pub made_up_starts: u64,
}

/// Why a record was not replayed, or what its handlers raised.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// What starting or emitting returned. With [`EmitError::Raised`] all handlers have seen the
    /// event, and the replay can go on.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The record has no `seq`, or one of more than 63 bits, and its event belongs to a run. It was not replayed.
    #[error("a record of run {0} has no usable `seq`: write the number of the event")]
    NoSequence(RunId),
    /// Such an event does not fit the `run_kind` of the record, or the kind of the open run. It was not
    /// replayed.
    #[error(
        "a record of run {0} is `{1}`, which does not fit its `run_kind` or the run's start: write the \
         kind of the run"
    )]
    WrongKind(RunId, EventKind),
    /// The first run has the second as its parent, which is the run itself or an open run under it. It
    /// was not replayed.
    #[error(
        "a record of run {0} has the `parent` {1}, which is that run or inside it: write the run \
         that it is inside, or null"
    )]
    ParentUnderRun(RunId, RunId),
}
