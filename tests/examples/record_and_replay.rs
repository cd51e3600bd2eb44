//! Writes a run down as JSON Lines, and replays it into another handler.

use std::sync::mpsc;

use rappel_core::record::{EventRecord, Recorder, Replayer};
use rappel_tokio::prelude::*;

/// Sends a line for each event.
struct Lines {
    recorder: Recorder,
    lines: mpsc::Sender<String>,
}

impl CallbackHandler for Lines {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        if let Some(record) = self.recorder.record(event, cx) {
            self.lines.send(serde_json::to_string(&record)?)?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, lines) = mpsc::channel();
    let recorder = Recorder::with_random_source();
    let callbacks =
        CallbackManager::new(Tokio::current()).with_handler(Lines { recorder, lines: sender });
    let start = LlmStart::new("my-model", "Tell me a joke").with_provider("openai");
    let mut run = callbacks.on_llm_start(start).await?;
    run.on_llm_new_token("Why not?").await?;
    run.end("Why not?").await?;

    // Later, or in another program.
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(handler_fn(|event, cx| {
        println!("{} {} {:?}", cx.name(), event.kind(), cx.sequence());
        Ok(())
    }));
    let mut replayer = Replayer::new(&callbacks);
    for line in lines.try_iter() {
        let record: EventRecord = serde_json::from_str(&line)?;
        replayer.replay(record).await?;
    }
    // If the trace ends in the middle.
    replayer.close_open(RunError::TimedOut).await;
    callbacks.flush().await?;
    Ok(())
}
