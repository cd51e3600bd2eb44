//! What a broker must do: the calls that publishers and workers make.

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

/// A store with a stream for each partition, and the state of a group of workers. [`MemoryBroker`] is
/// the model: each call does in one step what is said here.
///
/// A call that fails with [`Error::Unreachable`] may have been done. All calls can be made again.
///
/// Calls with an `epoch` return `None` and change nothing if the partition has been taken since, by
/// any worker of the group. That check and the change are one atomic step. Time is the broker's own.
pub trait Broker: Send {
    /// Adds entries to the partition's stream: all of them, side by side and in order, or none.
    ///
    /// # Errors
    /// Those of the server.
    fn append(&mut self, partition: u32, batch: &[Entry]) -> Result<(), Error>;

    /// Returns the entries after `after`, at most `most`, oldest first. If there is none, waits for
    /// one, for `wait` at most.
    ///
    /// # Errors
    /// Those of the server.
    fn read(
        &mut self,
        partition: u32,
        after: StreamId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<(StreamId, Fields)>, Error>;

    /// Takes a partition that has no owner, for `ttl`. `None` if it has one. Each time it is taken
    /// its epoch goes up.
    ///
    /// # Errors
    /// Those of the server.
    fn take(&mut self, partition: u32, owner: &str, ttl: Duration) -> Result<Option<Taken>, Error>;

    /// Keeps a partition for `ttl` from now on.
    ///
    /// # Errors
    /// Those of the server.
    fn renew(&mut self, partition: u32, epoch: u64, ttl: Duration) -> Result<Option<()>, Error>;

    /// Counts an attempt of each trace, once an epoch. Returns their attempts with this one.
    ///
    /// # Errors
    /// Those of the server.
    fn begin(
        &mut self,
        partition: u32,
        epoch: u64,
        roots: &[RunId],
    ) -> Result<Option<Vec<u32>>, Error>;

    /// Writes what the group is done with. Entries before the lowest position of all groups may be
    /// dropped.
    ///
    /// # Errors
    /// Those of the server.
    fn commit(&mut self, partition: u32, epoch: u64, commit: &Commit) -> Result<Option<()>, Error>;

    /// Adds to the group's dead letters: each entry's fields, its id and the reason.
    ///
    /// # Errors
    /// Those of the server.
    fn bury(
        &mut self,
        partition: u32,
        epoch: u64,
        entries: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<Option<()>, Error>;

    /// Gives a partition up. The attempts of `open` that this epoch has counted are taken back.
    ///
    /// # Errors
    /// Those of the server.
    fn release(&mut self, partition: u32, epoch: u64, open: &[RunId]) -> Result<Option<()>, Error>;

    /// Says that a worker of the group lives, for `ttl`. Returns how many do.
    ///
    /// # Errors
    /// Those of the server.
    fn worker_lives(&mut self, worker: &str, ttl: Duration) -> Result<usize, Error>;

    /// Says that a worker of the group has ended.
    ///
    /// # Errors
    /// Those of the server.
    fn worker_ends(&mut self, worker: &str) -> Result<(), Error>;

    /// Says that a publisher lives, for `ttl`.
    ///
    /// # Errors
    /// Those of the server.
    fn publisher_lives(&mut self, source: &str, ttl: Duration) -> Result<(), Error>;

    /// Whether a publisher lives.
    ///
    /// # Errors
    /// Those of the server.
    fn is_publisher_alive(&mut self, source: &str) -> Result<bool, Error>;

    /// The broker's time, in milliseconds since 1970: that of its stream ids.
    ///
    /// # Errors
    /// Those of the server.
    fn now(&mut self) -> Result<u64, Error>;
}

/// A partition that was taken.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// How many times it has been taken.
    pub epoch: u64,
    /// The group has handled all entries up to here, apart from later ones of [`done`](Self::done).
    pub position: StreamId,
    /// The traces that are done above the position.
    pub done: Vec<(RunId, Done)>,
}

/// A trace that a group is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Its entries up to here are done.
    pub through: StreamId,
    /// How it ended.
    pub how: Ending,
}

/// How a trace ended for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of its runs ended, and handlers have handled that. Runs may start under it later.
    Whole,
    /// It was closed before. What comes later is not handed out.
    Closed,
    /// It is in the dead letters. What comes later goes there, too.
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

/// What a group has done with a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// All entries up to here are done, apart from later ones of traces that are done.
    pub position: StreamId,
    /// Traces that are done. Their attempts are forgotten.
    pub done: Vec<(RunId, Done)>,
    /// Done traces that need not be remembered any more.
    pub forget: Vec<RunId>,
    /// Traces that have been replayed so far as they are, alone: this is their first attempt again.
    pub clear: Vec<RunId>,
}
