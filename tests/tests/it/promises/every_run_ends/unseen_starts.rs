//! A handler that did not get a run's start gets nothing of that run, nor of any run under it.

use rappel_tests::held::held;

use super::*;

/// A tree of three levels with an event at each.
async fn tree(callbacks: &CallbackManager, name: &'static str) {
    let mut outer = chain(callbacks, name).await;
    outer.on_text("a").await.unwrap();
    let inner = chain(&outer.child(), name).await;
    streamed(inner.child(), name.to_owned(), 2).await.unwrap();
    drop(inner);
    outer.end(json!(1)).await.unwrap();
}

on_every_runtime! {
    /// A handler in the background has taken as many traces as it may.
    async fn a_refused_trace_is_unseen_at_every_level(rt) {
        let log = Log::new();
        let options = || Background::new(8).open_traces(1);
        let callbacks = rt.callbacks()
            .with_handler_options(sync(log.clone()), options())
            .with_async_handler_options(asynchronous(log.clone()), options());
        let open = chain(&callbacks, "open").await;
        tree(&callbacks, "refused").await;
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["open: chain_start: 0"; 2]);
        open.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        tree(&callbacks, "taken").await;
        callbacks.flush().await.unwrap();
        let lines = log.lines();
        assert_eq!(lines[2..4], ["open: chain_end: 1"; 2]);
        assert!(lines[4..].iter().all(|line| line.starts_with("taken: ")), "{lines:?}");
        assert_eq!(lines.len(), 4 + 2 * 9);
        for stats in callbacks.stats() {
            assert!(stats.refused_runs >= 1, "{stats:?}");
            assert_eq!((stats.handled, stats.pending, stats.open_runs), (11, 0, 0), "{stats:?}");
        }
    }

    /// The call for another run is out past its time-out when the trace starts.
    async fn a_trace_that_starts_while_its_handler_is_stuck_is_unseen(rt: with_blocking_threads) {
        let stage = Stage::new(&rt);
        let (handler, mut grip) = held();
        let (callbacks, _failures) = reporting(stage.callbacks());
        let timeout = Duration::from_millis(50);
        let options = HandlerOptions::new().timeout(timeout);
        let callbacks = callbacks.with_handler_options(handler, options);
        let call = (&mut grip, "open chain_start: 0");
        let open = stage.time_out(chain(&callbacks, "open"), call, timeout).await;
        let mut parent = chain(&callbacks, "missed").await;
        let child = chain(&parent.child(), "missed").await;
        grip.let_go();
        // The handler is back with this call.
        grip.let_go();
        open.end(json!(1)).await.unwrap();
        assert_eq!(grip.entered().await, "open chain_end: 1");
        let rest = grip.open();
        parent.on_text("a").await.unwrap();
        streamed(child.child(), "missed".into(), 1).await.unwrap();
        child.end(json!(1)).await.unwrap();
        parent.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        drop(callbacks);
        assert_eq!(rest.await, [""; 0]);
    }

    /// A handler that is added to the manager of a run's children sees those from their start.
    async fn a_handler_that_is_added_below_a_run_sees_the_runs_below_it_whole(rt) {
        let (above, below) = (Log::new(), Log::new());
        let callbacks = rt.callbacks().with_handler(sync(above.clone()));
        let parent = chain(&callbacks, "parent").await;
        let children = parent.child().with_handler(sync(below.clone()));
        streamed(children.clone(), "child".into(), 1).await.unwrap();
        let open = chain(&children, "open").await;
        parent.end(json!(1)).await.unwrap();
        drop(open);
        callbacks.flush().await.unwrap();
        assert_eq!(below.lines(), [
            "child: llm_start: prompt", "child: token: 0 ", "child: llm_end: all",
            "open: chain_start: 0", "open: chain_error: cancelled",
        ]);
        assert_eq!(above.lines().len(), 2 + 5);
    }
}
