//! Writes events to a file, and reads them back.
//!
//!     cargo run -p rappel-handlers --example json_lines

use rappel_handlers::{JsonLines, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("events.jsonl");
    let lines = JsonLines::append(&path)?.rotate(10 << 20, 3);
    let callbacks = CallbackManager::new(Tokio::current()).with(lines);
    let model = ScriptedChatModel::new([Answer::tokens(["Why", " not?"])]).callbacks(callbacks);

    model.invoke("Tell me a joke").await?;

    print!("{}", std::fs::read_to_string(&path)?);
    for record in JsonLines::read(&path)? {
        let record = record?;
        println!("{} is number {} of its trace", record.kind, record.tseq);
    }
    Ok(())
}
