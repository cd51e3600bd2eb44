//! Every method of every kind of handler is called, with the payload of its event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::{Document, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

macro_rules! handler_with_all_methods {
    ($($method:ident($payload:ty): |$event:ident| $line:expr;)+) => {
        /// Writes from the methods themselves, not from `on_event`.
        struct Methods(Log);

        impl CallbackHandler for Methods {
            $(fn $method(&mut self, $event: &$payload, _: &RunInfo) -> HandlerResult {
                self.0.write(format!("{}: {}", stringify!($method), $line));
                Ok(())
            })+
        }

        impl AsyncCallbackHandler for Methods {
            $(async fn $method(&self, $event: &$payload, _: &RunInfo) -> HandlerResult {
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
}

const ALL: [&str; 19] = [
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
    "on_chain_end: 2",
    "on_chain_error: broken",
    "on_tool_start: in",
    "on_tool_end: \"out\"",
    "on_tool_error: broken",
    "on_retriever_start: query",
    "on_retriever_end: page",
    "on_retriever_error: broken",
];

pub(crate) async fn emit_everything(callbacks: &CallbackManager) -> Result<(), RunError> {
    let llm = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await?;
    llm.on_llm_new_token("tok").await?;
    llm.on_retry(Retry::new(1, "busy", Duration::ZERO)).await?;
    llm.end(LlmResult::from_text("text")).await?;

    let chat = callbacks
        .on_chat_model_start(ChatModelStart::new("chat", [Message::human("hi")]))
        .await?;
    chat.on_llm_new_token(LlmChunk::new("tok")).await?;
    chat.error("broken").await?;

    let chain = callbacks.on_chain_start(ChainStart::new("chain", json!({"a": 1}))).await?;
    chain.on_text("text").await?;
    chain.on_agent_action(AgentAction::new("search", json!("q"), "log")).await?;
    chain.on_agent_finish(AgentFinish::new(json!(42), "log")).await?;
    chain.end(json!(2)).await?;
    quietly(callbacks, async |quiet| {
        let chain = quiet.on_chain_start(ChainStart::new("chain", json!(0))).await?;
        Ok(chain.error("broken").await?)
    })
    .await?;

    callbacks.on_tool_start(ToolStart::new("tool", "in")).await?.end("out").await?;
    quietly(callbacks, async |quiet| {
        Ok(quiet.on_tool_start(ToolStart::new("tool", "in")).await?.error("broken").await?)
    })
    .await?;

    let retriever = callbacks.on_retriever_start(RetrieverStart::new("retriever", "query")).await?;
    retriever.end([Document::new("page")]).await?;
    quietly(callbacks, async |quiet| {
        let retriever = quiet.on_retriever_start(RetrieverStart::new("retriever", "query")).await?;
        Ok(retriever.error("broken").await?)
    })
    .await
}

/// The start of the second run of a kind tells nothing new: the expectation leaves it out.
async fn quietly(callbacks: &CallbackManager, emit: impl AsyncFn(&CallbackManager) -> Result<(), RunError>) -> Result<(), RunError> {
    emit(callbacks).await
}

fn without_repeated_starts(lines: Vec<String>) -> Vec<String> {
    let mut seen = Vec::<String>::new();
    for line in lines {
        let repeated = line.contains("_start:") && seen.iter().any(|known| known.split(':').next() == line.split(':').next());
        if !repeated {
            seen.push(line);
        }
    }
    seen
}

on_every_runtime! {
    async fn sync(rt) {
        let log = Log::new();
        emit_everything(&rt.callbacks().with_handler(Methods(log.clone()))).await.unwrap();
        assert_eq!(without_repeated_starts(log.lines()), ALL);
    }

    async fn sync_inline(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(Methods(log.clone()), HandlerOptions::new().run_inline(true));
        emit_everything(&callbacks).await.unwrap();
        assert_eq!(without_repeated_starts(log.lines()), ALL);
    }

    async fn asynchronous(rt) {
        let log = Log::new();
        emit_everything(&rt.callbacks().with_async_handler(Methods(log.clone()))).await.unwrap();
        assert_eq!(without_repeated_starts(log.lines()), ALL);
    }

    async fn shared_pointers_tuples_and_closures(rt) {
        let log = Log::new();
        let (state, shared) = (Arc::new(Mutex::new(Methods(log.clone()))), Arc::new(Methods(log.clone())));
        let (sync, asynchronous) = (log.clone(), log.clone());
        let callbacks = rt.callbacks()
            .with_handler(state.clone())
            .with_handler((Methods(log.clone()), Methods(log.clone())))
            .with_handler(handler_fn(move |event, run| { sync.write(format!("{} of {}", event.kind(), run.name())); Ok(()) }))
            .with_async_handler(shared.clone())
            .with_async_handler((Methods(log.clone()), Methods(log.clone())))
            .with_async_handler(async_handler_fn(move |event, run| {
                let (log, line) = (asynchronous.clone(), format!("{} of {}", event.kind(), run.name()));
                async move { log.write(line); Ok(()) }
            }));
        callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap().end(LlmResult::from_text("text")).await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        let mut expected = vec!["on_llm_end of llm"; 2];
        expected.extend(["on_llm_end: text"; 6]);
        expected.extend(["on_llm_start of llm"; 2]);
        expected.extend(["on_llm_start: prompt"; 6]);
        assert_eq!(lines, expected);
        assert_eq!(state.lock().unwrap().0.lines().len(), 16, "the state is read back through the pointer");
        assert_eq!(shared.0.lines().len(), 16);
    }

    /// A kind that a handler has declined is not asked for again; one that it has handled once is never muted.
    async fn a_handler_that_declines_is_not_asked_again(rt) {
        /// Handles the first text, and nothing else; writes down what it is asked.
        struct Fickle(Log);

        impl CallbackHandler for Fickle {
            fn on_event(&mut self, event: &Event, _: &RunInfo) -> HandlerResult {
                let first_text = matches!(event, Event::Text(_)) && !self.0.lines().contains(&"on_text".to_owned());
                self.0.write(event.kind().method());
                if first_text { Ok(()) } else { Err(HandlerError::unhandled()) }
            }
        }

        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(Fickle(log.clone()), HandlerOptions::new().raise_error(true));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        for _ in 0..3 {
            chain.on_agent_finish(AgentFinish::new(json!(0), "")).await.unwrap();
            chain.on_text("text").await.unwrap();
        }
        assert_eq!(log.lines(), ["on_chain_start", "on_agent_finish", "on_text", "on_text", "on_text"]);
        chain.end(json!(1)).await.unwrap();
    }
}
