//! Prints the tree of runs of an agent, and then the same as one tree.
//!
//!     cargo run -p rappel-handlers --example console

use std::time::Duration;

use rappel_handlers::{Console, Price, Prices, With};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let prices = Prices::new().with("small", Price::per_million(0.15, 0.6));
    let console = || Console::stdout().prices(prices.clone());

    agent(&CallbackManager::new(Tokio::current()).with(console())).await?;
    eprintln!();
    agent(&CallbackManager::new(Tokio::current()).with(console().grouped())).await
}

async fn agent(callbacks: &CallbackManager) -> Result<(), RunError> {
    let mut agent = callbacks.on_chain_start(ChainStart::new("agent", "6 x 9?")).await?;
    let inside = agent.child();

    let question = vec![Message::human("6 x 9?")];
    let mut model = inside.on_chat_model_start(ChatModelStart::new("small", question)).await?;
    model.on_retry(Retry::new(1, "the server is busy", Duration::from_millis(5))).await?;
    let answer = LlmResult::from_text("I ask the calculator").with_usage(TokenUsage::new(812, 24));
    model.end(answer).await?;

    agent.on_agent_action(AgentAction::new("calculator", "6 * 9", "")).await?;
    let tool = inside.on_tool_start(ToolStart::new("calculator", "6 * 9")).await?;
    tool.fail("base 13 is not supported").await?;

    let model = inside.on_llm_start(LlmStart::new("small", "6 x 9?")).await?;
    model.end(LlmResult::from_text("42").with_usage(TokenUsage::new(850, 2))).await?;
    agent.end("42").await?;
    Ok(())
}
