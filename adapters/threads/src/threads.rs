//! The runtime itself.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};

use crate::catch_unwind::drop_caught;
use crate::pool::{Caller, ThreadPool, Work};
use crate::sync::Instant;
use crate::task::Tasks;
use crate::timer::TimerThread;

/// How long a thread stays when it has nothing to do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The default limit of threads for blocking jobs. It is tokio's.
const MAX_BLOCKING_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

/// The default limit of threads that poll tasks. Few are enough: a handler that computes or blocks
/// is a sync handler and runs on a blocking thread.
const MAX_TASK_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// A runtime of plain threads, for programs that have no async runtime.
///
/// Tasks are polled by a few threads, blocking jobs run on up to 512 others, and one thread wakes
/// sleepers. All of them start when they are needed, and end after a second without work.
///
/// ```
/// use rappel_threads::prelude::*;
///
/// fn main() -> Result<(), RunError> {
///     let threads = Threads::new();
///     let callbacks =
///         CallbackManager::new(threads.clone()).with_handler(handler_fn(|event, cx| {
///             println!("{}: {}", cx.name(), event.kind());
///             Ok(())
///         }));
///     threads.block_on(async {
///         let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
///         run.on_llm_new_token("Why not?").await?;
///         run.end("Why not?").await?;
///         Ok(())
///     })
/// }
/// ```
///
/// # End
/// Clones are the same runtime. It ends when the last clone is dropped, or when
/// [`shut_down`](Self::shut_down) is called. A [`CallbackManager`](crate::CallbackManager) holds a
/// clone, and so do its runs and their pending events, so the runtime does not end while they need
/// it. At the end, work that has not begun is dropped, a task is dropped where it waits, and each
/// thread ends after the call that it is in. The timer thread ends at once.
///
/// # Blocking
/// [`may_block`](Spawner::may_block) returns `false` on a thread that polls a task of this runtime,
/// so a `.wait()` there is a typed error.
///
/// `Threads` knows only its own threads. **A `.wait()` in a task of another runtime is not detected.**
/// It blocks that runtime's thread until the handlers have answered. On tokio's current-thread
/// runtime that thread polls everything, so the call never returns if a handler needs that runtime,
/// for example an async handler that awaits a tokio timer, a socket or a task. In an async program
/// use the adapter of its runtime (for example `rappel-tokio`), which detects such calls, or
/// `.await` instead of `.wait()`.
///
/// # No I/O
/// `Threads` has no I/O driver. A handler can use futures of crates that bring their own thread for
/// I/O (such as `async-io`), but not futures that need another runtime (such as tokio's sockets).
#[derive(Clone)]
pub struct Threads(Arc<Runtime>);

struct Runtime {
    tasks: Arc<Tasks>,
    jobs: Arc<ThreadPool<Job>>,
    timer: Arc<TimerThread>,
    /// `Timer::now` counts from here.
    origin: Instant,
}

impl Threads {
    /// A runtime that polls tasks on at most one thread per processor and at most 4, and runs at
    /// most 512 blocking jobs at a time.
    #[must_use]
    pub fn new() -> Self {
        let processors = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::with_limits(processors.min(MAX_TASK_THREADS), MAX_BLOCKING_THREADS)
    }

    /// A runtime that polls tasks on at most `tasks` threads, and runs at most `blocking` blocking
    /// jobs at a time.
    #[must_use]
    pub fn with_limits(tasks: NonZeroUsize, blocking: NonZeroUsize) -> Self {
        Self::with_idle_timeout(tasks, blocking, IDLE_TIMEOUT)
    }

    pub(crate) fn with_idle_timeout(
        tasks: NonZeroUsize,
        blocking: NonZeroUsize,
        idle_timeout: Duration,
    ) -> Self {
        Self(Arc::new(Runtime {
            tasks: Tasks::new(tasks.get(), idle_timeout),
            jobs: ThreadPool::new("rappel-blocking", blocking.get(), idle_timeout),
            timer: TimerThread::new(idle_timeout),
            origin: Instant::now(),
        }))
    }

    /// Polls the future on this thread until it is ready, and returns its output. The thread sleeps
    /// in between.
    ///
    /// Do not call it in a task, of this runtime or of another one: it blocks a thread that has
    /// other tasks to poll.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        crate::block_on::block_on(future)
    }

    /// Ends the runtime for all its clones, and waits for its threads.
    ///
    /// The runtime takes no more work, drops the work that has not begun, and drops each task where
    /// it waits. Then this call blocks until every job and every poll that runs now has returned. On
    /// a thread of this runtime it does not wait for that thread, nor for others that are in this
    /// call too.
    ///
    /// Handlers that cannot be called any more are reported as such. Await
    /// [`flush`](crate::CallbackManager::flush) first if they are to be called.
    pub fn shut_down(&self) {
        let Runtime { tasks, jobs, .. } = &*self.0;
        self.0.close();
        // Marked in both pools before it waits for either, so that a task and a job that are both
        // here do not wait for each other.
        let is_inside = [tasks.pool().set_waits_for_others(true), jobs.set_waits_for_others(true)];
        let caller = if is_inside.contains(&true) { Caller::Inside } else { Caller::Outside };
        tasks.pool().wait_until_left(caller);
        jobs.wait_until_left(caller);
        tasks.pool().set_waits_for_others(false);
        jobs.set_waits_for_others(false);
    }
}

#[cfg(test)]
impl Threads {
    /// For tests that look at the timer thread after the end of the runtime.
    pub(crate) fn timer(&self) -> &Arc<TimerThread> {
        &self.0.timer
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    fn close(&self) {
        // The timer last: the tasks' sleepers are dropped with the tasks.
        self.tasks.close();
        self.jobs.close();
        self.timer.close();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.close();
    }
}

impl Spawner for Threads {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        if self.0.tasks.spawn(task) { Ok(()) } else { Err(SpawnError::shutdown()) }
    }

    /// Returns `false` inside a task of this runtime.
    fn may_block(&self) -> bool {
        !self.0.tasks.is_polling_here()
    }
}

impl BlockingExecutor for Threads {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.jobs.submit(Job(job)).map_err(|job| {
            drop_caught(job);
            SpawnError::shutdown()
        })
    }
}

impl Timer for Threads {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.0.timer.sleep(duration))
    }

    fn now(&self) -> Duration {
        self.0.origin.elapsed()
    }
}

/// Shows how many threads there are at the moment.
impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("task_threads", &self.0.tasks.pool().thread_count())
            .field("blocking_threads", &self.0.jobs.thread_count())
            .field("timer_threads", &usize::from(self.0.timer.is_running()))
            .finish()
    }
}

struct Job(BoxJob);

impl Work for Job {
    fn run(self) -> Option<Self> {
        (self.0)();
        None
    }
}
