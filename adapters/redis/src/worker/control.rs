//! Which partitions a worker has: it keeps, takes and gives up. No handler is called here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rappel_core::{CallbackManager, FailureCause};

use super::WorkerShared;
use super::calls::{Failures, HandlerCalls};
use super::counts::add;
use super::drive::drive;
use super::lease::{Clock, Lease, Monotonic};
use super::settings::{OnHandlerError, Settings};
use super::shard::Shard;
use crate::broker::{Broker, Taken};
use crate::error::Error;

type Connect = Arc<dyn Fn() -> Result<Box<dyn Broker>, Error> + Send + Sync>;

pub(crate) struct Control {
    partitions: u32,
    connect: Connect,
    broker: Box<dyn Broker>,
    callbacks: CallbackManager,
    settings: Arc<Settings>,
    shared: Arc<WorkerShared>,
    clock: Arc<dyn Clock>,
    failures: Option<Arc<Failures>>,
    owned: HashMap<u32, Owned>,
    /// Where it begins to look for a partition, so that workers do not all begin with the first.
    offset: u32,
    give_up_at: Duration,
}

struct Owned {
    lease: Arc<Lease>,
    thread: JoinHandle<()>,
}

/// Renews a lease. It counts from when the renewal was sent, so that it ends here first.
pub(crate) fn renew(
    broker: &mut dyn Broker,
    partition: u32,
    lease: &Lease,
    ttl: Duration,
    clock: &dyn Clock,
) -> Result<(), Error> {
    let sent = clock.now();
    match broker.renew(partition, lease.epoch, ttl)? {
        Some(()) => lease.renewed(sent),
        None => lease.lose(),
    }
    Ok(())
}

/// Takes a partition that has no owner.
pub(crate) fn take(
    broker: &mut dyn Broker,
    partition: u32,
    owner: &str,
    settings: &Settings,
    clock: &dyn Clock,
) -> Result<Option<(Taken, Arc<Lease>)>, Error> {
    let sent = clock.now();
    let Some(taken) = broker.take(partition, owner, settings.lease)? else { return Ok(None) };
    let lease = Lease::new(taken.epoch, settings.lease, settings.margin, sent);
    Ok(Some((taken, Arc::new(lease))))
}

impl Control {
    pub(crate) fn new(
        partitions: u32,
        connect: Connect,
        callbacks: CallbackManager,
        settings: Arc<Settings>,
        shared: Arc<WorkerShared>,
    ) -> Result<Self, Error> {
        let broker = connect()?;
        let retries = matches!(settings.on_handler_error, OnHandlerError::Retry(_));
        let failures = retries.then(Arc::<Failures>::default);
        let (of_worker, of_runs) = (shared.clone(), failures.clone());
        let callbacks = callbacks.also_on_handler_failure(move |failure| {
            add(&of_worker.counts.failures, 1);
            if matches!(failure.cause, FailureCause::RuntimeGone) {
                of_worker.give_up(Error::CallbacksGone);
            }
            if let Some(failures) = &of_runs {
                failures.note(failure);
            }
        });
        // From the worker's random name.
        let offset = shared
            .id
            .bytes()
            .fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        Ok(Self {
            partitions: partitions.max(1),
            connect,
            broker,
            callbacks,
            settings,
            shared,
            clock: Arc::new(Monotonic::new()),
            failures,
            owned: HashMap::new(),
            offset,
            give_up_at: Duration::ZERO,
        })
    }

    /// Works until the worker is stopped.
    pub(crate) fn run(mut self) {
        let interval = self.settings.lease / 5;
        while !self.shared.is_stopped() {
            let began = self.clock.now();
            if let Err(error) = self.look() {
                self.shared.note(error);
            }
            let took = self.clock.now().saturating_sub(began);
            self.shared.sleep(interval.saturating_sub(took).max(Duration::from_millis(1)));
        }
        self.owned.values().for_each(|owned| owned.lease.stop());
        // Until their threads have ended, the leases are kept.
        while !self.owned.is_empty() {
            self.reap();
            let _ = self.renew();
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.broker.worker_ends(&self.shared.id);
    }

    fn look(&mut self) -> Result<(), Error> {
        self.reap();
        self.renew()?;
        // As long as its leases, which were renewed just before. A worker that does not renew has lost its
        // partitions when it no longer counts, and no worker takes one whose lease has not ended.
        let live = self.broker.worker_lives(&self.shared.id, self.settings.lease)?;
        let live = u32::try_from(live).unwrap_or(u32::MAX).max(1);
        let share = usize::try_from(self.partitions.div_ceil(live)).unwrap_or(usize::MAX);
        if self.owned.len() > share {
            self.give_one_up();
        }
        for step in 0..self.partitions {
            if self.owned.len() >= share || self.shared.is_stopped() {
                break;
            }
            let partition = self.offset.wrapping_add(step) % self.partitions;
            if !self.owned.contains_key(&partition) {
                self.take(partition)?;
            }
        }
        Ok(())
    }

    /// Forgets the partitions whose threads have ended.
    fn reap(&mut self) {
        let ended = |owned: &Owned| owned.thread.is_finished();
        let ended: Vec<u32> =
            self.owned.iter().filter(|(_, o)| ended(o)).map(|(number, _)| *number).collect();
        for partition in ended {
            if let Some(owned) = self.owned.remove(&partition) {
                // A panic was reported by its thread. The lease ends by itself.
                let _ = owned.thread.join();
            }
        }
    }

    fn renew(&mut self) -> Result<(), Error> {
        for (partition, owned) in &self.owned {
            let (lease, ttl) = (&owned.lease, self.settings.lease);
            renew(&mut *self.broker, *partition, lease, ttl, &*self.clock)?;
        }
        Ok(())
    }

    /// Gives one partition up, at most one for each time of a lease.
    fn give_one_up(&mut self) {
        let now = self.clock.now();
        let stopping = self.owned.values().any(|owned| owned.lease.is_stopped());
        if stopping || now < self.give_up_at {
            return;
        }
        if let Some(owned) = self.owned.values().next() {
            owned.lease.stop();
            self.give_up_at = now + self.settings.lease;
        }
    }

    fn take(&mut self, partition: u32) -> Result<(), Error> {
        let (id, settings) = (&self.shared.id, &self.settings);
        let taken = take(&mut *self.broker, partition, id, settings, &*self.clock)?;
        let Some((taken, lease)) = taken else { return Ok(()) };
        let broker = (self.connect)()?;
        let (clock, counts) = (self.clock.clone(), self.shared.counts.clone());
        let (settings, failures) = (self.settings.clone(), self.failures.clone());
        let (callbacks, shared, held) =
            (self.callbacks.clone(), self.shared.clone(), lease.clone());
        let work = move || {
            let timeout = settings.handler_timeout;
            let calls = HandlerCalls::new(
                callbacks,
                held.clone(),
                clock.clone(),
                shared.clone(),
                failures,
                timeout,
            );
            let shard = Shard::new(partition, &taken, held.clone(), clock, settings, counts);
            drive(&shared, &held, shard, broker, calls);
        };
        let name = format!("rappel-redis-{partition}");
        match thread::Builder::new().name(name).spawn(work) {
            Ok(thread) => {
                self.shared.counts.taken.fetch_add(1, Ordering::Relaxed);
                self.owned.insert(partition, Owned { lease, thread });
            }
            // The lease ends by itself.
            Err(_) => lease.lose(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rappel_core::CallbackManager;

    use super::Control;
    use crate::broker::{Broker, MemoryStore};
    use crate::{RedisWorker, WorkerHandle};

    const LEASE: u64 = 10_000;

    /// A worker whose leases are looked after by hand.
    fn worker(store: &MemoryStore) -> (Control, WorkerHandle) {
        let worker = RedisWorker::new("").lease(Duration::from_millis(LEASE));
        let (handle, store) = (worker.handle(), store.clone());
        let connect = move || Ok(Box::new(store.broker("g")) as Box<dyn Broker>);
        let (settings, callbacks) = (Arc::new(worker.settings), CallbackManager::default());
        let control = Control::new(2, Arc::new(connect), callbacks, settings, worker.shared);
        (control.unwrap(), handle)
    }

    /// Two workers with a partition each, and the server's time.
    fn two_workers() -> (MemoryStore, Arc<AtomicU64>, [(Control, WorkerHandle); 2]) {
        let now = Arc::new(AtomicU64::new(1));
        let time = now.clone();
        let store = MemoryStore::with_clock(move || time.load(Ordering::Relaxed));
        let (mut first, mut second) = (worker(&store), worker(&store));
        let mut broker = store.broker("g");
        broker.worker_lives(second.1.id(), Duration::from_millis(LEASE)).unwrap();
        first.0.look().unwrap();
        second.0.look().unwrap();
        assert_eq!((first.0.owned.len(), second.0.owned.len()), (1, 1));
        (store, now, [first, second])
    }

    #[test]
    fn the_partitions_of_a_dead_worker_are_taken_when_their_leases_have_ended() {
        let (_store, now, [dead, (mut second, _)]) = two_workers();
        for time in [LEASE / 2, LEASE / 2 - 1] {
            now.fetch_add(time, Ordering::Relaxed);
            second.look().unwrap();
            assert_eq!(second.owned.len(), 1, "the other one may be slow");
        }
        now.fetch_add(1, Ordering::Relaxed);
        second.look().unwrap();
        assert_eq!(second.owned.len(), 2);
        drop(dead);
    }

    #[test]
    fn a_slow_worker_keeps_its_partitions() {
        let (_store, now, [(mut slow, _), (mut second, _)]) = two_workers();
        for _ in 0..5 {
            now.fetch_add(LEASE - 1, Ordering::Relaxed);
            slow.look().unwrap();
            second.look().unwrap();
            assert_eq!((slow.owned.len(), second.owned.len()), (1, 1));
        }
    }
}
