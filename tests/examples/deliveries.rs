//! Handlers that are waited for in different ways, and the end of it all. On tokio.

use std::time::Duration;

use rappel_tokio::prelude::*;

/// Writes what it gets to a page; a page that is slow gets fewer, longer pieces.
#[derive(Default)]
struct Page(String);

impl CallbackHandler for Page {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        self.0.push_str(&token.token);
        Ok(())
    }

    fn on_llm_end(&mut self, _end: &LlmEnd, _run: &RunInfo) -> HandlerResult {
        println!("the page: {}", self.0);
        Ok(())
    }
}

/// Sends each run's end somewhere, and says what it missed.
struct Traces;

impl AsyncCallbackHandler for Traces {
    async fn on_llm_end(&self, end: &LlmEnd, run: &RunInfo) -> HandlerResult {
        println!("{}: {} (missed {} events)", run.name(), end.result.text(), end.losses().dropped);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let page = HandlerOptions::new()
        .delivery(Pipelined { capacity: 64 })
        .overflow(Overflow::Coalesce);
    let traces = HandlerOptions::new().delivery(Background {
        capacity: 64,
        open_runs: 100,
    });
    let callbacks = CallbackManager::new(Tokio::current())
        .with_handler_options(Page::default(), page.timeout(Duration::from_secs(5)))
        .with_async_handler_options(Traces, traces.timeout(Duration::from_secs(5)));

    let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    for token in ["Why", " ", "not", "?"] {
        run.on_llm_new_token(token).await?; // queued
    }
    run.end(LlmResult::from_text("Why not?")).await?; // the page has it all
    let report = callbacks.shutdown(Duration::from_secs(5)).await; // and now the traces have, too
    assert!(report.is_clean(), "{report:?}");
    Ok(())
}
