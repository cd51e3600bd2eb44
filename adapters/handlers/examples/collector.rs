//! Collects finished traces, and prints what each run did.
//!
//!     cargo run -p rappel-handlers --example collector

use rappel_handlers::{Collector, With};
use rappel_testkit::{Answer, ScriptedChatModel};
use rappel_tokio::prelude::*;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let collector = Collector::new(100);
    let callbacks = CallbackManager::new(Tokio::current()).with(collector.clone());
    let answer = Answer::text("42").usage(TokenUsage::new(8, 1));
    let model = ScriptedChatModel::new([answer]);
    let chain = async { Ok::<_, RunError>(model.invoke("6 x 9?").await?.text().to_owned()) };

    chain.in_chain(&callbacks, "deep-thought", "6 x 9?").await?;

    for trace in collector.take() {
        for run in trace.runs() {
            let outputs = run.outputs().unwrap_or_default();
            println!("{}: {} -> {outputs}, {:?}", run.name(), run.inputs(), run.duration());
        }
    }
    Ok(())
}
