//! What the adapter asks tokio: whether this thread may block.

use std::task::{Context, Waker};
use std::thread;

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
