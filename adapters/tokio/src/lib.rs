//! [rappel](rappel_core) on tokio: callbacks for LLM applications.
//!
//! This crate re-exports all of `rappel-core`, and adds [`Tokio`], the runtime to give to a [`CallbackManager`].
//!
//! ```
//! use rappel_tokio::prelude::*;
//!
//! struct Printer;
//!
//! impl CallbackHandler for Printer {
//!     fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
//!         print!("{}", token.token);
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), RunError> {
//!     let callbacks = CallbackManager::new(Tokio::current()).with_handler(Printer);
//!
//!     let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
//!     for token in ["Why", " not", "?"] {
//!         run.on_llm_new_token(token).await?;
//!     }
//!     run.end(LlmResult::from_text("Why not?")).await?;
//!     Ok(())
//! }
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

pub use rappel_core::*;

use rappel_core::runtime::{BoxFuture, BoxJob};

/// What most programs need, [`Tokio`] included.
pub mod prelude {
    pub use crate::Tokio;
    pub use rappel_core::prelude::*;
}

/// A tokio runtime, of either flavour, by its handle: tasks are spawned on it, blocking work goes to its pool.
///
/// On a current-thread runtime, tasks make progress while something is blocked on that runtime, as always there.
/// A handle does not keep its runtime alive. Once that is shut down, handlers that need it are reported as not called.
#[derive(Debug, Clone)]
pub struct Tokio {
    handle: Handle,
    /// What its clock counts from.
    origin: Instant,
}

impl Tokio {
    /// The runtime of `handle`.
    ///
    /// # Errors
    /// [`TokioError::NoTimer`] when the runtime was built without `enable_time`. Tokio offers no question for that but a panic, which is
    /// caught; your panic hook sees it.
    pub fn new(handle: Handle) -> Result<Self, TokioError> {
        let entered = handle.enter();
        // Made and dropped at once: making it is what panics without a timer.
        let timer = catch_unwind(AssertUnwindSafe(|| drop(tokio::time::sleep(Duration::ZERO))));
        let origin = timer.map(|()| Instant::now()).map_err(|_| TokioError::NoTimer)?;
        drop(entered);
        Ok(Self { handle, origin })
    }

    /// The runtime that this is called on.
    ///
    /// # Errors
    /// [`TokioError::NoRuntime`] outside a runtime, and as [`new`](Self::new).
    pub fn try_current() -> Result<Self, TokioError> {
        Self::new(Handle::try_current().map_err(|_| TokioError::NoRuntime)?)
    }

    /// The runtime that this is called on. It panics where [`try_current`](Self::try_current) has an error: outside a runtime, and without a timer.
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
    /// There is none here.
    #[error("this is not called from within a tokio runtime")]
    NoRuntime,
    /// It was built without a timer.
    #[error("the tokio runtime has no timer: build it with `enable_time` or `enable_all`")]
    NoTimer,
}

impl Spawner for Tokio {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(task)
    }

    fn spawn<F>(&self, task: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.handle.spawn(task));
        Ok(())
    }

    /// Not inside a task, nor in what `block_on` polls: there is a budget, which some polls use up. It may in `spawn_blocking`, and outside of tokio.
    fn may_block(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        (0..=u8::MAX).all(|_| pin!(tokio::task::coop::consume_budget()).poll(&mut cx).is_ready())
    }
}

impl BlockingExecutor for Tokio {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_blocking(job)
    }

    fn spawn_blocking<F>(&self, job: F) -> Result<(), SpawnError>
    where
        F: FnOnce() + Send + 'static,
    {
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
