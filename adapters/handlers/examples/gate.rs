//! Asks a person before a tool runs. Here the person says no to all shells.
//!
//!     cargo run -p rappel-handlers --example gate

use rappel_handlers::{Gate, With};
use rappel_tokio::prelude::*;

/// Stands in for a page on which a person clicks.
async fn ask_a_person(tool: &str, input: &str) -> bool {
    tokio::task::yield_now().await;
    println!("may `{tool}` run with `{input}`?");
    tool != "shell"
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let gate = Gate::tools(async |event, _cx| match event {
        Event::ToolStart(start) if !ask_a_person(&start.name, &start.input).await => {
            Err("a person said no".into())
        }
        _ => Ok(()),
    });
    let callbacks = CallbackManager::new(Tokio::current())
        .with(gate)
        // The refusal is in the result of the start, so it need not be reported, too.
        .on_handler_failure(|_| {});

    let tool = callbacks.on_tool_start(ToolStart::new("clock", "Paris")).await?;
    tool.end("noon").await?;
    let refused = callbacks.on_tool_start(ToolStart::new("shell", "rm -r /")).await;
    if let Err(error) = refused {
        println!("{error}");
    }
    Ok(())
}
