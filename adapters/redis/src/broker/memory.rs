//! A broker in memory: the model for implementations of `Broker`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rappel_core::RunId;

use super::{Begun, Broker, Commit, Done, Taken};
use crate::entry::{Entry, Fields};
use crate::error::Error;
use crate::id::StreamId;

/// The streams and the groups behind [`MemoryBroker`]s. Clones share them.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// Milliseconds since 1970.
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<u32, Partition>,
    /// Until when a worker of a group lives, and a publisher.
    workers: BTreeMap<(String, String), u64>,
    publishers: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Partition {
    last: StreamId,
    stream: BTreeMap<StreamId, Fields>,
    groups: BTreeMap<String, Group>,
}

/// What a group has written about a partition.
#[derive(Default)]
struct Group {
    epoch: u64,
    lease: Option<Lease>,
    position: StreamId,
    done: BTreeMap<RunId, Done>,
    /// How often a trace was begun, and the epoch that counted the last attempt.
    begun: BTreeMap<RunId, (Begun, u64)>,
    dead: Vec<(StreamId, Fields, String)>,
}

/// Who owns a partition, since which epoch and until when.
struct Lease {
    owner: String,
    epoch: u64,
    until: u64,
}

impl MemoryStore {
    /// Makes an empty store with the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Makes an empty store. `clock` returns its time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { state: Arc::default(), clock: Arc::new(clock) }
    }

    /// Returns a connection for a worker of `group`. A publisher does not use the group.
    #[must_use]
    pub fn broker(&self, group: &str) -> MemoryBroker {
        MemoryBroker { store: self.clone(), group: group.to_owned() }
    }

    /// Returns the entries in the partition's stream.
    #[must_use]
    pub fn entries(&self, partition: u32) -> Vec<(StreamId, Fields)> {
        self.with(|state| {
            let partition = state.partitions.entry(partition).or_default();
            partition.stream.iter().map(|(id, fields)| (*id, fields.clone())).collect()
        })
    }

    /// Returns the dead letters of a group in a partition: the id, the fields and the reason of each.
    #[must_use]
    pub fn dead_letters(&self, group: &str, partition: u32) -> Vec<(StreamId, Fields, String)> {
        self.with(|state| {
            let groups = &mut state.partitions.entry(partition).or_default().groups;
            groups.get(group).map(|group| group.dead.clone()).unwrap_or_default()
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

/// A connection to a [`MemoryStore`]: a broker in the memory of this process, for tests and as a model.
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    store: MemoryStore,
    group: String,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl MemoryBroker {
    fn now_ms(&self) -> u64 {
        (self.store.clock)()
    }

    fn partition<T>(&self, partition: u32, change: impl FnOnce(&mut Partition) -> T) -> T {
        self.store.with(|state| change(state.partitions.entry(partition).or_default()))
    }

    /// Changes the group's state, unless the partition was taken since `epoch`.
    fn fenced<T>(
        &self,
        partition: u32,
        epoch: u64,
        change: impl FnOnce(&mut Group) -> T,
    ) -> Option<T> {
        self.partition(partition, |partition| {
            let group = partition.groups.entry(self.group.clone()).or_default();
            (group.epoch == epoch).then(|| change(group))
        })
    }
}

impl Broker for MemoryBroker {
    fn append(&mut self, partition: u32, batch: &[Entry]) -> Result<(), Error> {
        let now = self.now_ms();
        self.partition(partition, |partition| {
            for entry in batch {
                let last = partition.last;
                let id = match now > last.ms {
                    true => StreamId::new(now, 0),
                    false => StreamId::new(last.ms, last.seq + 1),
                };
                let fields = entry.fields().map(|(name, value)| (name.into(), value)).into();
                partition.stream.insert(id, fields);
                partition.last = id;
            }
        });
        Ok(())
    }

    fn read(
        &mut self,
        partition: u32,
        after: StreamId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<(StreamId, Fields)>, Error> {
        let look = || {
            self.partition(partition, |partition| {
                let entries = partition.stream.range(after..).filter(|(id, _)| **id > after);
                entries.take(most).map(|(id, fields)| (*id, fields.clone())).collect::<Vec<_>>()
            })
        };
        let entries = look();
        if !entries.is_empty() || wait.is_zero() {
            return Ok(entries);
        }
        thread::sleep(wait);
        Ok(look())
    }

    fn take(&mut self, partition: u32, owner: &str, ttl: Duration) -> Result<Option<Taken>, Error> {
        let now = self.now_ms();
        Ok(self.partition(partition, |partition| {
            let group = partition.groups.entry(self.group.clone()).or_default();
            let of_another = |lease: &Lease| lease.until > now && lease.owner != owner;
            if group.lease.as_ref().is_some_and(of_another) {
                return None;
            }
            group.epoch += 1;
            let (epoch, until) = (group.epoch, now + millis(ttl));
            group.lease = Some(Lease { owner: owner.to_owned(), epoch, until });
            let done = group.done.iter().map(|(root, done)| (*root, *done)).collect();
            Some(Taken { epoch: group.epoch, position: group.position, done })
        }))
    }

    fn renew(&mut self, partition: u32, epoch: u64, ttl: Duration) -> Result<Option<()>, Error> {
        let now = self.now_ms();
        let renewed = self.fenced(partition, epoch, |group| {
            let held = |lease: &&mut Lease| lease.epoch == epoch && lease.until > now;
            group.lease.as_mut().filter(held).map(|lease| lease.until = now + millis(ttl))
        });
        Ok(renewed.flatten())
    }

    fn begin(
        &mut self,
        partition: u32,
        epoch: u64,
        roots: &[RunId],
    ) -> Result<Option<Vec<Begun>>, Error> {
        Ok(self.fenced(partition, epoch, |group| {
            let mut begin = |root: &RunId| {
                let (begun, last) = group.begun.entry(*root).or_default();
                if *last != epoch {
                    begun.times += 1;
                    begun.attempts += 1;
                    *last = epoch;
                }
                *begun
            };
            roots.iter().map(&mut begin).collect()
        }))
    }

    fn commit(&mut self, partition: u32, epoch: u64, commit: &Commit) -> Result<Option<()>, Error> {
        let done = self.fenced(partition, epoch, |group| {
            group.position = group.position.max(commit.position);
            for (root, done) in &commit.done {
                group.done.insert(*root, *done);
                group.begun.remove(root);
            }
            commit.clear.iter().for_each(|root| {
                let (begun, last) = group.begun.entry(*root).or_default();
                (begun.attempts, *last) = (1, epoch);
            });
            commit.forget.iter().for_each(|root| {
                group.done.remove(root);
                group.begun.remove(root);
            });
        });
        self.partition(partition, |partition| {
            let lowest = partition.groups.values().map(|group| group.position).min();
            let kept = partition.stream.split_off(&lowest.unwrap_or_default());
            partition.stream = kept;
        });
        Ok(done)
    }

    fn bury(
        &mut self,
        partition: u32,
        epoch: u64,
        entries: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<Option<()>, Error> {
        Ok(self.fenced(partition, epoch, |group| {
            let letter = |(id, fields): &(StreamId, Fields)| (*id, fields.clone(), reason.into());
            group.dead.extend(entries.iter().map(letter));
        }))
    }

    fn release(&mut self, partition: u32, epoch: u64, open: &[RunId]) -> Result<Option<()>, Error> {
        Ok(self.fenced(partition, epoch, |group| {
            group.lease = None;
            for root in open {
                if let Some((begun, last)) = group.begun.get_mut(root)
                    && *last == epoch
                {
                    (begun.attempts, *last) = (begun.attempts.saturating_sub(1), 0);
                }
            }
        }))
    }

    fn worker_lives(&mut self, worker: &str, ttl: Duration) -> Result<usize, Error> {
        let now = self.now_ms();
        Ok(self.store.with(|state| {
            state.workers.retain(|_, until| *until > now);
            state.workers.insert((self.group.clone(), worker.to_owned()), now + millis(ttl));
            state.workers.keys().filter(|(group, _)| *group == self.group).count()
        }))
    }

    fn worker_ends(&mut self, worker: &str) -> Result<(), Error> {
        self.store.with(|state| state.workers.remove(&(self.group.clone(), worker.to_owned())));
        Ok(())
    }

    fn publisher_lives(&mut self, source: &str, ttl: Duration) -> Result<(), Error> {
        let until = self.now_ms() + millis(ttl);
        self.store.with(|state| state.publishers.insert(source.to_owned(), until));
        Ok(())
    }

    fn is_publisher_alive(&mut self, source: &str) -> Result<bool, Error> {
        let now = self.now_ms();
        Ok(self.store.with(|state| state.publishers.get(source).is_some_and(|until| *until > now)))
    }

    fn now(&mut self) -> Result<u64, Error> {
        Ok(self.now_ms())
    }
}
