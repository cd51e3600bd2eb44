//! Prints the tokens of one model of two.
//!
//!     cargo run -p rappel-handlers --example filter

use rappel_handlers::{Filter, StreamingStdout, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let answers = Filter::new(StreamingStdout::new().closing("\n")).tags(["answer"]);
    let callbacks = CallbackManager::new(Tokio::current()).with(answers);
    let planner = ScriptedChatModel::new([Answer::tokens(["First ", "I ", "think."])]);
    let answerer = ScriptedChatModel::new([Answer::tokens(["The answer ", "is ", "42."])]);

    planner.callbacks(callbacks.clone()).invoke("Plan").await?;
    answerer.callbacks(callbacks.with_tags(["answer"])).invoke("Answer").await?;
    Ok(())
}
