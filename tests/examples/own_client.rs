//! Emits the events of a client of your own, on tokio.

use rappel_tokio::prelude::*;

struct Auditor;

impl AsyncCallbackHandler for Auditor {
    async fn on_llm_end(&self, end: &LlmEnd, cx: &EventContext) -> HandlerResult {
        println!("{}: {}", cx.name(), end.result.text());
        Ok(())
    }

    async fn on_llm_error(&self, error: &LlmError, _cx: &EventContext) -> HandlerResult {
        println!("{} after {:?}", error.error, error.partial.text());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let callbacks = CallbackManager::new(Tokio::current()).with_async_handler(Auditor);

    let start = LlmStart::new("my-model", "Tell me a joke");
    let mut run = callbacks.on_llm_start(start).await?;
    run.on_llm_new_token("Why not?").await?;
    run.end("Why not?").await?;

    let start = LlmStart::new("my-model", "Tell me another");
    let mut run = callbacks.on_llm_start(start).await?;
    run.on_llm_new_token("Because").await?;
    drop(run); // the handler gets an error: `cancelled after "Because"`
    callbacks.flush().await?;
    Ok(())
}
