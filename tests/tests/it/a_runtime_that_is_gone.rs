//! When a runtime is shut down with open runs, nothing hangs, and every call that is lost is
//! reported.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};

use futures_lite::future::{block_on, poll_once};
use rappel_core::prelude::*;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, FailureCause, SpawnError, Spawner, json};
use rappel_smol::Smol;
use rappel_tests::record::Log;
use rappel_threads::Threads;
use rappel_tokio::{Tokio, TokioError};

type Reports = Arc<Mutex<Vec<String>>>;

/// A sync and an async handler, and the reports of lost calls.
fn watched(callbacks: CallbackManager) -> (CallbackManager, Log, Reports) {
    let (log, reports) = (Log::new(), Reports::default());
    let kept = reports.clone();
    let callbacks = callbacks.on_handler_failure(move |failure| {
        assert!(matches!(failure.cause, FailureCause::RuntimeGone), "{failure}");
        kept.lock().unwrap().push(format!("{} {}", failure.handler, failure.event));
    });
    let named = |name: &str| HandlerOptions::new().name(name);
    let callbacks = callbacks
        .with_handler_options(log.handler(), named("sync"))
        .with_async_handler_options(log.async_handler(), named("async"));
    (callbacks, log, reports)
}

fn check(mut run: LlmRun, callbacks: &CallbackManager, log: &Log, reports: &Reports) {
    // The async handler runs on the emitter's task. The sync one needs a thread of the runtime.
    let error = block_on(run.on_llm_new_token("a")).unwrap_err();
    assert!(
        matches!(&error, EmitError::RuntimeGone(failure) if *failure.handler == *"sync"),
        "{error}"
    );
    assert_eq!(log.lines()[2..], ["token: a"]);
    assert_eq!(*reports.lock().unwrap(), ["sync on_llm_new_token"]);

    drop(run);
    block_on(callbacks.flush()).unwrap();
    let mut lost = reports.lock().unwrap().split_off(1);
    lost.sort();
    assert_eq!(lost, ["async on_llm_error", "sync on_llm_error"]);
}

#[test]
fn a_tokio_runtime_that_is_gone_of_either_flavour() {
    let multi_thread =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let current_thread = tokio::runtime::Builder::new_current_thread().enable_all().build();
    for runtime in [multi_thread.unwrap(), current_thread.unwrap()] {
        let tokio = Tokio::new(runtime.handle().clone()).unwrap();
        let (callbacks, log, reports) = watched(CallbackManager::new(tokio));
        let run = runtime.block_on(callbacks.on_llm_start(LlmStart::new("llm", "prompt"))).unwrap();
        assert_eq!(log.lines().len(), 2);
        drop(runtime);
        check(run, &callbacks, &log, &reports);
    }
}

#[test]
fn threads_that_are_gone() {
    let threads = Threads::new();
    let (callbacks, log, reports) = watched(CallbackManager::new(threads.clone()));
    let run = block_on(callbacks.on_llm_start(LlmStart::new("llm", "prompt"))).unwrap();
    assert_eq!(log.lines().len(), 2);
    threads.shut_down();
    check(run, &callbacks, &log, &reports);
}

/// The executor is gone. smol's threads for blocking work belong to the process and stay.
#[test]
fn a_smol_executor_that_is_gone() {
    let executor = Arc::new(smol::Executor::new());
    let (callbacks, log, reports) = watched(CallbackManager::new(Smol::with_executor(&executor)));
    let run =
        block_on(executor.run(callbacks.on_llm_start(LlmStart::new("llm", "prompt")))).unwrap();
    // The executor is not polled any more when the run is dropped. It drops the task that ends the
    // run.
    drop(run);
    drop(callbacks);
    drop(executor);
    assert_eq!(log.lines().len(), 2);
    let mut lost = reports.lock().unwrap().clone();
    lost.sort();
    assert_eq!(lost, ["async on_llm_error", "sync on_llm_error"]);
}

/// A runtime that keeps its tasks and jobs until the test drops them, as a shutdown does.
#[derive(Clone, Default)]
struct Held {
    tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
    jobs: Arc<Mutex<Vec<BoxJob>>>,
}

impl Spawner for Held {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.tasks.lock().unwrap().push(task);
        Ok(())
    }
}

impl BlockingExecutor for Held {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.jobs.lock().unwrap().push(job);
        Ok(())
    }
}

/// The emitter's task is dropped first, then the job that would have called the handler.
#[test]
fn a_call_that_waits_in_a_lane_is_reported() {
    let held = Held::default();
    let (callbacks, log, reports) = watched(CallbackManager::without_timer(held.clone()));
    assert!(
        block_on(poll_once(callbacks.on_chain_start(ChainStart::new("chain", json!(0))))).is_none()
    );
    held.tasks.lock().unwrap().clear();
    held.jobs.lock().unwrap().clear();
    assert_eq!(log.lines(), ["chain_start: 0"], "the async handler was called");
    let mut lost = reports.lock().unwrap().clone();
    lost.sort();
    assert_eq!(lost, ["async on_chain_error", "sync on_chain_error", "sync on_chain_start"]);
}

#[test]
fn a_call_that_waits_behind_an_inline_handler_is_reported() {
    let held = Held::default();
    let (callbacks, log, reports) = watched(CallbackManager::without_timer(held.clone()));
    let never = async_handler_fn(async |event, _| match event {
        Event::ChainStart(_) => std::future::pending().await,
        _ => Ok(()),
    });
    let callbacks = callbacks.with_async_handler_options(
        never,
        HandlerOptions::new().name("never").delivery(Awaited::new().inline()),
    );
    assert!(
        block_on(poll_once(callbacks.on_chain_start(ChainStart::new("chain", json!(0))))).is_none()
    );
    held.tasks.lock().unwrap().clear();
    assert_eq!(log.lines(), [""; 0]);
    let starts: Vec<String> =
        reports.lock().unwrap().iter().filter(|lost| lost.ends_with("start")).cloned().collect();
    assert_eq!(starts, ["never on_chain_start", "sync on_chain_start", "async on_chain_start"]);
}

/// A call whose future keeps its own waker is dropped with the runtime and reported. A flush
/// elsewhere returns.
#[test]
fn a_call_that_keeps_its_waker_is_reported() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let notify = Arc::new(tokio::sync::Notify::new());
    let tokio = Tokio::new(runtime.handle().clone()).unwrap();
    let (callbacks, _, reports) = watched(CallbackManager::new(tokio));
    let waits = async_handler_fn(async move |event, _| {
        if let Event::Text(_) = event {
            notify.notified().await;
        }
        Ok(())
    });
    let callbacks =
        callbacks.with_async_handler_options(waits, HandlerOptions::new().name("waits"));
    runtime.block_on(async {
        let mut run = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        assert!(poll_once(run.on_text("text")).await.is_none());
    });
    drop(runtime);
    block_on(callbacks.flush()).unwrap();
    assert!(
        reports.lock().unwrap().contains(&"waits on_text".to_owned()),
        "{:?}",
        reports.lock().unwrap()
    );
}

/// A runtime that panics, for example because the system has no more threads, counts as gone for
/// that one call.
#[test]
fn a_runtime_that_panics_leaves_no_emitter_hanging() {
    /// Panics once, when its flag is set.
    struct Panics(Smol, Arc<AtomicBool>);

    impl Spawner for Panics {
        fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
            self.0.spawn_boxed(task)
        }
    }

    impl BlockingExecutor for Panics {
        fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
            assert!(!self.1.swap(false, Ordering::SeqCst), "no more threads");
            self.0.spawn_blocking_boxed(job)
        }
    }

    let panics = Arc::new(AtomicBool::new(false));
    let (callbacks, log, reports) =
        watched(CallbackManager::without_timer(Panics(Smol::global(), panics.clone())));
    block_on(async {
        let mut run = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        panics.store(true, Ordering::SeqCst);
        // A thread that still lingers takes an event without a new job. Sooner or later none does.
        while panics.load(Ordering::SeqCst) {
            if let Err(error) = run.on_text("taken").await {
                assert!(matches!(error, EmitError::RuntimeGone(_)), "{error}");
            }
        }
        run.on_text("handled").await.unwrap();
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
    });
    // Nothing is lost if another thread took the event in time.
    let lost = reports.lock().unwrap().clone();
    assert!(lost.is_empty() || lost == ["sync on_text"], "{lost:?}");
    assert_eq!(log.lines().iter().filter(|line| *line == "text: handled").count(), 2);
}

/// A dropped flush leaves no waker behind.
#[test]
fn a_dropped_flush_is_forgotten() {
    struct Nothing;

    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }

    let callbacks =
        CallbackManager::without_timer(Held::default()).with_handler(Log::new().handler());
    let mut start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
    assert!(block_on(poll_once(&mut start)).is_none());
    let waker = Arc::new(Nothing);
    let mut flush = callbacks.flush();
    assert!(
        Pin::new(&mut flush).poll(&mut Context::from_waker(&waker.clone().into())).is_pending()
    );
    assert_eq!(Arc::strong_count(&waker), 2);
    drop(flush);
    assert_eq!(Arc::strong_count(&waker), 1);
}

#[test]
fn a_runtime_that_cannot_be_used_is_an_error_at_construction() {
    assert_eq!(Tokio::try_current().unwrap_err(), TokioError::NoRuntime);
    let no_timer = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(Tokio::new(no_timer.handle().clone()).unwrap_err(), TokioError::NoTimer);
    assert_eq!(no_timer.block_on(async { Tokio::try_current() }).unwrap_err(), TokioError::NoTimer);
}
