//! The worker: it takes partitions, and gives their traces to handlers.

mod books;
mod calls;
mod control;
mod counts;
mod drive;
pub(crate) mod lease;
mod settings;
pub(crate) mod shard;
#[cfg(test)]
mod simulation;
pub(crate) mod trace;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rappel_core::CallbackManager;

use self::control::Control;
use self::counts::Counts;
pub use self::counts::WorkerCounts;
pub use self::settings::OnHandlerError;
use self::settings::Settings;
pub use self::trace::Incomplete;
use crate::broker::{Broker, Connect, RedisBroker};
use crate::error::Error;
use crate::keys::Keys;

/// A worker of a group: it reads the events of a namespace, and calls the handlers of a manager.
///
/// ```no_run
/// use rappel_redis::RedisWorker;
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let callbacks = CallbackManager::new(Threads::new()).with_handler(handler_fn(|event, cx| {
///     println!("{} {} {:?}", cx.name(), event.kind(), cx.remote_delivery());
///     Ok(())
/// }));
/// let worker = RedisWorker::new("redis://localhost/").group("billing");
/// let stop = worker.handle();
/// // ctrlc::set_handler(move || stop.stop());
/// # let _ = stop;
/// let counts = worker.run(callbacks)?;
/// println!("{counts:?}");
/// # Ok(())
/// # }
/// ```
///
/// Each group gets all traces. Each worker of a group gets a share of the partitions. A new group begins
/// with the oldest record that is still in Redis. The page `docs/redis.md` of the repository has the
/// guarantees.
///
/// A worker has one thread for each of its partitions. This thread polls awaited async handlers in
/// place, outside of any runtime. If a handler needs its runtime, register it with
/// [`HandlerOptions::on_runtime`](rappel_core::HandlerOptions::on_runtime).
#[must_use = "a worker does nothing until it is run"]
pub struct RedisWorker {
    connect: Connect,
    namespace: String,
    group: String,
    partitions: Option<u32>,
    settings: Settings,
    shared: Arc<WorkerShared>,
}

pub(crate) struct WorkerShared {
    /// The name of the worker, unique for each.
    pub(crate) id: String,
    pub(crate) counts: Arc<Counts>,
    stopped: AtomicBool,
    /// Why handlers cannot be called any more.
    given_up: OnceLock<Error>,
    /// Wakes the thread that takes and renews leases.
    changed: (Mutex<()>, Condvar),
    pub(crate) last_error: Mutex<Option<Error>>,
}

impl WorkerShared {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Sleeps, until it is stopped.
    pub(crate) fn sleep(&self, time: Duration) {
        let (lock, changed) = &self.changed;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_stopped() {
            drop(changed.wait_timeout(guard, time));
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let (lock, changed) = &self.changed;
        drop(lock.lock());
        changed.notify_all();
    }

    /// Handlers cannot be called any more. What they did not get is not acknowledged.
    pub(crate) fn give_up(&self, why: Error) {
        let _ = self.given_up.set(why);
        self.stop();
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up.get().is_some()
    }

    pub(crate) fn note(&self, error: Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl RedisWorker {
    /// Makes a worker for the Redis at `redis`, an address or a [`Connect`]. It does not connect yet.
    /// The default group is `default`.
    pub fn new(redis: impl Into<Connect>) -> Self {
        let recorder = rappel_core::record::Recorder::with_random_source();
        Self {
            connect: redis.into(),
            namespace: "rappel".into(),
            group: "default".into(),
            partitions: None,
            settings: Settings::default(),
            shared: Arc::new(WorkerShared {
                id: recorder.source().to_string(),
                counts: Arc::default(),
                stopped: AtomicBool::new(false),
                given_up: OnceLock::new(),
                changed: Default::default(),
                last_error: Mutex::new(None),
            }),
        }
    }

    /// Sets the group. The workers of a group share the traces. The default is `default`.
    pub fn group(mut self, group: &str) -> Self {
        self.group = group.to_owned();
        self
    }

    /// Sets the namespace, which must be that of the publishers. The default is `rappel`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// Sets the number of partitions (minimum 1). The number of a namespace cannot be changed later.
    /// By default the worker takes the number that the namespace has. If the namespace is new, it waits
    /// for a publisher.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions.max(1));
        self
    }

    /// Sets how long a worker holds a partition without a renewal. The default is 10 seconds, the
    /// minimum 100 milliseconds. The worker renews five times in this time. It starts no handler's call
    /// in the last tenth of it.
    ///
    /// If a worker is killed, the other workers take its partitions when its leases have ended: after at
    /// most about 1.2 times this time. A slow worker keeps its partitions while it renews its leases.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(Duration::from_millis(100));
        self.settings.margin = self.settings.lease / 10;
        self
    }

    /// Sets the maximum number of open traces for each partition (minimum 1). The default is 10,000.
    /// The worker skips further traces, and reads them again when there is room.
    pub fn max_open(mut self, traces: usize) -> Self {
        self.settings.max_open = traces.max(1);
        self
    }

    /// Sets how many traces of a partition are handled concurrently (minimum 1). The default is 64.
    pub fn max_concurrent(mut self, traces: usize) -> Self {
        self.settings.max_concurrent = traces.max(1);
        self
    }

    /// Sets at which attempt a trace goes to the dead letters instead of to the handlers. The default is
    /// 3, the minimum 2.
    ///
    /// An attempt counts if its worker died, or lost the partition, while the trace was open. It does not
    /// count if the worker was stopped.
    /// [`RemoteDelivery::attempt`](rappel_core::RemoteDelivery::attempt) has both. If an attempt counts,
    /// the next one replays the trace while the worker handles no other trace of the partition. If that
    /// goes well, the count starts again.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts.max(2);
        self
    }

    /// Sets how long a trace may be open, by the server's time. After that, the worker closes it: its
    /// open runs end as [`RunError::TimedOut`](rappel_core::RunError::TimedOut). The default is 24 hours.
    /// The worker checks this once in a quarter of [`orphan_after`](Self::orphan_after).
    pub fn max_trace_age(mut self, age: Duration) -> Self {
        self.settings.max_trace_age = age;
        self
    }

    /// Sets after what time without a new record the worker closes a trace whose publisher is gone. Its
    /// open runs end as [`RunError::Cancelled`](rappel_core::RunError::Cancelled). The default is 60
    /// seconds.
    ///
    /// A publisher is gone if its key has expired, and is still missing a quarter of `time` later. After
    /// an outage of Redis, a live publisher tries at least every half second to set its key again. A try
    /// may take the [`timeout`](Connect::timeout) of the publisher's calls (2 seconds by default). So
    /// set at least 10 seconds, or the traces of live publishers may be closed.
    pub fn orphan_after(mut self, time: Duration) -> Self {
        self.settings.orphan_after = time;
        self
    }

    /// Sets how long the handlers may take for one event (minimum 1 ms). The default is 60 seconds. If
    /// they take longer, the worker gives the trace up and counts it: its open runs end as
    /// [`RunError::Cancelled`](rappel_core::RunError::Cancelled), and it is not replayed.
    pub fn handler_timeout(mut self, time: Duration) -> Self {
        self.settings.handler_timeout = time.max(Duration::from_millis(1));
        self
    }

    /// Sets what happens if a handler fails. The default is [`OnHandlerError::Acknowledge`].
    pub fn on_handler_error(mut self, what: OnHandlerError) -> Self {
        self.settings.on_handler_error = what;
        self
    }

    /// Returns a handle that stops the worker and returns its counts.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle { shared: self.shared.clone() }
    }

    /// Runs the worker until it is [stopped](WorkerHandle::stop), and returns the counts. It blocks the
    /// calling thread, which takes and renews the leases.
    ///
    /// Make `callbacks` with [`CallbackManager::new`] for each worker of the process. Workers of two groups
    /// replay the same runs at the same time, and a manager, with its clones, refuses to open a run twice.
    ///
    /// A worker that is stopped starts no further call. It ends its open runs as
    /// [`RunError::HandedOver`](rappel_core::RunError::HandedOver), and releases its partitions. It does
    /// not shut the manager down. Shut the manager down when `run` has returned.
    ///
    /// If Redis goes away later, the worker tries again. [`WorkerHandle::last_error`] returns the error.
    ///
    /// # Errors
    /// Before the worker takes partitions, see [`Error`]: no connection, a wrong password, a missing command,
    /// another number of partitions. Later only [`Error::CallbacksGone`] and [`Error::CallbacksShared`].
    pub fn run(self, callbacks: CallbackManager) -> Result<WorkerCounts, Error> {
        let keys = Keys::new(&self.namespace, &self.group);
        // A call that takes longer than that would cost the lease.
        let connect = self.connect.clone().at_most(self.settings.lease / 4);
        let broker = move |id: &str| RedisBroker::new(&connect, keys.clone(), id);
        let mut first = broker(&self.shared.id)?;
        first.check()?;
        let partitions = loop {
            if let Some(partitions) = first.partitions(self.partitions)? {
                break partitions;
            }
            if self.shared.is_stopped() {
                return Ok(self.shared.counts.snapshot());
            }
            self.shared.sleep(Duration::from_millis(100));
        };
        let id = self.shared.id.clone();
        self.over(partitions, move || Ok(Box::new(broker(&id)?) as _), callbacks)
    }

    /// Does what [`run`](Self::run) does, with another broker that has `partitions` partitions (minimum
    /// 1). The worker calls `connect` once for this thread, and once for each partition that it takes.
    /// The address, the namespace and the group have no effect.
    ///
    /// # Errors
    /// The error of the first call of `connect`, [`Error::CallbacksGone`] and [`Error::CallbacksShared`].
    pub fn over(
        self,
        partitions: u32,
        connect: impl Fn() -> Result<Box<dyn Broker>, Error> + Send + Sync + 'static,
        callbacks: CallbackManager,
    ) -> Result<WorkerCounts, Error> {
        let counts = self.shared.counts.clone();
        let (settings, shared) = (Arc::new(self.settings), self.shared.clone());
        let control =
            Control::new(partitions, Arc::new(connect), callbacks, settings, self.shared)?;
        control.run();
        match shared.given_up.get() {
            Some(error) => Err(error.clone()),
            None => Ok(counts.snapshot()),
        }
    }
}

impl fmt::Debug for RedisWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisWorker")
            .field("namespace", &self.namespace)
            .field("group", &self.group)
            .field("id", &self.shared.id)
            .finish_non_exhaustive()
    }
}

/// A handle to a [`RedisWorker`]. It stays usable while the worker runs. Clones are handles to the same
/// worker.
#[derive(Clone)]
pub struct WorkerHandle {
    shared: Arc<WorkerShared>,
}

impl WorkerHandle {
    /// Stops the worker. This does not block. [`RedisWorker::run`] returns when the calls in flight have
    /// returned and the open runs have ended. It returns after at most three times
    /// [`handler_timeout`](RedisWorker::handler_timeout) and the time of some calls to Redis.
    ///
    /// A handler that blocks the partition's thread delays the return without a limit: an inline handler,
    /// or an async handler that blocks instead of awaiting.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        self.shared.counts.snapshot()
    }

    /// Returns the error of the last call to Redis that failed, even if later calls succeeded. `None` if
    /// no call has failed.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the id of the worker in Redis. It is random and new for each worker.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle").field("id", &self.shared.id).finish_non_exhaustive()
    }
}
