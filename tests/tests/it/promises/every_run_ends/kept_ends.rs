//! The end of a run that arrives while its handler's call is still out, past its time-out. It is
//! kept, and delivered when the call is back. (Fault 3: a time-out of one run took the ends of
//! others away.)

use rappel_tests::held::held;

use super::*;

const SHORT: Duration = Duration::from_millis(50);

fn deliveries() -> [HandlerOptions; 3] {
    [HandlerOptions::new(), Pipelined::new(4).into(), Background::new(4).into()]
}

on_every_runtime! {
    /// The call is for another run's token. Both runs end meanwhile.
    async fn the_ends_of_all_open_runs_are_delivered_when_a_timed_out_call_is_back(
        rt: with_blocking_threads
    ) {
        for options in deliveries() {
            let stage = Stage::new(&rt);
            let (handler, mut grip) = held();
            let (callbacks, failures) = reporting(stage.callbacks());
            let callbacks = callbacks.with_handler_options(handler, options.timeout(SHORT));
            grip.let_go();
            grip.let_go();
            let mut a = model(&callbacks, "a").await;
            let mut b = model(&callbacks, "b").await;
            let mut starts = [grip.entered().await, grip.entered().await];
            starts.sort();
            assert_eq!(starts, ["a llm_start: prompt", "b llm_start: prompt"]);
            let call = (&mut grip, "a token: slow");
            stage.time_out(a.on_llm_new_token("slow"), call, SHORT).await.unwrap();
            callbacks.flush().await.unwrap();
            assert_eq!(causes(&failures), ["on_llm_new_token: timed out after 50ms"]);
            // No time passes from here on: neither run waits for the call.
            b.on_llm_new_token("lost").await.unwrap();
            b.end("B").await.unwrap();
            a.end("A").await.unwrap();
            callbacks.flush().await.unwrap();
            // Once the call is back, both ends are delivered, each once.
            let rest = grip.open();
            drop(callbacks);
            let mut seen = rest.await;
            seen.sort();
            assert_eq!(seen, ["a llm_end: A", "b llm_end: B"]);
        }
    }

    /// The run of the call itself is dropped while the call is out.
    async fn the_cancellation_of_a_run_is_delivered_when_its_timed_out_call_is_back(
        rt: with_blocking_threads
    ) {
        for options in deliveries() {
            let stage = Stage::new(&rt);
            let (handler, mut grip) = held();
            let (callbacks, _failures) = reporting(stage.callbacks());
            let callbacks = callbacks.with_handler_options(handler, options.timeout(SHORT));
            let call = (&mut grip, "parent chain_start: 0");
            let parent = stage.time_out(chain(&callbacks, "parent"), call, SHORT).await;
            callbacks.flush().await.unwrap();
            // The handler does not get this start, and so nothing of the child.
            let child = tool(&parent.child(), "child").await;
            drop(parent);
            assert!(matches!(child.end("late").await, Err(EmitError::RunClosed)));
            callbacks.flush().await.unwrap();
            grip.let_go();
            assert_eq!(grip.entered().await, "parent chain_error: cancelled");
            let rest = grip.open();
            drop(callbacks);
            assert_eq!(rest.await, [""; 0]);
        }
    }

    /// A flush does not wait for it, but a shutdown does.
    async fn a_shutdown_waits_for_an_end_that_is_kept(rt: with_blocking_threads) {
        const LATE: Duration = Duration::from_secs(3_600);
        for options in deliveries() {
            let stage = Stage::new(&rt);
            let (handler, mut grip) = held();
            let (callbacks, _failures) = reporting(stage.callbacks());
            let callbacks = callbacks.with_handler_options(handler, options.timeout(SHORT));
            let call = (&mut grip, "run chain_start: 0");
            let run = stage.time_out(chain(&callbacks, "run"), call, SHORT).await;
            drop(run);
            callbacks.flush().await.unwrap();
            let mut shutdown = callbacks.shutdown(LATE);
            for _ in 0..50 {
                assert!(poll_once(&mut shutdown).await.is_none(), "the call is still out");
                yield_now().await;
            }
            let rest = grip.open();
            let report = shutdown.await.unwrap();
            assert_eq!((report.handlers[0].pending, report.handlers[0].open_runs), (0, 0));
            drop(callbacks);
            assert_eq!(rest.await, ["run chain_error: cancelled"]);
        }
    }

    /// Many runs are open when the call gets stuck, and all of them end.
    async fn every_run_that_was_open_when_a_call_got_stuck_has_its_end(rt: with_blocking_threads) {
        const RUNS: usize = 50;
        for options in deliveries() {
            let stage = Stage::new(&rt);
            let (handler, mut grip) = held();
            let (callbacks, _failures) = reporting(stage.callbacks());
            let callbacks = callbacks.with_handler_options(handler, options.timeout(SHORT));
            let mut runs = Vec::new();
            for _ in 0..RUNS {
                grip.let_go();
                runs.push(model(&callbacks, "run").await);
                assert_eq!(grip.entered().await, "run llm_start: prompt");
            }
            let emit = runs[0].on_llm_new_token("slow");
            let call = (&mut grip, "run token: slow");
            stage.time_out(emit, call, SHORT).await.unwrap();
            callbacks.flush().await.unwrap();
            for (number, run) in runs.into_iter().enumerate() {
                match number % 3 {
                    0 => run.end("end").await.unwrap(),
                    1 => run.fail("broken").await.unwrap(),
                    _ => drop(run),
                }
            }
            callbacks.flush().await.unwrap();
            let rest = grip.open();
            drop(callbacks);
            let seen = rest.await;
            let of = |end: &str| seen.iter().filter(|line| line.starts_with(end)).count();
            let ends =
                [of("run llm_end"), of("run llm_error: failed"), of("run llm_error: cancelled")];
            assert_eq!((ends.iter().sum::<usize>(), seen.len()), (RUNS, RUNS), "{seen:?}");
            assert_eq!(ends[0], RUNS.div_ceil(3));
        }
    }
}
