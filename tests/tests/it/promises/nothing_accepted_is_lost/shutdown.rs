//! Shutdown: what it waits for, closes and reports.

use rappel_core::CustomEvent;

use super::*;

on_every_runtime! {
    /// Open runs go on to their end, and so does what starts inside them. Nothing else starts.
    async fn a_shutdown_waits_for_open_runs(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(sync(log.clone()));
        let mut open = chain(&callbacks, "open").await;
        let shutdown = rt.go({
            let callbacks = callbacks.clone();
            async move { callbacks.shutdown(LONG).await.unwrap() }
        });
        let error = loop {
            // The shutdown begins when its task is polled.
            match callbacks.on_chain_start(ChainStart::new("late", json!(0))).await {
                Ok(run) => run.end(json!(1)).await.unwrap(),
                Err(error) => break error,
            }
            yield_now().await;
        };
        assert!(matches!(error, EmitError::ShutDown), "{error}");
        streamed(open.child(), "inside".into(), 1).await.unwrap();
        open.on_text("goes on").await.unwrap();
        open.end(json!(1)).await.unwrap();
        let report = shutdown.await;
        assert!(report.is_clean(), "{report:?}");
        let mut seen = log.lines();
        assert_eq!(report.handlers[0].handled, seen.len());
        seen.retain(|line| !line.starts_with("late"));
        assert_eq!(seen, [
            "open: chain_start: 0", "inside: llm_start: prompt", "inside: token: 0 ",
            "inside: llm_end: all", "open: text: goes on", "open: chain_end: 1",
        ]);
    }

    /// At the deadline the rest is closed, from the inside out. The handlers have seen it when the
    /// shutdown is over.
    async fn a_shutdown_closes_open_runs_at_its_deadline(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(sync(log.clone()));
        let outer = chain(&callbacks, "outer").await;
        let mut inner = model(&outer.child(), "inner").await;
        inner.on_llm_new_token("partial").await.unwrap();
        let report = callbacks.shutdown(SHORT).await.unwrap();
        assert_eq!(report.closed_runs, 2);
        assert!(!report.is_clean());
        assert_eq!(log.lines()[2..], [
            "inner: token: partial", "inner: llm_error: cancelled: partial",
            "outer: chain_error: cancelled",
        ]);
        // The runs that are still held can do no harm.
        assert!(matches!(inner.on_llm_new_token("late").await, Err(EmitError::ShutDown)));
        assert!(matches!(outer.end(json!(1)).await, Err(EmitError::ShutDown)));
        drop(inner);
        assert!(matches!(refused(&callbacks).await, EmitError::ShutDown));
        let late = callbacks.on_custom_event(CustomEvent::new("late", json!(0))).await;
        assert!(matches!(late, Err(EmitError::ShutDown)));
        // Once more: nothing happens, and the report is the same.
        assert_eq!(callbacks.shutdown(LONG).await.unwrap(), report);
        assert_eq!(log.lines().len(), 5);
    }

    async fn a_shutdown_waits_until_its_deadline(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let callbacks = stage.callbacks().with_handler(sync(log.clone()));
        let open = chain(&callbacks, "open").await;
        let mut shutdown = Box::pin(callbacks.shutdown(LONG));
        assert!(poll_once(&mut shutdown).await.is_none());
        stage.time.advance(LONG - SHORT);
        for _ in 0..10 {
            assert!(poll_once(&mut shutdown).await.is_none());
            yield_now().await;
        }
        assert_eq!(log.lines(), ["open: chain_start: 0"]);
        stage.time.advance(SHORT);
        assert_eq!(shutdown.await.unwrap().closed_runs, 1);
        assert_eq!(log.lines(), ["open: chain_start: 0", "open: chain_error: cancelled"]);
        drop(open);
    }

    /// A handler that hangs does not keep the shutdown, and is reported with what it left.
    async fn a_shutdown_reports_what_was_not_delivered(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks()
            .with_handler_options(handler, queued().name("hangs"))
            .with_handler_options(sync(Log::new()), queued().name("quick"));
        let mut run = chain(&callbacks, "run").await;
        run.on_text("a").await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert_eq!(grip.entered().await, "run chain_start: 0");
        let report = callbacks.shutdown(SHORT).await.unwrap();
        let stats = report.handlers.iter();
        let numbers: Vec<_> =
            stats.map(|stats| (&*stats.name, stats.handled, stats.pending)).collect();
        assert_eq!(numbers, [("hangs", 0, 3), ("quick", 3, 0)]);
        assert!(!report.is_clean());
        drop(grip);
        callbacks.flush().await.unwrap();
        // By now it is delivered after all.
        let report = callbacks.shutdown(LONG).await.unwrap();
        assert_eq!(report.handlers[0].handled, 3);
        assert!(report.is_clean(), "{report:?}");
    }

    /// An end that waits behind a handler that does not return is pending at no handler yet.
    async fn a_shutdown_reports_runs_whose_end_is_on_its_way(rt) {
        let (hangs, go_on) = gated(|event| matches!(event, Event::ChainEnd(_)));
        let log = Log::new();
        let callbacks = rt.callbacks()
            .with_async_handler_options(hangs, Awaited::new().inline())
            .with_handler(sync(log.clone()));
        let run = chain(&callbacks, "run").await;
        let mut end = Box::pin(run.end(json!(1)));
        assert!(poll_once(&mut end).await.is_none());
        let report = callbacks.shutdown(SHORT).await.unwrap();
        assert_eq!((report.open_runs, report.handlers[1].pending), (1, 0));
        assert!(!report.is_clean());
        go_on.send(()).unwrap();
        end.await.unwrap();
        let report = callbacks.shutdown(LONG).await.unwrap();
        assert_eq!(report.open_runs, 0);
        assert_eq!(log.lines(), ["run: chain_start: 0", "run: chain_end: 1"]);
    }

    /// A shutdown that is dropped leaves things where they are. Another one goes on from there.
    async fn a_shutdown_that_is_dropped_is_taken_up_by_the_next_one(rt) {
        let callbacks = rt.callbacks().with_handler(sync(Log::new()));
        let mut run = chain(&callbacks, "run").await;
        let mut shutdown = Box::pin(callbacks.shutdown(LONG));
        assert!(poll_once(&mut shutdown).await.is_none());
        drop(shutdown);
        assert!(matches!(refused(&callbacks).await, EmitError::ShutDown));
        run.on_text("goes on").await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert!(callbacks.shutdown(LONG).await.unwrap().is_clean());
    }

    /// Without a timer there is no deadline. This is an error, and nothing is shut down.
    async fn a_shutdown_without_a_timer_is_an_error(rt) {
        let callbacks =
            CallbackManager::without_timer(rt.clone()).with_handler(sync(Log::new()));
        let error = callbacks.shutdown(LONG).await.unwrap_err();
        assert!(matches!(error, EmitError::NoTimer), "{error}");
        streamed(callbacks, "run".into(), 1).await.unwrap();
    }
}
