//! Tells of a run from a program without a runtime: each call returns when its event is handled.

use rappel_core::Threads;
use rappel_core::prelude::*;

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        print!("{}", token.token); // on the caller's thread
        Ok(())
    }
}

struct Auditor;

impl AsyncCallbackHandler for Auditor {
    async fn on_llm_end(&self, end: &LlmEnd, run: &RunInfo) -> HandlerResult {
        println!("\n{}: {}", run.name(), end.result.text()); // on a thread of the runtime's
        Ok(())
    }
}

fn main() -> Result<(), RunError> {
    let callbacks = CallbackManager::new(Threads::new())
        .with_handler(Printer)
        .with_async_handler(Auditor);
    let callbacks = callbacks.blocking();
    let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke"))?;
    for token in ["Why", " ", "not", "?"] {
        run.on_llm_new_token(token)?;
    }
    run.end(LlmResult::from_text("Why not?"))?;
    Ok(())
}
