//! Runtimes that are no crate of their own: plain threads, any `futures` spawner, a closure, or whoever polls a future.
//!
//! What spawns tasks and what runs blocking jobs may be two things: a pair of them is a runtime.

mod functions;
mod futures_spawn;
#[cfg(feature = "std")]
mod here;
mod pair;
#[cfg(feature = "std")]
mod threads;

use core::future::Future;
use core::time::Duration;

pub use functions::{BlockingFn, SpawnFn, blocking_fn, spawn_fn};
pub use futures_spawn::FromFuturesSpawn;
pub use pair::{Driver, Paired};
#[cfg(feature = "std")]
pub use threads::Threads;

use crate::runtime::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner, Timer};

/// The first spawns tasks, the second runs blocking jobs.
impl<S: Spawner, B: Send + Sync + 'static> Spawner for (S, B) {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }

    fn spawn<F>(&self, task: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.spawn(task)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

/// The first spawns tasks, the second runs blocking jobs.
impl<S: Send + Sync + 'static, B: BlockingExecutor> BlockingExecutor for (S, B) {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.1.spawn_blocking_boxed(job)
    }

    fn spawn_blocking<F>(&self, job: F) -> Result<(), SpawnError>
    where
        F: FnOnce() + Send + 'static,
    {
        self.1.spawn_blocking(job)
    }

    fn linger(&self) -> Duration {
        self.1.linger()
    }
}

/// The second tells the time.
impl<S: Send + Sync + 'static, B: Timer> Timer for (S, B) {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.1.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.1.now()
    }
}
