//! async-std is [discontinued upstream](https://rustsec.org/advisories/RUSTSEC-2025-0052.html); smol is the one-line move: `rappel-smol`, and `Smol::global()` for `AsyncStd::new()`.
//!
//! This crate is [rappel](rappel_core), callbacks for LLM applications, for programs that are still on async-std. It re-exports all of
//! `rappel-core`, and adds [`AsyncStd`], the runtime to give to a [`CallbackManager`].
//!
//! ```
//! use rappel_async_std::prelude::*;
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
//! fn main() -> Result<(), RunError> {
//!     async_std::task::block_on(async {
//!         let callbacks = CallbackManager::new(AsyncStd::new()).with_handler(Printer);
//!
//!         let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
//!         for token in ["Why", " not", "?"] {
//!             run.on_llm_new_token(token).await?;
//!         }
//!         run.end(LlmResult::from_text("Why not?")).await?;
//!         Ok(())
//!     })
//! }
//! ```

use std::time::{Duration, Instant};

use async_std::task;

pub use rappel_core::*;

use rappel_core::runtime::{BoxFuture, BoxJob};

/// What most programs need, [`AsyncStd`] included.
pub mod prelude {
    pub use crate::AsyncStd;
    pub use rappel_core::prelude::*;
}

/// async-std's runtime, of which a process has one: tasks are spawned on its executor, blocking work goes to its pool of threads.
#[derive(Debug, Clone)]
pub struct AsyncStd {
    /// What its clock counts from.
    origin: Instant,
}

impl AsyncStd {
    /// The process's runtime; it is started when it is first needed.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for AsyncStd {
    fn default() -> Self {
        Self::new()
    }
}

impl Spawner for AsyncStd {
    fn spawn_boxed(&self, future: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future)
    }

    fn spawn<F>(&self, future: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(task::spawn(future));
        Ok(())
    }

    /// Not inside a task, nor in what `block_on` polls.
    fn may_block(&self) -> bool {
        async_std::task::try_current().is_none()
    }
}

impl BlockingExecutor for AsyncStd {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_blocking(job)
    }

    fn spawn_blocking<F>(&self, job: F) -> Result<(), SpawnError>
    where
        F: FnOnce() + Send + 'static,
    {
        drop(task::spawn_blocking(job));
        Ok(())
    }
}

impl Timer for AsyncStd {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(task::sleep(duration))
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
