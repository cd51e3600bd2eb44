//! Tests a program that calls a model, and the events of its runs, without a network. On tokio.

use rappel_testkit::{Answer, Fault, FaultyChatModel, Recorder, ScriptedChatModel, expect};
use rappel_tokio::prelude::*;

/// The code under test. It asks once more if the model fails.
async fn answer(model: &dyn ChatModel, question: &str) -> Result<String, RunError> {
    let answer = match model.invoke(question).await {
        Err(_) => model.invoke(question).await?,
        Ok(answer) => answer,
    };
    Ok(answer.text().to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RunError> {
    let recorder = Recorder::new();
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(recorder.clone());
    let script = ScriptedChatModel::new([Answer::tokens(["a", "b"]), Answer::tokens(["c", "d"])]);
    let faults = [Fault::error_after(1, "connection reset")];
    let model = FaultyChatModel::new(script.clone(), faults).callbacks(callbacks);

    assert_eq!(answer(&model, "Why?").await?, "cd");

    let broken = expect()
        .chat_model_start()
        .token("a")
        .failed()
        .saying("connection reset")
        .with_partial("a");
    recorder.assert_runs([broken, expect().chat_model_start().tokens(["c", "d"]).end()]);
    assert_eq!(script.requests().len(), 2);
    println!("as expected");
    Ok(())
}
