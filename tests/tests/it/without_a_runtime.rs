//! `CallbackManager::pair`: the work of a manager without a runtime is done when, and where, its driver is polled.

use std::sync::{Arc, Mutex};
use std::thread;

use futures_executor::block_on;
use futures_lite::future::poll_once;
use futures_util::future::join;
use rappel_core::prelude::*;
use rappel_core::{EmitError, FailureCause, Paired, SpawnError, Spawner};
use rappel_tests::record::Log;

async fn tell(callbacks: CallbackManager<Paired>) -> Result<(), RunError> {
    let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await?;
    run.on_llm_new_token("a").await?;
    run.on_llm_new_token("b").await?;
    run.end(LlmResult::from_text("ab")).await?;
    Ok(())
}

#[test]
fn the_driver_is_through_when_the_manager_is_gone_and_all_is_handled() {
    let (callbacks, driver) = CallbackManager::pair();
    let (log, threads) = (Log::new(), Arc::new(Mutex::new(Vec::new())));
    let seen = threads.clone();
    let background = HandlerOptions::new().delivery(Background { capacity: 8, open_runs: 8 });
    let callbacks = callbacks
        .with_handler_options(log.handler(), background)
        .with_handler(handler_fn(move |_, _| {
            seen.lock().unwrap().push(thread::current().id());
            Ok(())
        }));
    let (told, ()) = block_on(join(tell(callbacks), driver));
    told.unwrap();
    assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "token: b", "llm_end: ab"]);
    assert_eq!(*threads.lock().unwrap(), [thread::current().id(); 4]);
}

#[test]
fn nothing_is_called_before_the_driver_is_polled() {
    let (callbacks, mut driver) = CallbackManager::pair();
    let log = Log::new();
    let callbacks = callbacks.with_handler(log.handler());
    let mut start = Box::pin(callbacks.on_llm_start(LlmStart::new("llm", "prompt")));
    assert!(block_on(poll_once(&mut start)).is_none());
    assert!(log.lines().is_empty());
    assert!(block_on(poll_once(&mut driver)).is_none());
    assert_eq!(log.lines(), ["llm_start: prompt"]);
    drop(block_on(start).unwrap());
    assert_eq!(
        log.lines(),
        ["llm_start: prompt"],
        "the end of a run that was dropped waits for the driver, too"
    );
    let flush = callbacks.flush();
    drop(callbacks);
    block_on(join(flush, driver));
    assert_eq!(log.lines(), ["llm_start: prompt", "llm_error: cancelled: "]);
}

#[test]
fn a_driver_that_is_dropped_is_a_runtime_that_is_gone() {
    let (callbacks, mut driver) = CallbackManager::pair();
    let (log, reports) = (Log::new(), Arc::new(Mutex::new(0)));
    let reported = reports.clone();
    let callbacks = callbacks.with_handler(log.handler()).on_handler_failure(move |failure| {
        assert!(matches!(failure.cause, FailureCause::RuntimeGone), "{failure}");
        *reported.lock().unwrap() += 1;
    });
    let mut start = Box::pin(callbacks.on_llm_start(LlmStart::new("llm", "prompt")));
    assert!(block_on(poll_once(&mut start)).is_none());
    assert!(block_on(poll_once(&mut driver)).is_none());
    let run = block_on(start).unwrap();
    let mut waits = Box::pin(run.on_llm_new_token("a"));
    assert!(block_on(poll_once(&mut waits)).is_none());
    drop(driver);
    // One that waits already, and one that comes later.
    assert!(matches!(block_on(waits).unwrap_err(), EmitError::RuntimeGone(_)));
    assert!(matches!(
        block_on(run.on_llm_new_token("b")).unwrap_err(),
        EmitError::RuntimeGone(_)
    ));
    drop(run);
    block_on(callbacks.flush());
    assert_eq!((log.lines(), *reports.lock().unwrap()), (vec!["llm_start: prompt".to_owned()], 3));
    let (paired, driver) = Paired::new();
    drop(driver);
    assert_eq!(paired.spawn(async {}), Err(SpawnError::shutdown()));
}
