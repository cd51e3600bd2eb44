//! Keeps the state of each request in a handler of its own.
//!
//!     cargo run -p rappel-handlers --example per_trace

use rappel_handlers::{PerTrace, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

/// Counts the tokens of one request. It needs no map of requests.
struct Request {
    number: usize,
    tokens: usize,
}

impl CallbackHandler for Request {
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &EventContext) -> HandlerResult {
        self.tokens += 1;
        Ok(())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        println!("request {}: {} tokens", self.number, self.tokens);
    }
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let mut requests = 0;
    let callbacks = CallbackManager::new(Tokio::current()).with(PerTrace::new(move |_root| {
        requests += 1;
        Request { number: requests, tokens: 0 }
    }));
    let answers = [Answer::tokens(["a", "b"]), Answer::tokens(["c", "d", "e"])];
    let model = ScriptedChatModel::new(answers).callbacks(callbacks);

    model.invoke("one").await?;
    model.invoke("two").await?;
    Ok(())
}
