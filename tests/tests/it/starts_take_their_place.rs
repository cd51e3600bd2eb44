//! What a start can be given: an id, a time, a parent in another process, a trace context. And what
//! handlers find out about it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use rappel_core::prelude::*;
use rappel_core::{TraceParent, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;
use rappel_threads::Threads;

/// How many runs start while other threads flush.
const STARTS: usize = 5_000;

fn id(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

/// A manager whose handler writes what `line` makes of an event.
fn watched(
    rt: &Rt,
    line: impl Fn(&Event, &EventContext) -> String + Send + Sync + 'static,
) -> (CallbackManager, Log) {
    let log = Log::new();
    let seen = log.clone();
    let handler = handler_fn(move |event, cx| {
        seen.write(line(event, cx));
        Ok(())
    });
    (rt.callbacks().with_handler(handler), log)
}

on_every_runtime! {
    async fn a_start_takes_a_time(rt) {
        let (callbacks, log) = watched(&rt, |event, cx| format!("{}: {:?}", event.kind(), cx.time()));
        let time = Duration::new(1_700_000_000, 5);
        let run = callbacks.on_llm_start(LlmStart::new("m", "Hi").with_time(time)).await.unwrap();
        run.end("done").await.unwrap();
        let lines = log.lines();
        assert_eq!(lines[0], "on_llm_start: Some(1700000000.000000005s)");
        assert!(lines[1].starts_with("on_llm_end: Some("), "the clock's: {}", lines[1]);
        assert_ne!(lines[1], "on_llm_end: Some(1700000000.000000005s)");
    }

    async fn a_run_with_a_remote_parent_is_detached_and_names_it(rt) {
        let (callbacks, log) = watched(&rt, |event, cx| {
            let parents: Vec<_> = cx.parents().collect();
            let remote = cx.has_remote_parent();
            let place = (cx.parent_id() == parents.last().copied(), cx.root_id() == id(1));
            format!("{} {} of {} {remote} {place:?}", cx.name(), event.kind(), parents.len())
        });
        let local = callbacks.group("local").await.unwrap();
        let start = ChainStart::new("worker", json!({})).with_remote_parent(id(2), id(1));
        let worker = local.child().on_chain_start(start).await.unwrap();
        let step = worker.child().group("step").await.unwrap();
        // Its local parent does not close it.
        local.end(json!({})).await.unwrap();
        step.end(json!({})).await.unwrap();
        worker.end(json!({})).await.unwrap();
        assert_eq!(log.lines(), [
            "local on_chain_start of 0 false (true, false)",
            "worker on_chain_start of 2 true (true, true)",
            "step on_chain_start of 3 false (true, true)",
            "local on_chain_end of 0 false (true, false)",
            "step on_chain_end of 3 false (true, true)",
            "worker on_chain_end of 2 true (true, true)",
        ]);
    }

    async fn a_start_takes_a_trace_context(rt) {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (callbacks, log) = watched(&rt, |event, cx| {
            format!("{} {:?}", event.kind(), cx.traceparent().map(ToString::to_string))
        });
        let caller: TraceParent = text.parse().unwrap();
        let start = ToolStart::new("clock", "{}").with_traceparent(caller);
        let tool = callbacks.on_tool_start(start).await.unwrap();
        // It is that of the run, and its children have their parent.
        tool.child().group("inside").await.unwrap().end(json!({})).await.unwrap();
        tool.end(json!({})).await.unwrap();
        assert_eq!(log.lines(), [
            format!("on_tool_start Some({text:?})"),
            "on_chain_start None".into(),
            "on_chain_end None".into(),
            format!("on_tool_end Some({text:?})"),
        ]);
    }

    async fn an_open_runs_id_cannot_be_given_again(rt) {
        let (callbacks, _) = watched(&rt, |_, _| String::new());
        let start = || ChainStart::new("c", json!({})).with_run_id(id(7));
        let open = callbacks.on_chain_start(start()).await.unwrap();
        let error = callbacks.on_chain_start(start()).await.unwrap_err();
        assert!(matches!(error, EmitError::DuplicateRunId), "{error}");
        open.end(json!({})).await.unwrap();
        callbacks.on_chain_start(start()).await.unwrap().end(json!({})).await.unwrap();
    }

    async fn the_runs_above_are_known_up_to_a_bound(rt) {
        let (callbacks, log) = watched(&rt, |event, cx| {
            let parents: Vec<_> = cx.parents().collect();
            let ends = parents.first() == Some(&cx.root_id()) && parents.last().copied() == cx.parent_id();
            format!("{} {} {ends}", event.kind(), parents.len())
        });
        let mut runs = vec![callbacks.group("0").await.unwrap()];
        for depth in 1..140 {
            let child = runs[depth - 1].child().group(depth.to_string()).await.unwrap();
            runs.push(child);
        }
        let lines = log.lines();
        assert_eq!(lines[0], "on_chain_start 0 false");
        for (depth, line) in lines.iter().enumerate().skip(1) {
            assert_eq!(*line, format!("on_chain_start {} true", depth.min(128)));
        }
        drop(runs);
    }

    async fn the_end_of_a_tool_names_the_call_that_its_start_named(rt) {
        let (callbacks, log) = watched(&rt, |event, _| match event {
            Event::ToolEnd(end) => format!("end {:?}", end.tool_call_id),
            Event::ToolError(error) => format!("error {:?}", error.tool_call_id),
            _ => "start".into(),
        });
        let start = || ToolStart::new("clock", "{}").with_tool_call_id("call_1");
        callbacks.on_tool_start(start()).await.unwrap().end(json!(1)).await.unwrap();
        callbacks.on_tool_start(start()).await.unwrap().fail("no").await.unwrap();
        callbacks.on_tool_start(ToolStart::new("t", "")).await.unwrap().end(json!(1)).await.unwrap();
        let expected =
            ["start", r#"end Some("call_1")"#, "start", r#"error Some("call_1")"#, "start", "end None"];
        assert_eq!(log.lines(), expected);
    }
}

/// A flush or a count of another thread that comes while a run starts keeps nothing from it.
#[test]
fn a_start_is_whole_while_other_threads_flush_and_count() {
    let log = Log::new();
    let seen = log.clone();
    let callbacks = CallbackManager::new(Threads::new()).with_async_handler(async_handler_fn(
        async move |event, _| {
            if let Event::ToolEnd(end) = event {
                seen.write(end.tool_call_id.clone().unwrap_or_default());
            }
            Ok(())
        },
    ));
    let started = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while started.load(Ordering::Relaxed) < STARTS {
                    drop(callbacks.flush());
                    let _ = callbacks.stats();
                }
            });
        }
        while started.fetch_add(1, Ordering::Relaxed) < STARTS {
            let start = ToolStart::new("tool", "in").with_tool_call_id("call");
            // A start that is refused has no end in the log.
            let _ = block_on(async { callbacks.on_tool_start(start).await?.end("out").await });
        }
    });
    let lines = log.lines();
    let whole = lines.iter().filter(|line| *line == "call").count();
    assert_eq!((lines.len(), whole), (STARTS, STARTS));
}
