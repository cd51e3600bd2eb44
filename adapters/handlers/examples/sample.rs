//! Prints the traces that fail, and no others.
//!
//!     cargo run -p rappel-handlers --example sample

use rappel_handlers::{Console, Sample, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() {
    let sample = Sample::new(Console::stdout(), 0.0).with_errors(1000);
    let callbacks = CallbackManager::new(Tokio::current()).with(sample);
    let mut answers = vec![Answer::text("Why not?"); 100];
    answers[42] = Answer::tokens(["Why"]).breaking_off("connection reset");
    let model = ScriptedChatModel::new(answers).callbacks(callbacks);

    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(model.invoke("Tell me a joke").await.is_err());
    }
    println!("{failed} of 100 failed");
}
