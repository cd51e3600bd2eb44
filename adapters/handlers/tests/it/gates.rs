//! Closures that are asked before a model or a tool runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rappel_core::FailureCause;
use rappel_core::prelude::*;
use rappel_handlers::{Gate, With};
use rappel_testkit::{Answer, Recorder, ScriptedChatModel, expect};

use crate::support::on_runtimes;

on_runtimes! {
    async fn a_refused_tool_does_not_run_and_its_run_ends_as_stopped(callbacks) {
        let recorder = Recorder::new();
        let gate = Gate::tools(async |event, _cx| match event {
            Event::ToolStart(start) if &*start.name == "shell" => Err("no shells".into()),
            _ => Ok(()),
        });
        let callbacks = callbacks.with(gate).with_handler(recorder.clone());
        let refused = callbacks.on_tool_start(ToolStart::new("shell", "ls")).await;
        assert!(matches!(refused, Err(EmitError::Raised(_))));
        let tool = callbacks.on_tool_start(ToolStart::new("clock", "")).await.unwrap();
        tool.end("noon").await.unwrap();
        callbacks.flush().await.unwrap();
        const REFUSED: &str = "stopped: handler `Gate` failed in on_tool_start: no shells";
        recorder.assert_runs([
            expect().tool_start().saying("ls").stopped().saying(REFUSED),
            expect().tool_start().named("clock").end(),
        ]);
    }

    async fn a_refused_model_returns_the_error_to_its_caller(callbacks) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let gate = Gate::models(async move |_event, _cx| {
            let before = count.fetch_add(1, Ordering::Relaxed);
            if before == 0 { Err("not now".into()) } else { Ok(()) }
        });
        let model = ScriptedChatModel::new([Answer::text("no"), Answer::text("Why not?")]).callbacks(callbacks.with(gate));
        let refused = model.invoke("Tell me a joke").await.unwrap_err();
        assert!(refused.to_string().contains("not now"), "{refused}");
        assert!(matches!(refused, RunError::Stopped(_)));
        assert_eq!(model.invoke("Tell me a joke").await.unwrap().text(), "Why not?");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    async fn a_gate_that_panics_stops_the_run(callbacks) {
        let (callbacks, _failures) = crate::support::with_failures(callbacks);
        let gate = Gate::new(async |_event, _cx| panic!("broken gate"));
        let callbacks = callbacks.with(gate);
        let Err(EmitError::Raised(failure)) =
            callbacks.on_llm_start(LlmStart::new("m", "")).await
        else { panic!("the gate lets it through") };
        assert!(matches!(failure.cause, FailureCause::Panicked(_)));
    }
}

#[test]
fn a_gate_is_not_asked_about_chains_and_retrievers() {
    let gate = Gate::new(async |event, _cx| Err(event.kind().method().into()));
    let callbacks = crate::support::callbacks().with(gate);
    futures_executor::block_on(async {
        let chain = callbacks.on_chain_start(ChainStart::new("c", "")).await.unwrap();
        let start = RetrieverStart::new("r", "");
        let retriever = chain.child().on_retriever_start(start).await.unwrap();
        retriever.end(vec![]).await.unwrap();
        let refused = chain.child().on_chat_model_start(ChatModelStart::new("m", vec![])).await;
        assert!(refused.unwrap_err().to_string().contains("on_chat_model_start"));
        chain.end("").await.unwrap();
    });
}
