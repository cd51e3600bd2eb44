//! Streams a joke, on smol.

use rappel_openai::ChatOpenAi;
use rappel_smol::prelude::*;

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        print!("{}", token.token);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let callbacks = CallbackManager::new(Smol::global()).with_handler(Printer);
    let chat = ChatOpenAi::builder().model("gpt-4o-mini").streaming(true);
    let chat = chat.callbacks(callbacks).build()?;
    for answer in smol::block_on(chat.generate(vec![vec![Message::human("Tell me a joke")]])) {
        println!("\n{:?}", answer?.usage);
    }
    Ok(())
}
