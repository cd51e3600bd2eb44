//! 3. One at a time: a sync handler's calls never overlap, also across runs; runs that share one are served in turn.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use rappel_core::Interest;
use rappel_tests::held::{held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    async fn calls_never_overlap(rt) {
        let busy = Arc::new(AtomicBool::new(false));
        let alone = || {
            let busy = busy.clone();
            handler_fn(move |_, _| {
                assert!(!busy.swap(true, Ordering::SeqCst), "two calls overlap");
                std::thread::yield_now();
                assert!(busy.swap(false, Ordering::SeqCst));
                Ok(())
            })
        };
        for options in [1, 64].map(|capacity| HandlerOptions::new().delivery(Pipelined { capacity })) {
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = callbacks.with_handler_options(alone(), options);
            let runs = (0..20).map(|run| rt.go(streamed(callbacks.clone(), format!("run {run}"), 30)));
            join_all(runs).await.into_iter().for_each(Result::unwrap);
            callbacks.flush().await;
            assert_eq!(causes(&failures), Vec::<String>::new());
            assert_eq!(callbacks.stats()[0].handled, 20 * 32);
        }
    }

    /// However much one run has queued, the others get their turns.
    async fn runs_are_served_in_turn(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, HandlerOptions::new().delivery(Pipelined { capacity: 8 }));
        let long = callbacks.on_llm_start(LlmStart::new("long", "")).await.unwrap();
        // The handler is in here, and what comes now waits.
        assert_eq!(grip.entered().await, "long llm_start: ");
        for number in 1..=6 {
            long.on_llm_new_token(number.to_string()).await.unwrap();
        }
        let short = callbacks.on_llm_start(LlmStart::new("short", "")).await.unwrap();
        short.on_llm_new_token("1").await.unwrap();
        let late = callbacks.on_llm_start(LlmStart::new("late", "")).await.unwrap();
        let mut order = Vec::new();
        for _ in 0..9 {
            grip.let_go();
            order.push(grip.entered().await);
        }
        assert_eq!(order, [
            "short llm_start: ", "late llm_start: ", "long token: 1", "short token: 1", "long token: 2", "long token: 3", "long token: 4",
            "long token: 5", "long token: 6",
        ]);
        drop(grip);
        drop((long, short, late));
        callbacks.flush().await;
    }

    /// Within a run an async handler's calls do not overlap either; those of several runs do.
    async fn an_async_handler_on_the_runtime_takes_runs_side_by_side(rt) {
        let (handler, mut grip) = held_async();
        let callbacks = rt.callbacks().with_async_handler_options(handler, HandlerOptions::new().delivery(Pipelined { capacity: 8 }));
        let one = callbacks.on_llm_start(LlmStart::new("one", "")).await.unwrap();
        one.on_llm_new_token("a").await.unwrap();
        let two = callbacks.on_llm_start(LlmStart::new("two", "")).await.unwrap();
        let mut first = [grip.entered().await, grip.entered().await];
        first.sort();
        assert_eq!(first, ["one llm_start: ", "two llm_start: "]);
        drop(grip);
        drop((one, two));
        callbacks.flush().await;
    }

    /// A lane's limit of open runs: the next one starts when one has ended, and its start waits until then.
    async fn open_runs_have_a_limit(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), HandlerOptions::new().open_runs(1));
        let runs = (0..5).map(|run| rt.go(streamed(callbacks.clone(), format!("run {run}"), 5)));
        join_all(runs).await.into_iter().for_each(Result::unwrap);
        let lines = log.lines();
        for run in lines.chunks(7) {
            let (name, _) = run[0].split_once(": ").unwrap();
            let of_this: Vec<String> = run.iter().filter_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned())).collect();
            assert_eq!(of_this, whole(5));
        }
        assert_eq!(lines.len(), 35);
    }

    /// Two that are let in elsewhere first would each have the room that the other one waits for.
    async fn runs_that_start_at_once_do_not_lock_each_other_out(rt) {
        let mut callbacks = rt.callbacks();
        for _ in 0..8 {
            callbacks.add_handler_options(sync(Log::new()), HandlerOptions::new().open_runs(1));
        }
        let runs = (0..500).map(|run| rt.go(streamed(callbacks.clone(), format!("run {run}"), 0)));
        join_all(runs).await.into_iter().for_each(Result::unwrap);
        assert!(callbacks.stats().iter().all(|stats| stats.handled == 1_000));
    }

    /// A run inside one that has been let in would wait for its own parent.
    async fn a_limit_of_open_runs_does_not_hold_up_what_is_inside(rt) {
        let callbacks = rt.callbacks().with_handler_options(sync(Log::new()), HandlerOptions::new().open_runs(1));
        let chain = chain(&callbacks, "outer").await;
        streamed(chain.child(None), "inner".into(), 3).await.unwrap();
        chain.end(json!(1)).await.unwrap();
        assert_eq!(callbacks.stats()[0].handled, 7);
    }

    /// A start that is given up while it waits for its turn has started all the same, and ends.
    async fn a_start_that_is_dropped_while_it_waits_for_another_run(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), HandlerOptions::new().open_runs(1));
        let first = chain(&callbacks, "first").await;
        let mut second = callbacks.on_chain_start(ChainStart::new("second", json!(0)));
        assert!(futures_lite::future::poll_once(&mut second).await.is_none());
        drop(second);
        first.end(json!(1)).await.unwrap();
        callbacks.flush().await;
        assert_eq!(log.lines(), ["first: chain_start: 0", "first: chain_end: 1", "second: chain_start: 0", "second: chain_error: cancelled"]);
    }

    /// The mailbox of a run that is given up, or that nobody is told of the end of, is given back.
    async fn a_run_that_ends_in_silence_makes_room(rt) {
        struct Starts(Log);

        impl CallbackHandler for Starts {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::ChainStart)
            }

            fn on_chain_start(&mut self, start: &ChainStart, _: &RunInfo) -> HandlerResult {
                self.0.write(&*start.name);
                Ok(())
            }
        }

        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(Starts(log.clone()), HandlerOptions::new().open_runs(1));
        drop(chain(&callbacks, "dropped").await);
        chain(&callbacks, "ended").await.end(json!(1)).await.unwrap();
        chain(&callbacks, "failed").await.error("broken").await.unwrap();
        drop(chain(&callbacks, "last").await);
        assert_eq!(log.lines(), ["dropped", "ended", "failed", "last"]);
        assert_eq!(callbacks.stats()[0].open_runs, 0);
    }
}
