#![doc = include_str!("../README.md")]

use std::time::{Duration, Instant};

use async_std::task;
use rappel_core::runtime::{BoxFuture, BoxJob};

pub use rappel_core::*;

/// What most programs need, including [`AsyncStd`].
pub mod prelude {
    pub use crate::AsyncStd;
    pub use rappel_core::prelude::*;
}

/// The runtime of async-std, of which a process has one: spawns tasks on its executor, and runs
/// blocking jobs on its thread pool.
///
/// # Blocking
///
/// [`wait()`](Emit::wait) blocks its thread, so it returns [`EmitError::WouldBlock`] in tasks and in
/// futures that `task::block_on` polls. Sync handlers are called on a thread of the pool of
/// `task::spawn_blocking`. If jobs of that pool wait on all its threads (500 by default), none is
/// left, and they wait forever. Wait on threads of your own if so many may wait at a time.
#[derive(Debug, Clone)]
pub struct AsyncStd {
    /// The start of this timer's time.
    origin: Instant,
}

impl AsyncStd {
    /// The runtime of this process. It starts when it is first needed.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for AsyncStd {
    fn default() -> Self {
        Self::new()
    }
}

impl Spawner for AsyncStd {
    fn spawn_boxed(&self, future: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future)
    }

    fn spawn<F>(&self, future: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(task::spawn(future));
        Ok(())
    }

    fn may_block(&self) -> bool {
        task::try_current().is_none()
    }
}

impl BlockingExecutor for AsyncStd {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_blocking(job)
    }

    fn spawn_blocking<F>(&self, job: F) -> Result<(), SpawnError>
    where
        F: FnOnce() + Send + 'static,
    {
        drop(task::spawn_blocking(job));
        Ok(())
    }
}

impl Timer for AsyncStd {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(task::sleep(duration))
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
