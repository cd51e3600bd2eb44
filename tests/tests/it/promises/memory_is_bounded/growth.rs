//! What rappel does grows linearly with what it is given: measured in allocations and bytes, never
//! in time. `benches/instructions` counts the instructions of the same work, for a growth that
//! allocates nothing. (Fault 12.)

use super::counted::{Allocated, Counted};
use super::*;

/// So many runs, each inside the one before. The first one is at the top.
async fn nested(callbacks: &CallbackManager, depth: usize) -> Vec<ChainRun> {
    let mut runs = vec![chain(callbacks, "run").await];
    for _ in 1..depth {
        let children = runs[runs.len() - 1].child();
        runs.push(chain(&children, "run").await);
    }
    runs
}

/// An async handler in place, and one with a queue.
fn two_handlers(callbacks: CallbackManager) -> CallbackManager {
    let ready = || async_handler_fn(async |_: &Event, _: &EventContext| Ok(()));
    callbacks.with_async_handler(ready()).with_async_handler_options(ready(), Pipelined::new(4))
}

/// The allocations of some work on so many things, and their bytes.
async fn allocations(
    rt: &Rt,
    size: usize,
    work: impl AsyncFn(&CallbackManager, usize),
) -> Allocated {
    let counted = Counted::new(rt);
    let callbacks = two_handlers(counted.callbacks());
    // The first run makes what all of them share.
    streamed(callbacks.clone(), "first".into(), 1).await.unwrap();
    callbacks.flush().await.unwrap();
    let before = counted.allocated().await;
    counted.of(work(&callbacks, size)).await;
    counted.allocated().await - before
}

/// Asserts that eight times as much takes about eight times as many allocations, and bytes: at most
/// twice and three times that, because the number of tasks that serve a queue depends on the
/// threads. Quadratic work takes eight times that.
async fn assert_linear(rt: &Rt, size: usize, work: impl AsyncFn(&CallbackManager, usize)) {
    let small = allocations(rt, size, &work).await;
    let large = allocations(rt, size * 8, &work).await;
    let is_linear = large.number <= small.number * 8 * 2 && large.bytes <= small.bytes * 8 * 3;
    assert!(is_linear, "{small:?} for {size}, {large:?} for 8 times that");
}

on_every_runtime! {
    async fn runs_nested_in_line_take_linear_work(rt) {
        assert_linear(&rt, 250, async |callbacks: &CallbackManager, depth| {
            let mut runs = nested(callbacks, depth).await;
            for run in &mut runs {
                run.on_text("a").await.unwrap();
            }
            while let Some(run) = runs.pop() {
                run.end(json!(1)).await.unwrap();
            }
            callbacks.flush().await.unwrap();
        }).await;
    }

    /// All of them are open when the top one ends.
    async fn closing_runs_nested_in_line_takes_linear_work(rt) {
        assert_linear(&rt, 250, async |callbacks: &CallbackManager, depth| {
            let mut runs = nested(callbacks, depth).await;
            runs.swap_remove(0).end(json!(1)).await.unwrap();
            callbacks.flush().await.unwrap();
        }).await;
    }

    /// So deep that a recursion would overflow the stack.
    async fn runs_nested_very_deep_come_to_their_ends(rt) {
        const DEPTH: usize = 26_000;
        let counted = Arc::new(Mutex::new(0));
        let counts = counted.clone();
        let handler = handler_fn(move |_, _| {
            *counts.lock().unwrap() += 1;
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler_options(handler, Awaited::new().inline());
        let mut runs = nested(&callbacks, DEPTH).await;
        for run in &mut runs {
            run.on_text("a").await.unwrap();
        }
        // A few end from the inside out, the others are closed from the top.
        for _ in 0..4_000 {
            runs.pop().unwrap().end(json!(1)).await.unwrap();
        }
        runs.swap_remove(0).end(json!(1)).await.unwrap();
        drop(runs);
        callbacks.flush().await.unwrap();
        assert_eq!(*counted.lock().unwrap(), 3 * DEPTH);
    }

    /// A half of them ends by itself, the parent's end closes the other one.
    async fn many_children_of_one_run_take_linear_work(rt) {
        assert_linear(&rt, 250, async |callbacks: &CallbackManager, runs| {
            let parent = chain(callbacks, "parent").await;
            let inside = parent.child();
            let mut children = Vec::new();
            for _ in 0..runs {
                children.push(chain(&inside, "child").await);
            }
            for child in &mut children {
                child.on_text("a").await.unwrap();
            }
            for child in children.drain(..runs / 2) {
                child.end(json!(1)).await.unwrap();
            }
            parent.end(json!(1)).await.unwrap();
            drop(children);
            callbacks.flush().await.unwrap();
        }).await;
    }

    async fn many_open_runs_take_linear_work(rt) {
        assert_linear(&rt, 250, async |callbacks: &CallbackManager, runs| {
            let mut open = Vec::new();
            for _ in 0..runs {
                open.push(model(callbacks, "run").await);
            }
            for run in &mut open {
                run.on_llm_new_token("a").await.unwrap();
            }
            drop(open);
            callbacks.flush().await.unwrap();
        }).await;
    }

    async fn many_leaked_emits_take_linear_work(rt) {
        assert_linear(&rt, 250, async |callbacks: &CallbackManager, runs| {
            let yields = async_handler_fn(async |_: &Event, _: &EventContext| {
                yield_now().await;
                Ok(())
            });
            let callbacks = callbacks.clone().with_async_handler(yields);
            let mut open = Vec::new();
            for _ in 0..runs {
                let mut run = chain(&callbacks, "run").await;
                let mut emit = run.on_text("a");
                assert!(poll_once(&mut emit).await.is_none());
                std::mem::forget(emit);
                open.push(run);
            }
            drop(open);
            callbacks.flush().await.unwrap();
        }).await;
    }

    /// The bytes too: a list that is copied for each new handler would make them quadratic.
    async fn registering_handlers_takes_linear_work(rt) {
        let ready = || async_handler_fn(async |_: &Event, _: &EventContext| Ok(()));
        let registered = |handlers: usize| {
            let mut callbacks = rt.callbacks();
            let counted = allocation_counter::measure(|| {
                for _ in 0..handlers {
                    callbacks.add_async_handler(ready());
                }
            });
            assert_eq!(callbacks.stats().len(), handlers);
            counted
        };
        let (few, many) = (registered(250), registered(2_000));
        assert!(many.count_total <= few.count_total * 10, "{few:?}, {many:?}");
        assert!(many.bytes_total <= few.bytes_total * 12, "{few:?}, {many:?}");
    }

    /// Between the first and the last, no event of a run costs more than another.
    async fn a_long_run_takes_linear_work(rt) {
        assert_linear(&rt, 500, async |callbacks: &CallbackManager, tokens| {
            let mut run = model(callbacks, "run").await;
            for _ in 0..tokens {
                run.on_llm_new_token("a").await.unwrap();
            }
            run.end("end").await.unwrap();
            callbacks.flush().await.unwrap();
        }).await;
    }
}
