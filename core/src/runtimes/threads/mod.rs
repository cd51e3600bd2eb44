//! A runtime of plain threads.

mod alarm;
mod crew;
mod task;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::num::NonZeroUsize;
use core::time::Duration;
use std::thread;
use std::time::Instant;

use crate::park::block_on;
use crate::runtime::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner, Timer};
use alarm::Alarm;
use crew::{Crew, Work};
use task::Tasks;

/// Plain threads, for programs that have no runtime: tasks on a few, blocking jobs on as many as are needed, sleepers on one more.
///
/// ```
/// use rappel_core::prelude::*;
/// use rappel_core::Threads;
///
/// fn main() -> Result<(), RunError> {
///     let threads = Threads::new();
///     let callbacks = CallbackManager::new(threads.clone()).with_handler(handler_fn(|event, run| {
///         println!("{}: {}", run.name(), event.kind());
///         Ok(())
///     }));
///     threads.block_on(async {
///         let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
///         run.on_llm_new_token("Why not?").await?;
///         run.end(LlmResult::from_text("Why not?")).await?;
///         Ok(())
///     })
/// }
/// ```
///
/// A thread begins when there is work for it, and ends after a second without. Clones are one runtime, which ends with the last of them:
/// what has not begun is dropped then, a task where it waits, and a thread ends when it is through with what it does. (A manager is such a
/// clone, and so is a run, and an event that is on its way: what they need does not end under them.) [`shut_down`](Self::shut_down) ends it
/// at once. It does no I/O: an I/O crate's futures bring a thread of their own along, or want the runtime that they are of.
#[derive(Clone)]
pub struct Threads(Arc<Handle>);

struct Handle {
    tasks: Arc<Tasks>,
    jobs: Arc<Crew<Job>>,
    alarm: Arc<Alarm>,
    /// What its clock counts from.
    origin: Instant,
}

/// How many threads block at most, unless it is said: as many as tokio's.
const BLOCKING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

/// How many threads poll tasks at most, unless it is said. They are to be few: handlers that have much to do are sync, and elsewhere.
const POLLING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

impl Threads {
    /// A runtime with a thread for each processor that polls tasks, four of them at most, and 512 for blocking jobs at most.
    #[must_use]
    pub fn new() -> Self {
        let processors = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::with_limits(processors.min(POLLING), BLOCKING)
    }

    /// A runtime that polls tasks on so many threads at most, and runs so many blocking jobs at a time.
    #[must_use]
    pub fn with_limits(polling: NonZeroUsize, blocking: NonZeroUsize) -> Self {
        Self(Arc::new(Handle {
            tasks: Tasks::new(polling.get()),
            jobs: Crew::new("rappel-blocking", blocking.get()),
            alarm: Alarm::new(),
            origin: Instant::now(),
        }))
    }

    /// Blocks this thread until the future is ready, and gives its output. The future is polled on this thread.
    ///
    /// It is not to be called on a task: that thread would have to serve others.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(future)
    }

    /// Ends the runtime for all its clones: it takes no more work, drops what has not begun, and each task where it waits. Blocks until
    /// what is being done is over; on a thread of this runtime it does not wait for that one.
    ///
    /// Handlers that cannot be called any more are reported as such. To have them called, [flush](crate::CallbackManager::flush) before.
    pub fn shut_down(&self) {
        self.0.close();
        self.0.tasks.crew().wait_until_left();
        self.0.jobs.wait_until_left();
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}

impl Handle {
    fn close(&self) {
        self.tasks.close();
        drop(self.jobs.close());
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Spawner for Threads {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.tasks.spawn(task).map_err(|()| SpawnError::shutdown())
    }

    /// Not inside a task.
    fn may_block(&self) -> bool {
        !self.0.tasks.are_polled_here()
    }
}

impl BlockingExecutor for Threads {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.jobs.submit(Job(job)).map_err(|_| SpawnError::shutdown())
    }
}

impl Timer for Threads {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.0.alarm.sleep(duration))
    }

    fn now(&self) -> Duration {
        self.0.origin.elapsed()
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Threads")
    }
}

struct Job(BoxJob);

impl Work for Job {
    fn work(self) {
        (self.0)();
    }
}
