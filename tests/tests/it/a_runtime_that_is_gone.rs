//! When a runtime is shut down with runs open, nobody hangs, and what could not be called is reported.

use std::sync::{Arc, Mutex};

use futures_lite::future::block_on;
use rappel_core::prelude::*;
use rappel_core::{EmitError, FailureCause};
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

#[test]
fn one_that_cannot_be_used_says_so_at_construction() {
    assert_eq!(Tokio::try_current().unwrap_err(), TokioError::NoRuntime);
    let no_timer = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(Tokio::new(no_timer.handle().clone()).unwrap_err(), TokioError::NoTimer);
    assert_eq!(no_timer.block_on(async { Tokio::try_current() }).unwrap_err(), TokioError::NoTimer);
}
