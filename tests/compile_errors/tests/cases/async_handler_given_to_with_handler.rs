//! Fix: `with_async_handler`.

use rappel_core::prelude::*;

struct Greeter;

impl AsyncCallbackHandler for Greeter {
    async fn on_llm_end(&self, _end: &LlmEnd, _cx: &EventContext) -> HandlerResult {
        Ok(())
    }
}

fn main() {
    let _ = CallbackManager::default().with_handler(Greeter);
}
