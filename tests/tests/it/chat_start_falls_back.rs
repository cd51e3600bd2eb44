//! A chat model's start reaches handlers that only know text models, by LangChain's rules.

use rappel_core::prelude::*;
use rappel_core::{BoxHandler, DynAsyncHandler, EventGroup};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

fn start() -> ChatModelStart {
    ChatModelStart::new("model", [Message::system("Be brief."), Message::human("Tell me a joke")])
}

/// Handles `on_llm_start` only, with this interest.
struct TextOnly(Log, Interest);

impl CallbackHandler for TextOnly {
    fn interest(&self) -> Interest {
        self.1
    }

    fn on_llm_start(&mut self, start: &LlmStart, cx: &EventContext) -> HandlerResult {
        self.0.write(format!("{} of {}: {}", start.name, cx.name(), start.prompt));
        Ok(())
    }
}

impl AsyncCallbackHandler for TextOnly {
    fn interest(&self) -> Interest {
        self.1
    }

    async fn on_llm_start(&self, start: &LlmStart, cx: &EventContext) -> HandlerResult {
        self.0.write(format!("{} of {}: {}", start.name, cx.name(), start.prompt));
        Ok(())
    }
}

async fn seen(callbacks: CallbackManager, log: &Log) -> Vec<String> {
    // Twice, because the dispatcher learns from the first answer.
    for _ in 0..2 {
        callbacks.on_chat_model_start(start()).await.unwrap().end(LlmResult::new()).await.unwrap();
    }
    log.lines()
}

on_every_runtime! {
    async fn a_chat_start_becomes_an_llm_start_with_the_messages_as_text(rt) {
        let expected = ["model of model: System: Be brief.\nHuman: Tell me a joke"; 2];
        let log = Log::new();
        let sync = rt
            .callbacks()
            .with_handler(TextOnly(log.clone(), Interest::all()));
        assert_eq!(seen(sync, &log).await, expected);

        let log = Log::new();
        let inline = rt.callbacks().with_handler_options(
            TextOnly(log.clone(), Interest::all()),
            Awaited::new().inline(),
        );
        assert_eq!(seen(inline, &log).await, expected);

        let log = Log::new();
        let asynchronous = rt
            .callbacks()
            .with_async_handler(TextOnly(log.clone(), Interest::all()));
        assert_eq!(seen(asynchronous, &log).await, expected);
    }

    async fn a_chat_start_does_not_fall_back_if_either_group_is_ignored(rt) {
        for group in [EventGroup::ChatModel, EventGroup::Llm] {
            let log = Log::new();
            let interest = Interest::all().without_group(group);
            let callbacks = rt
                .callbacks()
                .with_handler(TextOnly(log.clone(), interest))
                .with_async_handler(TextOnly(log.clone(), interest));
            assert_eq!(seen(callbacks, &log).await, [""; 0], "{group:?}");
        }
    }

    async fn a_chat_start_that_is_handled_does_not_fall_back(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_handler(log.handler())
            .with_async_handler(log.async_handler());
        let run = callbacks.on_chat_model_start(start()).await.unwrap();
        assert_eq!(
            log.lines(),
            ["chat_model_start: System: Be brief. | Human: Tell me a joke"; 2]
        );
        run.end(LlmResult::new()).await.unwrap();
    }

    /// Each handler of a list gets the start as if it stood alone.
    async fn each_handler_of_a_list_falls_back_by_itself(rt) {
        let log = Log::new();
        let text = || TextOnly(log.clone(), Interest::all());
        let sync: Vec<BoxHandler> = vec![Box::new(log.handler()), Box::new(text())];
        let asynchronous = vec![
            DynAsyncHandler::new(log.async_handler()),
            DynAsyncHandler::new(text()),
        ];
        let callbacks = rt
            .callbacks()
            .with_handler(sync)
            .with_async_handler(asynchronous);
        let run = callbacks.on_chat_model_start(start()).await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        let (chat, text) = (
            "chat_model_start: System: Be brief. | Human: Tell me a joke",
            "model of model: System: Be brief.\nHuman: Tell me a joke",
        );
        assert_eq!(lines, [chat, chat, text, text]);
        run.end(LlmResult::new()).await.unwrap();
    }
}
