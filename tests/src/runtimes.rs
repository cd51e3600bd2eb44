//! The runtimes that every test body runs on, and the macro that makes one test for each of them.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use rappel_core::runtime::BoxFuture;
use rappel_core::{
    BlockingExecutor, CallbackManager, FromFuturesSpawn, Paired, SpawnError, Spawner, Timer,
};
use rappel_local::{FromFuturesLocalSpawn, Local, LocalSpawner, local_spawn_fn};
use rappel_smol::Smol;
use rappel_threads::Threads;
use rappel_tokio::Tokio;

/// How long a test body may take before it counts as hung. No body takes this long, even on a busy
/// machine.
const HUNG: Duration = Duration::from_secs(120);

/// A runtime in one of its flavours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// tokio with two worker threads.
    Tokio,
    /// tokio on the caller's thread.
    TokioCurrentThread,
    /// async-std.
    AsyncStd,
    /// smol with its global executor.
    Smol,
    /// smol with a user's own executor, on the caller's thread.
    SmolOwn,
    /// `rappel_threads`, with two threads that poll tasks.
    Threads,
    /// The thread pool of `futures`, with plain threads for blocking jobs.
    FuturesPool,
    /// tokio's `LocalSet`, with plain threads for blocking jobs.
    TokioLocalSet,
    /// smol's `LocalExecutor`, with plain threads for blocking jobs.
    SmolLocal,
    /// The `LocalPool` of `futures`, with plain threads for blocking jobs.
    FuturesLocalPool,
    /// `CallbackManager::pair`'s runtime, without an executor. Its driver is polled beside the body
    /// and calls the sync handlers too.
    Pair,
    /// The same, with plain threads for blocking jobs. For bodies in which a sync handler blocks
    /// while something else goes on.
    PairAndThreads,
}

impl Flavour {
    /// All flavours that a test body runs on.
    pub const ALL: [Self; 11] = [
        Self::Tokio,
        Self::TokioCurrentThread,
        Self::AsyncStd,
        Self::Smol,
        Self::SmolOwn,
        Self::Threads,
        Self::FuturesPool,
        Self::TokioLocalSet,
        Self::SmolLocal,
        Self::FuturesLocalPool,
        Self::Pair,
    ];

    /// Runs `body` to its end on a runtime of this flavour, and aborts the process if that hangs.
    ///
    /// # Panics
    /// When `body` does, or when the runtime cannot be built.
    pub fn run<F, Fut>(self, body: F)
    where
        F: FnOnce(Rt) -> Fut,
        Fut: Future<Output = ()>,
    {
        // tokio's own default.
        self.run_with(NonZeroUsize::MIN.saturating_add(511), body);
    }

    /// As [`run`](Self::run), with one thread for all blocking jobs. smol and async-std need
    /// `BLOCKING_MAX_THREADS=1` in the environment for that.
    ///
    /// # Panics
    /// As `run` does.
    pub fn run_on_one_blocking_thread<F, Fut>(self, body: F)
    where
        F: FnOnce(Rt) -> Fut,
        Fut: Future<Output = ()>,
    {
        self.run_with(NonZeroUsize::MIN, body);
    }

    fn run_with<F, Fut>(self, blocking_threads: NonZeroUsize, body: F)
    where
        F: FnOnce(Rt) -> Fut,
        Fut: Future<Output = ()>,
    {
        let _watchdog = Watchdog::start(&format!("{self:?}"));
        let threads =
            || Threads::with_limits(NonZeroUsize::MIN.saturating_add(1), blocking_threads);
        let run_tokio = |mut builder: tokio::runtime::Builder, body| {
            let runtime = builder.enable_all().max_blocking_threads(blocking_threads.get()).build();
            run_tokio(self, &runtime.expect("a tokio runtime"), body);
        };
        match self {
            Self::Tokio => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(2);
                run_tokio(builder, body);
            }
            Self::TokioCurrentThread => {
                run_tokio(tokio::runtime::Builder::new_current_thread(), body)
            }
            Self::AsyncStd => {
                let rt = Rt::new(self, rappel_async_std::AsyncStd::new());
                async_std::task::block_on(body(rt));
            }
            Self::Smol => smol::block_on(body(Rt::new(self, Smol::global()))),
            Self::SmolOwn => {
                let executor = Arc::new(smol::Executor::new());
                let rt = Rt::new(self, Smol::with_executor(&executor));
                smol::block_on(executor.run(body(rt)));
            }
            Self::Threads => {
                let threads = threads();
                threads.block_on(body(Rt::new(self, threads.clone())));
            }
            Self::FuturesPool => {
                let pool = futures_executor::ThreadPool::builder().pool_size(2).create();
                let rt = Rt::new(self, (FromFuturesSpawn(pool.expect("a thread pool")), threads()));
                futures_executor::block_on(body(rt));
            }
            Self::TokioLocalSet => {
                run_tokio_local_set(|spawner| self.on_one_thread(spawner, threads(), body))
            }
            Self::SmolLocal => {
                run_smol_local(|spawner| self.on_one_thread(spawner, threads(), body))
            }
            Self::FuturesLocalPool => {
                let mut pool = futures_executor::LocalPool::new();
                let spawner = FromFuturesLocalSpawn(pool.spawner());
                pool.run_until(self.on_one_thread(spawner, threads(), body));
            }
            Self::Pair => run_pair(|paired| body(Rt::new(self, Timed(paired, threads())))),
            Self::PairAndThreads => run_pair(|paired| body(Rt::new(self, (paired, threads())))),
        }
    }

    /// Runs a body on this thread's executor. Other threads reach it through an inbox; blocking
    /// jobs run on `threads`.
    async fn on_one_thread<F, Fut>(self, spawner: impl LocalSpawner, threads: Threads, body: F)
    where
        F: FnOnce(Rt) -> Fut,
        Fut: Future<Output = ()>,
    {
        let (local, inbox) = Local::with_inbox(spawner);
        let body = pin!(body(Rt::new(self, (local, threads))));
        // The inbox ends first only if the body has dropped the runtime.
        match select(body, inbox).await {
            Either::Left(_) => {}
            Either::Right(((), body)) => body.await,
        }
    }

    /// The flavour for bodies in which a sync handler blocks its thread while something else goes
    /// on.
    #[must_use]
    pub fn with_blocking_threads(self) -> Self {
        match self {
            Self::Pair => Self::PairAndThreads,
            other => other,
        }
    }

    /// Whether tasks, and the test body, run on one thread.
    #[must_use]
    pub fn is_single_threaded(self) -> bool {
        matches!(
            self,
            Self::TokioCurrentThread
                | Self::SmolOwn
                | Self::TokioLocalSet
                | Self::SmolLocal
                | Self::FuturesLocalPool
                | Self::Pair
                | Self::PairAndThreads
        )
    }
}

fn run_tokio<F, Fut>(flavour: Flavour, runtime: &tokio::runtime::Runtime, body: F)
where
    F: FnOnce(Rt) -> Fut,
    Fut: Future<Output = ()>,
{
    runtime.block_on(async {
        let rt = Rt::new(flavour, Tokio::current());
        body(rt).await;
    });
}

/// Runs a body on a paired runtime and polls its driver beside it, on this thread.
fn run_pair<Fut: Future<Output = ()>>(body: impl FnOnce(Paired) -> Fut) {
    let (paired, driver) = Paired::new();
    let body = pin!(body(paired));
    futures_executor::block_on(async {
        // The driver ends first only if the body has dropped the runtime.
        match select(body, driver).await {
            Either::Left(_) => {}
            Either::Right(((), body)) => body.await,
        }
    });
}

/// Runs a body that gets a spawner on tokio's `LocalSet`.
///
/// # Panics
/// When tokio cannot be set up, and when the future does.
pub fn run_tokio_local_set<Fut: Future>(
    body: impl FnOnce(Box<dyn LocalSpawner>) -> Fut,
) -> Fut::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime");
    let tasks = Rc::new(tokio::task::LocalSet::new());
    let set = Rc::downgrade(&tasks);
    let spawner = local_spawn_fn(move |task| {
        set.upgrade().ok_or(SpawnError::shutdown())?.spawn_local(task);
        Ok(())
    });
    runtime.block_on(tasks.run_until(body(Box::new(spawner))))
}

/// Runs a body that gets a spawner on smol's `LocalExecutor`.
pub fn run_smol_local<Fut: Future>(body: impl FnOnce(Box<dyn LocalSpawner>) -> Fut) -> Fut::Output {
    let tasks = Rc::new(smol::LocalExecutor::new());
    let executor = Rc::downgrade(&tasks);
    let spawner = local_spawn_fn(move |task| {
        executor.upgrade().ok_or(SpawnError::shutdown())?.spawn(task).detach();
        Ok(())
    });
    smol::block_on(tasks.run(body(Box::new(spawner))))
}

/// A runtime without a timer, and a timer.
struct Timed<R, T>(R, T);

impl<R: Spawner, T: Send + Sync + 'static> Spawner for Timed<R, T> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl<R: BlockingExecutor, T: Send + Sync + 'static> BlockingExecutor for Timed<R, T> {
    fn spawn_blocking_boxed(&self, job: rappel_core::runtime::BoxJob) -> Result<(), SpawnError> {
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.0.linger()
    }
}

impl<R: Send + Sync + 'static, T: Timer> Timer for Timed<R, T> {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.1.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.1.now()
    }
}

/// The runtime that a test body runs on.
#[derive(Clone)]
pub struct Rt {
    flavour: Flavour,
    runtime: Arc<dyn TestRuntime>,
}

trait TestRuntime: Spawner + BlockingExecutor + Timer {}
impl<R: Spawner + BlockingExecutor + Timer> TestRuntime for R {}

impl Rt {
    fn new(flavour: Flavour, runtime: impl TestRuntime) -> Self {
        Self { flavour, runtime: Arc::new(runtime) }
    }

    /// The flavour of this runtime.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// A manager without handlers, on this runtime. Handlers' failures go to standard error.
    #[must_use]
    pub fn callbacks(&self) -> CallbackManager {
        CallbackManager::new(self.clone())
    }

    /// Runs a future as a task and returns its output.
    ///
    /// # Panics
    /// When the runtime takes no more tasks. The returned future panics when the task was lost.
    pub fn go<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + use<F>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (done, output) = futures_channel::oneshot::channel();
        let task = async move {
            let _ = done.send(future.await);
        };
        self.runtime.spawn_boxed(Box::pin(task)).expect("the runtime takes tasks");
        async move { output.await.expect("the task ran to its end") }
    }
}

impl std::fmt::Debug for Rt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rt").field(&self.flavour).finish()
    }
}

impl Spawner for Rt {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.runtime.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.runtime.may_block()
    }
}

impl BlockingExecutor for Rt {
    fn spawn_blocking_boxed(&self, job: rappel_core::runtime::BoxJob) -> Result<(), SpawnError> {
        self.runtime.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.runtime.linger()
    }
}

impl Timer for Rt {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.runtime.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.runtime.now()
    }
}

/// Aborts the process when it is not dropped in time: a blocked thread cannot time itself out.
#[derive(Debug)]
pub struct Watchdog(#[allow(dead_code, reason = "its drop is the signal")] Sender<()>);

impl Watchdog {
    /// Watches the test that this thread runs. `runtime` is named in the message.
    #[must_use]
    pub fn start(runtime: &str) -> Self {
        let (alive, watched) = channel();
        let (test, runtime) =
            (thread::current().name().unwrap_or("a test").to_owned(), runtime.to_owned());
        thread::spawn(move || {
            if watched.recv_timeout(HUNG) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} hangs on {runtime}");
                std::process::abort();
            }
        });
        Self(alive)
    }
}

/// Makes one body a test for every runtime:
/// `mod NAME { fn tokio(), fn tokio_current_thread(), … }`.
///
/// A body in which a sync handler blocks its thread while something else goes on is written as
/// `async fn body(rt: with_blocking_threads)`. The flavour without a runtime then has threads for
/// such calls.
///
/// ```
/// rappel_tests::on_every_runtime! {
///     /// What a user would notice.
///     async fn a_flush_without_events_returns(rt) {
///         rt.callbacks().flush().await.unwrap();
///     }
/// }
/// ```
#[macro_export]
macro_rules! on_every_runtime {
    ($($(#[$meta:meta])* async fn $name:ident($rt:ident $(: $needs:ident)?) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "a body may need nothing of its module")]
            use super::*;

            async fn body($rt: $crate::runtimes::Rt) $body

            #[test]
            fn tokio() {
                $crate::runtimes::Flavour::Tokio.run(body);
            }

            #[test]
            fn tokio_current_thread() {
                $crate::runtimes::Flavour::TokioCurrentThread.run(body);
            }

            #[test]
            fn async_std() {
                $crate::runtimes::Flavour::AsyncStd.run(body);
            }

            #[test]
            fn smol() {
                $crate::runtimes::Flavour::Smol.run(body);
            }

            #[test]
            fn smol_own_executor() {
                $crate::runtimes::Flavour::SmolOwn.run(body);
            }

            #[test]
            fn threads() {
                $crate::runtimes::Flavour::Threads.run(body);
            }

            #[test]
            fn futures_pool() {
                $crate::runtimes::Flavour::FuturesPool.run(body);
            }

            #[test]
            fn pair() {
                $crate::runtimes::Flavour::Pair$(.$needs())?.run(body);
            }

            #[test]
            fn tokio_local_set() {
                $crate::runtimes::Flavour::TokioLocalSet.run(body);
            }

            #[test]
            fn smol_local_executor() {
                $crate::runtimes::Flavour::SmolLocal.run(body);
            }

            #[test]
            fn futures_local_pool() {
                $crate::runtimes::Flavour::FuturesLocalPool.run(body);
            }
        }
    )+};
}
