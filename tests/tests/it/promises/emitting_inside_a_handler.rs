//! At the edge: events that are emitted inside a handler's call. None is awaited on a handler that stands further out: it is queued, and emitting
//! returns; it is an error only where it would have to wait for room.

use std::sync::OnceLock;

use futures_lite::future::block_on;
use rappel_core::{ChainRun, EmitError};
use rappel_tests::on_every_runtime;

use super::*;

/// The manager that a handler of its own emits with.
type Own = Arc<OnceLock<CallbackManager>>;

fn emit(own: &Own, name: &str) -> HandlerResult {
    let callbacks = own.get().ok_or_else(|| HandlerError::new("not yet"))?;
    block_on(async {
        let run = callbacks.on_chain_start(ChainStart::new(name, json!(0))).await?;
        run.on_text("inside").await?;
        run.end(json!(1)).await?;
        Ok(())
    })
}

/// A sync handler that emits a whole run of `name` when it hears of the text `on`.
fn emitting(log: &Log, own: &Own, on: &'static str, name: &'static str) -> impl CallbackHandler + use<> {
    let (log, own) = (log.clone(), own.clone());
    handler_fn(move |event, run| {
        if matches!(event, Event::Text(text) if text.text == on) {
            emit(&own, name)?;
        }
        log.write(format!("{}: {}", run.name(), line(event)));
        Ok(())
    })
}

/// What is emitted in a call comes after a flush that began before that.
async fn handled_with_what_it_emitted(callbacks: &CallbackManager) {
    callbacks.flush().await;
    callbacks.flush().await;
}

const INNER: [&str; 3] = ["inner: chain_start: 0", "inner: text: inside", "inner: chain_end: 1"];

on_every_runtime! {
    /// A handler that hears of what it emits: after the call in which it did.
    async fn to_itself(rt) {
        let options = HandlerOptions::new;
        for mode in 0..3 {
            let (log, own) = (Log::new(), Own::default());
            let handler = emitting(&log, &own, "go", "inner");
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = match mode {
                0 => callbacks.with_handler(handler),
                1 => callbacks.with_handler_options(handler, options().run_inline(true)),
                _ => callbacks.with_handler_options(handler, options().delivery(Pipelined { capacity: 2 })),
            };
            own.set(callbacks.clone()).unwrap();
            let run = chain(&callbacks, "outer").await;
            run.on_text("go").await.unwrap();
            handled_with_what_it_emitted(&callbacks).await;
            assert_eq!(log.lines()[..2], ["outer: chain_start: 0", "outer: text: go"]);
            assert_eq!(log.lines()[2..], INNER);
            run.end(json!(1)).await.unwrap();
            assert_eq!(causes(&failures), Vec::<String>::new());
        }
    }

    /// A emits what B hears, who emits what A hears, whose call goes on.
    async fn in_a_circle_of_two(rt) {
        let (a, b, own) = (Log::new(), Log::new(), Own::default());
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks
            .with_handler(emitting(&a, &own, "go", "inner"))
            .with_handler(emitting(&b, &own, "inside", "innermost"));
        own.set(callbacks.clone()).unwrap();
        let run = chain(&callbacks, "outer").await;
        // The innermost run's text makes B emit inside of itself once more, and so on, until it is too deep.
        run.on_text("go").await.unwrap();
        run.end(json!(1)).await.unwrap();
        while callbacks.stats().iter().any(|stats| stats.pending > 0) {
            callbacks.flush().await;
        }
        let of = |log: &Log, name: &str| log.lines().into_iter().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        for log in [&a, &b] {
            assert_eq!(of(log, "outer"), ["outer: chain_start: 0", "outer: text: go", "outer: chain_end: 1"]);
            assert_eq!(of(log, "inner:"), INNER);
        }
        assert!(!of(&b, "innermost").is_empty());
        // An endless circle ends in an error, which is a failure of the handler that emitted.
        let causes = causes(&failures);
        assert!(!causes.is_empty() && causes.iter().all(|cause| cause.contains("without an end")), "{causes:?}");
    }

    /// A run whose start was one too many is none, also for whoever keeps it and goes on elsewhere.
    async fn a_start_that_is_too_deep(rt) {
        let (own, log, kept) = (Own::default(), Log::new(), Arc::new(Mutex::new(None)));
        let (emits, keeps) = (own.clone(), kept.clone());
        let circle = async_handler_fn(move |event, _| {
            let starts = matches!(event, Event::ChainStart(_)).then(|| (emits.clone(), keeps.clone()));
            async move {
                if let Some((emits, keeps)) = starts {
                    let callbacks = emits.get().ok_or_else(|| HandlerError::new("not yet"))?;
                    if let Err(error) = Box::pin(callbacks.on_chain_start(ChainStart::new("inner", json!(0)))).await {
                        assert!(matches!(error.error(), EmitError::TooDeep));
                        *keeps.lock().unwrap() = Some(error.into_run());
                    }
                }
                Ok(())
            }
        });
        let (callbacks, failures) = reporting(rt.callbacks().with_async_handler(circle));
        let callbacks = callbacks.with_handler_options(sync(log.clone()), HandlerOptions::new().run_inline(true));
        own.set(callbacks.clone()).unwrap();
        chain(&callbacks, "outer").await.end(json!(1)).await.unwrap();
        callbacks.flush().await;
        let before = log.lines();
        let never_started = kept.lock().unwrap().take().unwrap();
        assert!(matches!(never_started.on_text("of no run").await, Err(EmitError::RunClosed)));
        assert!(matches!(never_started.end(json!(1)).await, Err(EmitError::RunClosed)));
        callbacks.flush().await;
        assert_eq!(log.lines(), before);
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    /// Where there is no more room in its mailbox, waiting would never end.
    async fn more_than_there_is_room_for(rt) {
        let (log, own) = (Log::new(), Own::default());
        let (writes, emits) = (log.clone(), own.clone());
        let handler = handler_fn(move |event, run| {
            if matches!(event, Event::Text(text) if text.text == "go") {
                let callbacks = emits.get().ok_or_else(|| HandlerError::new("not yet"))?;
                block_on(async {
                    let inner = callbacks.on_chain_start(ChainStart::new("inner", json!(0))).await?;
                    inner.on_text("1").await?;
                    inner.on_text("2").await?;
                    let error = inner.on_text("3").await.expect_err("there is no room for it");
                    writes.write(format!("{error}"));
                    inner.end(json!(1)).await?;
                    Ok::<_, HandlerError>(())
                })?;
            }
            writes.write(format!("{}: {}", run.name(), line(event)));
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let options = HandlerOptions::new().delivery(Pipelined { capacity: 2 }).name("emits");
        let callbacks = callbacks.with_handler_options(handler, options);
        own.set(callbacks.clone()).unwrap();
        let run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        handled_with_what_it_emitted(&callbacks).await;
        run.end(json!(1)).await.unwrap();
        assert_eq!(log.lines()[1..], [
            "a handler waits for itself: handler `emits` failed in on_text: not called, as it would have to wait for itself",
            "outer: text: go", "inner: chain_start: 0", "inner: text: 1", "inner: text: 2", "inner: chain_end: 1", "outer: chain_end: 1",
        ]);
        assert_eq!(causes(&failures), ["on_text: not called, as it would have to wait for itself"]);
    }

    /// The very run whose event is being handled: that event would have to be handled first.
    async fn on_the_run_whose_event_it_handles(rt) {
        let (own, errors) = (Arc::new(OnceLock::<ChainRun>::new()), Log::new());
        let (run, writes) = (own.clone(), errors.clone());
        let asynchronous = async_handler_fn(move |event, _| {
            let run = matches!(event, Event::Text(_)).then(|| run.clone());
            let writes = writes.clone();
            async move {
                if let Some(run) = run.as_ref().and_then(|run| run.get()) {
                    let error = run.on_text("inside").await.unwrap_err();
                    assert!(matches!(error, EmitError::RunBusy));
                    writes.write(error.to_string());
                }
                Ok(())
            }
        });
        let (run, writes) = (own.clone(), errors.clone());
        let sync = handler_fn(move |event, _| {
            if let (Event::Text(_), Some(run)) = (event, run.get()) {
                writes.write(block_on(run.on_text("inside")).unwrap_err().to_string());
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks.with_async_handler(asynchronous).with_handler(sync);
        let run = chain(&callbacks, "run").await;
        own.set(run).unwrap();
        own.get().unwrap().on_text("outside").await.unwrap();
        assert_eq!(errors.lines(), ["a handler waits for the event that it handles"; 2]);
        assert_eq!(causes(&failures), Vec::<String>::new());
        drop(own);
        drop(callbacks);
    }

    /// A task that a handler spawns and does not wait for is inside no call, once that is over.
    async fn a_task_that_outlives_the_call_waits_like_everybody(rt) {
        let (log, own) = (Log::new(), Own::default());
        let (go, over) = futures_channel::oneshot::channel::<()>();
        let over = Mutex::new(Some(over));
        let (done, is_done) = futures_channel::oneshot::channel();
        let done = Mutex::new(Some(done));
        let (spawner, writes, emits) = (rt.clone(), log.clone(), own.clone());
        let handler = handler_fn(move |event, run| {
            if matches!(event, Event::Text(text) if text.text == "go") {
                let (over, done) = (over.lock().unwrap().take().unwrap(), done.lock().unwrap().take().unwrap());
                let (callbacks, log) = (emits.get().unwrap().clone(), writes.clone());
                let task = async move {
                    over.await.unwrap();
                    streamed(callbacks, "task".into(), 1).await.unwrap();
                    // Awaited as ever: the handler has handled the end when that comes back.
                    done.send(log.lines()).unwrap();
                };
                drop(spawner.go(task.in_current_run()));
            }
            writes.write(format!("{}: {}", run.name(), line(event)));
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(handler);
        own.set(callbacks.clone()).unwrap();
        let run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        go.send(()).unwrap();
        let seen = is_done.await.unwrap();
        assert_eq!(seen[2..], ["task: llm_start: prompt", "task: token: 0 ", "task: llm_end: all"]);
        run.end(json!(1)).await.unwrap();
    }
}
