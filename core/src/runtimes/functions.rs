//! Closures as runtimes.

use core::fmt;

use crate::runtime::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner};

/// A closure that spawns tasks: see [`spawn_fn`].
#[derive(Clone)]
pub struct SpawnFn<F>(F);

/// A [`Spawner`] of a closure. With a [`blocking_fn`], or another executor, it makes a runtime.
///
/// ```
/// use rappel_core::{CallbackManager, blocking_fn, spawn_fn};
///
/// let spawner = spawn_fn(|task| {
///     std::thread::spawn(|| futures_executor::block_on(task));
///     Ok(())
/// });
/// let executor = blocking_fn(|job| {
///     std::thread::spawn(job);
///     Ok(())
/// });
/// let callbacks = CallbackManager::new((spawner, executor));
/// ```
///
/// A closure that takes no more tasks drops them, and answers [`SpawnError::shutdown`].
pub fn spawn_fn<F>(spawn: F) -> SpawnFn<F>
where
    F: Fn(BoxFuture<'static, ()>) -> Result<(), SpawnError> + Send + Sync + 'static,
{
    SpawnFn(spawn)
}

impl<F> Spawner for SpawnFn<F>
where
    F: Fn(BoxFuture<'static, ()>) -> Result<(), SpawnError> + Send + Sync + 'static,
{
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        (self.0)(task)
    }
}

impl<F> fmt::Debug for SpawnFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpawnFn")
    }
}

/// A closure that runs blocking jobs: see [`blocking_fn`].
#[derive(Clone)]
pub struct BlockingFn<F>(F);

/// A [`BlockingExecutor`] of a closure, which must not run the job on its caller's thread: see [`spawn_fn`].
///
/// A job may stay on its thread for [2 ms](BlockingExecutor::linger) when it has nothing left to do.
pub fn blocking_fn<F>(run: F) -> BlockingFn<F>
where
    F: Fn(BoxJob) -> Result<(), SpawnError> + Send + Sync + 'static,
{
    BlockingFn(run)
}

impl<F> BlockingExecutor for BlockingFn<F>
where
    F: Fn(BoxJob) -> Result<(), SpawnError> + Send + Sync + 'static,
{
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        (self.0)(job)
    }
}

impl<F> fmt::Debug for BlockingFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingFn")
    }
}
