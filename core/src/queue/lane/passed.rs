//! What goes into a lane's queue and comes out of it.

use alloc::vec::Vec;

use crate::handler::Overflow;
use crate::queue::Epoch;

/// The bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of queued events per run, not counting its start and end, nor one event
    /// whose emitter waits for room. Also the maximum number of open runs that were started inside
    /// handlers' calls.
    pub(crate) capacity: u32,
    /// Maximum number of open traces.
    pub(crate) open_traces: usize,
    pub(crate) overflow: Overflow,
    /// Whether an emitter may be made to wait for room.
    pub(crate) waits: bool,
}

/// The result of queueing an event.
pub(crate) enum Push<I, H> {
    Queued {
        /// A trace that has no server yet.
        ready: Option<usize>,
        /// A token that was dropped to make room.
        evicted: Option<I>,
        /// The event was joined to an earlier one, or an earlier one was joined to make room.
        coalesced: bool,
        released: Vec<H>,
    },
    /// The event is lost: no room, or the handler is stuck.
    Lost { item: I, answer: Option<H>, stuck: bool },
}

/// An event that is to be handled.
pub(crate) struct Taken<I, S, H> {
    pub(crate) seat: usize,
    /// What the run's events share. Absent if it is the same as that of the event before.
    pub(crate) shared: Option<S>,
    pub(crate) item: I,
    pub(crate) answer: Option<H>,
    pub(crate) due: u64,
    pub(crate) pieces: u32,
    pub(crate) dropped: u32,
    pub(crate) refused: usize,
    /// Its failure has been counted already.
    pub(crate) expired: bool,
    pub(super) epoch: Epoch,
    /// Whether it still counts against the capacity.
    pub(super) counted: bool,
}

/// What a lane lets go of. The caller drops it after it has released its lock.
pub(crate) struct Released<S, H> {
    pub(crate) holds: Vec<H>,
    pub(crate) runs: Vec<S>,
}

impl<S, H> Default for Released<S, H> {
    fn default() -> Self {
        Self { holds: Vec::new(), runs: Vec::new() }
    }
}

/// A taken event, as [`LaneQueue::finish`] needs it.
pub(crate) struct Ticket {
    pub(super) seat: usize,
    pub(super) epoch: Epoch,
    pub(super) counted: bool,
}
