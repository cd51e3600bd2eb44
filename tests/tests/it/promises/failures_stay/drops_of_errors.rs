//! Errors of handlers and of emitters that panic in `Drop`.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;

use super::drops::Bomb;
use super::watched::{ASYNC, SYNC};
use super::*;

/// An error that panics when it is dropped.
#[derive(Debug)]
struct Explosive(#[allow(dead_code, reason = "its drop matters")] Bomb);

impl fmt::Display for Explosive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("explosive")
    }
}

impl std::error::Error for Explosive {}

fn answer() -> HandlerResult {
    Err(Explosive(Bomb).into())
}

/// Counts the failures that are reported, without keeping them.
fn counting(callbacks: CallbackManager) -> (CallbackManager, Arc<AtomicUsize>) {
    let reported = Arc::new(AtomicUsize::new(0));
    let counted = reported.clone();
    let callbacks = callbacks.on_handler_failure(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    (callbacks, reported)
}

on_every_runtime! {
    /// A handler that answers every event with such an error stands between others of every
    /// delivery.
    async fn an_async_handlers_errors_may_panic_when_they_are_dropped(rt) {
        for (name, options) in ASYNC {
            let (callbacks, reported) = counting(rt.callbacks());
            let fails = async_handler_fn(async |_: &Event, _: &EventContext| answer());
            let callbacks = callbacks.with_async_handler_options(fails, options());
            let watched = Watched::on(callbacks);
            let runs = (0..2).map(|run| {
                rt.go(streamed(watched.callbacks.clone(), format!("run {run}"), 2))
            });
            join_all(runs).await.into_iter().for_each(Result::unwrap);
            watched.callbacks.flush().await.unwrap();
            for run in 0..2 {
                for (handler, lines) in watched.of(&format!("run {run}")) {
                    assert_eq!(lines, whole(2), "{handler} beside {name}");
                }
            }
            let stats = &watched.callbacks.stats()[0];
            assert_eq!((stats.handled, stats.failed, stats.pending), (0, 2 * 4, 0), "{name}");
            assert_eq!(reported.load(Ordering::SeqCst), 2 * 4, "{name}");
        }
    }

    /// The lane goes on: events of other runs are in it too.
    async fn a_sync_handlers_errors_may_panic_when_they_are_dropped(rt) {
        for (name, options) in SYNC {
            let (callbacks, reported) = counting(rt.callbacks());
            let log = Log::new();
            let mut inner = sync(log.clone());
            let fails = handler_fn(move |event: &Event, cx: &EventContext| {
                inner.on_event(event, cx)?;
                answer()
            });
            let callbacks = callbacks.with_handler_options(fails, options());
            let watched = Watched::on(callbacks);
            let runs = (0..2).map(|run| {
                rt.go(streamed(watched.callbacks.clone(), format!("run {run}"), 2))
            });
            join_all(runs).await.into_iter().for_each(Result::unwrap);
            watched.callbacks.flush().await.unwrap();
            for run in 0..2 {
                for (handler, lines) in watched.of(&format!("run {run}")) {
                    assert_eq!(lines, whole(2), "{handler} beside {name}");
                }
            }
            assert_eq!(log.lines().len(), 2 * 4, "{name}");
            let stats = &watched.callbacks.stats()[0];
            assert_eq!((stats.handled, stats.failed, stats.pending), (0, 2 * 4, 0), "{name}");
            assert_eq!(reported.load(Ordering::SeqCst), 2 * 4, "{name}");
        }
    }

    /// The error that a run fails with goes to all handlers, and the last one drops it.
    async fn a_runs_error_may_panic_when_it_is_dropped(rt) {
        let watched = Watched::new(&rt);
        for _ in 0..5 {
            let run = model(&watched.callbacks, "run").await;
            run.fail(Explosive(Bomb)).await.unwrap();
        }
        watched.callbacks.flush().await.unwrap();
        for (handler, lines) in watched.of("run") {
            assert_eq!(lines, ["llm_start: prompt", "llm_error: failed: "].repeat(5), "{handler}");
        }
        let stats = watched.callbacks.stats();
        assert!(stats.iter().all(|stats| (stats.failed, stats.pending) == (0, 0)), "{stats:?}");
    }
    /// Work that fails, with a handler whose error at the end nobody gets.
    async fn a_handlers_error_may_panic_when_it_is_dropped_beside_the_error_of_the_work(rt) {
        let fails = async_handler_fn(async |event: &Event, _: &EventContext| match event {
            Event::ChainError(_) | Event::LlmError(_) => answer(),
            _ => Ok(()),
        });
        let (callbacks, reported) = counting(rt.callbacks());
        let callbacks = callbacks.with_async_handler_options(fails, Awaited::new().raise_error());
        let work = async { Err::<(), _>(RunError::failed("of the work")) };
        let error = work.in_chain(&callbacks, "chain", json!(0)).await.unwrap_err();
        assert!(error.to_string().contains("of the work"), "{error}");
        let broken = stream::iter([Err::<LlmChunk, _>("of the work")]);
        let mut broken = broken.with_callbacks(model(&callbacks, "run").await);
        let error = broken.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("of the work"), "{error}");
        assert_eq!(reported.load(Ordering::SeqCst), 2);
    }
}
