//! Time-outs of async calls and of inline ones, on a virtual clock.

use futures_channel::oneshot;
use rappel_tests::held::held;

use super::drops::Bomb;
use super::*;

fn short() -> HandlerOptions {
    HandlerOptions::new().timeout(SHORT)
}

on_every_runtime! {
    /// An async call is dropped when its time is up, wherever it is made.
    async fn an_async_call_that_times_out_is_dropped(rt) {
        let inline = short().delivery(Awaited::new().inline());
        for (options, queued) in [(short(), false), (short().on_runtime(), true), (inline, false)] {
            let (stage, log, calls) = (Stage::new(&rt), Log::new(), Log::new());
            let kept = calls.clone();
            // A handler with a queue may be called for the start when its time is up already. So
            // nothing that a later call waits for may end that call.
            let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
                kept.write(line(event));
                if matches!(event, Event::ChainStart(_)) {
                    std::future::pending::<()>().await;
                }
                Ok(())
            });
            let (callbacks, failures) = reporting(stage.callbacks());
            let callbacks = callbacks
                .with_async_handler_options(handler, options)
                .with_handler(sync(log.clone()));
            let mut run = stage.flying(chain(&callbacks, "run")).await;
            // Time may fly after a queued call has looked at the clock and before its sleep begins.
            let flown = stage.time.now();
            assert!(flown == SHORT || (queued && flown == 2 * SHORT), "{flown:?}");
            assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
            // The next call is made as ever.
            run.on_text("a").await.unwrap();
            run.end(json!(1)).await.unwrap();
            assert_eq!(calls.lines(), ["chain_start: 0", "text: a", "chain_end: 1"]);
            assert_eq!(log.lines().len(), 3);
            let stats = &callbacks.stats()[0];
            assert_eq!((stats.handled, stats.failed), (2, 1));
        }
    }

    /// The drop of a call whose time is up may panic. It harms neither the calls beside it, nor
    /// the handler's next ones.
    async fn an_async_call_that_times_out_may_panic_when_it_is_dropped(rt) {
        let (stage, beside) = (Stage::new(&rt), Log::new());
        let (waits, gate) = gated(|_| true);
        let never_ready = || {
            async_handler_fn(async |event: &Event, _: &EventContext| {
                if matches!(event, Event::ChainStart(_)) {
                    let _bomb = Bomb;
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
        };
        // It opens once both have timed out.
        let (gate, failures) = (Mutex::new(Some(gate)), Failures::default());
        let kept = failures.clone();
        let callbacks = stage.callbacks().on_handler_failure(move |failure| {
            let mut kept = kept.lock().unwrap();
            kept.push(failure.clone());
            if kept.len() == 2 {
                drop(gate.lock().unwrap().take());
            }
        });
        let callbacks = callbacks
            .with_async_handler_options(never_ready(), short())
            .with_async_handler_options(never_ready(), short().delivery(Pipelined::new(4)))
            .with_async_handler(waits)
            .with_async_handler(beside.async_handler());
        let mut run = stage.flying(chain(&callbacks, "run")).await;
        run.on_text("a").await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert_eq!(causes(&failures), [timed_out("on_chain_start"), timed_out("on_chain_start")]);
        assert_eq!(beside.lines(), ["chain_start: 0", "text: a", "chain_end: 1"]);
        for stats in &callbacks.stats()[..2] {
            assert_eq!((stats.handled, stats.failed), (2, 1));
        }
    }

    /// The emitter still waits for the other handlers when a call panics as its time is up.
    async fn an_emitter_waits_for_the_others_when_a_timed_out_call_panics(
        rt: with_blocking_threads
    ) {
        let stage = Stage::new(&rt);
        let (explodes, exploded) = oneshot::channel::<()>();
        let explodes = Arc::new(Mutex::new(Some(explodes)));
        let never_ready = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if matches!(event, Event::ChainStart(_)) {
                // The signal is dropped first, then the bomb.
                let _bomb = Bomb;
                let _signal = explodes.lock().unwrap().take();
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        let (handler, mut grip) = held();
        let (callbacks, failures) = reporting(stage.callbacks());
        let options = short().delivery(Awaited::new().raise_error());
        let callbacks = callbacks
            .with_async_handler_options(never_ready, options)
            .with_handler(handler);
        let start = Box::pin(callbacks.on_chain_start(ChainStart::new("run", json!(0))));
        let first = stage.flying(futures_util::future::select(start, exploded)).await;
        let futures_util::future::Either::Right((_, mut start)) = first else {
            panic!("another handler is in its call")
        };
        assert_eq!(grip.entered().await, "run chain_start: 0");
        assert!(poll_once(&mut start).await.is_none());
        drop(grip);
        let error = start.await.expect_err("it is raised");
        let EmitError::Raised(failure) = &error else { panic!("{error}") };
        assert!(matches!(failure.cause, FailureCause::TimedOut(after) if after == SHORT));
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
        callbacks.flush().await.unwrap();
    }

    /// For a queued handler the time counts from the start of its call: waiting for its turn does
    /// not use it up.
    async fn a_queued_events_time_counts_from_the_start_of_its_call(rt) {
        let stage = Stage::new(&rt);
        let time = stage.time.clone();
        let takes_time = handler_fn(move |_, _| {
            // A fifth of the time-out. All calls together take far longer than it.
            time.advance(SHORT / 5);
            Ok(())
        });
        let (callbacks, failures) = reporting(stage.callbacks());
        let options = short().delivery(Pipelined::new(64));
        let callbacks = callbacks.with_handler_options(takes_time, options);
        streamed(callbacks.clone(), "run".into(), 30).await.unwrap();
        assert_eq!(callbacks.stats()[0].handled, 32);
        assert_eq!(causes(&failures), NO_FAILURES);
    }

    /// An inline sync handler cannot be left; it is found to have been too slow.
    async fn an_inline_sync_handler_is_found_to_have_been_too_slow(rt) {
        let stage = Stage::new(&rt);
        let time = stage.time.clone();
        let slow = handler_fn(move |_, _| {
            time.advance(SHORT * 2);
            Ok(())
        });
        let (callbacks, failures) = reporting(stage.callbacks());
        let options = short().delivery(Awaited::new().inline());
        let callbacks = callbacks.with_handler_options(slow, options);
        let run = chain(&callbacks, "run").await;
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
        drop(run);
        callbacks.flush().await.unwrap();
    }
}
