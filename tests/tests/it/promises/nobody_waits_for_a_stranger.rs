//! 4. Nobody waits for a stranger: a slow handler delays the emitter if it is awaited, and no other handler's current event. Requests with handlers
//!    of their own never delay each other.

use rappel_tests::held::{Grip, held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

/// An awaited handler of each kind that is held in its first call, and beside them everybody else.
async fn with_held(rt: &Rt) -> (Watched, [Grip; 2]) {
    let mut watched = Watched::new(rt);
    let ((sync, sync_grip), (asynchronous, async_grip)) = (held(), held_async());
    watched.callbacks = watched.callbacks.with_handler(sync).with_async_handler(asynchronous);
    (watched, [sync_grip, async_grip])
}

on_every_runtime! {
    async fn the_others_get_the_event_meanwhile(rt: with_blocking_threads) {
        let (watched, grips) = with_held(&rt).await;
        let run = rt.go(streamed(watched.callbacks.clone(), "run".into(), 0));
        for mut grip in grips {
            assert_eq!(grip.entered().await, "run llm_start: prompt");
            // All others but the inline ones, which come first anyway, see the start while this one is still in it.
            for (_, log) in watched.logs.iter() {
                while log.lines().is_empty() {
                    futures_lite::future::yield_now().await;
                }
            }
        }
        run.await.unwrap();
    }

    /// One request's handler hangs; another request, with a handler of its own, is through.
    async fn requests_with_handlers_of_their_own(rt: with_blocking_threads) {
        let ((slow, mut grip), log) = (held(), Log::new());
        let callbacks = rt.callbacks();
        let hangs = rt.go(streamed(callbacks.clone().with_handler(slow), "hangs".into(), 1));
        assert_eq!(grip.entered().await, "hangs llm_start: prompt");
        for number in 0..20 {
            let own = callbacks.clone().with_handler(sync(log.clone()));
            streamed(own, format!("run {number}"), 3).await.unwrap();
        }
        assert_eq!(log.lines().len(), 100);
        drop(grip);
        hangs.await.unwrap();
    }

    /// Whoever is not awaited delays nobody, not even the emitter.
    async fn handlers_in_the_background_hold_up_nobody(rt) {
        let ((sync, sync_grip), (asynchronous, async_grip)) = (held(), held_async());
        let background = || HandlerOptions::new().delivery(Background { capacity: 2, open_runs: 2 });
        let callbacks = rt.callbacks()
            .with_handler_options(sync, background())
            .with_async_handler_options(asynchronous, background());
        for run in 0..5 {
            streamed(callbacks.clone(), format!("run {run}"), 10).await.unwrap();
        }
        drop((sync_grip, async_grip));
        callbacks.flush().await;
    }

    /// A mailbox is a run's own: one that is full stops its own run, and no other.
    async fn a_full_mailbox_is_its_own_runs_affair(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, HandlerOptions::new().delivery(Pipelined { capacity: 1 }));
        let full = callbacks.on_llm_start(LlmStart::new("full", "")).await.unwrap();
        assert_eq!(grip.entered().await, "full llm_start: ");
        full.on_llm_new_token("a").await.unwrap();
        let mut waits = full.on_llm_new_token("b");
        assert!(futures_lite::future::poll_once(&mut waits).await.is_none());
        let other = callbacks.on_llm_start(LlmStart::new("other", "")).await.unwrap();
        other.on_llm_new_token("a").await.unwrap();
        drop(grip);
        waits.await.unwrap();
        drop((full, other));
        callbacks.flush().await;
    }
}
