//! What an executor of one thread offers.

use std::fmt;
use std::rc::Rc;

use futures_util::task::{LocalFutureObj, LocalSpawn};
use rappel_core::SpawnError;

pub use futures_util::future::LocalBoxFuture;

/// Spawns futures as tasks on the thread that calls it: the twin of core's
/// [`Spawner`](rappel_core::Spawner) without `Send`.
///
/// A spawner polls a task until it is ready or the executor ends. An executor that ends drops its
/// tasks. [`local_spawn_fn`] makes a spawner of a closure.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not spawn tasks on its own thread",
    label = "this does not implement `LocalSpawner`",
    note = "a closure is one by `local_spawn_fn`, and `futures`' executors by \
            `FromFuturesLocalSpawn`"
)]
pub trait LocalSpawner: 'static {
    /// Spawns a task. It is called on one thread only.
    ///
    /// # Errors
    /// [`SpawnError`] if the executor accepts no more tasks. An executor that cannot know this may
    /// accept the task and drop it.
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

/// Makes a [`LocalSpawner`] of a closure. A closure that accepts no more tasks drops them and returns
/// [`SpawnError::shutdown`].
///
/// The closure must not own the executor: the executor owns the tasks, the tasks own the callbacks,
/// and the callbacks own the closure. A weak pointer breaks this cycle. For tokio's `LocalSet`:
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
/// Tokio's own function needs no pointer, but it panics outside of a `LocalSet`. Use it only if all
/// events are emitted, and all runs dropped, inside one:
///
/// ```
/// # use rappel_local::local_spawn_fn;
/// let spawner = local_spawn_fn(|task| {
///     tokio::task::spawn_local(task);
///     Ok(())
/// });
/// ```
///
/// For smol's `LocalExecutor`:
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
/// For the event loop of a browser or of node:
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

/// The [`LocalSpawner`] of a type that implements `futures::task::LocalSpawn`: the `LocalPool` of
/// `futures`, for example.
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
        // Shutdown is the only error that `LocalSpawn` has.
        self.0.spawn_local_obj(LocalFutureObj::from(task)).map_err(|_| SpawnError::shutdown())
    }
}
