//! The traits, and their implementations for pointers and for the system's clock and randomness.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::time::Duration;

use super::BoxFuture;

/// A blocking piece of work, boxed.
pub type BoxJob = Box<dyn FnOnce() + Send + 'static>;

/// Spawns futures as detached tasks.
///
/// A spawner polls a task until it is ready or the runtime ends. A runtime that ends drops its
/// tasks, and core notices that. The trait is object-safe through
/// [`spawn_boxed`](Self::spawn_boxed).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async runtime",
    label = "this does not implement `Spawner`",
    note = "every adapter crate has a runtime: `rappel_tokio::Tokio::current()`, \
            `rappel_smol::Smol::global()`, `rappel_threads::Threads::new()`",
    note = "a closure that spawns tasks is one by `spawn_fn`, and `futures`' executors by \
            `FromFuturesSpawn`",
    note = "a pair `(spawner, blocking_executor)` is a runtime"
)]
pub trait Spawner: Send + Sync + 'static {
    /// Spawns a boxed task.
    ///
    /// # Errors
    /// [`SpawnError`] if the runtime accepts no more tasks. A runtime that cannot know this may
    /// accept the task and drop it.
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError>;

    /// Spawns a task. A runtime that boxes tasks itself overrides this to save the second box.
    ///
    /// # Errors
    /// As [`spawn_boxed`](Self::spawn_boxed).
    fn spawn<F>(&self, task: F) -> Result<(), SpawnError>
    where
        Self: Sized,
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_boxed(Box::pin(task))
    }

    /// Returns `true` if this thread may block on a task of this runtime. Return `false` on a thread
    /// that drives the runtime.
    ///
    /// [`wait()`](crate::Emit::wait) asks it. The default is `true`: a runtime that cannot know
    /// leaves the decision to the user.
    fn may_block(&self) -> bool {
        true
    }
}

/// Runs blocking jobs where they do not stall the event loop, usually on a thread pool.
///
/// An executor runs each job once, or drops it. It returns before the job has run and never runs
/// the job inside [`spawn_blocking_boxed`](Self::spawn_blocking_boxed). Jobs run on other threads
/// than the caller's. The one exception is the [`Driver`](crate::Driver), which has no threads and
/// runs jobs on the thread that polls it. A job without work may stay on its thread for
/// [`linger`](Self::linger).
///
/// The trait is object-safe through `spawn_blocking_boxed`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run blocking jobs",
    label = "this does not implement `BlockingExecutor`",
    note = "pair it with a thread pool: `(spawner, rappel_threads::Threads::new())`",
    note = "a closure that runs jobs is one by `blocking_fn`: `(spawner, blocking_fn(...))`"
)]
pub trait BlockingExecutor: Send + Sync + 'static {
    /// Runs a boxed job.
    ///
    /// # Errors
    /// [`SpawnError`] if the executor accepts no more jobs. An executor that cannot know this may
    /// accept the job and drop it.
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError>;

    /// Runs a job. An executor that boxes jobs itself overrides this to save the second box.
    ///
    /// # Errors
    /// As [`spawn_blocking_boxed`](Self::spawn_blocking_boxed).
    fn spawn_blocking<F>(&self, job: F) -> Result<(), SpawnError>
    where
        Self: Sized,
        F: FnOnce() + Send + 'static,
    {
        self.spawn_blocking_boxed(Box::new(job))
    }

    /// Returns how long a job without work may block its thread to wait for more. The default is
    /// 12 ms. Before it blocks, the job yields its thread up to 32 times.
    ///
    /// That is longer than a tick of common systems, which is 1 to 10 ms. If the wait may end before
    /// the next tick, the system sets the processor's timer for each event, and an awaited event
    /// takes about half as long again. Return zero if jobs share their threads with other work.
    /// Without `std` jobs never wait.
    fn linger(&self) -> Duration {
        Duration::from_millis(12)
    }
}

/// Sleeps, and measures monotonic time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no timer",
    label = "this does not implement `Timer`",
    note = "pair it with one: `(spawner, rappel_threads::Threads::new())`",
    note = "or use `CallbackManager::without_timer`: time-outs of handlers and `shutdown` are \
            errors then"
)]
pub trait Timer: Send + Sync + 'static {
    /// Returns a future that is ready after `duration`. Dropping it cancels the sleep.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Returns the time since some fixed point. It never decreases.
    fn now(&self) -> Duration;
}

/// Tells the wall-clock time, for the times of events and for run ids.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a clock",
    label = "this does not implement `Clock`",
    note = "with `std`, `runtime::SystemClock` is one"
)]
pub trait Clock: Send + Sync + 'static {
    /// Returns the time since 1970-01-01T00:00:00Z, or `None` if it is unknown.
    fn now(&self) -> Option<Duration>;
}

/// A source of random bytes, for run ids. It need not be secure, but ids must not collide.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of random bytes",
    label = "this does not implement `Entropy`",
    note = "with `std`, `runtime::SystemEntropy` is one"
)]
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The runtime accepts no more work, because it was shut down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the runtime accepts no more work: it was shut down")]
pub struct SpawnError {
    _private: (),
}

impl SpawnError {
    /// The runtime was shut down.
    #[must_use]
    pub const fn shutdown() -> Self {
        Self { _private: () }
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<S: Spawner + ?Sized> Spawner for $pointer {
            fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
                (**self).spawn_boxed(task)
            }

            fn may_block(&self) -> bool {
                (**self).may_block()
            }
        }

        impl<S: BlockingExecutor + ?Sized> BlockingExecutor for $pointer {
            fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
                (**self).spawn_blocking_boxed(job)
            }

            fn linger(&self) -> Duration {
                (**self).linger()
            }
        }

        impl<S: Timer + ?Sized> Timer for $pointer {
            fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
                (**self).sleep(duration)
            }

            fn now(&self) -> Duration {
                (**self).now()
            }
        }

        impl<S: Clock + ?Sized> Clock for $pointer {
            fn now(&self) -> Option<Duration> {
                (**self).now()
            }
        }

        impl<S: Entropy + ?Sized> Entropy for $pointer {
            fn fill(&self, bytes: &mut [u8]) {
                (**self).fill(bytes);
            }
        }
    )+};
}
forward!(&'static S, Box<S>, Arc<S>);

/// The system's clock. It returns `None` if the system's time is before 1970.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[cfg(feature = "std")]
impl Clock for SystemClock {
    fn now(&self) -> Option<Duration> {
        std::time::SystemTime::UNIX_EPOCH.elapsed().ok()
    }
}

/// Random bytes from the hash keys of the standard library, which the system seeds once per thread.
/// It needs no system call for a run.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

#[cfg(feature = "std")]
impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use core::hash::{BuildHasher, Hasher};
        use std::hash::RandomState;
        for chunk in bytes.chunks_mut(size_of::<u64>()) {
            // Every `RandomState` has its own keys, so hashing nothing gives a new number.
            let word = RandomState::new().build_hasher().finish().to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
