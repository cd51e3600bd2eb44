//! Tells of the runs of a client of your own, on tokio.

use rappel_tokio::prelude::*;

struct Auditor;

impl AsyncCallbackHandler for Auditor {
    async fn on_llm_end(&self, end: &LlmEnd, run: &RunInfo) -> HandlerResult {
        println!("{}: {}", run.name(), end.result.text());
        Ok(())
    }

    async fn on_llm_error(&self, error: &LlmError, _run: &RunInfo) -> HandlerResult {
        println!("{} after {:?}", error.error, error.partial.text());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let callbacks = CallbackManager::new(Tokio::current()).with_async_handler(Auditor);

    let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    run.on_llm_new_token("Why not?").await?;
    run.end(LlmResult::from_text("Why not?")).await?;

    let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me another")).await?;
    run.on_llm_new_token("Because").await?;
    drop(run); // given up: the handler hears `cancelled after "Because"`
    callbacks.flush().await;
    Ok(())
}
