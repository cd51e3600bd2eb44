//! Detached runs may outlive their parent: those of a `detached` manager, and those that start
//! under a run that has ended. (Those that start inside a handler's call: see `no_deadlock`.)

use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    async fn the_run_of_a_detached_manager_outlives_its_parent(rt) {
        let watched = Watched::new(&rt);
        let parent = chain(&watched.callbacks, "parent").await;
        let background = tool(&parent.child().detached(), "background").await;
        assert_eq!(background.info().parent_id(), Some(parent.id()));
        assert_eq!(background.info().root_id(), parent.id());
        parent.end(json!(1)).await.unwrap();
        background.end("done").await.unwrap();
        watched.callbacks.flush().await.unwrap();
        for (handler, lines) in watched.of("background") {
            assert_eq!(lines, ["tool_start: input", "tool_end: \"done\""], "{handler}");
        }
        for (handler, lines) in watched.of("parent") {
            assert_eq!(lines, ["chain_start: 0", "chain_end: 1"], "{handler}");
        }
    }

    /// What is inside a detached run ends with that run.
    async fn a_detached_run_closes_its_own_children(rt) {
        let watched = Watched::new(&rt);
        let parent = chain(&watched.callbacks, "parent").await;
        let background = tool(&parent.child().detached(), "background").await;
        let inside = tool(&background.child(), "inside").await;
        parent.end(json!(1)).await.unwrap();
        background.end("done").await.unwrap();
        assert!(matches!(inside.end("late").await, Err(EmitError::RunClosed)));
        watched.callbacks.flush().await.unwrap();
        for (handler, log) in &watched.logs {
            let lines: Vec<String> =
                log.lines().into_iter().filter(|line| !line.starts_with("parent")).collect();
            assert_eq!(lines, [
                "background: tool_start: input", "inside: tool_start: input",
                "inside: tool_error: cancelled", "background: tool_end: \"done\"",
            ], "{handler}");
        }
    }

    /// A manager of children stays usable after its run has ended.
    async fn a_run_that_starts_under_an_ended_parent_is_detached(rt) {
        let watched = Watched::new(&rt);
        let parent = chain(&watched.callbacks, "parent").await;
        let (children, id) = (parent.child(), parent.id());
        parent.end(json!(1)).await.unwrap();
        let late = tool(&children, "late").await;
        assert_eq!((late.info().parent_id(), late.info().root_id()), (Some(id), id));
        let inside = tool(&late.child(), "inside").await;
        inside.end("out").await.unwrap();
        late.end("out").await.unwrap();
        watched.callbacks.flush().await.unwrap();
        for (handler, log) in &watched.logs {
            let lines: Vec<String> =
                log.lines().into_iter().filter(|line| !line.starts_with("parent")).collect();
            assert_eq!(lines, [
                "late: tool_start: input", "inside: tool_start: input",
                "inside: tool_end: \"out\"", "late: tool_end: \"out\"",
            ], "{handler}");
        }
    }

    async fn a_shutdown_closes_detached_runs_too(rt) {
        let watched = Watched::new(&rt);
        let parent = chain(&watched.callbacks, "parent").await;
        let background = tool(&parent.child().detached(), "background").await;
        parent.end(json!(1)).await.unwrap();
        let report = watched.callbacks.shutdown(Duration::ZERO).await.unwrap();
        assert_eq!(report.closed_runs, 1);
        watched.callbacks.flush().await.unwrap();
        for (handler, lines) in watched.of("background") {
            assert_eq!(lines, ["tool_start: input", "tool_error: cancelled"], "{handler}");
        }
        drop(background);
    }

    /// A detached run is a trace of its own, so a handler in the background that is full refuses
    /// it.
    async fn a_detached_run_is_admitted_as_a_trace_of_its_own(rt) {
        let log = Log::new();
        let options = Background::new(8).open_traces(1);
        let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), options);
        let parent = chain(&callbacks, "parent").await;
        tool(&parent.child().detached(), "detached").await.end("out").await.unwrap();
        tool(&parent.child(), "child").await.end("out").await.unwrap();
        parent.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [
            "parent: chain_start: 0", "child: tool_start: input", "child: tool_end: \"out\"",
            "parent: chain_end: 1",
        ]);
        assert_eq!(callbacks.stats()[0].refused_runs, 1);
    }
}
