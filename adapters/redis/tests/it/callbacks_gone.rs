//! The manager of a worker, or its runtime, is shut down while the worker runs, or has the run already.

use std::thread;
use std::time::Duration;

use rappel_redis::Error;
use rappel_threads::Delivery;
use rappel_threads::prelude::*;

use crate::scene::{Log, publish, publisher, start, with, worker};
use crate::support::{Server, wait_until};

/// Runs a worker until it has handled a trace, shuts something down, and publishes one more trace. The worker
/// stops by itself, and the next one handles the second trace.
#[track_caller]
fn nothing_is_lost(
    delivery: impl Into<Delivery>,
    shut_down: impl FnOnce(&Threads, &CallbackManager),
) {
    let Some(server) = Server::start(&[]) else { return };
    let (log, threads) = (Log::default(), Threads::new());
    let callbacks = CallbackManager::new(threads.clone());
    let options = HandlerOptions::new().delivery(delivery);
    let callbacks = callbacks.with_handler_options(log.handler(), options);
    let (first, of_worker) = (worker(&server.url()), callbacks.clone());
    let running = thread::spawn(move || first.run(of_worker));
    publish(&server.url(), 1);
    wait_until("the first trace", || log.root_ends().len() == 1);
    let handled = log.all().len();
    shut_down(&threads, &callbacks);
    publish(&server.url(), 1);
    let error = running.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::CallbacksGone), "{error:?}");
    assert_eq!(log.all().len(), handled);

    let log = Log::default();
    let next = start(worker(&server.url()), with(&log));
    wait_until("the second trace", || log.root_ends().len() == 1);
    assert_eq!(log.all().len(), 5);
    next.stop();
}

fn manager(_: &Threads, callbacks: &CallbackManager) {
    callbacks.shutdown(Duration::from_secs(10)).wait().unwrap();
}

fn runtime(threads: &Threads, callbacks: &CallbackManager) {
    callbacks.flush().wait().unwrap();
    threads.shut_down();
}

#[test]
fn a_trace_that_comes_after_the_shutdown_of_the_manager_is_not_acknowledged() {
    nothing_is_lost(Awaited::new(), manager);
    nothing_is_lost(Delivery::background(16), manager);
}

#[test]
fn a_trace_that_comes_after_the_end_of_the_runtime_is_not_acknowledged() {
    nothing_is_lost(Awaited::new(), runtime);
    nothing_is_lost(Delivery::pipelined(16), runtime);
    nothing_is_lost(Delivery::background(16), runtime);
}

#[test]
fn a_trace_that_is_open_at_the_shutdown_is_handed_over() {
    let Some(server) = Server::start(&[]) else { return };
    let log = Log::default();
    let callbacks = with(&log);
    let (first, of_worker) = (worker(&server.url()), callbacks.clone());
    let running = thread::spawn(move || first.run(of_worker));
    let emits = publisher(&server.url());
    let mut run = emits.on_llm_start(LlmStart::new("model", "hi")).wait().unwrap();
    wait_until("the start", || log.all().len() == 1);
    callbacks.shutdown(Duration::ZERO).wait().unwrap();
    run.on_llm_new_token("t").wait().unwrap();
    run.end("t").wait().unwrap();
    assert!(matches!(running.join().unwrap(), Err(Error::CallbacksGone)));

    let log = Log::default();
    let next = start(worker(&server.url()), with(&log));
    wait_until("the trace", || log.root_ends().len() == 1);
    let seen = log.all();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.delivery.is_some_and(|delivery| delivery.replayed)));
    emits.shutdown(Duration::from_secs(10)).wait().unwrap();
    next.stop();
}

#[test]
fn a_worker_whose_manager_has_the_run_open_already_acknowledges_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    let emits = publisher(&server.url());
    let run = emits.on_llm_start(LlmStart::new("model", "hi")).wait().unwrap();
    // One manager for both groups. The trace stays open in the first.
    let base = CallbackManager::new(Threads::new());
    let (audit, billing) = (Log::default(), Log::default());
    let callbacks = base.clone().with_handler(audit.handler());
    let first = start(worker(&server.url()).group("audit"), callbacks);
    wait_until("the start", || audit.all().len() == 1);
    let second = worker(&server.url()).group("billing");
    let error = second.run(base.with_handler(billing.handler())).unwrap_err();
    assert!(matches!(error, Error::CallbacksShared), "{error:?}");
    assert_eq!(billing.all().len(), 0);

    let next = start(worker(&server.url()).group("billing"), with(&billing));
    run.end("t").wait().unwrap();
    wait_until("the trace in both groups", || {
        [&audit, &billing].iter().all(|log| log.root_ends().len() == 1)
    });
    assert_eq!(billing.all().len(), 2);
    emits.shutdown(Duration::from_secs(10)).wait().unwrap();
    next.stop();
    first.stop();
}
