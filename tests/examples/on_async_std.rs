//! Streams a joke, on async-std.

use rappel_async_std::prelude::*;
use rappel_openai::ChatOpenAi;

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        print!("{}", token.token);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let callbacks = CallbackManager::new(AsyncStd::new()).with_handler(Printer);
    let chat =
        ChatOpenAi::builder().model("gpt-4o-mini").streaming(true).callbacks(callbacks).build()?;
    let answer = async_std::task::block_on(chat.invoke("Tell me a joke"))?;
    println!("\n{:?}", answer.usage);
    Ok(())
}
