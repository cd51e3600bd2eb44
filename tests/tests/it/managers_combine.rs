//! Managers are merged and changed by identity, in order. Custom events, batches, times and ids are
//! those that a LangChain user expects.

use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::{Value, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

async fn chain_and_tool(callbacks: &CallbackManager) {
    let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
    chain
        .child()
        .on_tool_start(ToolStart::new("tool", "in"))
        .await
        .unwrap()
        .end("out")
        .await
        .unwrap();
    chain.end(json!(1)).await.unwrap();
}

/// A handler that writes its name and the event's.
fn named(log: &Log, name: &'static str) -> impl CallbackHandler + Send + use<> {
    let log = log.clone();
    handler_fn(move |event, _| {
        log.write(format!("{name} {}", event.kind()));
        Ok(())
    })
}

on_every_runtime! {
    /// A handler that both managers have is called once. Local handlers stay local.
    async fn merged_managers_keep_the_order_and_inheritance_of_handlers(rt) {
        let log = Log::new();
        let inline = || HandlerOptions::new().delivery(Awaited::new().inline());
        let mut left = rt.callbacks().with_inheritable_tags(["a", "both"]);
        left.add_handler_options(named(&log, "1"), inline())
            .unwrap();
        left.add_handler_options(named(&log, "2 local"), inline().inherit(false))
            .unwrap();
        let mut right = left.clone().with_tags(["b"]);
        right
            .add_handler_options(named(&log, "3"), inline())
            .unwrap();
        let metadata = |value: Value| value.as_object().cloned().unwrap();
        let left = left.with_inheritable_metadata(metadata(json!({"k": 1, "mine": 1})));
        let right = right.with_inheritable_metadata(metadata(json!({"k": 2})));

        let merged = left.merge(&right);
        chain_and_tool(&merged).await;
        assert_eq!(
            log.lines(),
            [
                "1 on_chain_start",
                "2 local on_chain_start",
                "3 on_chain_start",
                "1 on_tool_start",
                "3 on_tool_start",
                "1 on_tool_end",
                "3 on_tool_end",
                "1 on_chain_end",
                "2 local on_chain_end",
                "3 on_chain_end",
            ]
        );
        let chain = merged
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        assert_eq!(chain.info().tags(), ["a", "both", "b"]);
        assert_eq!(
            json!(chain.child().group("g").await.unwrap().info().metadata()),
            json!({"k": 2, "mine": 1})
        );
        drop(chain);
        merged.flush().await.unwrap();
    }

    async fn removing_an_absent_handler_tag_or_metadata_is_no_error(rt) {
        let log = Log::new();
        let mut callbacks = rt.callbacks().with_inheritable_tags(["a", "b"]);
        let elsewhere = callbacks.clone().add_handler(named(&log, "elsewhere"));
        assert!(!callbacks.remove_handler(elsewhere));
        callbacks.remove_tags(["b", "never"]);
        callbacks.remove_metadata(["never"]);
        callbacks.add_handler(named(&log, "gone"));
        callbacks.clear_handlers();
        callbacks.add_handler(named(&log, "here"));
        let chain = callbacks
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        assert_eq!(chain.info().tags(), ["a"]);
        chain.end(json!(1)).await.unwrap();
        assert_eq!(log.lines(), ["here on_chain_start", "here on_chain_end"]);
    }

    /// A custom event carries the id, tags and metadata of its run.
    async fn a_custom_event_belongs_to_the_run_that_sends_it(rt) {
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt
            .callbacks()
            .with_inheritable_tags(["t"])
            .with_handler(handler_fn(move |event, cx| {
                if let Event::CustomEvent(event) = event {
                    seen.write(format!(
                        "{} {} {} {:?} {:?} {:?}",
                        event.name,
                        event.data,
                        cx.id(),
                        cx.parent_id(),
                        cx.tags(),
                        cx.sequence()
                    ));
                }
                Ok(())
            }));
        let mut chain = callbacks
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        let id = chain.id();
        chain
            .on_custom_event(CustomEvent::new("first", json!(1)))
            .await
            .unwrap();
        // Its child manager sends under the same id. An event with an id of its own keeps that one.
        chain
            .child()
            .on_custom_event(CustomEvent::new("second", json!(2)))
            .await
            .unwrap();
        let own = RunId::v7(Duration::ZERO, [1; 10]);
        callbacks
            .on_custom_event(CustomEvent::new("third", json!(3)).with_run_id(own))
            .await
            .unwrap();
        chain.end(json!(1)).await.unwrap();
        // Only an event that is emitted on the run itself has a number in it.
        let expected = [
            ("first", 1, id, Some(1)),
            ("second", 2, id, None),
            ("third", 3, own, None),
        ];
        assert_eq!(
            log.lines(),
            expected.map(|(name, data, id, number)| format!(
                "{name} {data} {id} None [\"t\"] {number:?}"
            ))
        );
    }

    /// The inline handlers get each prompt in the order of their registration. All other handlers
    /// get it too.
    async fn the_inline_handlers_of_a_batch_get_one_prompt_after_the_other(rt) {
        let (inline, other) = (Log::new(), Log::new());
        let callbacks = rt
            .callbacks()
            .with_handler(other.handler())
            .with_handler_options(named(&inline, "first"), Awaited::new().inline())
            .with_handler_options(named(&inline, "second"), Awaited::new().inline());
        let id = RunId::v7(Duration::ZERO, [1; 10]);
        let starts = ["a", "b", "c"].map(|prompt| LlmStart::new("llm", prompt));
        let [first, second, third] = starts;
        let runs = callbacks
            .on_llm_starts([first.with_run_id(id), second, third])
            .await;
        assert_eq!(
            inline.lines(),
            ["first on_llm_start", "second on_llm_start"].repeat(3)
        );
        assert_eq!(
            other.lines(),
            ["llm_start: a", "llm_start: b", "llm_start: c"]
        );
        let ids: Vec<RunId> = runs.iter().map(|run| run.as_ref().unwrap().id()).collect();
        assert!(ids[0] == id && ids[1] != id && ids[2] != id);
        drop(runs);
        callbacks.flush().await.unwrap();
    }

    async fn a_token_has_a_time_only_if_a_handler_asks_for_it(rt) {
        struct Times(Log, Interest);

        impl CallbackHandler for Times {
            fn interest(&self) -> Interest {
                self.1
            }

            fn on_llm_new_token(&mut self, _: &LlmNewToken, cx: &EventContext) -> HandlerResult {
                self.0.write(cx.time().is_some().to_string());
                Ok(())
            }
        }

        for (interest, expected) in [
            (Interest::all(), "false"),
            (Interest::all().with_token_times(), "true"),
        ] {
            let log = Log::new();
            let callbacks = rt.callbacks().with_handler(Times(log.clone(), interest));
            let mut run = callbacks
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .await
                .unwrap();
            run.on_llm_new_token("a").await.unwrap();
            run.end(LlmResult::new()).await.unwrap();
            assert_eq!(log.lines(), [expected]);
        }
    }

    async fn the_error_of_a_tool_names_its_call(rt) {
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            match event {
                Event::ToolStart(start) => seen.write(format!(
                    "{:?} {:?} {:?}",
                    start.tool_call_id, start.inputs, start.description
                )),
                Event::ToolError(error) => seen.write(format!("{:?}", error.tool_call_id)),
                _ => {}
            }
            Ok(())
        }));
        let start = || {
            ToolStart::new("search", "q")
                .with_inputs(json!({"q": 1}))
                .with_tool_call_id("call_1")
                .with_description("searches")
        };
        callbacks
            .on_tool_start(start())
            .await
            .unwrap()
            .fail("broken")
            .await
            .unwrap();
        drop(callbacks.on_tool_start(start()).await.unwrap());
        callbacks.flush().await.unwrap();
        let started = r#"Some("call_1") Some(Object {"q": Number(1)}) Some("searches")"#;
        assert_eq!(
            log.lines(),
            [started, "Some(\"call_1\")", started, "Some(\"call_1\")"]
        );
    }
}
