//! Shows a bar for a batch of runs, beside the tree of runs. In a pipe it shows the tree only.
//!
//!     cargo run -p rappel-handlers --features progress --example progress

use std::time::Duration;

use rappel_handlers::{Console, Progress, With};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let progress = Progress::new();
    let callbacks =
        CallbackManager::new(Tokio::current()).with(Console::to(progress.writer())).with(progress);

    let starts = (0..5).map(|number| LlmStart::new("small", format!("joke {number}")));
    for (number, run) in callbacks.on_llm_starts(starts).await.into_iter().enumerate() {
        let mut run = run?;
        for _ in 0..20 {
            run.on_llm_new_token("ha ").await?;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        if number == 3 { run.fail("not funny").await? } else { run.end("ha").await? }
    }
    Ok(())
}
