//! Makes a run of a future of your own. The run of a model inside it becomes its child. On smol.

use rappel_smol::prelude::*;

async fn answer(question: &str) -> Result<String, RunError> {
    let callbacks = CallbackManager::current().unwrap_or_default();
    let run = callbacks.on_llm_start(LlmStart::new("my-model", question)).await?;
    run.end("42").await?;
    Ok("42".to_owned())
}

fn main() -> Result<(), RunError> {
    let callbacks = CallbackManager::new(Smol::global()).with_handler(handler_fn(|event, cx| {
        let indent = if cx.parent_id().is_some() { "  " } else { "" };
        println!("{indent}{} {}", cx.name(), event.kind());
        Ok(())
    }));
    let question = "What is the answer?";
    let chain = answer(question).in_chain(&callbacks, "deep-thought", question);
    assert_eq!(smol::block_on(chain)?, "42");
    Ok(())
}
