//! What a replay has done, and why a record was not replayed.

use core::fmt;

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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReplayError {
    /// What starting or emitting returned. With [`EmitError::Raised`] all handlers have seen the
    /// event, and the replay can go on.
    Emit(EmitError),
    /// The record has no `seq`, or one of more than 63 bits, and its event belongs to a run. It was not replayed.
    NoSequence(RunId),
    /// The run is not of a kind that starts or ends with such an event. It was not replayed.
    WrongKind(RunId, EventKind),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emit(error) => fmt::Display::fmt(error, f),
            Self::NoSequence(run) => {
                write!(
                    f,
                    "a record of run {run} has no usable `seq`: write the number of the event"
                )
            }
            Self::WrongKind(run, kind) => {
                write!(f, "a record of run {run} is `{kind}`, which does not fit its `run_kind`")
            }
        }
    }
}

impl core::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            // `Display` shows the error itself, so the chain continues behind it.
            Self::Emit(error) => error.source(),
            Self::NoSequence(_) | Self::WrongKind(..) => None,
        }
    }
}

impl From<EmitError> for ReplayError {
    fn from(error: EmitError) -> Self {
        Self::Emit(error)
    }
}
