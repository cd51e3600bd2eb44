//! Emits the events of a program without an async runtime. Each `wait` returns when its event is
//! handled.

use rappel_threads::prelude::*;

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        print!("{}", token.token);
        Ok(())
    }
}

struct Auditor;

impl AsyncCallbackHandler for Auditor {
    async fn on_llm_end(&self, end: &LlmEnd, cx: &EventContext) -> HandlerResult {
        println!("\n{}: {}", cx.name(), end.result.text());
        Ok(())
    }
}

fn main() -> Result<(), RunError> {
    let callbacks =
        CallbackManager::new(Threads::new()).with_handler(Printer).with_async_handler(Auditor);
    let start = LlmStart::new("my-model", "Tell me a joke");
    let mut run = callbacks.on_llm_start(start).wait()?;
    for token in ["Why", " ", "not", "?"] {
        run.on_llm_new_token(token).wait()?;
    }
    run.end("Why not?").wait()?;
    Ok(())
}
