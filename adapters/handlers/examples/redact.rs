//! Writes events without secrets, while the program gets them as they are.
//!
//!     cargo run -p rappel-handlers --example redact

use rappel_handlers::{JsonLines, Redact, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::json;
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lines = Redact::new(JsonLines::to(std::io::stdout()))
        .keys(["password"])
        .pattern("sk-[a-z0-9]{8,64}")?;
    let callbacks = CallbackManager::new(Tokio::current()).with(lines);
    // The secret straddles tokens.
    let answer = Answer::tokens(["Your key is s", "k-abcd", "efgh1234", ". Keep it."]);
    let model = ScriptedChatModel::new([answer]);

    let inputs = json!({"user": "ada", "password": "correct horse"});
    let answer = model.invoke("What is my key?").in_chain(&callbacks, "login", inputs).await?;
    assert!(answer.text().contains("sk-abcdefgh1234"));
    Ok(())
}
