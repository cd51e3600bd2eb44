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
    /// The run is not of a kind that starts or ends with such an event. It was not replayed.
    #[error("a record of run {0} is `{1}`, which does not fit its `run_kind`")]
    WrongKind(RunId, EventKind),
}
