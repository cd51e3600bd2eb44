//! 5. A failure stays where it is: an error, a panic or a time-out of one handler harms no other and not the run, unless it was registered with
//!    `raise_error`; then the emitter gets it, after all others have seen the event. Each is counted and reported.
//!
//! Errors and panics of handlers that are awaited: see `failures_stay_where_they_are`.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use rappel_core::{AsyncCallbackHandler, EmitError, FailureCause, HandlerFuture, RunInfo};
use rappel_tests::held::{held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

/// Long enough for a handler that does nothing, also on a busy machine; and what a test waits for where a handler is held.
const SHORT: Duration = Duration::from_millis(50);

fn typed(rt: &Rt) -> (CallbackManager<Rt>, Failures) {
    reporting(CallbackManager::new(rt.clone()))
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

/// Its futures are ready at once, and panic when they are dropped. For some events, it panics before that.
struct Explosive(fn(&Event) -> bool);

impl AsyncCallbackHandler for Explosive {
    fn on_event<'a>(&'a self, event: &'a Event, _: &'a RunInfo) -> HandlerFuture<'a> {
        assert!(!(self.0)(event), "called");
        let bomb = Bomb;
        HandlerFuture::new(poll_fn(move |_| {
            let _ = &bomb;
            Poll::Ready(Ok(()))
        }))
    }
}

fn timed_out(event: &str) -> String {
    format!("{event}: no answer within 50ms")
}

on_every_runtime! {
    async fn failures_of_handlers_that_nobody_waits_for(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
        let fails = || handler_fn(|event, _| match event {
            Event::LlmNewToken(_) => Err(HandlerError::new("it broke")),
            Event::LlmEnd(_) => panic!("it broke"),
            _ => Ok(()),
        });
        let log = Log::new();
        let callbacks = callbacks
            .with_handler_options(fails(), HandlerOptions::new().delivery(Pipelined { capacity: 4 }))
            .with_handler_options(fails(), HandlerOptions::new().delivery(Background { capacity: 4, open_runs: 4 }))
            .with_handler(sync(log.clone()));
        streamed(callbacks.clone(), "run".into(), 1).await.unwrap();
        callbacks.flush().await;
        let mut told = causes(&failures);
        told.sort();
        assert_eq!(told, [
            "on_llm_end: panicked: it broke", "on_llm_end: panicked: it broke", "on_llm_new_token: it broke", "on_llm_new_token: it broke",
        ]);
        assert_eq!(log.lines().len(), 3);
        for stats in &callbacks.stats()[..2] {
            assert_eq!((stats.handled, stats.failed, stats.pending), (1, 2, 0));
        }
    }

    /// An async call is dropped when its time is up, wherever it is made.
    async fn an_async_call_that_times_out(rt) {
        for options in [HandlerOptions::new(), HandlerOptions::new().on_runtime()] {
            let ((handler, mut grip), log) = (held_async(), Log::new());
            let (callbacks, failures) = typed(&rt);
            let callbacks = callbacks.with_async_handler_options(handler, options.timeout(SHORT)).with_handler(sync(log.clone()));
            let run = chain(&callbacks.clone().erase(), "run").await;
            assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
            // The next one is called as ever.
            assert_eq!(grip.entered().await, "run chain_start: 0");
            grip.let_go();
            grip.let_go();
            run.on_text("a").await.unwrap();
            run.end(json!(1)).await.unwrap();
            assert_eq!(grip.entered().await, "run text: a");
            assert_eq!(grip.entered().await, "run chain_end: 1");
            assert_eq!(log.lines().len(), 3);
            let stats = &callbacks.stats()[0];
            assert_eq!((stats.handled, stats.failed), (2, 1));
        }
    }

    /// An async call whose time is up is dropped, and that panics: it harms neither those who are called beside it, nor what it has still to handle.
    async fn an_async_call_that_times_out_and_panics_then(rt) {
        let beside = Log::new();
        let (opens, gate) = futures_channel::oneshot::channel::<()>();
        let gate = futures_util::FutureExt::shared(gate);
        let log = beside.clone();
        let beside_it = async_handler_fn(move |event, _| {
            let (log, line, gate) = (log.clone(), line(event), gate.clone());
            async move {
                let _ = gate.await;
                log.write(line);
                Ok(())
            }
        });
        let never_ready = || {
            async_handler_fn(|event, _| {
                let never = matches!(event, Event::ChainStart(_));
                async move {
                    if never {
                        let _bomb = Bomb;
                        std::future::pending::<()>().await;
                    }
                    Ok(())
                }
            })
        };
        let opens = Mutex::new(Some(opens));
        let failures = Failures::default();
        let kept = failures.clone();
        let callbacks = CallbackManager::new(rt.clone()).on_handler_failure(move |failure| {
            let mut kept = kept.lock().unwrap();
            kept.push(failure.clone());
            // Both have timed out.
            if kept.len() == 2 {
                drop(opens.lock().unwrap().take());
            }
        });
        let callbacks = callbacks
            .with_async_handler_options(never_ready(), HandlerOptions::new().timeout(SHORT))
            .with_async_handler_options(never_ready(), HandlerOptions::new().delivery(Pipelined { capacity: 4 }).timeout(SHORT))
            .with_async_handler(beside_it);
        let run = chain(&callbacks.clone().erase(), "run").await;
        run.on_text("a").await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert_eq!(causes(&failures), [timed_out("on_chain_start"), timed_out("on_chain_start")]);
        assert_eq!(beside.lines(), ["chain_start: 0", "text: a", "chain_end: 1"]);
        for stats in &callbacks.stats()[..2] {
            assert_eq!((stats.handled, stats.failed), (2, 1));
        }
    }

    /// Whoever has answered has handled the event, whatever its future does when it is dropped; and those after it are called all the same.
    async fn an_async_handler_whose_future_panics_when_it_is_dropped(rt) {
        let log = Log::new();
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks
            .with_async_handler(Explosive(|_| false))
            .with_async_handler(Explosive(|event| matches!(event, Event::Text(_))))
            .with_async_handler(asynchronous(log.clone()));
        let run = chain(&callbacks, "run").await;
        for text in ["a", "b"] {
            run.on_text(text).await.unwrap();
        }
        run.end(json!(1)).await.unwrap();
        assert_eq!(log.lines().len(), 4);
        assert_eq!(causes(&failures), ["on_text: panicked: called", "on_text: panicked: called"]);
        let counts: Vec<_> = callbacks.stats().iter().map(|stats| (stats.handled, stats.failed)).collect();
        assert_eq!(counts, [(4, 0), (2, 2), (4, 0)]);
    }

    /// What panics as its time is up does not have the emitter go on before the others are through.
    async fn whoever_panics_as_its_time_is_up_is_not_the_last_to_be_waited_for(rt: with_blocking_threads) {
        let (explodes, exploded) = futures_channel::oneshot::channel::<()>();
        let explodes = Arc::new(Mutex::new(Some(explodes)));
        let never_ready = async_handler_fn(move |event, _| {
            let signal = matches!(event, Event::ChainStart(_)).then(|| explodes.lock().unwrap().take());
            async move {
                if let Some(signal) = signal {
                    // In this order: dropped last first.
                    let _bomb = Bomb;
                    let _signal = signal;
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        });
        let (handler, mut grip) = held();
        let (callbacks, failures) = typed(&rt);
        let callbacks = callbacks
            .with_async_handler_options(never_ready, HandlerOptions::new().timeout(SHORT).raise_error(true))
            .with_handler(handler)
            .erase();
        let start = Box::pin(callbacks.on_chain_start(ChainStart::new("run", json!(0))));
        let start = match futures_util::future::select(start, exploded).await {
            futures_util::future::Either::Left(_) => panic!("another handler is in its call"),
            futures_util::future::Either::Right((_, start)) => start,
        };
        assert_eq!(grip.entered().await, "run chain_start: 0");
        grip.let_go();
        let error = start.await.expect_err("it is raised");
        assert!(matches!(error.error(), EmitError::Raised(failure) if matches!(failure.cause, FailureCause::TimedOut(_))));
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
        drop(grip);
        drop(error);
        callbacks.flush().await;
    }

    /// Another one's lane is the last to have it, and what it drops panics.
    async fn a_handler_that_panics_when_it_is_dropped(rt: with_blocking_threads) {
        let ((handler, mut grip), log) = (held(), Log::new());
        let (callbacks, failures) = reporting(rt.callbacks());
        let background = || HandlerOptions::new().delivery(Background { capacity: 8, open_runs: 8 });
        let all = callbacks.with_handler_options((handler, sync(log.clone())), background());
        let bomb = Bomb;
        let explodes = async_handler_fn(move |_, _| {
            let _ = &bomb;
            async { Ok(()) }
        });
        let short_lived = all.clone().with_async_handler(explodes);
        let run = chain(&short_lived, "first").await;
        drop(short_lived);
        run.end(json!(1)).await.unwrap();
        let run = chain(&all, "second").await;
        run.end(json!(1)).await.unwrap();
        assert_eq!(grip.entered().await, "first chain_start: 0");
        drop(grip);
        all.flush().await;
        assert_eq!(causes(&failures), Vec::<String>::new());
        assert_eq!(log.lines(), [
            "first: chain_start: 0", "second: chain_start: 0", "first: chain_end: 1", "second: chain_end: 1",
        ]);
    }

    /// A sync call cannot be stopped: while it is out, everything else for its handler fails at once, and nobody waits for it.
    async fn a_sync_call_that_times_out(rt: with_blocking_threads) {
        let ((handler, mut grip), log) = (held(), Log::new());
        let (callbacks, failures) = typed(&rt);
        let callbacks = callbacks.with_handler_options(handler, HandlerOptions::new().timeout(SHORT)).with_handler(sync(log.clone()));
        let erased = callbacks.clone().erase();
        let run = chain(&erased, "run").await;
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
        run.on_text("missed").await.unwrap();
        // A run whose start it missed it hears nothing of, also later.
        let unknown = chain(&erased, "unknown").await;
        assert_eq!(causes(&failures)[1..], [
            "on_text: not called, as a call that has timed out still goes on",
            "on_chain_start: not called, as a call that has timed out still goes on",
        ]);
        // What was given up on is no longer waited for, by nobody.
        callbacks.flush().await;
        assert_eq!(callbacks.stats()[0].pending, 0);

        assert_eq!(grip.entered().await, "run chain_start: 0");
        let rest = grip.open();
        // Back from its call, it is called again; sooner or later, as the test cannot see it come back.
        while callbacks.stats()[0].handled == 0 {
            run.on_text("heard").await.unwrap();
        }
        unknown.on_text("of no account").await.unwrap();
        unknown.end(json!(1)).await.unwrap();
        run.end(json!(1)).await.unwrap();
        drop((callbacks, erased));
        let rest = rest.await;
        assert_eq!((rest.first().unwrap().as_str(), rest.last().unwrap().as_str()), ("run text: heard", "run chain_end: 1"));
        assert!(rest.iter().all(|line| line.starts_with("run ")), "{rest:?}");
        assert!(log.lines().contains(&"unknown: text: of no account".to_owned()));
    }

    /// What it missed while it was busy is told with its next event.
    async fn a_busy_handler_is_told_what_it_missed(rt: with_blocking_threads) {
        let (enters, mut entered) = futures_channel::mpsc::unbounded();
        let (go, waits) = std::sync::mpsc::channel::<()>();
        let losses = Arc::new(Mutex::new(Vec::new()));
        let kept = losses.clone();
        let mut first = true;
        let handler = handler_fn(move |event, _| {
            kept.lock().unwrap().push((event.sequence(), event.losses().dropped, event.losses().refused_runs));
            if !std::mem::replace(&mut first, false) && event.sequence() == 1 {
                enters.unbounded_send(())?;
                waits.recv()?;
            }
            Ok(())
        });
        let (callbacks, failures) = typed(&rt);
        let callbacks = callbacks.with_handler_options(handler, HandlerOptions::new().timeout(SHORT));
        let erased = callbacks.clone().erase();
        let run = chain(&erased, "run").await;
        run.on_text("1").await.unwrap();
        futures_util::StreamExt::next(&mut entered).await.unwrap();
        run.on_text("2").await.unwrap();
        drop(chain(&erased, "refused").await);
        assert_eq!(failures.lock().unwrap().len(), 3);
        go.send(()).unwrap();
        let mut missed = 1;
        while callbacks.stats()[0].handled < 2 {
            run.on_text("more").await.unwrap();
            missed += 1;
        }
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await;
        let losses = losses.lock().unwrap();
        assert_eq!(losses[..2], [(0, 0, 0), (1, 0, 0)]);
        assert_eq!(losses[2].1, missed - 1, "{losses:?}");
        assert_eq!(losses[2].2, 1, "{losses:?}");
        assert!(losses[3..].iter().all(|(_, dropped, refused)| (*dropped, *refused) == (0, 0)), "{losses:?}");
    }

    /// Those who wait behind a call that is given up on do not wait for it either.
    async fn whoever_waits_behind_a_call_that_times_out(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let (callbacks, failures) = typed(&rt);
        let callbacks = callbacks.with_handler_options(handler, HandlerOptions::new().timeout(SHORT).delivery(Pipelined { capacity: 1 }));
        let erased = callbacks.clone().erase();
        let run = erased.on_llm_start(LlmStart::new("run", "")).await.unwrap();
        assert_eq!(grip.entered().await, "run llm_start: ");
        // The first is queued, the second waits for room, until the start is given up on.
        run.on_llm_new_token("a").await.unwrap();
        run.on_llm_new_token("b").await.unwrap();
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(causes(&failures)[0], timed_out("on_llm_start"));
        assert_eq!(failures.lock().unwrap().len(), 4);
        drop(grip);
        callbacks.flush().await;
    }

    async fn a_time_out_that_is_raised_stops_the_run(rt: with_blocking_threads) {
        let ((handler, grip), log) = (held(), Log::new());
        let (callbacks, _) = typed(&rt);
        let callbacks = callbacks
            .with_handler_options(handler, HandlerOptions::new().timeout(SHORT).raise_error(true))
            .with_async_handler(asynchronous(log.clone()));
        let error = callbacks.on_chain_start(ChainStart::new("run", json!(0))).await.unwrap_err();
        assert!(matches!(error.error(), EmitError::Raised(failure) if matches!(failure.cause, FailureCause::TimedOut(after) if after == SHORT)));
        drop(error);
        drop(grip);
        callbacks.flush().await;
        assert_eq!(log.lines(), ["run: chain_start: 0", "run: chain_error: stopped"]);
    }

    /// A time-out counts from the start of the call: who waits for his turn is not out of time.
    async fn waiting_for_a_turn_does_not_count(rt) {
        let counted = Arc::new(Mutex::new(0));
        let counts = counted.clone();
        let handler = handler_fn(move |_, _| {
            // A tenth of the time-out each: all together take far longer than it.
            std::thread::sleep(SHORT / 10);
            *counts.lock().unwrap() += 1;
            Ok(())
        });
        let (callbacks, failures) = typed(&rt);
        let options = HandlerOptions::new().timeout(SHORT * 20).delivery(Pipelined { capacity: 64 });
        let callbacks = callbacks.with_handler_options(handler, options).erase();
        streamed(callbacks, "run".into(), 30).await.unwrap();
        assert_eq!(*counted.lock().unwrap(), 32);
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    async fn a_sync_inline_handler_is_found_to_have_been_too_slow(rt) {
        let (callbacks, failures) = typed(&rt);
        let slow = handler_fn(|_, _| { std::thread::sleep(SHORT * 2); Ok(()) });
        let callbacks = callbacks.with_handler_options(slow, HandlerOptions::new().run_inline(true).timeout(SHORT)).erase();
        drop(chain(&callbacks, "run").await);
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
    }
}
