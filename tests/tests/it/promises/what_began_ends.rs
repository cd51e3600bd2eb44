//! Promise 8: a call that began runs to its end, or to its time-out, also if its emitter is
//! dropped. A dropped `end` future still ends the run with that result.

use rappel_core::HandlerFuture;
use rappel_tests::held::{HeldAsync, held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

/// Writes when a call of the handler inside has come to its end.
struct Whole(HeldAsync, Log);

impl AsyncCallbackHandler for Whole {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            self.0.on_event(event, cx).await?;
            self.1.write(line(event));
            Ok(())
        })
    }
}

on_every_runtime! {
    /// The emitter is dropped in the middle of the call; the call goes on.
    async fn an_async_call_outlives_its_emitter_in_every_delivery(rt) {
        let deliveries: [HandlerOptions; 5] = [
            HandlerOptions::new(),
            Awaited::new().inline().into(),
            HandlerOptions::new().on_runtime(),
            Pipelined::new(1).into(),
            Background::new(1).into(),
        ];
        for options in deliveries {
            let ended = Log::new();
            let (handler, mut grip) = held_async();
            let handler = Whole(handler, ended.clone());
            let callbacks = rt.callbacks().with_async_handler_options(handler, options);
            let mut start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
            drop(poll_once(&mut start).await);
            drop(start);
            assert_eq!(grip.entered().await, "run chain_start: 0");
            assert_eq!(ended.lines(), Vec::<String>::new());
            grip.let_go();
            // The call ends, and only then the call for the cancellation begins.
            assert_eq!(grip.entered().await, "run chain_error: cancelled");
            assert_eq!(ended.lines(), ["chain_start: 0"]);
            grip.let_go();
            callbacks.flush().await.unwrap();
            assert_eq!(ended.lines(), ["chain_start: 0", "chain_error: cancelled"]);
        }
    }

    async fn a_sync_call_outlives_its_emitter(rt: with_blocking_threads) {
        let ((handler, mut grip), log) = (held(), Log::new());
        let callbacks = rt.callbacks().with_handler(handler).with_handler(sync(log.clone()));
        let mut start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
        assert!(poll_once(&mut start).await.is_none());
        drop(start);
        assert_eq!(grip.entered().await, "run chain_start: 0");
        grip.let_go();
        assert_eq!(grip.entered().await, "run chain_error: cancelled");
        grip.let_go();
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["run: chain_start: 0", "run: chain_error: cancelled"]);
    }

    /// Dropped before its first poll, in the middle, and after: the result is the same.
    async fn a_dropped_end_ends_the_run_with_its_result(rt) {
        for polls in 0..4 {
            let watched = Watched::new(&rt);
            let mut run = model(&watched.callbacks, "run").await;
            run.on_llm_new_token("a").await.unwrap();
            let mut end = run.end("result");
            for _ in 0..polls {
                if poll_once(&mut end).await.is_some() {
                    break;
                }
                yield_now().await;
            }
            drop(end);
            watched.callbacks.flush().await.unwrap();
            watched.assert_all_saw(&[
                "run: llm_start: prompt", "run: token: a", "run: llm_end: result",
            ]);
        }
    }

    async fn a_dropped_fail_ends_the_run_with_its_error(rt) {
        let watched = Watched::new(&rt);
        let run = tool(&watched.callbacks, "run").await;
        drop(run.fail("broken"));
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&["run: tool_start: input", "run: tool_error: failed"]);
    }

    /// An async call that is dropped at its time-out is dropped then, also without an emitter.
    async fn a_call_without_an_emitter_ends_at_its_time_out(rt) {
        let stage = Stage::new(&rt);
        let (handler, mut grip) = held_async();
        let options = HandlerOptions::new().timeout(Duration::from_secs(5));
        let (callbacks, failures) = reporting(stage.callbacks());
        let callbacks = callbacks.with_async_handler_options(handler, options);
        let mut start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
        assert!(poll_once(&mut start).await.is_none());
        drop(start);
        assert_eq!(grip.entered().await, "run chain_start: 0");
        stage.flying(callbacks.flush()).await.unwrap();
        let timed_out = |event: &str| format!("{event}: timed out after 5s");
        assert_eq!(causes(&failures), [timed_out("on_chain_start"), timed_out("on_chain_error")]);
    }
}
