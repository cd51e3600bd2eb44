//! A runtime without a runtime: a future that does a manager's work when it is polled.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::manager::CallbackManager;
#[cfg(feature = "std")]
use crate::runtime::here::CurrentRuntime;
use crate::runtime::{BlockingExecutor, BoxFuture, BoxJob, Clock, Entropy, SpawnError, Spawner};
use crate::util::sync::AtomicWaker;
use crate::util::{CatchUnwind, Mutex, catch_unwind, drop_quietly};

/// A runtime that queues tasks and jobs until its [`Driver`] is polled.
///
/// It has no timer. If handlers need a [`timeout`](crate::HandlerOptions::timeout), pair it with a
/// timer, such as `rappel_threads::Threads`: `CallbackManager::new((paired, threads))`. Blocking jobs
/// then run on these threads.
#[derive(Clone)]
pub struct Paired(Arc<Handle>);

/// Does the work of its managers when it is polled: it calls sync handlers and handlers in the
/// background, and ends runs that were dropped.
///
/// Poll it beside the code that emits, with `select` or `join`, or as a task of an executor. It is
/// ready when all of its managers and runs are gone and no work is left. It is `Send` and `Unpin`.
///
/// **Sync handlers** are called on the thread that polls it, one call per poll. A slow handler blocks
/// that thread. A handler that waits for other work of that thread waits forever.
///
/// **When it is dropped**, it drops the queued work. Emitters that wait for it get
/// [`RuntimeGone`](crate::EmitError::RuntimeGone), calls that cannot be made any more are reported,
/// and no more work is accepted.
#[must_use = "no work is done unless it is polled"]
pub struct Driver {
    shared: Arc<Shared>,
    tasks: FuturesUnordered<CatchUnwind<BoxFuture<'static, ()>>>,
}

/// What all clones of a runtime share. It is dropped with the last of them.
struct Handle(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    driver: AtomicWaker,
}

/// The work that the driver has not taken yet.
struct Queue {
    tasks: Vec<BoxFuture<'static, ()>>,
    jobs: VecDeque<BoxJob>,
    /// Whether the driver exists.
    has_driver: bool,
    /// Whether a handle exists, through which more work may come.
    has_handle: bool,
}

impl Paired {
    /// Makes a runtime and its driver.
    pub fn new() -> (Self, Driver) {
        let queue =
            Queue { tasks: Vec::new(), jobs: VecDeque::new(), has_driver: true, has_handle: true };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), driver: AtomicWaker::new() });
        let driver = Driver { shared: shared.clone(), tasks: FuturesUnordered::new() };
        (Self(Arc::new(Handle(shared))), driver)
    }

    /// Queues a task or a job, if the driver still exists.
    fn push<T>(&self, work: T, push: fn(&mut Queue, T)) -> Result<(), SpawnError> {
        let Handle(shared) = &*self.0;
        let refused = shared.queue.with(|queue| {
            if !queue.has_driver {
                return Some(work);
            }
            push(queue, work);
            None
        });
        if refused.is_some() {
            // Outside the lock, because the drop of a task runs user code.
            drop_quietly(refused);
            return Err(SpawnError::shutdown());
        }
        shared.wake_driver();
        Ok(())
    }
}

impl Spawner for Paired {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.push(task, |queue, task| queue.tasks.push(task))
    }

    /// Returns `false` on a thread that polls the driver.
    #[cfg(feature = "std")]
    fn may_block(&self) -> bool {
        !CurrentRuntime::is(&*self.0.0)
    }
}

impl BlockingExecutor for Paired {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.push(job, |queue, job| queue.jobs.push_back(job))
    }

    /// Returns zero: a job that waits for work would block the driver, which brings the work.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.with(|queue| queue.has_handle = false);
        self.0.wake_driver();
    }
}

impl Shared {
    fn wake_driver(&self) {
        // A waker is user code, and this may run in a `Drop`.
        let _ = catch_unwind(|| self.driver.wake());
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // First register, then take the work, so that work which is queued in between wakes us.
        self.shared.driver.register(cx.waker());
        #[cfg(feature = "std")]
        let _current = CurrentRuntime::enter(&*self.shared);
        let (tasks, job, has_more_jobs, has_handle) = self.shared.queue.with(|queue| {
            let (tasks, job) = (core::mem::take(&mut queue.tasks), queue.jobs.pop_front());
            (tasks, job, !queue.jobs.is_empty(), queue.has_handle)
        });
        self.tasks.extend(tasks.into_iter().map(CatchUnwind::new));
        let had_job = job.is_some();
        if let Some(job) = job {
            // Core contains panics of handlers. This contains those of user code around them, such
            // as wakers, which must not end the work of others.
            let _ = catch_unwind(job);
        }
        while let Poll::Ready(Some(_)) = self.tasks.poll_next_unpin(cx) {}
        if !has_handle && self.tasks.is_empty() && !has_more_jobs && !had_job {
            return Poll::Ready(());
        }
        if has_more_jobs || had_job {
            // One job per poll, so that other tasks of this thread get their turn. The next poll
            // takes the work that this job has queued.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let (tasks, jobs) = self.shared.queue.with(|queue| {
            queue.has_driver = false;
            (core::mem::take(&mut queue.tasks), core::mem::take(&mut queue.jobs))
        });
        // One by one, so that a panic in one `Drop` keeps no other from being dropped. What was not
        // called reports itself.
        tasks.into_iter().for_each(drop_quietly);
        jobs.into_iter().for_each(drop_quietly);
        drop_quietly(core::mem::take(&mut self.tasks));
    }
}

impl CallbackManager {
    /// Makes a manager that needs no runtime, and the [`Driver`] that does its work when it is
    /// polled. It has no timer.
    ///
    /// ```
    /// use futures_util::future::{Either, select};
    /// use rappel_core::prelude::*;
    ///
    /// async fn emit(callbacks: CallbackManager) -> Result<(), RunError> {
    ///     let start = LlmStart::new("my-model", "Tell me a joke");
    ///     let mut run = callbacks.on_llm_start(start).await?;
    ///     run.on_llm_new_token("Why not?").await?;
    ///     run.end("Why not?").await?;
    ///     Ok(())
    /// }
    ///
    /// let (callbacks, driver) = CallbackManager::pair();
    /// let callbacks = callbacks.with_handler(handler_fn(|event, cx| {
    ///     println!("{}: {}", cx.name(), event.kind());
    ///     Ok(())
    /// }));
    /// let emitted = futures_executor::block_on(async {
    ///     match select(Box::pin(emit(callbacks)), driver).await {
    ///         Either::Left((emitted, driver)) => {
    ///             driver.await; // the rest of the work
    ///             emitted
    ///         }
    ///         Either::Right(_) => unreachable!("the driver is ready after the manager is gone"),
    ///     }
    /// });
    /// # emitted.unwrap();
    /// ```
    #[cfg(feature = "std")]
    pub fn pair() -> (Self, Driver) {
        let (paired, driver) = Paired::new();
        (Self::without_timer(paired), driver)
    }

    /// As `pair`, with a clock and a source of random bytes: for targets without `std`, and for
    /// tests.
    pub fn pair_with_sources(clock: impl Clock, entropy: impl Entropy) -> (Self, Driver) {
        let (paired, driver) = Paired::new();
        (Self::without_timer_with_sources(paired, clock, entropy), driver)
    }
}

impl fmt::Debug for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Paired")
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}
