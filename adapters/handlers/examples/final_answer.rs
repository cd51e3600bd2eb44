//! Prints the answer of an agent that thinks aloud.
//!
//!     cargo run -p rappel-handlers --example final_answer

use rappel_handlers::{FinalAnswer, StreamingStdout, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let answers = FinalAnswer::new(StreamingStdout::new().closing("\n"));
    let callbacks = CallbackManager::new(Tokio::current()).with(answers);
    let answer = Answer::tokens(["Thought: it is easy.\nFin", "al Answ", "er: 4", "2"]);
    let model = ScriptedChatModel::new([answer]).callbacks(callbacks);

    model.invoke("6 x 9?").await?;
    Ok(())
}
