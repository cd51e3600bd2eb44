//! Makes a run of a future of your own; the model that it calls hangs under it. On smol.

use rappel_smol::prelude::*;

async fn answer(question: &str) -> Result<String, RunError> {
    let callbacks = CallbackManager::current().unwrap_or_else(CallbackManager::noop);
    let run = callbacks.on_llm_start(LlmStart::new("my-model", question)).await?;
    run.end(LlmResult::from_text("42")).await?;
    Ok("42".to_owned())
}

fn main() -> Result<(), RunError> {
    let callbacks = CallbackManager::new(Smol::global()).with_handler(handler_fn(|event, run| {
        let depth = if run.parent_id().is_some() { "  " } else { "" };
        println!("{depth}{} {}", run.name(), event.kind());
        Ok(())
    }));
    let question = "What is the answer?";
    let chain = answer(question).in_chain(&callbacks, "deep-thought", question);
    assert_eq!(smol::block_on(chain)?, "42");
    Ok(())
}
