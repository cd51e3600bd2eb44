//! Counts tokens and cost: in all, and of a part of a program.
//!
//!     cargo run -p rappel-handlers --example usage

use rappel_handlers::{Price, Prices, Usage, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let prices = Prices::new().with("small", Price::per_million(0.15, 0.6).cached(0.075));
    let usage = Usage::with_prices(prices.clone());
    let callbacks = CallbackManager::new(Tokio::current()).with(usage.clone());
    let answers = [
        Answer::text("Why not?").usage(TokenUsage::new(1200, 300).with_cached_tokens(1000)),
        Answer::text("Because").usage(TokenUsage::new(400, 100)),
    ];
    let model = ScriptedChatModel::new(answers).name("small").callbacks(callbacks);

    model.invoke("Tell me a joke").await?;
    let (answer, inside) = Usage::scope_with(prices, model.invoke("Tell me another")).await;
    answer?;

    println!("the second: {:?} for ${:?}", inside.total().tokens, inside.cost());
    for (model, used) in usage.report().models {
        println!("{model}: {} requests, {:?} for ${:?}", used.requests, used.tokens, used.cost());
    }
    Ok(())
}
