#![doc = include_str!("../README.md")]

use std::fmt;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rappel_core::runtime::{BoxFuture, BoxJob};
use smol::{Executor, Timer as SmolTimer};

pub use rappel_core::*;

/// What most programs need, including [`Smol`].
pub mod prelude {
    pub use crate::Smol;
    pub use rappel_core::prelude::*;
}

/// A smol executor: spawns tasks on it, and runs blocking jobs on the thread pool of
/// `smol::unblock`.
///
/// # Blocking
///
/// [`wait()`](Emit::wait) blocks its thread. With the [global](Self::global) executor, it returns
/// [`EmitError::WouldBlock`] on the threads of that executor, which are known by their names. The
/// threads that run an executor of yours are not known: do not block them.
///
/// Sync handlers are called on a thread of the pool of `smol::unblock`, which has 500 threads
/// (`BLOCKING_MAX_THREADS`). If jobs in `unblock` wait on all of them, none is left, and they wait
/// forever. Wait on threads of your own if so many may wait at a time.
#[derive(Clone)]
pub struct Smol {
    backend: Backend,
    /// The start of this timer's time.
    origin: Instant,
}

#[derive(Clone)]
enum Backend {
    Global,
    Own(Weak<Executor<'static>>),
}

impl Smol {
    /// The global executor of smol. It has its own threads: `SMOL_THREADS` of them, by default one.
    #[must_use]
    pub fn global() -> Self {
        Self::on(Backend::Global)
    }

    /// An executor of yours. Its tasks make progress while you run it.
    ///
    /// This does not keep the executor alive, because the executor owns tasks that own this value.
    /// After the executor is dropped, handlers that need it are not called, and are reported as
    /// [`RuntimeGone`](FailureCause::RuntimeGone).
    #[must_use]
    pub fn with_executor(executor: &Arc<Executor<'static>>) -> Self {
        Self::on(Backend::Own(Arc::downgrade(executor)))
    }

    fn on(backend: Backend) -> Self {
        Self { backend, origin: Instant::now() }
    }
}

impl Spawner for Smol {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(task)
    }

    fn spawn<F>(&self, task: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match &self.backend {
            Backend::Global => smol::spawn(task).detach(),
            Backend::Own(executor) => {
                let executor = executor.upgrade().ok_or(SpawnError::shutdown())?;
                executor.spawn(task).detach();
            }
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        match self.backend {
            Backend::Global => {
                !thread::current().name().is_some_and(|name| name.starts_with("smol-"))
            }
            Backend::Own(_) => true,
        }
    }
}

impl BlockingExecutor for Smol {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_blocking(job)
    }

    fn spawn_blocking<F>(&self, job: F) -> Result<(), SpawnError>
    where
        F: FnOnce() + Send + 'static,
    {
        smol::unblock(job).detach();
        Ok(())
    }
}

impl Timer for Smol {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            SmolTimer::after(duration).await;
        })
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl fmt::Debug for Smol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.backend {
            Backend::Global => "Smol(global executor)",
            Backend::Own(_) => "Smol(own executor)",
        })
    }
}
