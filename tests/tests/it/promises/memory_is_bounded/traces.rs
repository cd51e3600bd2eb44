//! How many traces a handler in the background takes, and what a handler that is stuck costs.

use futures_util::future::join_all;

use super::counted::{Counted, Door};
use super::*;

on_every_runtime! {
    async fn a_handler_takes_as_many_traces_as_its_limit(rt) {
        let log = Log::new();
        let options = Background::new(8).open_traces(2);
        let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), options);
        let mut open = Vec::new();
        for name in ["one", "two", "refused"] {
            open.push(chain(&callbacks, name).await);
            callbacks.flush().await.unwrap();
        }
        for mut run in open {
            run.on_text("a").await.unwrap();
            run.end(json!(1)).await.unwrap();
            callbacks.flush().await.unwrap();
        }
        assert_eq!(log.lines(), [
            "one: chain_start: 0", "two: chain_start: 0",
            "one: text: a", "one: chain_end: 1", "two: text: a", "two: chain_end: 1",
        ]);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.refused_runs, stats.open_runs), (1, 0));
    }

    /// The runs below a run that was taken belong to its trace.
    async fn a_limit_of_traces_does_not_refuse_the_runs_inside_one(rt) {
        let options = Background::new(8).open_traces(1);
        let callbacks = rt.callbacks().with_handler_options(sync(Log::new()), options);
        let outer = chain(&callbacks, "outer").await;
        for _ in 0..5 {
            streamed(outer.child(), "inner".into(), 3).await.unwrap();
        }
        outer.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.refused_runs, stats.dropped), (2 + 5 * 5, 0, 0));
    }

    /// A trace counts until the end of all of its runs is handled.
    async fn a_trace_makes_room_when_its_last_run_is_handled(rt: with_blocking_threads) {
        let (callbacks, run, log, grip) = stuck(&rt, Background::new(8).open_traces(1)).await;
        run.end("first").await.unwrap();
        drop(chain(&callbacks, "refused").await);
        assert_eq!(callbacks.stats()[0].refused_runs, 1);
        drop(grip);
        callbacks.flush().await.unwrap();
        drop(chain(&callbacks, "taken").await);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines().len(), 4);
        assert_eq!(callbacks.stats()[0].refused_runs, 1);
    }

    /// The room of a trace is given back although its handler wants no end.
    async fn a_trace_whose_end_no_handler_wants_makes_room(rt) {
        struct Starts(Log);

        impl CallbackHandler for Starts {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::ChainStart)
            }

            fn on_chain_start(&mut self, start: &ChainStart, _: &EventContext) -> HandlerResult {
                self.0.write(&*start.name);
                Ok(())
            }
        }

        let log = Log::new();
        let options = Background::new(8).open_traces(1);
        let callbacks = rt.callbacks().with_handler_options(Starts(log.clone()), options);
        drop(chain(&callbacks, "dropped").await);
        callbacks.flush().await.unwrap();
        chain(&callbacks, "ended").await.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        chain(&callbacks, "failed").await.fail("broken").await.unwrap();
        callbacks.flush().await.unwrap();
        drop(chain(&callbacks, "last").await);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["dropped", "ended", "failed", "last"]);
        assert_eq!(callbacks.stats()[0].open_runs, 0);
    }

    /// Each of many handlers decides for itself. Every trace is heard whole or not at all, and
    /// none waits for another.
    async fn traces_that_start_at_once_are_each_taken_whole_or_refused_whole(rt) {
        let mut callbacks = rt.callbacks();
        for _ in 0..8 {
            let options = Background::new(8).open_traces(1);
            callbacks = callbacks.with_handler_options(sync(Log::new()), options);
        }
        let runs = (0..200).map(|run| {
            rt.go(streamed(callbacks.clone(), format!("run {run}"), 0))
        });
        join_all(runs).await.into_iter().for_each(Result::unwrap);
        callbacks.flush().await.unwrap();
        for stats in callbacks.stats() {
            assert_eq!(stats.handled + 2 * stats.refused_runs, 400, "{stats:?}");
            assert_eq!((stats.pending, stats.open_runs, stats.failed), (0, 0, 0), "{stats:?}");
        }
    }

    /// A lane that is not in the background takes every trace, and lets no start wait.
    async fn other_deliveries_take_every_trace(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(1));
        let mut open = Vec::new();
        for _ in 0..1_000 {
            open.push(chain(&callbacks, "run").await);
        }
        assert_eq!(grip.entered().await, "run chain_start: 0");
        drop(grip);
        drop(open);
        callbacks.flush().await.unwrap();
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.refused_runs, stats.open_runs), (2_000, 0, 0));
    }

    /// Tokens that replace older ones of a stuck handler take no more and more room.
    async fn dropped_tokens_take_no_room_while_their_handler_is_stuck(rt: with_blocking_threads) {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let (counted, door) = (Counted::new(&rt), Door::default());
            let options = Background::new(8).overflow(overflow);
            let callbacks =
                counted.callbacks().partial_limit(64).with_handler_options(door.sync(), options);
            door.shut();
            let parent = chain(&callbacks, "parent").await;
            let mut runs = Vec::new();
            for _ in 0..3 {
                runs.push(model(&parent.child(), "run").await);
            }
            let mut grown = Vec::new();
            for tokens in [1_000, 20_000] {
                let work = async {
                    for number in 0..tokens {
                        runs[number % 3].on_llm_new_token("token").await.unwrap();
                    }
                };
                counted.of(work).await;
                // The stuck job is not over, so only the emitter's part is counted.
                grown.push(counted.held());
            }
            door.open();
            drop((runs, parent));
            callbacks.flush().await.unwrap();
            assert!(grown[1] - grown[0] <= 4_096, "{grown:?} bytes");
        }
    }

    /// Runs that start and end while a call is out past its time-out leave nothing behind.
    async fn runs_during_a_stuck_call_take_no_room(rt: with_blocking_threads) {
        let counted = Counted::new(&rt);
        let timeout = Duration::from_millis(50);
        let (handler, mut grip) = held();
        let callbacks = counted.callbacks().on_handler_failure(|_| {});
        let options = HandlerOptions::new().timeout(timeout);
        let callbacks = callbacks.with_handler_options(handler, options);
        let call = (&mut grip, "stuck chain_start: 0");
        let stuck = counted.stage.time_out(chain(&callbacks, "stuck"), call, timeout).await;
        let mut grown = Vec::new();
        for runs in [200, 2_000] {
            let work = async {
                for _ in 0..runs {
                    streamed(callbacks.clone(), "missed".into(), 1).await.unwrap();
                }
            };
            counted.of(work).await;
            grown.push(counted.held());
        }
        drop(grip);
        stuck.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        assert!(grown[1] - grown[0] <= 4_096, "{grown:?} bytes");
    }
}
