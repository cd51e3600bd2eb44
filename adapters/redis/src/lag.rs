//! How far a group is, and what becomes of one that is gone.

use redis::cmd;

use crate::broker::{Broker as _, Connect, RedisBroker};
use crate::error::Error;
use crate::id::StreamId;
use crate::keys::Keys;

/// Looks into a namespace, and removes groups from it.
#[derive(Debug)]
pub struct RedisAdmin {
    broker: RedisBroker,
    partitions: u32,
}

/// How far a group is with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The partition.
    pub partition: u32,
    /// Entries of the stream, handled ones that are not trimmed yet included.
    pub entries: u64,
    /// Entries after the group's position. Those of traces that are done are among them if an older
    /// trace is open.
    pub behind: u64,
    /// The age in milliseconds of the oldest of these, by the server's time. 0 if there is none.
    pub oldest_ms: u64,
    /// The worker that has the partition.
    pub owner: Option<String>,
    /// Entries in the group's dead letters.
    pub dead_letters: u64,
    /// Entries that a hard cap cut while the group had not handled all of them: at most so many are
    /// lost.
    pub cut: u64,
}

impl RedisAdmin {
    /// Connects.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Setting`] if the namespace is not there.
    pub fn new(redis: impl Into<Connect>, namespace: &str) -> Result<Self, Error> {
        let mut broker = RedisBroker::new(&redis.into(), Keys::new(namespace, ""), "")?;
        broker.check()?;
        let missing = Error::Setting("the namespace has no publisher yet: check its name");
        let partitions = broker.partitions(None)?.ok_or(missing)?;
        Ok(Self { broker, partitions })
    }

    /// Returns how far `group` is, for each partition.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn lag(&mut self, group: &str) -> Result<Vec<Lag>, Error> {
        let keys = self.broker.keys().for_group(group);
        let now = self.broker.now()?;
        (0..self.partitions).map(|partition| self.lag_of(&keys, partition, now)).collect()
    }

    fn lag_of(&mut self, keys: &Keys, partition: u32, now: u64) -> Result<Lag, Error> {
        let broker = &mut self.broker;
        let stream = keys.stream(partition);
        let entries: u64 = broker.call(cmd("XLEN").arg(&stream))?;
        let position: Option<String> =
            broker.call(cmd("HGET").arg(keys.positions(partition)).arg(keys.group_name()))?;
        let position = position.and_then(|id| id.parse().ok()).unwrap_or(StreamId::ZERO);
        let (mut behind, mut oldest_ms, mut after) = (0u64, 0, position);
        loop {
            let some = broker.read(partition, after, 1000, std::time::Duration::ZERO)?;
            let (Some((first, _)), Some((last, _))) = (some.first(), some.last()) else { break };
            if behind == 0 {
                oldest_ms = now.saturating_sub(first.ms);
            }
            after = *last;
            behind += some.len() as u64;
        }
        let lease: Option<String> = broker.call(cmd("GET").arg(keys.lease(partition)))?;
        let owner = lease.and_then(|lease| Some(lease.split_once(':')?.1.to_owned()));
        let dead_letters = broker.call(cmd("XLEN").arg(keys.dead(partition)))?;
        let cut: Option<u64> =
            broker.call(cmd("HGET").arg(keys.cut(partition)).arg(keys.group_name()))?;
        let cut = cut.unwrap_or_default();
        Ok(Lag { partition, entries, behind, oldest_ms, owner, dead_letters, cut })
    }

    /// Removes a group that has no workers any more, with its dead letters, so that its position does
    /// not keep records from being trimmed. If workers of it run, the group begins anew.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn forget_group(&mut self, group: &str) -> Result<(), Error> {
        let keys = self.broker.keys().for_group(group);
        for partition in 0..self.partitions {
            for of_all in [keys.positions(partition), keys.cut(partition)] {
                self.broker.call::<i64>(cmd("HDEL").arg(of_all).arg(keys.group_name()))?;
            }
            let mut delete = cmd("DEL");
            delete.arg(keys.lease(partition)).arg(keys.group(partition));
            delete.arg(keys.done(partition)).arg(keys.attempts(partition));
            self.broker.call::<i64>(delete.arg(keys.dead(partition)))?;
        }
        self.broker.call::<i64>(cmd("DEL").arg(keys.workers())).map(drop)
    }
}
