//! What a runtime offers.
//!
//! Core knows no runtime: it asks for these traits, and an adapter crate implements them for a value that *holds a handle*, never for
//! the ambient runtime. [`Spawner`] and [`BlockingExecutor`] are what a [`CallbackManager`](crate::CallbackManager) needs; a [`Timer`] is
//! optional; a [`Clock`] and an [`Entropy`] have defaults under `std`.
//!
//! No handle comes back from a spawn: on drop tokio and async-std detach a task where smol cancels it. Results, cancellation and panics
//! travel through channels that core owns, so that all runtimes behave alike.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::time::Duration;

pub use futures_core::future::BoxFuture;

/// A blocking piece of work, boxed.
pub type BoxJob = Box<dyn FnOnce() + Send + 'static>;

/// Runs futures in the background: detached, and fallible, since a runtime may have been shut down.
///
/// A spawner is responsible for polling the task until it is done or the runtime ends. A runtime that ends drops the task; core notices.
/// The trait is object-safe through [`spawn_boxed`](Self::spawn_boxed).
pub trait Spawner: Send + Sync + 'static {
    /// Spawns a boxed task.
    ///
    /// # Errors
    /// [`SpawnError`] when the runtime takes no more tasks. A runtime that cannot tell may accept the task and drop it.
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError>;

    /// Spawns a task; a runtime that boxes tasks itself overrides this to save a second box.
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

    /// Whether the calling thread may be blocked until a task of this runtime is through: not if it has to poll that itself. It may, unless this is overridden;
    /// a runtime that cannot tell leaves it to the user. Blocking code asks ([`CallbackManager::blocking`](crate::CallbackManager)).
    fn may_block(&self) -> bool {
        true
    }
}

/// Runs blocking work where it stalls no event loop: on a thread of a pool, usually.
///
/// An executor is responsible for running the job once, or dropping it; it must never run it on the caller's thread.
/// The trait is object-safe through [`spawn_blocking_boxed`](Self::spawn_blocking_boxed).
pub trait BlockingExecutor: Send + Sync + 'static {
    /// Runs a boxed job.
    ///
    /// # Errors
    /// [`SpawnError`] when the executor takes no more jobs. One that cannot tell may accept the job and drop it.
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError>;

    /// Runs a job; an executor that boxes jobs itself overrides this to save a second box.
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

    /// For how long a job may stay on its thread and wait for more to do, when it has nothing left. It is 2 ms unless it is overridden.
    ///
    /// An executor whose jobs share a thread with anything else answers zero. Without `std` nothing waits.
    fn linger(&self) -> Duration {
        Duration::from_millis(2)
    }
}

/// Sleeps, and tells a monotonic time. Optional: what needs it asks for it in its bounds.
pub trait Timer: Send + Sync + 'static {
    /// A future that is ready once `duration` has passed. Dropping it cancels the sleep.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// The time since some fixed point; it never goes backwards.
    fn now(&self) -> Duration;
}

/// Tells the wall-clock time, for the times of events and for run ids.
pub trait Clock: Send + Sync + 'static {
    /// The time since 1970-01-01T00:00:00Z, or `None` where that is not known.
    fn now(&self) -> Option<Duration>;
}

/// A source of random bytes, for run ids. Ids must not collide, nothing more: it need not be secure.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The runtime takes no more work: it has been shut down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the runtime takes no more work")]
pub struct SpawnError {
    _private: (),
}

impl SpawnError {
    /// The runtime has been shut down.
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

/// The system's clock. Its time is unknown when it is set before 1970.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[cfg(feature = "std")]
impl Clock for SystemClock {
    fn now(&self) -> Option<Duration> {
        std::time::SystemTime::UNIX_EPOCH.elapsed().ok()
    }
}

/// Random bytes from the standard library's hash keys, which the system seeds once a thread: no system call for each run.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

#[cfg(feature = "std")]
impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use core::hash::{BuildHasher, Hasher};
        use std::hash::RandomState;
        for chunk in bytes.chunks_mut(size_of::<u64>()) {
            // Every `RandomState` has keys of its own, so that hashing nothing gives another number each time.
            let word = RandomState::new().build_hasher().finish().to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Both halves of a runtime behind one pointer: what the engine keeps.
pub(crate) trait Runtime: Spawner + BlockingExecutor {}
impl<R: Spawner + BlockingExecutor> Runtime for R {}

/// A runtime whose type has been forgotten: what a `CallbackManager` without a parameter holds.
#[derive(Clone)]
pub struct Erased(pub(crate) Arc<dyn Runtime>);

impl Spawner for Erased {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl BlockingExecutor for Erased {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.0.linger()
    }
}

impl fmt::Debug for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Erased")
    }
}

/// A runtime that takes no work, for managers that have no handlers.
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
