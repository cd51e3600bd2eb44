//! Whatever implements `futures`' `Spawn`, as a runtime's spawner.

use futures_util::task::{FutureObj, Spawn};

use crate::runtime::{BoxFuture, SpawnError, Spawner};

/// The [`Spawner`] of anything that implements `futures::task::Spawn`: `futures`' own thread pool, and many an executor beside.
///
/// That trait knows no blocking jobs: something else has to run them, such as [`Threads`](crate::Threads).
///
/// ```
/// use rappel_core::{CallbackManager, FromFuturesSpawn, Threads};
///
/// # fn main() -> std::io::Result<()> {
/// let pool = futures_executor::ThreadPool::new()?;
/// let callbacks = CallbackManager::new((FromFuturesSpawn(pool), Threads::new()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FromFuturesSpawn<S>(pub S);

impl<S: Spawn + Send + Sync + 'static> Spawner for FromFuturesSpawn<S> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        // The one reason for an error that it has is a shutdown.
        self.0.spawn_obj(FutureObj::from(task)).map_err(|_| SpawnError::shutdown())
    }
}
