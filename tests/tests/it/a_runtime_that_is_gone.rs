//! When a runtime is shut down with runs open, nobody hangs, and what could not be called is reported.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};

use futures_lite::future::{block_on, poll_once};
use rappel_core::prelude::*;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, EmitError, FailureCause, SpawnError, Spawner, Threads, json};
use rappel_smol::Smol;
use rappel_tests::record::Log;
use rappel_tokio::{Tokio, TokioError};

type Reports = Arc<Mutex<Vec<String>>>;

/// A sync and an async handler, and a report of what could not be called.
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

fn check(run: rappel_core::LlmRun, callbacks: &CallbackManager, log: &Log, reports: &Reports) {
    // The async handler needs no runtime but the emitter's task; the sync one has no thread to be called on.
    let error = block_on(run.on_llm_new_token("a")).unwrap_err();
    assert!(
        matches!(&error, EmitError::RuntimeGone(failure) if *failure.handler == *"sync"),
        "{error}"
    );
    assert_eq!(log.lines()[2..], ["token: a"]);
    assert_eq!(*reports.lock().unwrap(), ["sync on_llm_new_token"]);

    drop(run);
    block_on(callbacks.flush());
    let mut lost = reports.lock().unwrap().split_off(1);
    lost.sort();
    assert_eq!(lost, ["async on_llm_error", "sync on_llm_error"]);
}

#[test]
fn tokio_of_either_flavour() {
    let multi_thread = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let current_thread = tokio::runtime::Builder::new_current_thread().enable_all().build();
    for runtime in [multi_thread.unwrap(), current_thread.unwrap()] {
        let tokio = Tokio::new(runtime.handle().clone()).unwrap();
        let (callbacks, log, reports) = watched(CallbackManager::new(tokio).erase());
        let run = runtime.block_on(callbacks.on_llm_start(LlmStart::new("llm", "prompt"))).unwrap();
        assert_eq!(log.lines().len(), 2);
        drop(runtime);
        check(run, &callbacks, &log, &reports);
    }
}

#[test]
fn plain_threads() {
    let threads = Threads::new();
    let (callbacks, log, reports) = watched(CallbackManager::new(threads.clone()).erase());
    let run = block_on(callbacks.on_llm_start(LlmStart::new("llm", "prompt"))).unwrap();
    assert_eq!(log.lines().len(), 2);
    threads.shut_down();
    check(run, &callbacks, &log, &reports);
}

/// The executor is gone; smol's threads for blocking work are the process's, and stay.
#[test]
fn smol_with_an_executor_of_its_own() {
    let executor = Arc::new(smol::Executor::new());
    let (callbacks, log, reports) = watched(CallbackManager::new(Smol::with_executor(&executor)).erase());
    let run = block_on(executor.run(callbacks.on_llm_start(LlmStart::new("llm", "prompt")))).unwrap();
    // Nobody runs the executor any more when the run is given up; then it goes, with the task that it was given.
    drop(run);
    drop(callbacks);
    drop(executor);
    assert_eq!(log.lines().len(), 2);
    let mut lost = reports.lock().unwrap().clone();
    lost.sort();
    assert_eq!(lost, ["async on_llm_error", "sync on_llm_error"]);
}

/// A runtime by hand: what it is given is kept, until the test drops it as a shutdown does.
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

/// The emitter's task goes first, then the drain that would have called the handler.
#[test]
fn a_call_that_waits_in_a_lane_is_reported() {
    let held = Held::default();
    let (callbacks, log, reports) = watched(CallbackManager::new(held.clone()).erase());
    assert!(block_on(poll_once(callbacks.on_chain_start(ChainStart::new("chain", json!(0))))).is_none());
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
    let (callbacks, log, reports) = watched(CallbackManager::new(held.clone()).erase());
    let never = async_handler_fn(|event, _| {
        let waits = matches!(event, Event::ChainStart(_));
        async move { if waits { std::future::pending().await } else { Ok(()) } }
    });
    let callbacks = callbacks.with_async_handler_options(never, HandlerOptions::new().name("never").run_inline(true));
    assert!(block_on(poll_once(callbacks.on_chain_start(ChainStart::new("chain", json!(0))))).is_none());
    held.tasks.lock().unwrap().clear();
    assert_eq!(log.lines(), [""; 0]);
    let starts: Vec<String> = reports
        .lock()
        .unwrap()
        .iter()
        .filter(|lost| lost.ends_with("start"))
        .cloned()
        .collect();
    assert_eq!(starts, ["never on_chain_start", "sync on_chain_start", "async on_chain_start"]);
}

/// A handler whose future keeps its waker does not keep itself: it goes with the runtime, is reported, and a flush elsewhere returns.
#[test]
fn a_call_that_keeps_its_waker_is_reported() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let notify = Arc::new(tokio::sync::Notify::new());
    let tokio = Tokio::new(runtime.handle().clone()).unwrap();
    let (callbacks, _, reports) = watched(CallbackManager::new(tokio).erase());
    let waits = async_handler_fn(move |event, _| {
        let notify = matches!(event, Event::Text(_)).then(|| notify.clone());
        async move {
            if let Some(notify) = notify {
                notify.notified().await;
            }
            Ok(())
        }
    });
    let callbacks = callbacks.with_async_handler_options(waits, HandlerOptions::new().name("waits"));
    runtime.block_on(async {
        let run = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        assert!(poll_once(run.on_text("text")).await.is_none());
    });
    drop(runtime);
    block_on(callbacks.flush());
    assert!(
        reports.lock().unwrap().contains(&"waits on_text".to_owned()),
        "{:?}",
        reports.lock().unwrap()
    );
}

/// A runtime that panics, as where the system has no more threads, is as good as one that is gone; and only for that once.
#[test]
fn one_that_panics_leaves_nobody_hanging() {
    /// Panics once, when it is told to.
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
    let (callbacks, log, reports) = watched(CallbackManager::new(Panics(Smol::global(), panics.clone())).erase());
    block_on(async {
        let run = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        panics.store(true, Ordering::SeqCst);
        // A thread that still lingers takes an event without asking the executor: sooner or later none does.
        while panics.load(Ordering::SeqCst) {
            if let Err(error) = run.on_text("taken").await {
                assert!(matches!(error, EmitError::RuntimeGone(_)), "{error}");
            }
        }
        run.on_text("told").await.unwrap();
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await;
    });
    // Unless another thread came by in time, and took it.
    let lost = reports.lock().unwrap().clone();
    assert!(lost.is_empty() || lost == ["sync on_text"], "{lost:?}");
    assert_eq!(log.lines().iter().filter(|line| *line == "text: told").count(), 2);
}

/// Whoever gives up a flush leaves nothing behind, however often.
#[test]
fn a_flush_that_is_given_up_is_forgotten() {
    struct Nothing;

    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }

    let callbacks = CallbackManager::new(Held::default()).with_handler(Log::new().handler());
    let mut start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
    assert!(block_on(poll_once(&mut start)).is_none());
    let waker = Arc::new(Nothing);
    let mut flush = callbacks.flush();
    assert!(
        Pin::new(&mut flush)
            .poll(&mut Context::from_waker(&waker.clone().into()))
            .is_pending()
    );
    assert_eq!(Arc::strong_count(&waker), 2);
    drop(flush);
    assert_eq!(Arc::strong_count(&waker), 1);
}

#[test]
fn one_that_cannot_be_used_says_so_at_construction() {
    assert_eq!(Tokio::try_current().unwrap_err(), TokioError::NoRuntime);
    let no_timer = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(Tokio::new(no_timer.handle().clone()).unwrap_err(), TokioError::NoTimer);
    assert_eq!(no_timer.block_on(async { Tokio::try_current() }).unwrap_err(), TokioError::NoTimer);
}
