//! Streams a joke, on smol.

use rappel_openai::ChatOpenAi;
use rappel_smol::prelude::*;

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        print!("{}", token.token);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let callbacks = CallbackManager::new(Smol::global()).with_handler(Printer);
    let chat =
        ChatOpenAi::builder().model("gpt-4o-mini").streaming(true).callbacks(callbacks).build()?;
    let answer = smol::block_on(chat.invoke("Tell me a joke"))?;
    println!("\n{:?}", answer.usage);
    Ok(())
}
