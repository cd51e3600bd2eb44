//! What the adapter asks tokio: whether this thread may block. And what it cannot ask: whether any
//! thread drives a current-thread runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};

use rappel_tokio::prelude::*;
use rappel_tokio::{EmitError, Spawner};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{block_in_place, coop, spawn_blocking, unconstrained};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn may_block() -> bool {
    Tokio::current().may_block()
}

async fn on_a_task<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(future).await.expect("a task")
}

async fn on_the_blocking_pool<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(job).await.expect("a job")
}

#[test]
fn code_that_tokio_polls_may_not_block() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            assert!(!may_block(), "block_on");
            assert!(!on_a_task(async { may_block() }).await, "a task");
        });
    }
}

#[test]
fn unconstrained_code_on_a_current_thread_runtime_may_not_block() {
    current_thread().block_on(unconstrained(async {
        assert!(!may_block(), "block_on");
        assert!(!on_a_task(unconstrained(async { may_block() })).await, "a task");
    }));
}

#[test]
fn code_beside_the_runtime_may_block() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            assert!(on_the_blocking_pool(may_block).await, "spawn_blocking");
            let tokio = Tokio::current();
            let on_a_thread = thread::spawn(move || tokio.may_block());
            assert!(on_a_thread.join().expect("a thread"), "a thread");
        });
        let _entered = runtime.enter();
        assert!(may_block(), "a thread that has entered the runtime");
    }
    let in_place = on_a_task(async { block_in_place(may_block) });
    assert!(multi_thread().block_on(in_place), "block_in_place");
}

#[test]
fn waiting_on_the_thread_that_drives_the_runtime_is_an_error() {
    let runtime = current_thread();
    let wait = || {
        let callbacks =
            CallbackManager::new(Tokio::current()).with_handler(handler_fn(|_, _| Ok(())));
        callbacks.on_llm_start(LlmStart::new("my-model", "prompt")).wait().map(drop)
    };
    for waited in
        [runtime.block_on(async { wait() }), runtime.block_on(unconstrained(async { wait() }))]
    {
        assert!(matches!(waited, Err(EmitError::WouldBlock)), "{waited:?}");
    }
    let waited = runtime.block_on(on_the_blocking_pool(wait));
    assert!(waited.is_ok(), "{waited:?}");
}

/// How many units of the task's cooperative budget are left. It uses them up.
fn take_all() -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let mut take = || coop::poll_proceed(&mut cx).map(|unit| unit.made_progress()).is_ready();
    (0..1_000).take_while(|_| take()).count()
}

#[test]
fn asking_whether_it_may_block_takes_nothing_from_the_budget() {
    current_thread().block_on(async {
        let left = on_a_task(async { take_all() }).await;
        let asked = on_a_task(async { (may_block(), take_all()) });
        assert_eq!(asked.await, (false, left));
        let used_up = on_a_task(async { (take_all(), may_block(), coop::has_budget_remaining()) });
        assert_eq!(used_up.await, (left, false, false));
    });
}

/// A whole run of three events, each waited for.
fn emit(callbacks: &CallbackManager) -> Result<(), EmitError> {
    let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "prompt")).wait()?;
    run.on_llm_new_token("token").wait()?;
    run.end("answer").wait()
}

fn counting(count: &Arc<AtomicUsize>) -> impl Fn() -> HandlerResult + Clone + Send + Sync + use<> {
    let count = count.clone();
    move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The blocking pool has threads of its own.
#[test]
fn sync_handlers_need_no_thread_that_drives_the_runtime() {
    let (runtime, count) = (current_thread(), Arc::default());
    let counts = counting(&count);
    let tokio = Tokio::new(runtime.handle().clone()).expect("it has a timer");
    assert!(tokio.may_block(), "this thread drives nothing");
    let callbacks = CallbackManager::new(tokio).with_handler(handler_fn(move |_, _| counts()));
    emit(&callbacks).expect("all of it is handled");
    callbacks.flush().wait().expect("nothing is left");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

/// A thread that waits for an async handler of a runtime that no thread drives. Returns when the
/// thread has handed the start to the runtime.
fn waiting(runtime: &Runtime, count: &Arc<AtomicUsize>) -> JoinHandle<Result<(), EmitError>> {
    let counts = counting(count);
    let tokio = Tokio::new(runtime.handle().clone()).expect("it has a timer");
    let handler = async_handler_fn(async move |_: &Event, _: &EventContext| counts());
    let callbacks =
        CallbackManager::new(tokio).on_handler_failure(|_| {}).with_async_handler(handler);
    let waits = thread::spawn(move || emit(&callbacks));
    while runtime.metrics().num_alive_tasks() == 0 {
        thread::yield_now();
    }
    waits
}

#[test]
fn a_wait_lasts_until_a_thread_drives_the_runtime() {
    let (runtime, count) = (current_thread(), Arc::default());
    let waits = waiting(&runtime, &count);
    assert_eq!(count.load(Ordering::SeqCst), 0, "no thread polls the handler");
    let waited = runtime.block_on(on_the_blocking_pool(move || waits.join().expect("a thread")));
    assert!(waited.is_ok(), "{waited:?}");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

/// tokio has no way to ask for `unconstrained` on a multi-thread runtime. What is safe there: sync
/// handlers alone, and any handlers in `block_in_place`.
#[test]
fn unconstrained_code_on_a_multi_thread_runtime_is_not_detected() {
    let task = async {
        assert!(may_block(), "if tokio can tell by now, say so in the docs of `Tokio`");
        let count = Arc::default();
        let (sync, asynchronous) = (counting(&count), counting(&count));
        let callbacks =
            CallbackManager::new(Tokio::current()).with_handler(handler_fn(move |_, _| sync()));
        let emitted = emit(&callbacks);
        assert!(emitted.is_ok(), "{emitted:?}");
        let handler = async_handler_fn(async move |_: &Event, _: &EventContext| asynchronous());
        let callbacks = callbacks.with_async_handler(handler);
        let emitted = block_in_place(|| emit(&callbacks));
        assert!(emitted.is_ok(), "{emitted:?}");
        count.load(Ordering::SeqCst)
    };
    assert_eq!(multi_thread().block_on(on_a_task(unconstrained(task))), 3 + 2 * 3);
}

#[test]
fn a_wait_is_an_error_when_a_runtime_that_no_thread_drives_is_dropped() {
    let (runtime, count) = (current_thread(), Arc::default());
    let waits = waiting(&runtime, &count);
    drop(runtime);
    let waited = waits.join().expect("a thread");
    assert!(matches!(waited, Err(EmitError::RuntimeGone(_))), "{waited:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
