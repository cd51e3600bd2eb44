//! 8. Nothing accepted is lost: `flush` returns when all that was emitted before it is handled; `shutdown` waits for open runs until the deadline,
//!    marks the rest closed, delivers, and reports what it could not.

use std::time::Duration;

use futures_lite::future::{poll_once, yield_now};
use rappel_core::EmitError;
use rappel_tests::held::held;
use rappel_tests::on_every_runtime;

use super::*;

/// Nobody waits for so long: whoever comes to it hangs.
const LONG: Duration = Duration::from_secs(600);
/// What a test waits for in full.
const SHORT: Duration = Duration::from_millis(50);

fn queued() -> HandlerOptions<Background> {
    HandlerOptions::new().delivery(Background {
        capacity: 100,
        open_runs: 100,
    })
}

on_every_runtime! {
    async fn a_flush_waits_for_what_nobody_waits_for(rt) {
        for _ in 0..50 {
            let log = Log::new();
            let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), queued());
            streamed(callbacks.clone(), "run".into(), 10).await.unwrap();
            callbacks.flush().await;
            assert_eq!(log.lines().len(), 12);
            assert_eq!(callbacks.stats()[0].pending, 0);
        }
    }

    /// What comes after it is not its affair: it returns while others go on emitting, and something is always under way.
    async fn a_flush_does_not_wait_for_what_comes_after_it(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, queued());
        let first = chain(&callbacks, "first").await;
        assert_eq!(grip.entered().await, "first chain_start: 0");
        let mut flush = callbacks.flush();
        let second = chain(&callbacks, "second").await;
        assert!(poll_once(&mut flush).await.is_none());
        grip.let_go();
        // The second start is in its call, and stays there.
        assert_eq!(grip.entered().await, "second chain_start: 0");
        flush.await;
        let mut late = callbacks.flush();
        assert!(poll_once(&mut late).await.is_none());
        drop(grip);
        late.await;
        drop((first, second));
        callbacks.flush().await;
    }

    /// Flushes beside flushes, each for what was before it.
    async fn many_flushes_at_once(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), queued());
        let tasks = (0..20).map(|run| {
            let (callbacks, log) = (callbacks.clone(), log.clone());
            rt.go(async move {
                let name = format!("run {run}");
                streamed(callbacks.clone(), name.clone(), 10).await.unwrap();
                callbacks.flush().await;
                let prefix = format!("{name}: ");
                assert_eq!(log.lines().iter().filter(|line| line.starts_with(&prefix)).count(), 12);
            })
        });
        futures_util::future::join_all(tasks).await;
    }

    async fn a_flush_of_one_handler_waits_for_no_other(rt: with_blocking_threads) {
        let ((slow, mut grip), log) = (held(), Log::new());
        let mut callbacks = rt.callbacks();
        let held = callbacks.add_handler_options(slow, queued());
        let quick = callbacks.add_handler_options(sync(log.clone()), queued());
        streamed(callbacks.clone(), "run".into(), 10).await.unwrap();
        assert_eq!(grip.entered().await, "run llm_start: prompt");
        callbacks.flush_handler(quick).await;
        assert_eq!(log.lines().len(), 12);
        let mut flush = callbacks.flush_handler(held);
        assert!(poll_once(&mut flush).await.is_none());
        drop(grip);
        flush.await;
        assert_eq!(callbacks.stats()[0].handled, 12);
        // One that is not there has nothing to handle.
        callbacks.remove_handler(quick);
        callbacks.flush_handler(quick).await;
    }

    /// Also for the end of a run that was dropped just now.
    async fn a_flush_of_a_handler_after_a_drop(rt) {
        for _ in 0..20 {
            let watched = Watched::new(&rt);
            let ids: Vec<_> = watched.callbacks.stats().iter().map(|stats| stats.id).collect();
            drop(chain(&watched.callbacks, "run").await);
            for (id, (name, log)) in ids.into_iter().zip(&watched.logs) {
                watched.callbacks.flush_handler(id).await;
                assert_eq!(log.lines(), ["run: chain_start: 0", "run: chain_error: cancelled"], "{name}");
            }
        }
    }

    /// Also of a handler on the emitter's task, and of one that waits for its turn behind an inline one.
    async fn a_flush_of_a_handler_on_the_emitters_task(rt) {
        let ((inline, mut inline_grip), (own, mut grip), log) =
            (rappel_tests::held::held_async(), rappel_tests::held::held_async(), Log::new());
        let mut callbacks = rt.callbacks().with_async_handler_options(inline, HandlerOptions::new().run_inline(true));
        let own = callbacks.add_async_handler(own);
        let last = callbacks.add_handler(sync(log.clone()));
        let emitter = rt.go({ let callbacks = callbacks.clone(); async move { chain(&callbacks, "run").await } });
        inline_grip.entered().await;
        // The emit's poll goes on, on another thread perhaps; with its end the event is emitted.
        while callbacks.stats()[1].pending == 0 {
            yield_now().await;
        }
        let (mut of_own, mut of_last) = (callbacks.flush_handler(own), callbacks.flush_handler(last));
        assert!(poll_once(&mut of_own).await.is_none());
        assert!(poll_once(&mut of_last).await.is_none());
        inline_grip.let_go();
        grip.entered().await;
        of_last.await;
        assert_eq!(log.lines().len(), 1);
        assert!(poll_once(&mut of_own).await.is_none());
        grip.let_go();
        of_own.await;
        drop((inline_grip, grip));
        drop(emitter.await);
        callbacks.flush().await;
    }

    /// Open runs go on to their end, and what starts inside them; nothing else starts.
    async fn a_shutdown_waits_for_open_runs(rt) {
        let log = Log::new();
        let callbacks = CallbackManager::new(rt.clone()).with_handler(sync(log.clone()));
        let erased = callbacks.clone().erase();
        let open = chain(&erased, "open").await;
        let shutdown = rt.go({ let callbacks = callbacks.clone(); async move { callbacks.shutdown(LONG).await } });
        let refused = loop {
            // The shutdown begins when its task is polled.
            match erased.on_chain_start(ChainStart::new("late", json!(0))).await {
                Ok(run) => run.end(json!(1)).await.unwrap(),
                Err(error) => break error,
            }
            yield_now().await;
        };
        assert!(matches!(refused.error(), EmitError::ShutDown), "{refused}");
        let refused = refused.into_run();
        assert!(refused.on_text("of no account").await.is_err());
        drop(refused);
        streamed(open.child(None), "inside".into(), 1).await.unwrap();
        open.on_text("goes on").await.unwrap();
        open.end(json!(1)).await.unwrap();
        let report = shutdown.await;
        assert!(report.is_clean(), "{report:?}");
        let seen: Vec<String> = log.lines().into_iter().filter(|line| !line.starts_with("late")).collect();
        assert_eq!(seen, [
            "open: chain_start: 0", "inside: llm_start: prompt", "inside: token: 0 ", "inside: llm_end: all", "open: text: goes on",
            "open: chain_end: 1",
        ]);
        assert_eq!(report.handlers[0].handled, log.lines().len());
    }

    /// At the deadline the rest is closed, what is inside first; the handlers hear of it before the shutdown is over.
    async fn a_shutdown_closes_what_does_not_end(rt) {
        let log = Log::new();
        let callbacks = CallbackManager::new(rt.clone()).with_handler(sync(log.clone()));
        let erased = callbacks.clone().erase();
        let outer = chain(&erased, "outer").await;
        let inner = outer.child(None).on_llm_start(LlmStart::new("inner", "prompt")).await.unwrap();
        inner.on_llm_new_token("partial").await.unwrap();
        let report = callbacks.shutdown(SHORT).await;
        assert_eq!(report.closed_runs, 2);
        assert_eq!(log.lines()[2..], [
            "inner: token: partial", "inner: llm_error: cancelled: partial", "outer: chain_error: cancelled",
        ]);
        // Whoever still holds them can do no harm.
        assert!(matches!(inner.on_llm_new_token("late").await, Err(EmitError::ShutDown)));
        assert!(matches!(outer.end(json!(1)).await, Err(EmitError::ShutDown)));
        drop(inner);
        assert!(matches!(chain_fails(&erased).await, EmitError::ShutDown));
        assert!(matches!(erased.on_custom_event(rappel_core::CustomEvent::new("late", json!(0))).await, Err(EmitError::ShutDown)));
        // Once more: nothing happens, and the same is told.
        let again = callbacks.shutdown(LONG).await;
        assert_eq!(again, report);
        assert_eq!(log.lines().len(), 5);
    }

    /// A handler that hangs keeps it from being delivered, not from coming back.
    async fn a_shutdown_tells_what_it_left(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = CallbackManager::new(rt.clone())
            .with_handler_options(handler, queued().name("hangs"))
            .with_handler_options(sync(Log::new()), queued().name("quick"));
        let erased = callbacks.clone().erase();
        let run = chain(&erased, "run").await;
        run.on_text("a").await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert_eq!(grip.entered().await, "run chain_start: 0");
        let report = callbacks.shutdown(SHORT).await;
        let numbers: Vec<_> = report.handlers.iter().map(|stats| (&*stats.name, stats.handled, stats.pending)).collect();
        assert_eq!(numbers, [("hangs", 0, 3), ("quick", 3, 0)]);
        assert!(!report.is_clean());
        drop(grip);
        callbacks.flush().await;
        // By now it is delivered after all.
        assert_eq!(callbacks.shutdown(LONG).await.handlers[0].handled, 3);
    }

    /// A shutdown that is given up leaves things where they are; another one goes on from there.
    async fn a_shutdown_that_is_dropped(rt) {
        let callbacks = CallbackManager::new(rt.clone()).with_handler(sync(Log::new()));
        let erased = callbacks.clone().erase();
        let run = chain(&erased, "run").await;
        let mut shutdown = Box::pin(callbacks.shutdown(LONG));
        assert!(poll_once(&mut shutdown).await.is_none());
        drop(shutdown);
        assert!(matches!(chain_fails(&erased).await, EmitError::ShutDown));
        run.on_text("goes on").await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert!(callbacks.shutdown(LONG).await.is_clean());
    }
}

async fn chain_fails(callbacks: &CallbackManager) -> EmitError {
    callbacks
        .on_chain_start(ChainStart::new("late", json!(0)))
        .await
        .unwrap_err()
        .error()
        .clone()
}
