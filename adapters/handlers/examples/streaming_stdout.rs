//! Prints the tokens of an answer as they come. Pipe it into `head -c 3`: it ends quietly.
//!
//!     cargo run -p rappel-handlers --example streaming_stdout

use rappel_handlers::{StreamingStdout, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let callbacks =
        CallbackManager::new(Tokio::current()).with(StreamingStdout::new().closing("\n"));
    let answer = Answer::tokens(["Because ", "they ", "make ", "up ", "everything."]);
    let model = ScriptedChatModel::new([answer]).callbacks(callbacks);

    model.invoke("Why don't scientists trust atoms?").await?;
    Ok(())
}
