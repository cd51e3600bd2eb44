#![doc = include_str!("../README.md")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};
use std::time::Duration;

use rappel_core::runtime::{BoxFuture, BoxJob};
use tokio::runtime::{Handle, RuntimeFlavor, worker_index};
use tokio::task::coop;
use tokio::time::Instant;

pub use rappel_core::*;

/// What most programs need, including [`Tokio`].
pub mod prelude {
    pub use crate::Tokio;
    pub use rappel_core::prelude::*;
}

/// A tokio runtime of either flavor: spawns tasks on it, and runs blocking jobs on its pool.
///
/// It does not keep the runtime alive. After the runtime is shut down, handlers that need it are not
/// called, and are reported as [`RuntimeGone`](FailureCause::RuntimeGone). A current-thread runtime
/// makes progress only while a thread is inside its `block_on`.
///
/// # Blocking
///
/// [`wait()`](Emit::wait) blocks its thread, so it returns [`EmitError::WouldBlock`] in tasks, in
/// futures that `block_on` polls, and on the thread that drives a current-thread runtime. It works
/// in `spawn_blocking`, in `block_in_place` and on other threads. In three cases it may never return:
///
/// - No thread drives a current-thread runtime. A wait for an async or inline handler lasts until a
///   thread enters `block_on`. Time-outs do not pass meanwhile.
/// - All threads of the blocking pool wait (512 by default), so that none is left for sync handlers.
///   Wait in `block_in_place` or on threads of your own.
/// - The code is [`unconstrained`](coop::unconstrained) on a multi-thread runtime. Use
///   `block_in_place` there.
#[derive(Debug, Clone)]
pub struct Tokio {
    handle: Handle,
    /// The start of this timer's time.
    origin: Instant,
}

impl Tokio {
    /// The runtime of `handle`.
    ///
    /// # Errors
    /// [`TokioError::NoTimer`] if the runtime was built without `enable_time`. The panic hook runs.
    pub fn new(handle: Handle) -> Result<Self, TokioError> {
        let entered = handle.enter();
        // Without a timer this panics, and tokio has no other way to ask.
        let sleep = || drop(tokio::time::sleep(Duration::ZERO));
        catch_unwind(AssertUnwindSafe(sleep)).map_err(|_| TokioError::NoTimer)?;
        let origin = Instant::now();
        drop(entered);
        Ok(Self { handle, origin })
    }

    /// The runtime that this code runs on.
    ///
    /// # Errors
    /// [`TokioError::NoRuntime`] outside of a runtime, and [`TokioError::NoTimer`].
    pub fn try_current() -> Result<Self, TokioError> {
        Self::new(Handle::try_current().map_err(|_| TokioError::NoRuntime)?)
    }

    /// The runtime that this code runs on.
    ///
    /// # Panics
    /// If [`try_current`](Self::try_current) returns an error.
    #[must_use]
    #[track_caller]
    pub fn current() -> Self {
        match Self::try_current() {
            Ok(tokio) => tokio,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Why a tokio runtime cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokioError {
    /// The code does not run on a tokio runtime.
    #[error("not inside a tokio runtime: call this in async code, or use `Tokio::new(handle)`")]
    NoRuntime,
    /// The runtime was built without a timer.
    #[error("the tokio runtime has no timer: build it with `enable_time` or `enable_all`")]
    NoTimer,
}

impl Spawner for Tokio {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(task)
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: F) -> Result<(), SpawnError> {
        drop(self.handle.spawn(task));
        Ok(())
    }

    fn may_block(&self) -> bool {
        !drives_a_current_thread_runtime() && !has_budget()
    }
}

/// Returns `true` on the one thread that polls the tasks of a current-thread runtime.
fn drives_a_current_thread_runtime() -> bool {
    worker_index().is_some()
        && Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// Returns `true` in code that tokio polls: it has a budget, except in `unconstrained`.
fn has_budget() -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut units = Vec::new();
    // A budget has at most `u8::MAX` units, so code that can take one more is not limited.
    while coop::has_budget_remaining() && units.len() <= usize::from(u8::MAX) {
        units.push(coop::poll_proceed(&mut cx));
    }
    let is_used_up = !coop::has_budget_remaining();
    // Dropping a unit restores the budget to what it was before that unit: so the last one first.
    while units.pop().is_some() {}
    is_used_up
}

impl BlockingExecutor for Tokio {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_blocking(job)
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SpawnError> {
        drop(self.handle.spawn_blocking(job));
        Ok(())
    }
}

impl Timer for Tokio {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _entered = self.handle.enter();
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
