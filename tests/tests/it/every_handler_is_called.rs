//! Every method of every kind of handler is called, with the payload of its event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::{BoxHandler, DynAsyncHandler, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

macro_rules! handler_with_all_methods {
    ($($method:ident($payload:ty): |$event:ident| $line:expr;)+) => {
        /// Overrides the methods, not `on_event`.
        struct Methods(Log);

        impl CallbackHandler for Methods {
            $(fn $method(&mut self, $event: &$payload, _: &EventContext) -> HandlerResult {
                self.0.write(format!("{}: {}", stringify!($method), $line));
                Ok(())
            })+
        }

        impl AsyncCallbackHandler for Methods {
            $(async fn $method(&self, $event: &$payload, _: &EventContext) -> HandlerResult {
                self.0.write(format!("{}: {}", stringify!($method), $line));
                Ok(())
            })+
        }
    };
}

handler_with_all_methods! {
    on_llm_start(LlmStart): |event| event.prompt;
    on_chat_model_start(ChatModelStart): |event| event.messages[0];
    on_llm_new_token(LlmNewToken): |event| event.token;
    on_llm_end(LlmEnd): |event| event.result.text();
    on_llm_error(LlmError): |event| event.partial.text();
    on_chain_start(ChainStart): |event| event.inputs;
    on_chain_end(ChainEnd): |event| event.outputs;
    on_chain_error(ChainError): |event| event.error;
    on_tool_start(ToolStart): |event| event.input;
    on_tool_end(ToolEnd): |event| event.output;
    on_tool_error(ToolError): |event| event.error;
    on_retriever_start(RetrieverStart): |event| event.query;
    on_retriever_end(RetrieverEnd): |event| event.documents[0].page_content;
    on_retriever_error(RetrieverError): |event| event.error;
    on_agent_action(AgentAction): |event| event.tool;
    on_agent_finish(AgentFinish): |event| event.return_values;
    on_text(Text): |event| event.text;
    on_retry(Retry): |event| event.attempt;
    on_custom_event(CustomEvent): |event| event.name;
}

const ALL: [&str; 20] = [
    "on_llm_start: prompt",
    "on_llm_new_token: tok",
    "on_retry: 1",
    "on_llm_end: text",
    "on_chat_model_start: Human: hi",
    "on_llm_new_token: tok",
    "on_llm_error: tok",
    "on_chain_start: {\"a\":1}",
    "on_text: text",
    "on_agent_action: search",
    "on_agent_finish: 42",
    "on_custom_event: mine",
    "on_chain_end: 2",
    "on_chain_error: broken",
    "on_tool_start: in",
    "on_tool_end: \"out\"",
    "on_tool_error: broken",
    "on_retriever_start: query",
    "on_retriever_end: page",
    "on_retriever_error: broken",
];

/// Emits an event of every kind. The second start of a kind is the same as the first.
pub(crate) async fn emit_everything(callbacks: &CallbackManager) -> Result<(), RunError> {
    let mut llm = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await?;
    llm.on_llm_new_token("tok").await?;
    llm.on_retry(Retry::new(1, "busy", Duration::ZERO)).await?;
    llm.end("text").await?;

    let start = ChatModelStart::new("chat", [Message::human("hi")]);
    let mut chat = callbacks.on_chat_model_start(start).await?;
    chat.on_llm_new_token(LlmChunk::new("tok")).await?;
    chat.fail("broken").await?;

    let chain_start = |inputs| callbacks.on_chain_start(ChainStart::new("chain", inputs));
    let mut chain = chain_start(json!({"a": 1})).await?;
    chain.on_text("text").await?;
    chain.on_agent_action(AgentAction::new("search", json!("q"), "log")).await?;
    chain.on_agent_finish(AgentFinish::new(json!(42), "log")).await?;
    chain.on_custom_event(CustomEvent::new("mine", json!(0))).await?;
    chain.end(json!(2)).await?;
    chain_start(json!({"a": 1})).await?.fail("broken").await?;

    let tool_start = || callbacks.on_tool_start(ToolStart::new("tool", "in"));
    tool_start().await?.end("out").await?;
    tool_start().await?.fail("broken").await?;

    let retriever_start =
        || callbacks.on_retriever_start(RetrieverStart::new("retriever", "query"));
    retriever_start().await?.end([Document::new("page")]).await?;
    retriever_start().await?.fail("broken").await?;
    Ok(())
}

fn without_repeated_starts(lines: Vec<String>) -> Vec<String> {
    let mut seen = Vec::<String>::new();
    for line in lines {
        let repeated = line.contains("_start:")
            && seen.iter().any(|known| known.split(':').next() == line.split(':').next());
        if !repeated {
            seen.push(line);
        }
    }
    seen
}

on_every_runtime! {
    async fn each_method_of_a_sync_handler_is_called(rt) {
        let log = Log::new();
        emit_everything(&rt.callbacks().with_handler(Methods(log.clone())))
            .await
            .unwrap();
        assert_eq!(without_repeated_starts(log.lines()), ALL);
    }

    async fn each_method_of_an_inline_sync_handler_is_called(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_handler_options(Methods(log.clone()), Awaited::new().inline());
        emit_everything(&callbacks).await.unwrap();
        assert_eq!(without_repeated_starts(log.lines()), ALL);
    }

    async fn each_method_of_an_async_handler_is_called(rt) {
        let log = Log::new();
        emit_everything(&rt.callbacks().with_async_handler(Methods(log.clone())))
            .await
            .unwrap();
        assert_eq!(without_repeated_starts(log.lines()), ALL);
    }

    async fn shared_boxed_optional_and_listed_handlers_and_closures_are_called(rt) {
        let log = Log::new();
        let methods = || Methods(log.clone());
        let (state, shared) = (Arc::new(Mutex::new(methods())), Arc::new(methods()));
        let boxed: BoxHandler = Box::new(methods());
        let list: Vec<BoxHandler> = vec![Box::new(methods()), Box::new(methods())];
        let (sync, asynchronous, awaiting) = (log.clone(), log.clone(), log.clone());
        let callbacks = rt
            .callbacks()
            .with_handler(state.clone())
            .with_handler(boxed)
            .with_handler(list)
            .with_handler(Some(methods()))
            .with_handler(None::<Methods>)
            .with_handler(handler_fn(move |event, cx| {
                sync.write(format!("{} of {}", event.kind(), cx.name()));
                Ok(())
            }))
            .with_async_handler(shared.clone())
            .with_async_handler(Box::new(methods()))
            .with_async_handler(vec![
                DynAsyncHandler::new(methods()),
                DynAsyncHandler::new(methods()),
            ])
            .with_async_handler(Some(methods()))
            .with_async_handler(None::<Methods>)
            .with_async_handler(async_handler_fn(move |event: &Event, cx: &EventContext| {
                let (log, line) = (
                    awaiting.clone(),
                    format!("{} of {}", event.kind(), cx.name()),
                );
                async move {
                    log.write(line);
                    Ok(())
                }
            }))
            .with_async_handler(async_handler_fn(async move |event, cx| {
                futures_lite::future::yield_now().await;
                asynchronous.write(format!("{} of {}", event.kind(), cx.name()));
                Ok(())
            }));
        let run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        run.end("text").await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        let mut expected = vec!["on_llm_end of llm"; 3];
        expected.extend(["on_llm_end: text"; 10]);
        expected.extend(["on_llm_start of llm"; 3]);
        expected.extend(["on_llm_start: prompt"; 10]);
        assert_eq!(lines, expected);
        assert_eq!(
            state.lock().unwrap().0.lines().len(),
            26,
            "the state is read back"
        );
        assert_eq!(shared.0.lines().len(), 26);
    }

    async fn a_question_mark_in_a_handler_takes_any_error(rt) {
        struct Asks;

        impl AsyncCallbackHandler for Asks {
            async fn on_llm_start(&self, start: &LlmStart, _: &EventContext) -> HandlerResult {
                match start.prompt.as_str() {
                    "io" => Err(std::io::Error::other("io"))?,
                    "boxed" => Err(Box::<dyn std::error::Error + Send + Sync>::from("boxed"))?,
                    "emit" => Err(EmitError::RunClosed)?,
                    text => Err(text)?,
                }
                Ok(())
            }
        }

        let (callbacks, log) = (rt.callbacks(), Log::new());
        let causes = log.clone();
        let callbacks = callbacks
            .on_handler_failure(move |failure| causes.write(failure.cause.to_string()))
            .with_async_handler(Asks);
        for prompt in ["io", "boxed", "emit", "text"] {
            drop(
                callbacks
                    .on_llm_start(LlmStart::new("llm", prompt))
                    .await
                    .unwrap(),
            );
        }
        let closed = EmitError::RunClosed.to_string();
        assert_eq!(log.lines(), ["io", "boxed", &closed, "text"]);
        callbacks.flush().await.unwrap();
    }

    /// A kind that a handler has handled once stays enabled, even if it declines the kind later.
    async fn a_handler_that_declines_a_kind_does_not_get_it_again(rt) {
        /// Handles the first text and nothing else. Logs each call.
        struct Fickle(Log);

        impl CallbackHandler for Fickle {
            fn on_event(&mut self, event: &Event, _: &EventContext) -> HandlerResult {
                let first_text = matches!(event, Event::Text(_))
                    && !self.0.lines().contains(&"on_text".to_owned());
                self.0.write(event.kind().method());
                if first_text {
                    Ok(())
                } else {
                    Err(HandlerError::unhandled())
                }
            }
        }

        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_handler_options(Fickle(log.clone()), Awaited::new().raise_error());
        let mut chain = callbacks
            .on_chain_start(ChainStart::new("chain", json!(0)))
            .await
            .unwrap();
        for _ in 0..3 {
            chain
                .on_agent_finish(AgentFinish::new(json!(0), ""))
                .await
                .unwrap();
            chain.on_text("text").await.unwrap();
        }
        assert_eq!(
            log.lines(),
            [
                "on_chain_start",
                "on_agent_finish",
                "on_text",
                "on_text",
                "on_text"
            ]
        );
        chain.end(json!(1)).await.unwrap();
    }
}
