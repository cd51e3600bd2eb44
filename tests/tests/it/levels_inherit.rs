//! A child's manager inherits its parent's inheritable handlers, tags and metadata.

use rappel_core::prelude::*;
use rappel_core::{Map, Value, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

fn metadata(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

on_every_runtime! {
    async fn a_child_inherits_only_what_is_inheritable(rt) {
        let (inherited, local) = (Log::new(), Log::new());
        let callbacks = rt
            .callbacks()
            .with_handler(inherited.handler())
            .with_async_handler_options(local.async_handler(), HandlerOptions::new().inherit(false))
            .with_inheritable_tags(["a", "b"])
            .with_tags(["local", "b"])
            .with_inheritable_metadata(metadata(json!({"k": 1, "all": true})))
            .with_metadata(metadata(json!({"k": 2})));
        let chain = callbacks
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        // A tag that is added again moves to the end. The last addition decides if it is inherited.
        assert_eq!(chain.info().tags(), ["a", "local", "b"]);
        assert_eq!(json!(chain.info().metadata()), json!({"k": 2, "all": true}));
        assert_eq!(
            (chain.info().parent_id(), chain.info().root_id()),
            (None, chain.id())
        );

        let tool = chain
            .child()
            .with_tags(["step:1"])
            .on_tool_start(ToolStart::new("tool", "in"))
            .await
            .unwrap();
        assert_eq!(tool.info().tags(), ["a", "step:1"]);
        assert_eq!(json!(tool.info().metadata()), json!({"k": 1, "all": true}));
        assert_eq!(
            (tool.info().parent_id(), tool.info().root_id()),
            (Some(chain.id()), chain.id())
        );

        let llm = tool
            .child()
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        assert_eq!(llm.info().tags(), ["a"]);
        assert_eq!(
            (llm.info().parent_id(), llm.info().root_id()),
            (Some(tool.id()), chain.id())
        );
        llm.end(LlmResult::new()).await.unwrap();
        tool.end("out").await.unwrap();
        chain.end(json!(1)).await.unwrap();
        let all = [
            "chain_start: 0",
            "tool_start: in",
            "llm_start: prompt",
            "llm_end: ",
            "tool_end: \"out\"",
            "chain_end: 1",
        ];
        assert_eq!(inherited.lines(), all);
        assert_eq!(local.lines(), ["chain_start: 0", "chain_end: 1"]);
    }

    async fn a_calls_handlers_are_inherited_and_a_components_are_not(rt) {
        let (call, component) = (Log::new(), Log::new());
        let of_call = rt.callbacks().with_handler(call.handler());
        let of_component = rt.callbacks().with_handler(component.handler());
        let callbacks = CallbackManager::configure(Some(&of_call), Some(&of_component));
        let chain = callbacks
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        chain
            .child()
            .on_tool_start(ToolStart::new("tool", "in"))
            .await
            .unwrap()
            .end("out")
            .await
            .unwrap();
        chain.end(json!(1)).await.unwrap();
        assert_eq!(
            call.lines(),
            [
                "chain_start: 0",
                "tool_start: in",
                "tool_end: \"out\"",
                "chain_end: 1"
            ]
        );
        assert_eq!(component.lines(), ["chain_start: 0", "chain_end: 1"]);

        // A handler that is in both managers is called once.
        let twice = CallbackManager::configure(Some(&of_call), Some(&of_call));
        twice
            .on_chain_start(ChainStart::new("chain", json!(2)))
            .await
            .unwrap()
            .end(json!(3))
            .await
            .unwrap();
        assert_eq!(call.lines()[4..], ["chain_start: 2", "chain_end: 3"]);
    }

    /// The default manager has no runtime. Merged with another manager, it gets that one's runtime.
    async fn a_default_manager_takes_over_a_runtime(rt) {
        let log = Log::new();
        let component = rt.callbacks().with_async_handler(log.async_handler());
        let configured =
            CallbackManager::configure(Some(&CallbackManager::default()), Some(&component));
        for callbacks in [configured, CallbackManager::default().merge(&component)] {
            drop(
                callbacks
                    .on_chain_start(ChainStart::new("chain", json!(0)))
                    .await
                    .unwrap(),
            );
            callbacks.flush().await.unwrap();
            component.flush().await.unwrap();
        }
        assert_eq!(
            log.lines(),
            ["chain_start: 0", "chain_error: cancelled"].repeat(2)
        );
    }

    /// Each run is the parent of the next. Their drop must not recurse.
    async fn a_long_line_of_ancestors_is_dropped(rt) {
        let mut callbacks = rt
            .callbacks()
            .with_async_handler(Log::new().async_handler());
        for _ in 0..20_000 {
            let run = callbacks
                .on_chain_start(ChainStart::new("chain", json!(0)))
                .await
                .unwrap();
            callbacks = run.child();
            run.end(json!(1)).await.unwrap();
        }
        drop(callbacks);
    }

    async fn a_run_keeps_the_handlers_that_it_started_with(rt) {
        let (early, late) = (Log::new(), Log::new());
        let mut callbacks = rt.callbacks();
        let id = callbacks.add_handler(early.handler());
        let chain = callbacks
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        callbacks.add_async_handler(late.async_handler());
        assert!(callbacks.remove_handler(id));
        assert!(!callbacks.remove_handler(id), "it was removed before");
        chain.end(json!(1)).await.unwrap();
        callbacks
            .on_chain_start(ChainStart::new("chain", json!(2)))
            .await
            .unwrap()
            .end(json!(3))
            .await
            .unwrap();
        assert_eq!(early.lines(), ["chain_start: 0", "chain_end: 1"]);
        assert_eq!(late.lines(), ["chain_start: 2", "chain_end: 3"]);
    }

    async fn the_context_of_an_event_has_its_number_and_time(rt) {
        let log = Log::new();
        let stamps = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            let number = cx.sequence().unwrap();
            stamps.write(format!("{number} {} {}", event.kind(), cx.time().is_some()));
            Ok(())
        }));
        let mut run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        run.on_llm_new_token("a").await.unwrap();
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(
            log.lines(),
            [
                "0 on_llm_start true",
                "1 on_llm_new_token false",
                "2 on_llm_end true"
            ]
        );
    }
}

#[test]
fn run_ids_are_version_7_and_sort_by_time() {
    use std::time::Duration;
    let (earlier, later) = (
        RunId::v7(Duration::from_millis(1_000), [255; 10]),
        RunId::v7(Duration::from_millis(1_001), [0; 10]),
    );
    assert!(earlier < later);
    assert_eq!(later.to_string(), "00000000-03e9-7000-8000-000000000000");
    assert_eq!(later.to_string().parse(), Ok(later));
    assert!("nonsense".parse::<RunId>().is_err());

    let callbacks = CallbackManager::default();
    let id = futures_lite::future::block_on(callbacks.on_llm_start(LlmStart::new("llm", "")))
        .unwrap()
        .id();
    assert_eq!(id.as_bytes()[6] >> 4, 7);
    let given = futures_lite::future::block_on(
        callbacks.on_llm_start(LlmStart::new("llm", "").with_run_id(id)),
    )
    .unwrap();
    assert_eq!(given.id(), id);
}
