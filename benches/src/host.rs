//! The runtimes that rows run on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rappel_async_std::AsyncStd;
use rappel_core::CallbackManager;
use rappel_smol::Smol;
use rappel_tokio::Tokio;

/// A runtime in one of its flavours.
#[derive(Debug, Clone)]
pub enum Host {
    /// tokio with two worker threads.
    TokioMultiThread(Arc<tokio::runtime::Runtime>),
    /// tokio on the caller's thread.
    TokioCurrentThread(Arc<tokio::runtime::Runtime>),
    /// async-std with its default: a worker thread per processor.
    AsyncStd,
    /// smol's global executor with its default: one thread.
    Smol,
}

impl Host {
    /// tokio with two worker threads.
    ///
    /// # Panics
    /// If the system cannot create threads.
    #[must_use]
    pub fn tokio_multi_thread() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        Self::TokioMultiThread(Arc::new(runtime.expect("a tokio runtime")))
    }

    /// tokio on the caller's thread.
    ///
    /// # Panics
    /// If the system cannot create an event queue.
    #[must_use]
    pub fn tokio_current_thread() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self::TokioCurrentThread(Arc::new(runtime.expect("a tokio runtime")))
    }

    /// The names of all of them, in the order of [`all`](Self::all).
    pub const NAMES: [&str; 4] =
        ["tokio multi-thread", "tokio current-thread", "async-std", "smol"];

    /// All of them.
    #[must_use]
    pub fn all() -> [Self; 4] {
        [Self::tokio_multi_thread(), Self::tokio_current_thread(), Self::AsyncStd, Self::Smol]
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let at = match self {
            Self::TokioMultiThread(_) => 0,
            Self::TokioCurrentThread(_) => 1,
            Self::AsyncStd => 2,
            Self::Smol => 3,
        };
        Self::NAMES[at]
    }

    /// A manager without handlers, on this runtime.
    ///
    /// # Panics
    /// Never: tokio is built with its timer.
    #[must_use]
    pub fn callbacks(&self) -> CallbackManager {
        match self {
            Self::TokioMultiThread(runtime) | Self::TokioCurrentThread(runtime) => {
                let tokio = Tokio::new(runtime.handle().clone());
                CallbackManager::new(tokio.expect("a runtime with a timer"))
            }
            Self::AsyncStd => CallbackManager::new(AsyncStd::new()),
            Self::Smol => CallbackManager::new(Smol::global()),
        }
    }

    /// Drives a future on the caller's thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::TokioMultiThread(runtime) | Self::TokioCurrentThread(runtime) => {
                runtime.block_on(future)
            }
            Self::AsyncStd => async_std::task::block_on(future),
            Self::Smol => smol::block_on(future),
        }
    }

    /// Runs a future as a task, as programs do, and waits for it.
    pub fn run<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.block_on(self.spawn(future))
    }

    /// Runs a future as a task. The returned future panics if the task did.
    pub fn spawn<F>(&self, future: F) -> Pin<Box<dyn Future<Output = F::Output> + Send>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Self::TokioMultiThread(runtime) | Self::TokioCurrentThread(runtime) => {
                let task = runtime.spawn(future);
                Box::pin(async { task.await.expect("the task ran to its end") })
            }
            Self::AsyncStd => Box::pin(async_std::task::spawn(future)),
            Self::Smol => Box::pin(smol::spawn(future)),
        }
    }
}
