//! Runtimes made of closures, of `futures`' `Spawn`, and of pairs.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use futures_util::task::{FutureObj, Spawn};

use super::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner, Timer};

/// A closure that spawns tasks: see [`spawn_fn`].
#[derive(Clone)]
pub struct SpawnFn<F>(F);

/// Makes a [`Spawner`] of a closure. A pair of it and a [`blocking_fn`], or another executor, is a
/// runtime.
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
/// let callbacks = CallbackManager::without_timer((spawner, executor));
/// ```
///
/// A closure that accepts no more tasks drops them and returns [`SpawnError::shutdown`].
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

/// Makes a [`BlockingExecutor`] of a closure: see [`spawn_fn`] for an example.
///
/// The closure must not run the job on its caller's thread. A job without work may stay on its
/// thread for [12 ms](BlockingExecutor::linger).
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

/// The [`Spawner`] of a type that implements `futures::task::Spawn`: the thread pool of `futures`,
/// for example.
///
/// `Spawn` cannot run blocking jobs, so pair it with a [`BlockingExecutor`], such as
/// `rappel_threads::Threads`.
///
/// ```
/// use rappel_core::{CallbackManager, FromFuturesSpawn, blocking_fn};
///
/// # fn main() -> std::io::Result<()> {
/// let pool = futures_executor::ThreadPool::new()?;
/// let executor = blocking_fn(|job| {
///     std::thread::spawn(job);
///     Ok(())
/// });
/// let callbacks = CallbackManager::without_timer((FromFuturesSpawn(pool), executor));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FromFuturesSpawn<S>(pub S);

impl<S: Spawn + Send + Sync + 'static> Spawner for FromFuturesSpawn<S> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        // Shutdown is the only error that `Spawn` has.
        self.0.spawn_obj(FutureObj::from(task)).map_err(|_| SpawnError::shutdown())
    }
}

/// The first of the pair spawns tasks, the second runs blocking jobs.
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

/// The first of the pair spawns tasks, the second runs blocking jobs.
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

/// The second of the pair is the timer.
impl<S: Send + Sync + 'static, B: Timer> Timer for (S, B) {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.1.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.1.now()
    }
}
