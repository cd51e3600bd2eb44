//! Promise 4: a sync handler's calls never overlap, on no thread and in no nesting; traces that
//! share a handler are served in turn.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::block_on;
use futures_util::future::join_all;
use rappel_tests::held::{held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

/// Fails if it is called while it is in a call.
fn alone() -> impl CallbackHandler + Send {
    let busy = Arc::new(AtomicBool::new(false));
    handler_fn(move |_, _| {
        assert!(!busy.swap(true, Ordering::SeqCst), "two calls overlap");
        std::thread::yield_now();
        assert!(busy.swap(false, Ordering::SeqCst));
        Ok(())
    })
}

on_every_runtime! {
    /// Across many runs at once: no two calls at a time, and nothing is lost.
    async fn the_calls_of_a_sync_handler_never_overlap(rt) {
        let deliveries: [HandlerOptions; 5] = [
            HandlerOptions::new(),
            Awaited::new().inline().into(),
            Pipelined::new(1).into(),
            Pipelined::new(64).into(),
            Background::new(64).overflow(Overflow::Wait).into(),
        ];
        for options in deliveries {
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = callbacks.with_handler_options(alone(), options);
            let run = |run| streamed(callbacks.clone(), format!("run {run}"), 30);
            let runs = (0..20).map(|number| rt.go(run(number)));
            join_all(runs).await.into_iter().for_each(Result::unwrap);
            callbacks.flush().await.unwrap();
            assert_eq!(causes(&failures), NO_FAILURES);
            assert_eq!(callbacks.stats()[0].handled, 20 * 32);
        }
    }

    /// A handler that emits in its calls gets those events after the call, not inside it.
    async fn a_call_never_overlaps_with_the_call_for_an_event_that_it_emitted(rt) {
        let deliveries: [HandlerOptions; 4] = [
            HandlerOptions::new(),
            Awaited::new().inline().into(),
            Pipelined::new(8).into(),
            Background::new(8).into(),
        ];
        for options in deliveries {
            let own = Arc::new(OnceLock::<CallbackManager>::new());
            let (emits, busy) = (own.clone(), Arc::new(AtomicBool::new(false)));
            let handler = handler_fn(move |event, _| {
                assert!(!busy.swap(true, Ordering::SeqCst), "two calls overlap");
                if matches!(event, Event::Text(text) if text.text == "go") {
                    let own = emits.get().ok_or("not yet")?.clone();
                    block_on(streamed(own, "inner".into(), 3))?;
                }
                assert!(busy.swap(false, Ordering::SeqCst));
                Ok(())
            });
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = callbacks.with_handler_options(handler, options);
            own.set(callbacks.clone()).unwrap();
            let mut run = chain(&callbacks, "outer").await;
            run.on_text("go").await.unwrap();
            run.end(json!(1)).await.unwrap();
            settled(&callbacks).await;
            assert_eq!(causes(&failures), NO_FAILURES);
            assert_eq!(callbacks.stats()[0].handled, 3 + 5);
        }
    }

    /// However much one trace has queued, the others get their turn after 64 events at most.
    async fn traces_are_served_in_turn(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(256));
        let mut long = model(&callbacks, "long").await;
        // The handler is in this call, and the rest waits.
        assert_eq!(grip.entered().await, "long llm_start: prompt");
        for number in 0..200 {
            long.on_llm_new_token(number.to_string()).await.unwrap();
        }
        let mut short = model(&callbacks, "short").await;
        short.on_llm_new_token("a").await.unwrap();
        let late = model(&callbacks, "late").await;
        let mut order = Vec::new();
        for _ in 0..203 {
            grip.let_go();
            order.push(grip.entered().await);
        }
        let place = |of: &str| order.iter().position(|line| line == of).unwrap();
        assert!(place("short llm_start: prompt") <= 64, "{order:?}");
        assert!(place("short token: a") <= 130, "{order:?}");
        assert!(place("late llm_start: prompt") <= 130, "{order:?}");
        let tokens = order.iter().filter(|line| line.starts_with("long token"));
        let numbers = (0..200).map(|number| format!("long token: {number}"));
        assert!(tokens.cloned().eq(numbers), "{order:?}");
        drop(grip);
        drop((long, short, late));
        callbacks.flush().await.unwrap();
    }

    /// Within a trace an async handler's calls do not overlap either; those of two traces may.
    async fn an_async_handler_with_a_queue_takes_traces_side_by_side(rt) {
        let (handler, mut grip) = held_async();
        let callbacks = rt.callbacks().with_async_handler_options(handler, Pipelined::new(8));
        let mut one = model(&callbacks, "one").await;
        one.on_llm_new_token("a").await.unwrap();
        let two = model(&callbacks, "two").await;
        let mut first = [grip.entered().await, grip.entered().await];
        first.sort();
        assert_eq!(first, ["one llm_start: prompt", "two llm_start: prompt"]);
        drop(grip);
        drop((one, two));
        callbacks.flush().await.unwrap();
    }
}
