//! Managers are merged and changed by identity, in order; custom events, batches, times and ids as a LangChain user expects them.

use rappel_core::prelude::*;
use rappel_core::{Interest, RunId, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

async fn chain_and_tool(callbacks: &CallbackManager) {
    let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
    chain
        .child(None)
        .on_tool_start(ToolStart::new("tool", "in"))
        .await
        .unwrap()
        .end("out")
        .await
        .unwrap();
    chain.end(json!(1)).await.unwrap();
}

/// A handler that writes its name and the event's.
fn named(log: &Log, name: &'static str) -> impl CallbackHandler + use<> {
    let log = log.clone();
    handler_fn(move |event, _| {
        log.write(format!("{name} {}", event.kind()));
        Ok(())
    })
}

on_every_runtime! {
    /// Order is kept, a handler that both have comes once, local ones stay local, metadata is kept.
    async fn merge_keeps_order_and_distinction(rt) {
        let log = Log::new();
        let inline = || HandlerOptions::new().run_inline(true);
        let mut left = rt.callbacks().with_inheritable_tags(["a", "both"]);
        left.add_handler_options(named(&log, "1"), inline());
        left.add_handler_options(named(&log, "2 local"), inline().inherit(false));
        let mut right = left.clone().with_tags(["b"]);
        right.add_handler_options(named(&log, "3"), inline());
        let metadata = |value: rappel_core::Value| value.as_object().cloned().unwrap();
        let left = left.with_inheritable_metadata(metadata(json!({"k": 1, "mine": 1})));
        let right = right.with_inheritable_metadata(metadata(json!({"k": 2})));

        let merged = left.merge(&right);
        chain_and_tool(&merged).await;
        assert_eq!(log.lines(), [
            "1 on_chain_start", "2 local on_chain_start", "3 on_chain_start",
            "1 on_tool_start", "3 on_tool_start", "1 on_tool_end", "3 on_tool_end",
            "1 on_chain_end", "2 local on_chain_end", "3 on_chain_end",
        ]);
        let chain = merged.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        assert_eq!(chain.info().tags(), ["a", "both", "b"]);
        assert_eq!(json!(chain.child(None).group("g").await.unwrap().info().metadata()), json!({"k": 2, "mine": 1}));
        drop(chain);
        merged.flush().await;
    }

    async fn removing_what_is_not_there_is_no_error(rt) {
        let log = Log::new();
        let mut callbacks = rt.callbacks().with_inheritable_tags(["a", "b"]);
        let elsewhere = callbacks.clone().add_handler(named(&log, "elsewhere"));
        assert!(!callbacks.remove_handler(elsewhere));
        callbacks.remove_tags(["b", "never"]);
        callbacks.remove_metadata(["never"]);
        callbacks.add_handler(named(&log, "gone"));
        callbacks.clear_handlers();
        callbacks.add_handler(named(&log, "here"));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        assert_eq!(chain.info().tags(), ["a"]);
        chain.end(json!(1)).await.unwrap();
        assert_eq!(log.lines(), ["here on_chain_start", "here on_chain_end"]);
    }

    /// With the run's id, tags and metadata, in order.
    async fn custom_events_belong_to_the_run_that_sends_them(rt) {
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_inheritable_tags(["t"]).with_handler(handler_fn(move |event, run| {
            if let Event::CustomEvent(event) = event {
                seen.write(format!("{} {} {} {:?} {:?}", event.name, event.data, run.id(), run.parent_id(), run.tags()));
            }
            Ok(())
        }));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let id = chain.id();
        chain.on_custom_event(CustomEvent::new("first", json!(1))).await.unwrap();
        // The manager of its children sends under the same id; one that was given an id, under that.
        chain.child(None).on_custom_event(CustomEvent::new("second", json!(2))).await.unwrap();
        let own = RunId::v7(std::time::Duration::ZERO, [1; 10]);
        callbacks.on_custom_event(CustomEvent::new("third", json!(3)).with_run_id(own)).await.unwrap();
        chain.end(json!(1)).await.unwrap();
        let expected = [("first", 1, id), ("second", 2, id), ("third", 3, own)];
        assert_eq!(log.lines(), expected.map(|(name, data, id)| format!("{name} {data} {id} None [\"t\"]")));
    }

    /// With several prompts, each one's inline handlers come in the order of registration, and all other handlers are called too.
    async fn inline_handlers_take_the_prompts_in_turn(rt) {
        let (inline, other) = (Log::new(), Log::new());
        let options = || HandlerOptions::new().run_inline(true);
        let callbacks = rt.callbacks()
            .with_handler(other.handler())
            .with_handler_options(named(&inline, "first"), options())
            .with_handler_options(named(&inline, "second"), options());
        let id = RunId::v7(std::time::Duration::ZERO, [1; 10]);
        let starts = ["a", "b", "c"].map(|prompt| LlmStart::new("llm", prompt));
        let [first, second, third] = starts;
        let runs = callbacks.on_llm_starts([first.with_run_id(id), second, third]).await;
        assert_eq!(inline.lines(), ["first on_llm_start", "second on_llm_start"].repeat(3));
        assert_eq!(other.lines(), ["llm_start: a", "llm_start: b", "llm_start: c"]);
        let ids: Vec<RunId> = runs.iter().map(|run| run.as_ref().unwrap().id()).collect();
        assert!(ids[0] == id && ids[1] != id && ids[2] != id);
        drop(runs);
        callbacks.flush().await;
    }

    async fn a_tokens_time_is_there_where_it_is_asked_for(rt) {
        struct Times(Log, Interest);

        impl CallbackHandler for Times {
            fn interest(&self) -> Interest {
                self.1
            }

            fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
                self.0.write(token.time().is_some().to_string());
                Ok(())
            }
        }

        for (interest, expected) in [(Interest::all(), "false"), (Interest::all().with_token_times(), "true")] {
            let log = Log::new();
            let callbacks = rt.callbacks().with_handler(Times(log.clone(), interest));
            let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
            run.on_llm_new_token("a").await.unwrap();
            run.end(LlmResult::new()).await.unwrap();
            assert_eq!(log.lines(), [expected]);
        }
    }

    async fn a_tools_error_names_its_call(rt) {
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            match event {
                Event::ToolStart(start) => seen.write(format!("{:?} {:?} {:?}", start.tool_call_id, start.inputs, start.description)),
                Event::ToolError(error) => seen.write(format!("{:?}", error.tool_call_id)),
                _ => {}
            }
            Ok(())
        }));
        let start = || ToolStart::new("search", "q").with_inputs(json!({"q": 1})).with_tool_call_id("call_1").with_description("searches");
        callbacks.on_tool_start(start()).await.unwrap().error("broken").await.unwrap();
        drop(callbacks.on_tool_start(start()).await.unwrap());
        callbacks.flush().await;
        let begun = r#"Some("call_1") Some(Object {"q": Number(1)}) Some("searches")"#;
        assert_eq!(log.lines(), [begun, "Some(\"call_1\")", begun, "Some(\"call_1\")"]);
    }
}
