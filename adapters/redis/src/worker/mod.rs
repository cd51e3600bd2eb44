//! The worker: takes partitions, and hands their traces to handlers.

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
use std::sync::{Arc, Condvar, Mutex, PoisonError};
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

/// Hands the events of a namespace to the handlers of a manager, as one of the workers of a group.
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
/// Each group gets all traces, and each of its workers a share of the partitions. The page
/// `docs/redis.md` of the repository says what is guaranteed.
///
/// A partition has a thread, which polls awaited async handlers in place, on no runtime. Register a
/// handler that needs its runtime with [`HandlerOptions::on_runtime`](rappel_core::HandlerOptions::on_runtime).
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
    /// Wakes the thread that looks after the partitions.
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

    pub(crate) fn note(&self, error: Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl RedisWorker {
    /// Makes a worker of the group `default` on the Redis at `redis`: an address, or a [`Connect`].
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
                changed: Default::default(),
                last_error: Mutex::new(None),
            }),
        }
    }

    /// Sets the group. The workers of a group share the traces.
    pub fn group(mut self, group: &str) -> Self {
        self.group = group.to_owned();
        self
    }

    /// Sets the namespace. The default is `rappel`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// Sets the number of partitions, which a namespace keeps for good. Without it the worker takes
    /// the number that is there, and waits for a publisher if the namespace is new.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions.max(1));
        self
    }

    /// Sets how long a partition stays with a worker that gives no sign. The default is 10 seconds,
    /// and the minimum 100 milliseconds. No handler's call starts in the last tenth of it.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(Duration::from_millis(100));
        self.settings.margin = self.settings.lease / 10;
        self
    }

    /// Sets the maximum number of open traces for each partition. The default is 10,000. Further
    /// traces are read again when there is room.
    pub fn max_open(mut self, traces: usize) -> Self {
        self.settings.max_open = traces.max(1);
        self
    }

    /// Sets how many traces of a partition are handled side by side. The default is 64.
    pub fn max_concurrent(mut self, traces: usize) -> Self {
        self.settings.max_concurrent = traces.max(1);
        self
    }

    /// Sets how often a trace may be begun whose workers end in it, before it goes to the dead
    /// letters (minimum 2, default 3: the third time it goes there). From the second time on it is
    /// replayed alone.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts.max(2);
        self
    }

    /// Sets how long a trace may be open, by the server's time. After that it is closed, and its open
    /// runs end as timed out. The default is 24 hours.
    pub fn max_trace_age(mut self, age: Duration) -> Self {
        self.settings.max_trace_age = age;
        self
    }

    /// Sets after which time without a record a trace is closed whose publisher is gone. Its open runs
    /// end as cancelled. The default is 60 seconds. The publisher must have given no sign for a
    /// quarter of it: after an outage of Redis it needs up to a second, so set at least 4 seconds.
    pub fn orphan_after(mut self, time: Duration) -> Self {
        self.settings.orphan_after = time;
        self
    }

    /// Sets how long the handlers may take for one event. The default is 60 seconds. A trace for which
    /// it takes longer is given up, and counted.
    pub fn handler_timeout(mut self, time: Duration) -> Self {
        self.settings.handler_timeout = time.max(Duration::from_millis(1));
        self
    }

    /// Sets what happens if a handler fails. The default is that the failure is counted.
    pub fn on_handler_error(mut self, what: OnHandlerError) -> Self {
        self.settings.on_handler_error = what;
        self
    }

    /// Returns a handle, to stop the worker and to ask it for counts.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle { shared: self.shared.clone() }
    }

    /// Works until it is stopped. It blocks this thread, which looks after the leases.
    ///
    /// When it is stopped it starts no further call, ends open runs as handed over, and gives its
    /// partitions back. The manager is not shut down. While Redis is away it tries again:
    /// [`WorkerHandle::last_error`] says why.
    ///
    /// # Errors
    /// At its start, see [`Error`]: no connection, a wrong password, a missing command, another number
    /// of partitions.
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

    /// Works as [`run`](Self::run) does, on another broker with `partitions` partitions. `connect`
    /// makes a connection for each thread. The address, the namespace and the group are not used.
    ///
    /// # Errors
    /// What `connect` returns the first time.
    pub fn over(
        self,
        partitions: u32,
        connect: impl Fn() -> Result<Box<dyn Broker>, Error> + Send + Sync + 'static,
        callbacks: CallbackManager,
    ) -> Result<WorkerCounts, Error> {
        let counts = self.shared.counts.clone();
        let settings = Arc::new(self.settings);
        let control =
            Control::new(partitions, Arc::new(connect), callbacks, settings, self.shared)?;
        control.run();
        Ok(counts.snapshot())
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

/// A handle to a [`RedisWorker`] that runs.
#[derive(Clone)]
pub struct WorkerHandle {
    shared: Arc<WorkerShared>,
}

impl WorkerHandle {
    /// Stops the worker: [`RedisWorker::run`] returns when its calls in flight have returned. It does
    /// not block.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        let (lock, changed) = &self.shared.changed;
        drop(lock.lock());
        changed.notify_all();
    }

    /// Returns what it has done.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        self.shared.counts.snapshot()
    }

    /// Returns the last failure of a call to Redis.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the worker's name in Redis.
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
