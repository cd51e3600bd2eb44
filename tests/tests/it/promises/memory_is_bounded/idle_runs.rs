//! An open run that is idle gives back what a burst of events took. (Fault 8.)

use super::counted::{Counted, Door};
use super::*;

const RUNS: usize = 20;
/// As many tokens wait at once.
const BURST: usize = 1_024;

/// The bytes that an open run holds when it is idle again after so many tokens.
async fn held_by_a_run(
    rt: &Rt,
    burst: usize,
    register: impl Fn(CallbackManager, &Door) -> CallbackManager,
) -> i64 {
    let (counted, door) = (Counted::new(rt), Door::default());
    let callbacks = register(counted.callbacks().partial_limit(64), &door);
    let busy_run = async || {
        door.shut();
        let mut run = model(&callbacks, "run").await;
        for _ in 0..burst {
            run.on_llm_new_token("token").await.unwrap();
        }
        door.open();
        callbacks.flush().await.unwrap();
        run
    };
    // The first one makes what all of them share.
    counted.of(async { busy_run().await.end("end").await.unwrap() }).await;
    let before = counted.bytes().await;
    let runs = counted.of(async {
        let mut runs = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            runs.push(busy_run().await);
        }
        runs
    });
    let runs = runs.await;
    let held = counted.bytes().await - before;
    drop(runs);
    callbacks.flush().await.unwrap();
    held / i64::try_from(RUNS).unwrap()
}

/// Nothing but the shared parts is left when the runs have ended.
async fn held_by_finished_runs(
    rt: &Rt,
    runs: usize,
    register: impl Fn(CallbackManager, &Door) -> CallbackManager,
) -> i64 {
    let counted = Counted::new(rt);
    let callbacks = register(counted.callbacks(), &Door::default());
    let work = async {
        for _ in 0..runs {
            streamed(callbacks.clone(), "run".into(), 3).await.unwrap();
        }
        callbacks.flush().await.unwrap();
    };
    counted.of(work).await;
    counted.bytes().await
}

on_every_runtime! {
    async fn a_run_gives_back_what_a_burst_took_for_a_sync_handler(rt: with_blocking_threads) {
        let register = |callbacks: CallbackManager, door: &Door| {
            callbacks.with_handler_options(door.sync(), Pipelined::new(BURST))
        };
        let after_a_burst = held_by_a_run(&rt, BURST, register).await;
        assert!(after_a_burst <= 2_048, "{after_a_burst} bytes after a burst");
        let without = held_by_a_run(&rt, 0, register).await;
        assert!(without <= 1_024, "{without} bytes without a burst");
    }

    async fn a_run_gives_back_what_a_burst_took_for_an_async_handler(rt) {
        let register = |callbacks: CallbackManager, door: &Door| {
            callbacks.with_async_handler_options(door.asynchronous(), Pipelined::new(BURST))
        };
        let after_a_burst = held_by_a_run(&rt, BURST, register).await;
        assert!(after_a_burst <= 2_048, "{after_a_burst} bytes after a burst");
    }

    async fn a_run_gives_back_what_a_burst_took_in_the_background(rt: with_blocking_threads) {
        let register = |callbacks: CallbackManager, door: &Door| {
            callbacks.with_handler_options(door.sync(), Background::new(BURST))
        };
        let after_a_burst = held_by_a_run(&rt, BURST, register).await;
        assert!(after_a_burst <= 2_048, "{after_a_burst} bytes after a burst");
    }

    /// Twenty times as many finished runs leave no more than a few.
    async fn nothing_is_held_for_finished_runs(rt: with_blocking_threads) {
        let register = |callbacks: CallbackManager, door: &Door| {
            callbacks
                .with_handler(door.sync())
                .with_handler_options(door.sync(), Pipelined::new(4))
                .with_async_handler(door.asynchronous())
                .with_async_handler_options(door.asynchronous(), Background::new(4))
        };
        let few = held_by_finished_runs(&rt, 20, register).await;
        let many = held_by_finished_runs(&rt, 400, register).await;
        assert!(many <= few.max(0) + 4_096, "{few} bytes after 20 runs, {many} after 400");
    }

    async fn nothing_is_pending_and_no_run_is_open_after_the_last_one(rt) {
        let watched = Watched::new(&rt);
        for run in 0..100 {
            streamed(watched.callbacks.clone(), format!("run {run}"), 1).await.unwrap();
        }
        drop(model(&watched.callbacks, "dropped").await);
        watched.callbacks.flush().await.unwrap();
        for stats in watched.callbacks.stats() {
            assert_eq!((stats.open_runs, stats.pending), (0, 0), "{}", stats.name);
        }
    }

    /// A handler is dropped with the last manager or run that has it.
    async fn a_handler_is_dropped_with_its_managers(rt) {
        struct Gone(#[allow(dead_code, reason = "its drop is the signal")] Signal);
        type Signal = futures_channel::oneshot::Sender<()>;

        impl CallbackHandler for Gone {
            fn on_event(&mut self, _: &Event, _: &EventContext) -> HandlerResult {
                Ok(())
            }
        }

        let deliveries: [HandlerOptions; 5] = [
            HandlerOptions::new(),
            HandlerOptions::new().timeout(LONG),
            Awaited::new().inline().into(),
            Pipelined::new(2).into(),
            Background::new(2).into(),
        ];
        let callbacks = rt.callbacks();
        for options in deliveries {
            let (gone, is_gone) = futures_channel::oneshot::channel();
            let own = callbacks.clone().with_handler_options(Gone(gone), options);
            streamed(own, "run".into(), 3).await.unwrap();
            assert!(is_gone.await.is_err());
        }
    }
}
