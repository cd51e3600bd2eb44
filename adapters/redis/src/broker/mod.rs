//! The trait [`Broker`], for publishers and workers that do not use Redis, and a broker in memory.

mod connect;
mod memory;
mod redis;
mod scripts;

use std::time::Duration;

use rappel_core::RunId;

pub use connect::Connect;
pub use memory::{MemoryBroker, MemoryStore};
pub(crate) use redis::RedisBroker;

use crate::entry::{Entry, Fields};
use crate::error::Error;
use crate::id::StreamId;

/// A connection to a store that has a stream for each partition, and the state of one group of workers.
///
/// A publisher has one connection. A worker has one for its control thread, and one for each partition.
/// Partitions have numbers from 0. [`MemoryBroker`] is the model of an implementation.
///
/// - Each method is one atomic step at the broker.
/// - A call that failed with [`Error::Unreachable`] may have been done. The caller may make each call
///   again.
/// - A method with an `epoch` must return `None` and change nothing if a worker of the group has taken
///   the partition since that epoch. The check and the change are one atomic step.
/// - All times are computed from the broker's clock.
pub trait Broker: Send {
    /// Adds entries to the end of the partition's stream: all of them in order, with no other entry
    /// between them, or none.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn append(&mut self, partition: u32, batch: &[Entry]) -> Result<(), Error>;

    /// Returns the entries after `after`, at most `most`, oldest first. If there are none, waits for
    /// the first one, at most `wait`. An empty list means that there is none.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn read(
        &mut self,
        partition: u32,
        after: StreamId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<(StreamId, Fields)>, Error>;

    /// Gives the partition to the worker `owner` of the group, for `ttl`. Returns `None` if another
    /// worker of the group has it. The broker may give it to its present owner again. Each time a
    /// partition is taken, its epoch goes up by one.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn take(&mut self, partition: u32, owner: &str, ttl: Duration) -> Result<Option<Taken>, Error>;

    /// Extends the worker's hold on the partition: it ends `ttl` from now. Returns `None` if it has
    /// already ended.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn renew(&mut self, partition: u32, epoch: u64, ttl: Duration) -> Result<Option<()>, Error>;

    /// Notes that the worker begins each trace of `roots`. For each epoch, a trace counts once at most.
    /// Returns the counts of each trace, in the order of `roots`.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn begin(
        &mut self,
        partition: u32,
        epoch: u64,
        roots: &[RunId],
    ) -> Result<Option<Vec<Begun>>, Error>;

    /// Writes the group's progress: see [`Commit`]. A position never goes down. The broker may drop
    /// entries before the lowest position of all groups.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn commit(&mut self, partition: u32, epoch: u64, commit: &Commit) -> Result<Option<()>, Error>;

    /// Adds entries to the group's dead letters: the fields of each, its id and the reason.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn bury(
        &mut self,
        partition: u32,
        epoch: u64,
        entries: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<Option<()>, Error>;

    /// Ends the worker's hold on the partition. For each trace of `open`, takes back the attempt that
    /// this epoch has counted: see [`Begun::attempts`]. [`Begun::times`] does not change.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn release(&mut self, partition: u32, epoch: u64, open: &[RunId]) -> Result<Option<()>, Error>;

    /// Notes that the worker of the group is live for the next `ttl`. Returns the number of live workers
    /// of the group, with this one.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn worker_lives(&mut self, worker: &str, ttl: Duration) -> Result<usize, Error>;

    /// Notes that the worker of the group has ended.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn worker_ends(&mut self, worker: &str) -> Result<(), Error>;

    /// Notes that the publisher with this source is live for the next `ttl`.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn publisher_lives(&mut self, source: &str, ttl: Duration) -> Result<(), Error>;

    /// Returns `true` if the publisher with this source is live.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn is_publisher_alive(&mut self, source: &str) -> Result<bool, Error>;

    /// Returns the broker's time, in milliseconds since the Unix epoch. Stream ids have times of the same
    /// clock.
    ///
    /// # Errors
    /// Those of the connection and of the server.
    fn now(&mut self) -> Result<u64, Error>;
}

/// The state of a partition when a worker takes it: see [`Broker::take`].
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// How many times workers of the group have taken the partition, including this time.
    pub epoch: u64,
    /// The group's position. The group is done with every entry up to this id.
    pub position: StreamId,
    /// The traces of all [`Commit::done`], without those of [`Commit::forget`].
    pub done: Vec<(RunId, Done)>,
}

/// How often the workers of a group have begun a trace: see [`Broker::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Begun {
    /// How many times the trace was begun, including this time. Handlers get it as
    /// [`RemoteDelivery::attempt`](rappel_core::RemoteDelivery::attempt).
    pub times: u32,
    /// How many attempts there were, including this one. It is `times`, without the times that
    /// [`Broker::release`] took back, and without those before a [`Commit::clear`].
    pub attempts: u32,
}

/// How far a group is done with a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The group is done with the trace's entries up to this id.
    pub through: StreamId,
    /// How the trace ended for the group.
    pub how: Ending,
}

/// How a trace ended for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of its runs ended, and the handlers have handled all ends. A run may still start under it
    /// later.
    Whole,
    /// The worker closed it before all of its runs ended. Later entries are skipped.
    Closed,
    /// It is in the dead letters. Later entries go there, too.
    Dead,
}

impl Ending {
    /// The letter that Redis has for it.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Whole => 'w',
            Self::Closed => 'c',
            Self::Dead => 'd',
        }
    }

    pub(crate) const fn of_letter(letter: &str) -> Option<Self> {
        match letter.as_bytes() {
            b"w" => Some(Self::Whole),
            b"c" => Some(Self::Closed),
            b"d" => Some(Self::Dead),
            _ => None,
        }
    }
}

/// A group's progress in a partition: see [`Broker::commit`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The new position: the group is done with every entry up to this id.
    pub position: StreamId,
    /// Traces that are done now. The broker keeps them for [`Taken::done`], and forgets their attempts.
    pub done: Vec<(RunId, Done)>,
    /// Done traces that the broker need not keep any longer.
    pub forget: Vec<RunId>,
    /// Open traces whose replay has gone well. Set their number of attempts to 1, counted by this epoch.
    /// [`Begun::times`] does not change.
    pub clear: Vec<RunId>,
}
