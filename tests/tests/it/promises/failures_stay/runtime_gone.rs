//! Handlers that cannot be called any more, as their runtime is gone.

use std::sync::atomic::{AtomicBool, Ordering};

use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};

use super::*;

/// A runtime that takes nothing more once it is shut down.
#[derive(Clone)]
struct MayShutDown(Stage, Arc<AtomicBool>);

impl MayShutDown {
    fn check(&self) -> Result<(), SpawnError> {
        if self.1.load(Ordering::SeqCst) { Err(SpawnError::shutdown()) } else { Ok(()) }
    }
}

impl Spawner for MayShutDown {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.check()?;
        self.0.spawn_boxed(task)
    }
}

impl BlockingExecutor for MayShutDown {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.check()?;
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timer for MayShutDown {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// A runtime that takes no more jobs once it is gone, and whose timer panics then, as tokio's does.
struct Panics(Rt, Arc<AtomicBool>);

impl Spawner for Panics {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }
}

impl BlockingExecutor for Panics {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(SpawnError::shutdown());
        }
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timer for Panics {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        assert!(!self.1.load(Ordering::SeqCst), "the runtime is gone");
        self.0.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.0.now()
    }
}

on_every_runtime! {
    /// It is not mistaken for a time-out, and the emitter does not wait.
    async fn a_handler_with_a_time_out_reports_that_its_runtime_is_gone(rt) {
        let deliveries: [HandlerOptions; 3] =
            [HandlerOptions::new(), Pipelined::new(4).into(), Background::new(4).into()];
        for options in deliveries {
            let gone = Arc::new(AtomicBool::new(false));
            let runtime = MayShutDown(Stage::new(&rt), gone.clone());
            let (callbacks, failures) = reporting(CallbackManager::new(runtime));
            let options = options.timeout(Duration::from_secs(1));
            let callbacks = callbacks.with_handler_options(sync(Log::new()), options.clone());
            gone.store(true, Ordering::SeqCst);
            let start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
            let (run, started) = start.keep().await;
            if let Err(error) = started {
                assert!(matches!(error, EmitError::RuntimeGone(_)), "{error}");
            }
            assert_eq!(causes(&failures), ["on_chain_start: runtime gone"]);
            drop(run);
        }
    }

    /// The same for a runtime whose timer panics when it is gone.
    async fn a_timer_that_is_gone_is_no_time_out(rt) {
        let gone = Arc::new(AtomicBool::new(false));
        let (callbacks, failures) =
            reporting(CallbackManager::new(Panics(rt.clone(), gone.clone())));
        let options = HandlerOptions::new().timeout(LONG);
        let callbacks = callbacks.with_handler_options(sync(Log::new()), options);
        let mut run = chain(&callbacks, "run").await;
        // A worker that has not left its thread may still take the next event.
        callbacks.flush().await.unwrap();
        gone.store(true, Ordering::SeqCst);
        let mut emitted = run.on_text("a").await;
        while emitted.is_ok() {
            emitted = run.on_text("a").await;
        }
        assert!(matches!(emitted, Err(EmitError::RuntimeGone(_))), "{emitted:?}");
        assert_eq!(causes(&failures), ["on_text: runtime gone"]);
    }
    /// The same for an async handler that waits for something when its runtime goes.
    async fn a_timer_that_is_gone_is_no_time_out_of_an_async_handler(rt) {
        let gone = Arc::new(AtomicBool::new(false));
        let (callbacks, failures) =
            reporting(CallbackManager::new(Panics(rt.clone(), gone.clone())));
        let (waits, _gate) = gated(|event| matches!(event, Event::Text(_)));
        let options = HandlerOptions::new().timeout(LONG);
        let callbacks = callbacks.with_async_handler_options(waits, options);
        let mut run = chain(&callbacks, "run").await;
        gone.store(true, Ordering::SeqCst);
        let emitted = run.on_text("a").await;
        assert!(matches!(emitted, Err(EmitError::RuntimeGone(_))), "{emitted:?}");
        assert_eq!(causes(&failures), ["on_text: runtime gone"]);
        run.end(json!(1)).await.unwrap();
    }
}
