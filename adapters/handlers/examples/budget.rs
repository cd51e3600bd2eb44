//! Stops when the tokens are used up.
//!
//!     cargo run -p rappel-handlers --example budget

use rappel_handlers::{Budget, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() {
    let budget = Budget::new().tokens(1000);
    let callbacks =
        CallbackManager::new(Tokio::current()).with(budget.clone()).on_handler_failure(|_| {});
    let answer = Answer::text("Why not?").usage(TokenUsage::new(300, 100));
    let model = ScriptedChatModel::new(vec![answer; 10]).callbacks(callbacks);

    let refused = loop {
        if let Err(error) = model.invoke("Tell me a joke").await {
            break error;
        }
        println!("{:?}", budget.spent());
    };
    println!("{refused}");
}
