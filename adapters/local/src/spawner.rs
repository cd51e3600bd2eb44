//! What an executor of one thread offers.

use std::fmt;
use std::rc::Rc;

use futures_util::task::{LocalFutureObj, LocalSpawn};
use rappel_core::SpawnError;

pub use futures_util::future::LocalBoxFuture;

/// Runs futures in the background, on the thread that it is called on: the twin of core's [`Spawner`](rappel_core::Spawner) without `Send`.
///
/// A spawner is responsible for polling the task until it is done or the executor ends, and for dropping it then.
/// [`local_spawn_fn`] makes one of a closure.
pub trait LocalSpawner: 'static {
    /// Spawns a task. It is called on one thread only.
    ///
    /// # Errors
    /// [`SpawnError`] when the executor takes no more tasks. One that cannot tell may accept the task and drop it.
    fn spawn_local_boxed(&self, task: LocalBoxFuture<'static, ()>) -> Result<(), SpawnError>;
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        impl<S: LocalSpawner + ?Sized> LocalSpawner for $pointer<S> {
            fn spawn_local_boxed(&self, task: LocalBoxFuture<'static, ()>) -> Result<(), SpawnError> {
                (**self).spawn_local_boxed(task)
            }
        }
    )+};
}
forward!(Rc, Box);

/// A closure that spawns tasks on its thread: see [`local_spawn_fn`].
#[derive(Clone)]
pub struct LocalSpawnFn<F>(F);

/// A [`LocalSpawner`] of a closure. One that takes no more tasks drops them, and answers [`SpawnError::shutdown`].
///
/// Tokio's `LocalSet`. It holds the tasks, and those hold the callbacks: so a closure that the callbacks have does not hold it in its turn.
///
/// ```
/// use std::rc::Rc;
///
/// use rappel_local::{SpawnError, local_spawn_fn};
/// use tokio::task::LocalSet;
///
/// let tasks = Rc::new(LocalSet::new());
/// let set = Rc::downgrade(&tasks);
/// let spawner = local_spawn_fn(move |task| {
///     set.upgrade().ok_or(SpawnError::shutdown())?.spawn_local(task);
///     Ok(())
/// });
/// ```
///
/// Where the code is sure to be inside a `LocalSet`, also when the last run is dropped, tokio's function will do; it panics elsewhere.
///
/// ```
/// # use rappel_local::local_spawn_fn;
/// let spawner = local_spawn_fn(|task| {
///     tokio::task::spawn_local(task);
///     Ok(())
/// });
/// ```
///
/// Smol's `LocalExecutor`:
///
/// ```
/// use std::rc::Rc;
///
/// use rappel_local::{SpawnError, local_spawn_fn};
/// use smol::LocalExecutor;
///
/// let tasks = Rc::new(LocalExecutor::new());
/// let executor = Rc::downgrade(&tasks);
/// let spawner = local_spawn_fn(move |task| {
///     executor.upgrade().ok_or(SpawnError::shutdown())?.spawn(task).detach();
///     Ok(())
/// });
/// ```
///
/// The event loop of a browser or of node:
///
/// ```
/// # use rappel_local::local_spawn_fn;
/// let spawner = local_spawn_fn(|task| {
///     wasm_bindgen_futures::spawn_local(task);
///     Ok(())
/// });
/// ```
pub fn local_spawn_fn<F>(spawn: F) -> LocalSpawnFn<F>
where
    F: Fn(LocalBoxFuture<'static, ()>) -> Result<(), SpawnError> + 'static,
{
    LocalSpawnFn(spawn)
}

impl<F> LocalSpawner for LocalSpawnFn<F>
where
    F: Fn(LocalBoxFuture<'static, ()>) -> Result<(), SpawnError> + 'static,
{
    fn spawn_local_boxed(&self, task: LocalBoxFuture<'static, ()>) -> Result<(), SpawnError> {
        (self.0)(task)
    }
}

impl<F> fmt::Debug for LocalSpawnFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalSpawnFn")
    }
}

/// The [`LocalSpawner`] of anything that implements `futures::task::LocalSpawn`: `futures`' own `LocalPool`, for example.
///
/// ```
/// use futures_executor::LocalPool;
/// use rappel_local::FromFuturesLocalSpawn;
///
/// let pool = LocalPool::new();
/// let spawner = FromFuturesLocalSpawn(pool.spawner());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FromFuturesLocalSpawn<S>(pub S);

impl<S: LocalSpawn + 'static> LocalSpawner for FromFuturesLocalSpawn<S> {
    fn spawn_local_boxed(&self, task: LocalBoxFuture<'static, ()>) -> Result<(), SpawnError> {
        // The one reason for an error that it has is a shutdown.
        self.0
            .spawn_local_obj(LocalFutureObj::from(task))
            .map_err(|_| SpawnError::shutdown())
    }
}
