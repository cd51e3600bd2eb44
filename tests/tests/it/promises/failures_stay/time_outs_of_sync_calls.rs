//! Time-outs of sync calls, which cannot be stopped: while such a call is still out, its handler
//! gets nothing, and no emitter waits for it.

use rappel_tests::held::held;

use super::*;

fn short() -> HandlerOptions {
    HandlerOptions::new().timeout(SHORT)
}

/// A handler's calls, held; its events with what it is told to have lost.
fn held_and_told() -> (impl CallbackHandler + Send, rappel_tests::held::Grip, Losses) {
    let (mut inner, grip) = held();
    let losses = Losses::default();
    let kept = losses.clone();
    let handler = handler_fn(move |event: &Event, cx: &EventContext| {
        let lost = cx.losses();
        kept.lock().unwrap().push((lost.dropped, lost.refused_runs));
        inner.on_event(event, cx)
    });
    (handler, grip, losses)
}

/// For each call: lost events, refused runs.
type Losses = Arc<Mutex<Vec<(usize, usize)>>>;

on_every_runtime! {
    /// Neither its own emitter waits for it after that, nor any other, nor a flush.
    async fn no_emitter_waits_for_a_sync_call_after_its_time_out(rt: with_blocking_threads) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let (handler, mut grip) = held();
        let (callbacks, failures) = reporting(stage.callbacks());
        let callbacks =
            callbacks.with_handler_options(handler, short()).with_handler(sync(log.clone()));
        let call = (&mut grip, "run chain_start: 0");
        let mut run = stage.time_out(chain(&callbacks, "run"), call, SHORT).await;
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
        // From here on no time passes.
        run.on_text("missed").await.unwrap();
        let mut unknown = chain(&callbacks, "unknown").await;
        callbacks.flush().await.unwrap();
        // Of a run whose start it did not get, it gets nothing, also later.
        unknown.on_text("of no account").await.unwrap();
        unknown.end(json!(1)).await.unwrap();
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [
            "run: chain_start: 0", "run: text: missed", "unknown: chain_start: 0",
            "unknown: text: of no account", "unknown: chain_end: 1", "run: chain_end: 1",
        ]);
        // The end of the run was kept until the call came back.
        grip.let_go();
        assert_eq!(grip.entered().await, "run chain_end: 1");
        let rest = grip.open();
        callbacks.flush().await.unwrap();
        drop(callbacks);
        assert_eq!(rest.await, [""; 0]);
    }

    /// A handler that is back from its call is called for what is emitted then, and told what it
    /// missed.
    async fn a_handler_is_told_what_it_missed_during_its_call(rt: with_blocking_threads) {
        let stage = Stage::new(&rt);
        let (handler, mut grip, losses) = held_and_told();
        let (callbacks, _failures) = reporting(stage.callbacks());
        let callbacks = callbacks.with_handler_options(handler, short());
        grip.let_go();
        grip.let_go();
        let mut run = chain(&callbacks, "run").await;
        let other = chain(&callbacks, "other").await;
        for _ in 0..2 {
            assert!(grip.entered().await.ends_with("chain_start: 0"));
        }
        let call = (&mut grip, "run text: 1");
        stage.time_out(run.on_text("1"), call, SHORT).await.unwrap();
        run.on_text("2").await.unwrap();
        drop(chain(&callbacks, "refused").await);
        // This end is kept. The call for it shows that the handler is back.
        other.end(json!(1)).await.unwrap();
        grip.let_go();
        assert_eq!(grip.entered().await, "other chain_end: 1");
        grip.let_go();
        grip.let_go();
        run.on_text("3").await.unwrap();
        assert_eq!(grip.entered().await, "run text: 3");
        grip.let_go();
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        let losses = losses.lock().unwrap();
        assert_eq!(losses[..3], [(0, 0); 3]);
        let dropped: usize = losses.iter().map(|(dropped, _)| dropped).sum();
        let refused: usize = losses.iter().map(|(_, refused)| refused).sum();
        assert_eq!((dropped, refused), (1, 1), "{losses:?}");
    }

    /// What was queued behind the call is given up with it, counted, and told.
    async fn a_handler_is_told_of_events_that_were_queued_behind_its_call(
        rt: with_blocking_threads
    ) {
        for options in [short().delivery(Pipelined::new(8)), short().delivery(Background::new(8))] {
            let stage = Stage::new(&rt);
            let (handler, mut grip, losses) = held_and_told();
            let (callbacks, failures) = reporting(stage.callbacks());
            let callbacks = callbacks.with_handler_options(handler, options);
            let mut run = model(&callbacks, "run").await;
            assert_eq!(grip.entered().await, "run llm_start: prompt");
            for token in ["a", "b", "c"] {
                run.on_llm_new_token(token).await.unwrap();
            }
            stage.time.advance(SHORT);
            callbacks.flush().await.unwrap();
            assert_eq!(causes(&failures), [timed_out("on_llm_start")]);
            assert_eq!(callbacks.stats()[0].dropped, 3);
            run.end("abc").await.unwrap();
            let rest = grip.open();
            callbacks.flush().await.unwrap();
            drop(callbacks);
            assert_eq!(rest.await, ["run llm_end: abc"]);
            assert_eq!(*losses.lock().unwrap(), [(0, 0), (3, 0)]);
        }
    }

    /// The emitter waits for room until the call that keeps it is given up.
    async fn an_emitter_that_waits_for_room_goes_on_at_the_time_out(rt: with_blocking_threads) {
        let stage = Stage::new(&rt);
        let (handler, mut grip) = held();
        let (callbacks, failures) = reporting(stage.callbacks());
        let options = short().delivery(Pipelined::new(1));
        let callbacks = callbacks.with_handler_options(handler, options);
        let mut run = model(&callbacks, "run").await;
        assert_eq!(grip.entered().await, "run llm_start: prompt");
        run.on_llm_new_token("a").await.unwrap();
        let mut second = run.on_llm_new_token("b");
        assert!(poll_once(&mut second).await.is_none());
        stage.flying(second).await.unwrap();
        assert_eq!(causes(&failures)[0], timed_out("on_llm_start"));
        run.end("ab").await.unwrap();
        callbacks.flush().await.unwrap();
        grip.let_go();
        // Whether the queued tokens are still delivered or lost: the end comes last.
        let mut last = grip.entered().await;
        while last != "run llm_end: ab" {
            assert!(last.starts_with("run token: "), "{last}");
            grip.let_go();
            last = grip.entered().await;
        }
        drop(grip);
        callbacks.flush().await.unwrap();
    }

    async fn a_time_out_that_is_raised_stops_the_run(rt: with_blocking_threads) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let (handler, mut grip) = held();
        let (callbacks, _) = reporting(stage.callbacks());
        let options = short().delivery(Awaited::new().raise_error());
        let callbacks = callbacks
            .with_handler_options(handler, options)
            .with_async_handler(asynchronous(log.clone()));
        let start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
        let call = (&mut grip, "run chain_start: 0");
        let error = stage.time_out(start, call, SHORT).await.unwrap_err();
        let EmitError::Raised(failure) = &error else { panic!("{error}") };
        assert!(matches!(failure.cause, FailureCause::TimedOut(after) if after == SHORT));
        drop(grip);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["run: chain_start: 0", "run: chain_error: stopped"]);
    }

    /// For an awaited handler the time counts from acceptance, also while another handler keeps
    /// the only blocking thread.
    async fn an_awaited_handlers_time_counts_from_acceptance(rt) {
        let stage = Stage::with_one_blocking_thread(&rt);
        let (hangs, mut grip) = held();
        let hanging = stage.callbacks().with_handler(hangs);
        let hanging = rt.go(streamed(hanging, "hangs".into(), 0));
        assert_eq!(grip.entered().await, "hangs llm_start: prompt");
        let log = Log::new();
        let (callbacks, failures) = reporting(stage.callbacks());
        let callbacks = callbacks.with_handler_options(sync(log.clone()), short());
        let mut run = stage.flying(chain(&callbacks, "run")).await;
        assert_eq!(stage.time.now(), SHORT);
        assert_eq!(causes(&failures), [timed_out("on_chain_start")]);
        drop(grip);
        hanging.await.unwrap();
        run.on_text("a").await.unwrap();
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        // The start came late, and the handler sees the run whole all the same.
        assert_eq!(log.lines(), ["run: chain_start: 0", "run: text: a", "run: chain_end: 1"]);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.failed, stats.pending), (2, 1, 0));
    }
}
