//! `CallbackManager::pair`: the work of a manager without a runtime happens when and where its
//! driver is polled.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use futures_lite::future::{poll_once, yield_now};
use futures_util::future::join;
use rappel_core::prelude::*;
use rappel_core::{Driver, FailureCause, Paired, RegisterError, SpawnError, Spawner};
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::Watchdog;

async fn emit(callbacks: CallbackManager) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await?;
    run.on_llm_new_token("a").await?;
    run.on_llm_new_token("b").await?;
    run.end(LlmResult::from_text("ab")).await?;
    Ok(())
}

#[test]
fn the_driver_ends_once_the_manager_is_gone_and_all_is_handled() {
    let (callbacks, driver) = CallbackManager::pair();
    let (log, threads) = (Log::new(), Arc::new(Mutex::new(Vec::new())));
    let seen = threads.clone();
    let callbacks = callbacks
        .with_handler_options(log.handler(), Background::new(8).open_traces(8))
        .with_handler(handler_fn(move |_, _| {
            seen.lock().unwrap().push(thread::current().id());
            Ok(())
        }));
    let (emitted, ()) = block_on(join(emit(callbacks), driver));
    emitted.unwrap();
    assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "token: b", "llm_end: ab"]);
    assert_eq!(*threads.lock().unwrap(), [thread::current().id(); 4]);
}

#[test]
fn no_handler_is_called_before_the_driver_is_polled() {
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
        "the end of a dropped run waits for the driver too"
    );
    let flush = callbacks.flush();
    drop(callbacks);
    block_on(join(flush, driver)).0.unwrap();
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
    let mut run = block_on(start).unwrap();
    let mut waits = Box::pin(run.on_llm_new_token("a"));
    assert!(block_on(poll_once(&mut waits)).is_none());
    drop(driver);
    // An event that waits already, and one that comes later.
    assert!(matches!(block_on(waits).unwrap_err(), EmitError::RuntimeGone(_)));
    assert!(matches!(block_on(run.on_llm_new_token("b")).unwrap_err(), EmitError::RuntimeGone(_)));
    drop(run);
    block_on(callbacks.flush()).unwrap();
    assert_eq!((log.lines(), *reports.lock().unwrap()), (vec!["llm_start: prompt".to_owned()], 3));
    let (paired, driver) = Paired::new();
    drop(driver);
    assert_eq!(paired.spawn(async {}), Err(SpawnError::shutdown()));
}

/// The drop of a waker drops the driver while the emitter's task polls the run. On other runtimes,
/// another thread may drop the driving task at that moment.
#[test]
fn a_driver_that_is_dropped_during_a_poll_of_the_emitter_leaves_the_event_to_the_emitter() {
    struct DropsTheDriver(#[expect(dead_code, reason = "its drop counts")] Mutex<Driver>);

    impl Wake for DropsTheDriver {
        fn wake(self: Arc<Self>) {}
    }

    let _watchdog = Watchdog::start("pair");
    let (callbacks, driver) = CallbackManager::pair();
    let log = Log::new();
    let handled = log.clone();
    let callbacks = callbacks.with_async_handler(async_handler_fn(async move |event, _| {
        yield_now().await;
        handled.write(line(event));
        Ok(())
    }));
    let mut run = block_on(callbacks.on_llm_start(LlmStart::new("llm", "prompt"))).unwrap();
    // The event goes to the driver, which is not polled.
    assert!(block_on(poll_once(run.on_llm_new_token("a"))).is_none());
    let mut emit = run.on_llm_new_token("b");
    let waker = Waker::from(Arc::new(DropsTheDriver(Mutex::new(driver))));
    assert!(Pin::new(&mut emit).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    // The first poll replaces the waker.
    block_on(emit).unwrap();
    assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "token: b"]);
}

#[test]
fn a_paired_manager_has_no_timer_for_a_timeout() {
    let (mut callbacks, _driver) = CallbackManager::pair();
    let options = || HandlerOptions::new().timeout(Duration::from_secs(1));
    let log = Log::new();
    assert!(matches!(
        callbacks.add_handler_options(log.handler(), options()),
        Err(RegisterError::NoTimer)
    ));
    assert!(matches!(
        callbacks.add_async_handler_options(log.async_handler(), options()),
        Err(RegisterError::NoTimer)
    ));
    assert!(!callbacks.has_handlers());
    let shutdown = block_on(callbacks.shutdown(Duration::from_secs(1)));
    assert!(matches!(shutdown, Err(EmitError::NoTimer)));
}

#[test]
#[should_panic(expected = "timer")]
fn registering_a_handler_with_a_timeout_panics_without_a_timer() {
    let (callbacks, _driver) = CallbackManager::pair();
    let options = HandlerOptions::new().timeout(Duration::from_secs(1));
    let _ = callbacks.with_handler_options(Log::new().handler(), options);
}
