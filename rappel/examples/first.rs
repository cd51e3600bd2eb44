//! Streams a joke, on tokio.

use rappel::prelude::*;

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        print!("{}", token.token);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(Printer);
    let chat =
        ChatOpenAi::builder().model("gpt-4o-mini").streaming(true).callbacks(callbacks).build()?;
    let answer = chat.invoke("Tell me a joke").await?;
    println!("\n{:?}", answer.usage);
    Ok(())
}
