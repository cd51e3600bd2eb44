//! A runtime that counts the memory of everything that it runs, on whatever thread.

use std::ops::Sub;
use std::pin::Pin;
use std::sync::Condvar;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};

use super::*;

/// Counts what its tasks, its jobs and [`of`](Self::of) allocate and free. What the runtime below
/// it allocates for a task is not counted.
#[derive(Clone)]
pub(super) struct Counted {
    pub(super) stage: Stage,
    totals: Arc<Totals>,
}

#[derive(Default)]
struct Totals {
    bytes: AtomicI64,
    allocations: AtomicI64,
    allocated_bytes: AtomicI64,
    /// Jobs that have not ended, and polls that are going on.
    busy: AtomicUsize,
}

impl Totals {
    fn measure(&self, work: impl FnOnce()) {
        let counted = allocation_counter::measure(work);
        let total = |count: u64| i64::try_from(count).unwrap();
        self.bytes.fetch_add(counted.bytes_current, Ordering::SeqCst);
        self.allocations.fetch_add(total(counted.count_total), Ordering::SeqCst);
        self.allocated_bytes.fetch_add(total(counted.bytes_total), Ordering::SeqCst);
    }
}

/// Allocations, whether they were freed or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allocated {
    pub(super) number: i64,
    pub(super) bytes: i64,
}

impl Sub for Allocated {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { number: self.number - before.number, bytes: self.bytes - before.bytes }
    }
}

/// A future whose polls and drop are counted.
struct CountedFuture<F>(Option<F>, Arc<Totals>);

impl<F: Future + Unpin> Future for CountedFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self(future, totals) = &mut *self;
        let mut output = Poll::Pending;
        totals.busy.fetch_add(1, Ordering::SeqCst);
        totals.measure(|| {
            output = Pin::new(future.as_mut().unwrap()).poll(cx);
            if output.is_ready() {
                *future = None;
            }
        });
        totals.busy.fetch_sub(1, Ordering::SeqCst);
        output
    }
}

impl<F> Drop for CountedFuture<F> {
    fn drop(&mut self) {
        let Self(future, totals) = self;
        totals.measure(|| *future = None);
    }
}

impl Counted {
    pub(super) fn new(rt: &Rt) -> Self {
        Self { stage: Stage::new(rt), totals: Arc::default() }
    }

    pub(super) fn callbacks(&self) -> CallbackManager {
        CallbackManager::new(self.clone())
    }

    /// Counts a part of the test's body.
    pub(super) async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        CountedFuture(Some(Box::pin(work)), self.totals.clone()).await
    }

    /// The bytes that are held now, once nothing runs.
    pub(super) async fn bytes(&self) -> i64 {
        self.settle().await;
        self.held()
    }

    /// The bytes that are held now, without those of jobs and polls that are not over.
    pub(super) fn held(&self) -> i64 {
        self.totals.bytes.load(Ordering::SeqCst)
    }

    /// What was allocated up to now, once nothing runs.
    pub(super) async fn allocated(&self) -> Allocated {
        self.settle().await;
        Allocated {
            number: self.totals.allocations.load(Ordering::SeqCst),
            bytes: self.totals.allocated_bytes.load(Ordering::SeqCst),
        }
    }

    /// Waits until no job and no poll has been seen for some turns.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 20 {
            let is_quiet = self.totals.busy.load(Ordering::SeqCst) == 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            yield_now().await;
        }
    }
}

impl Spawner for Counted {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        let mut spawned = Ok(());
        allocation_counter::opt_out(|| {
            let task = CountedFuture(Some(task), self.totals.clone());
            spawned = self.stage.spawn_boxed(Box::pin(task));
        });
        spawned
    }

    fn may_block(&self) -> bool {
        self.stage.may_block()
    }
}

impl BlockingExecutor for Counted {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        let totals = self.totals.clone();
        totals.busy.fetch_add(1, Ordering::SeqCst);
        let mut spawned = Ok(());
        allocation_counter::opt_out(|| {
            spawned = self.stage.spawn_blocking_boxed(Box::new(move || {
                totals.measure(job);
                totals.busy.fetch_sub(1, Ordering::SeqCst);
            }));
        });
        spawned
    }

    /// A job that waits for more to do would not be counted before it ends.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timer for Counted {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.stage.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.stage.now()
    }
}

/// Keeps handlers in their calls while it is shut.
#[derive(Clone, Default)]
pub(super) struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    pub(super) fn shut(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    pub(super) fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn is_shut(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    pub(super) fn sync(&self) -> impl CallbackHandler + Send + use<> {
        let door = self.clone();
        handler_fn(move |_, _| {
            let shut = door.0.0.lock().unwrap();
            drop(door.0.1.wait_while(shut, |shut| *shut).unwrap());
            Ok(())
        })
    }

    pub(super) fn asynchronous(&self) -> impl AsyncCallbackHandler + use<> {
        let door = self.clone();
        async_handler_fn(async move |_: &Event, _: &EventContext| {
            while door.is_shut() {
                yield_now().await;
            }
            Ok(())
        })
    }
}
