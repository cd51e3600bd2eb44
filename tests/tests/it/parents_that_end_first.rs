//! A parent that ends first cuts its open children off: their next emit says so, and they end as cancelled, then or at their drop.

use rappel_core::prelude::*;
use rappel_core::{ChainRun, EmitError, ToolRun, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

async fn family(rt: &Rt) -> (CallbackManager, Log, ChainRun, ToolRun) {
    let log = Log::new();
    let opened = log.clone();
    let callbacks = rt
        .callbacks()
        .with_handler(log.handler())
        .with_async_handler(async_handler_fn(move |event, _| {
            match event {
                Event::ChainEnd(end) => opened.write(format!("{} open", end.open_children)),
                Event::ChainError(error) => opened.write(format!("{} open", error.open_children)),
                _ => {}
            }
            async { Ok(()) }
        }));
    let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
    let tool = chain.child(None).on_tool_start(ToolStart::new("tool", "in")).await.unwrap();
    (callbacks, log, chain, tool)
}

fn sorted(log: &Log) -> Vec<String> {
    let mut lines = log.lines();
    lines.sort();
    lines
}

on_every_runtime! {
    async fn the_childs_next_emit_returns_run_closed(rt) {
        let (_callbacks, log, chain, tool) = family(&rt).await;
        let llm = tool.child(None).on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
        llm.on_llm_new_token("a").await.unwrap();
        chain.end(json!(1)).await.unwrap();
        let before = log.lines().len();

        // A grandchild is cut off as well; it is told once, and stays closed.
        assert!(matches!(llm.on_llm_new_token("b").await, Err(EmitError::RunClosed)));
        assert_eq!(log.lines()[before..], ["llm_error: cancelled: a"]);
        assert!(matches!(llm.on_llm_new_token("c").await, Err(EmitError::RunClosed)));
        assert!(matches!(llm.end(LlmResult::new()).await, Err(EmitError::RunClosed)));
        assert!(matches!(tool.end("out").await, Err(EmitError::RunClosed)));
        assert_eq!(log.lines()[before..], ["llm_error: cancelled: a", "tool_error: cancelled"]);
    }

    async fn or_its_drop_cancels_it(rt) {
        let (callbacks, log, chain, tool) = family(&rt).await;
        chain.end(json!(1)).await.unwrap();
        drop(tool);
        callbacks.flush().await;
        assert_eq!(sorted(&log), ["1 open", "chain_end: 1", "chain_start: 0", "tool_error: cancelled", "tool_start: in"]);
    }

    async fn the_end_tells_how_many_were_open(rt) {
        let (callbacks, log, chain, tool) = family(&rt).await;
        let ended = chain.child(None).on_tool_start(ToolStart::new("tool", "ended")).await.unwrap();
        ended.end("out").await.unwrap();
        drop(chain.child(None).on_tool_start(ToolStart::new("tool", "dropped")).await.unwrap());
        let second = chain.child(None).on_tool_start(ToolStart::new("tool", "second")).await.unwrap();
        drop(chain);
        callbacks.flush().await;
        assert!(log.lines().contains(&"2 open".to_owned()), "{:?}", log.lines());
        assert!(second.end("out").await.is_err());
        assert!(tool.end("out").await.is_err());
    }

    /// Work in the background keeps its parent, and outlives it; what it starts in turn hangs under it as usual.
    async fn detached_children_outlive_it(rt) {
        let (_callbacks, log, chain, tool) = family(&rt).await;
        tool.end("out").await.unwrap();
        let background = chain.child("background").detached().on_tool_start(ToolStart::new("tool", "long")).await.unwrap();
        assert_eq!(background.info().parent_id(), Some(chain.id()));
        let inside = background.child(None).on_tool_start(ToolStart::new("tool", "inside")).await.unwrap();
        chain.end(json!(1)).await.unwrap();
        assert!(log.lines().contains(&"0 open".to_owned()), "{:?}", log.lines());
        let before = log.lines().len();
        background.end("done").await.unwrap();
        assert!(matches!(inside.end("late").await, Err(EmitError::RunClosed)));
        assert_eq!(log.lines()[before..], ["tool_end: \"done\"", "tool_error: cancelled"]);
    }

    /// What starts under a parent that has ended is nobody's open child.
    async fn a_child_manager_stays_usable(rt) {
        let (_callbacks, log, chain, tool) = family(&rt).await;
        tool.end("out").await.unwrap();
        let child = chain.child(None);
        chain.end(json!(1)).await.unwrap();
        let late = child.on_tool_start(ToolStart::new("tool", "late")).await.unwrap();
        let grandchild = late.child(None).on_tool_start(ToolStart::new("tool", "late too")).await.unwrap();
        grandchild.end("out").await.unwrap();
        late.end("out").await.unwrap();
        let lines = log.lines();
        assert_eq!(lines[lines.len() - 4..], ["tool_start: late", "tool_start: late too", "tool_end: \"out\"", "tool_end: \"out\""]);
    }
}
