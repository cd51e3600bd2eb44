//! Handlers with other deliveries than the default, and a shutdown. On tokio.

use std::time::Duration;

use rappel_tokio::prelude::*;

/// Writes the tokens to a page. If the page is slow, it gets fewer, longer pieces.
#[derive(Default)]
struct Page(String);

impl CallbackHandler for Page {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        self.0.push_str(&token.token);
        Ok(())
    }

    fn on_llm_end(&mut self, _end: &LlmEnd, _cx: &EventContext) -> HandlerResult {
        println!("the page: {}", self.0);
        Ok(())
    }
}

/// Exports the end of each run, and how many events were dropped.
struct Traces;

impl AsyncCallbackHandler for Traces {
    async fn on_llm_end(&self, end: &LlmEnd, cx: &EventContext) -> HandlerResult {
        let (name, dropped) = (cx.name(), cx.losses().dropped);
        println!("{name}: {} (dropped {dropped} events)", end.result.text());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let page = HandlerOptions::new()
        .delivery(Delivery::pipelined(64).overflow(Overflow::Coalesce))
        .timeout(Duration::from_secs(5));
    let traces = HandlerOptions::new()
        .delivery(Delivery::background(64).open_traces(100))
        .timeout(Duration::from_secs(5));
    let callbacks = CallbackManager::new(Tokio::current())
        .with_handler_options(Page::default(), page)
        .with_async_handler_options(Traces, traces);

    let start = LlmStart::new("my-model", "Tell me a joke");
    let mut run = callbacks.on_llm_start(start).await?;
    for token in ["Why", " ", "not", "?"] {
        run.on_llm_new_token(token).await?; // queued
    }
    run.end("Why not?").await?; // waits for the page
    let report = callbacks.shutdown(Duration::from_secs(5)).await?; // waits for the traces
    assert!(report.is_clean(), "{report:?}");
    Ok(())
}
