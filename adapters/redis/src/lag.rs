//! How far a group is, and how a group is removed.

use redis::cmd;

use crate::broker::{Broker as _, Connect, RedisBroker};
use crate::error::Error;
use crate::id::StreamId;
use crate::keys::Keys;

/// A connection for operators: it reads how far groups are, and removes groups.
#[derive(Debug)]
pub struct RedisAdmin {
    broker: RedisBroker,
    partitions: u32,
}

/// How far a group has handled one partition: see [`RedisAdmin::lag`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The number of the partition, from 0.
    pub partition: u32,
    /// Number of entries in the stream. It includes handled entries that are not trimmed yet.
    pub entries: u64,
    /// Number of entries after the group's position. If an older trace is open, this includes entries
    /// of traces that are done.
    pub behind: u64,
    /// The age in milliseconds of the oldest entry after the position, by the server's time. 0 if there
    /// is none.
    pub oldest_ms: u64,
    /// The id of the worker that has the partition: see [`WorkerHandle::id`](crate::WorkerHandle::id).
    /// `None` if no worker has it.
    pub owner: Option<String>,
    /// Number of entries in the group's dead letters.
    pub dead_letters: u64,
    /// Number of entries that a hard cap cut while the group had not handled all of them. The group has
    /// lost at most this number of entries.
    pub cut: u64,
}

/// The server counts so many entries at a time, so that it is never busy for long.
const PAGE: u64 = 250;

impl RedisAdmin {
    /// Connects to the Redis at `redis`, an address or a [`Connect`].
    ///
    /// # Errors
    /// [`Error::Setting`] if the namespace does not exist. See [`Error`] for the others.
    pub fn new(redis: impl Into<Connect>, namespace: &str) -> Result<Self, Error> {
        let mut broker = RedisBroker::new(&redis.into(), Keys::new(namespace, ""), "")?;
        broker.check()?;
        let missing = Error::Setting("the namespace has no publisher yet: check its name");
        let partitions = broker.partitions(None)?.ok_or(missing)?;
        Ok(Self { broker, partitions })
    }

    /// Returns how far `group` is, for each partition. The server counts the entries and does not send
    /// them. If 250 or more entries are on each side of the group's position, it counts those after the
    /// position in several calls.
    ///
    /// A group that does not exist has handled nothing.
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
        let (behind, oldest) = self.behind(&stream, position)?;
        let oldest_ms = oldest.map_or(0, |oldest| now.saturating_sub(oldest.ms));
        let broker = &mut self.broker;
        let lease: Option<String> = broker.call(cmd("GET").arg(keys.lease(partition)))?;
        let owner = lease.and_then(|lease| Some(lease.split_once(':')?.1.to_owned()));
        let dead_letters = broker.call(cmd("XLEN").arg(keys.dead(partition)))?;
        let cut: Option<u64> =
            broker.call(cmd("HGET").arg(keys.cut(partition)).arg(keys.group_name()))?;
        let cut = cut.unwrap_or_default();
        Ok(Lag { partition, entries, behind, oldest_ms, owner, dead_letters, cut })
    }

    /// Counts the entries after `position`. Returns the number, and the id of the first one.
    fn behind(
        &mut self,
        stream: &str,
        position: StreamId,
    ) -> Result<(u64, Option<StreamId>), Error> {
        let (mut behind, mut oldest, mut after) = (0, None, position);
        loop {
            let page = self.broker.count(stream, &format!("({after}"), "+", PAGE)?;
            behind += page.entries;
            oldest = oldest.or(page.first);
            let Some(last) = page.last.filter(|_| page.entries >= PAGE) else { break };
            if behind == PAGE {
                // Before the position of the slowest group there is little, because the stream is trimmed.
                let before = self.broker.count(stream, "-", &position.to_string(), PAGE)?;
                if before.entries < PAGE {
                    behind = before.length - before.entries;
                    break;
                }
            }
            after = last;
        }
        Ok((behind, oldest))
    }

    /// Removes a group that has no workers any more, with its dead letters. The streams are
    /// trimmed up to the lowest position of the other groups. If there is no other group, they are not
    /// trimmed.
    ///
    /// If workers of the group run, they lose their partitions. The group then begins again, with the
    /// oldest record that is still in the stream.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn forget_group(&mut self, group: &str) -> Result<(), Error> {
        let keys = self.broker.keys().for_group(group);
        for partition in 0..self.partitions {
            self.broker.forget_position(partition, group)?;
            self.broker.call::<i64>(cmd("HDEL").arg(keys.cut(partition)).arg(keys.group_name()))?;
            let mut delete = cmd("DEL");
            delete.arg(keys.lease(partition)).arg(keys.group(partition));
            delete.arg(keys.done(partition)).arg(keys.attempts(partition));
            self.broker.call::<i64>(delete.arg(keys.dead(partition)))?;
        }
        self.broker.call::<i64>(cmd("DEL").arg(keys.workers())).map(drop)
    }
}
