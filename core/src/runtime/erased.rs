//! Runtimes without their type, as the engine keeps them: `Arc<dyn Runtime>`.

use alloc::sync::Arc;
use core::time::Duration;

use super::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner, Timer};

/// A spawner and an executor, and a timer if there is one.
pub(crate) trait Runtime: Spawner + BlockingExecutor {
    fn timer(&self) -> Option<&dyn Timer>;
}

/// A runtime, and the timer that is used with it: the runtime itself or none.
pub(crate) struct TimedBy<R> {
    pub(crate) runtime: Arc<R>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
}

impl<R: Spawner> Spawner for TimedBy<R> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.runtime.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.runtime.may_block()
    }
}

impl<R: BlockingExecutor> BlockingExecutor for TimedBy<R> {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.runtime.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.runtime.linger()
    }
}

impl<R: Spawner + BlockingExecutor> Runtime for TimedBy<R> {
    fn timer(&self) -> Option<&dyn Timer> {
        self.timer.as_deref()
    }
}
