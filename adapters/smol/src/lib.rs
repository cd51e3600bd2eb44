//! [rappel](rappel_core) on smol: callbacks for LLM applications.
//!
//! This crate re-exports all of `rappel-core`, and adds [`Smol`], the runtime to give to a [`CallbackManager`].
//!
//! ```
//! use rappel_smol::prelude::*;
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
//!     smol::block_on(async {
//!         let callbacks = CallbackManager::new(Smol::global()).with_handler(Printer);
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

use std::fmt;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use smol::{Executor, Timer as SmolTimer};

pub use rappel_core::*;

use rappel_core::runtime::{BoxFuture, BoxJob};

/// What most programs need, [`Smol`] included.
pub mod prelude {
    pub use crate::Smol;
    pub use rappel_core::prelude::*;
}

/// A smol executor: tasks are spawned on it, blocking work goes to smol's pool of threads (`smol::unblock`'s).
#[derive(Clone)]
pub struct Smol {
    tasks: Tasks,
    /// What its clock counts from.
    origin: Instant,
}

#[derive(Clone)]
enum Tasks {
    Global,
    Own(Weak<Executor<'static>>),
}

impl Smol {
    /// Smol's global executor, which has threads of its own (`SMOL_THREADS` of them, by default one).
    #[must_use]
    pub fn global() -> Self {
        Self::on(Tasks::Global)
    }

    /// Your own executor. Its tasks make progress while you run it.
    ///
    /// It is not kept alive: once you drop it, handlers that need it are reported as not called. (Kept alive, it would hold tasks that hold it.)
    #[must_use]
    pub fn with_executor(executor: &Arc<Executor<'static>>) -> Self {
        Self::on(Tasks::Own(Arc::downgrade(executor)))
    }

    fn on(tasks: Tasks) -> Self {
        Self {
            tasks,
            origin: Instant::now(),
        }
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
        match &self.tasks {
            Tasks::Global => smol::spawn(task).detach(),
            Tasks::Own(executor) => executor.upgrade().ok_or(SpawnError::shutdown())?.spawn(task).detach(),
        }
        Ok(())
    }

    /// Not on a thread of the global executor, which are known by their names. Of an executor of your own nothing is known: what runs it must not be blocked.
    fn may_block(&self) -> bool {
        let is_its_own = |thread: thread::Thread| thread.name().is_some_and(|name| name.starts_with("smol-"));
        !matches!(self.tasks, Tasks::Global) || !is_its_own(thread::current())
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
        f.write_str(match self.tasks {
            Tasks::Global => "Smol(global executor)",
            Tasks::Own(_) => "Smol(own executor)",
        })
    }
}
