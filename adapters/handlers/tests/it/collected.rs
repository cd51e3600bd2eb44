//! Finished traces as data.

use std::time::Duration;

use rappel_core::json;
use rappel_core::prelude::*;
use rappel_handlers::{Collector, With};

use crate::support::{callbacks, callbacks_with_clock, on_runtimes};

on_runtimes! {
    async fn a_trace_has_its_runs_with_inputs_outputs_and_errors(callbacks) {
        let collector = Collector::new(10);
        let callbacks = callbacks.with(collector.clone());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!({"q": 1}))).await.unwrap();
        let messages = vec![Message::human("Hi")];
        let model = chain.child().on_chat_model_start(ChatModelStart::new("m", messages)).await;
        let answer = LlmResult::from_text("Hello").with_usage(TokenUsage::new(3, 1));
        model.unwrap().end(answer).await.unwrap();
        let tool = chain.child().on_tool_start(ToolStart::new("clock", "now")).await.unwrap();
        tool.fail("no clock").await.unwrap();
        assert!(collector.traces().is_empty());
        chain.end("done").await.unwrap();

        let traces = collector.take();
        assert!(collector.traces().is_empty());
        let [trace] = &traces[..] else { panic!("{traces:?}") };
        let root = trace.root();
        assert_eq!((root.inputs(), root.outputs()), (json!({"q": 1}), Some(json!("done"))));
        let children: Vec<_> = trace.children(root).collect();
        assert_eq!(children.len(), 2);
        assert_eq!(children[0].outputs(), Some(json!("Hello")));
        assert_eq!(children[0].usage().unwrap().total_tokens, 4);
        assert!(children[0].inputs()[0]["content"] == json!("Hi"));
        assert_eq!(children[1].error().unwrap().to_string(), "no clock");
        assert_eq!(children[1].outputs(), None);
        assert_eq!(children[1].info().parent_id(), Some(root.info().id()));
    }

    async fn dropped_runs_are_collected_too(callbacks) {
        let collector = Collector::new(10);
        let callbacks = callbacks.with(collector.clone());
        let run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        drop(run);
        callbacks.flush().await.unwrap();
        assert!(matches!(collector.take()[0].root().error(), Some(RunError::Cancelled)));
    }
}

#[test]
fn memory_is_bounded_by_traces_and_by_runs() {
    let collector = Collector::new(2).runs_per_trace(3);
    let callbacks = callbacks().with(collector.clone());
    futures_executor::block_on(async {
        for name in ["a", "b", "c"] {
            let chain = callbacks.on_chain_start(ChainStart::new(name, "")).await.unwrap();
            for _ in 0..5 {
                let start = ToolStart::new("t", "");
                chain.child().on_tool_start(start).await.unwrap().end("").await.unwrap();
            }
            chain.end("").await.unwrap();
        }
    });
    let traces = collector.traces();
    let names: Vec<_> = traces.iter().map(|trace| trace.root().name()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(collector.dropped(), 1);
    assert_eq!((traces[0].runs().len(), traces[0].omitted()), (3, 3));
    assert!(traces[0].root().end().is_some());
}

#[test]
fn a_run_knows_its_times() {
    let collector = Collector::new(2);
    let (callbacks, clock) = callbacks_with_clock();
    let callbacks = callbacks.with(collector.clone());
    futures_executor::block_on(async {
        let run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        clock.advance(Duration::from_secs(2));
        run.end("").await.unwrap();
    });
    let trace = collector.take().remove(0);
    assert!(trace.root().duration().unwrap() >= Duration::from_secs(2));
    assert!(trace.root().started().is_some());
}

#[test]
fn a_deep_trace_is_collected_and_dropped_without_recursion() {
    let collector = Collector::new(1).runs_per_trace(20_000);
    let callbacks = callbacks().with(collector.clone());
    futures_executor::block_on(async {
        let mut runs = vec![callbacks.on_chain_start(ChainStart::new("c", "")).await.unwrap()];
        for _ in 0..5_000 {
            let child = runs.last().unwrap().child();
            runs.push(child.on_chain_start(ChainStart::new("c", "")).await.unwrap());
        }
        while let Some(run) = runs.pop() {
            run.end("").await.unwrap();
        }
    });
    assert_eq!(collector.take()[0].runs().len(), 5_001);
}
