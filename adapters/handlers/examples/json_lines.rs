//! Writes events to a file, and replays them into another handler.
//!
//!     cargo run -p rappel-handlers --example json_lines

use rappel_handlers::{Console, JsonLines, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;
use rappel_tokio::record::Replayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("events.jsonl");
    let lines = JsonLines::append(&path)?.rotate(10 << 20, 3);
    let callbacks = CallbackManager::new(Tokio::current()).with(lines);
    let model = ScriptedChatModel::new([Answer::tokens(["Why", " not?"])]).callbacks(callbacks);

    model.invoke("Tell me a joke").await?;

    print!("{}", std::fs::read_to_string(&path)?);
    let callbacks = CallbackManager::new(Tokio::current()).with(Console::stdout().contents(80));
    let mut replayer = Replayer::new(&callbacks);
    for record in JsonLines::read(&path)? {
        replayer.replay(record?).await?;
    }
    Ok(())
}
