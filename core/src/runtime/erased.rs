//! Runtimes without their type, as the engine keeps them: `Arc<dyn Runtime>`.

use core::time::Duration;

use super::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner, Timer};

/// A spawner and an executor, and a timer if there is one.
pub(crate) trait Runtime: Spawner + BlockingExecutor {
    fn timer(&self) -> Option<&dyn Timer>;
}

/// A runtime whose timer is used.
pub(crate) struct WithTimer<R>(pub(crate) R);

/// A runtime that has no timer, or whose timer is not used.
pub(crate) struct WithoutTimer<R>(pub(crate) R);

macro_rules! forward {
    ($($wrapper:ident),+) => {$(
        impl<R: Spawner> Spawner for $wrapper<R> {
            fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
                self.0.spawn_boxed(task)
            }

            fn may_block(&self) -> bool {
                self.0.may_block()
            }
        }

        impl<R: BlockingExecutor> BlockingExecutor for $wrapper<R> {
            fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
                self.0.spawn_blocking_boxed(job)
            }

            fn linger(&self) -> Duration {
                self.0.linger()
            }
        }
    )+};
}
forward!(WithTimer, WithoutTimer);

impl<R: Spawner + BlockingExecutor + Timer> Runtime for WithTimer<R> {
    fn timer(&self) -> Option<&dyn Timer> {
        Some(&self.0)
    }
}

impl<R: Spawner + BlockingExecutor> Runtime for WithoutTimer<R> {
    fn timer(&self) -> Option<&dyn Timer> {
        None
    }
}

/// A runtime that accepts no work, for managers without handlers.
#[cfg(feature = "std")]
pub(crate) struct NoRuntime;

#[cfg(feature = "std")]
impl Spawner for NoRuntime {
    fn spawn_boxed(&self, _: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        Err(SpawnError::shutdown())
    }
}

#[cfg(feature = "std")]
impl BlockingExecutor for NoRuntime {
    fn spawn_blocking_boxed(&self, _: BoxJob) -> Result<(), SpawnError> {
        Err(SpawnError::shutdown())
    }
}

#[cfg(feature = "std")]
impl Runtime for NoRuntime {
    fn timer(&self) -> Option<&dyn Timer> {
        None
    }
}
