//! A chat model's start reaches handlers that know text models only, by the rules of LangChain.

use rappel_core::prelude::*;
use rappel_core::{EventGroup, Interest};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

fn start() -> ChatModelStart {
    ChatModelStart::new("model", [Message::system("Be brief."), Message::human("Tell me a joke")])
}

/// Handles `on_llm_start` only, and wants what `interest` says.
struct TextOnly(Log, Interest);

impl CallbackHandler for TextOnly {
    fn interest(&self) -> Interest {
        self.1
    }

    fn on_llm_start(&mut self, start: &LlmStart, run: &RunInfo) -> HandlerResult {
        self.0.write(format!("{} of {}: {}", start.name, run.name(), start.prompt));
        Ok(())
    }
}

impl AsyncCallbackHandler for TextOnly {
    fn interest(&self) -> Interest {
        self.1
    }

    async fn on_llm_start(&self, start: &LlmStart, run: &RunInfo) -> HandlerResult {
        self.0.write(format!("{} of {}: {}", start.name, run.name(), start.prompt));
        Ok(())
    }
}

async fn seen(callbacks: CallbackManager, log: &Log) -> Vec<String> {
    // Twice, as the dispatcher learns from the first answer.
    for _ in 0..2 {
        callbacks
            .on_chat_model_start(start())
            .await
            .unwrap()
            .end(LlmResult::new())
            .await
            .unwrap();
    }
    log.lines()
}

on_every_runtime! {
    async fn to_on_llm_start_with_the_messages_as_text(rt) {
        let expected = ["model of model: System: Be brief.\nHuman: Tell me a joke"; 2];
        let log = Log::new();
        let sync = rt.callbacks().with_handler(TextOnly(log.clone(), Interest::all()));
        assert_eq!(seen(sync, &log).await, expected);

        let log = Log::new();
        let inline = rt.callbacks().with_handler_options(TextOnly(log.clone(), Interest::all()), HandlerOptions::new().run_inline(true));
        assert_eq!(seen(inline, &log).await, expected);

        let log = Log::new();
        let asynchronous = rt.callbacks().with_async_handler(TextOnly(log.clone(), Interest::all()));
        assert_eq!(seen(asynchronous, &log).await, expected);
    }

    async fn not_where_either_group_is_ignored(rt) {
        for group in [EventGroup::ChatModel, EventGroup::Llm] {
            let log = Log::new();
            let interest = Interest::all().without_group(group);
            let callbacks = rt.callbacks()
                .with_handler(TextOnly(log.clone(), interest))
                .with_async_handler(TextOnly(log.clone(), interest));
            assert_eq!(seen(callbacks, &log).await, [""; 0], "{group:?}");
        }
    }

    async fn not_where_the_chat_start_itself_is_handled(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler()).with_async_handler(log.async_handler());
        let run = callbacks.on_chat_model_start(start()).await.unwrap();
        assert_eq!(log.lines(), ["chat_model_start: System: Be brief. | Human: Tell me a joke"; 2]);
        run.end(LlmResult::new()).await.unwrap();
    }

    /// Each member of a tuple is asked as if it stood alone.
    async fn for_each_member_of_a_tuple(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks()
            .with_handler((log.handler(), TextOnly(log.clone(), Interest::all())))
            .with_async_handler((log.async_handler(), TextOnly(log.clone(), Interest::all())));
        let run = callbacks.on_chat_model_start(start()).await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        let (chat, text) = ("chat_model_start: System: Be brief. | Human: Tell me a joke", "model of model: System: Be brief.\nHuman: Tell me a joke");
        assert_eq!(lines, [chat, chat, text, text]);
        run.end(LlmResult::new()).await.unwrap();
    }
}
