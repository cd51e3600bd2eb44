//! rappel: `LlmRun::on_llm_new_token` of an open run of a chat model, on tokio's current-thread
//! runtime.
//!
//! Async handlers are awaited. Sync ones are called inline, for the peer that has no others. Beside
//! the calls, rappel collects the answer so far, isolates panics, and keeps events in order.

use rappel_benches::handlers::Kind;
use rappel_benches::host::Host;
use rappel_benches::measure::Row;
use rappel_benches::rows::emit;
use rappel_core::{CallbackManager, ChatModelStart, LlmResult, LlmRun, Message};

/// Tokens of a run before the measured ones. With this many and the measured ones, the run's text
/// does not outgrow its buffer during the measured part.
const BEFORE: u64 = 7_000;
const MEASURED: u64 = 6_000;

pub(crate) fn asynchronous(handlers: usize, messages: &[String], host: &Host) -> Row {
    row(Kind::Async, handlers, messages, host)
}

pub(crate) fn inline(handlers: usize, messages: &[String], host: &Host) -> Row {
    row(Kind::Inline, handlers, messages, host)
}

fn row(kind: Kind, handlers: usize, messages: &[String], host: &Host) -> Row {
    let callbacks = kind.register(handlers, host.callbacks());
    let (host, messages) = (host.clone(), messages.to_vec());
    Row::new("rappel", MEASURED, move |meter| {
        let mut run = host.block_on(async {
            let mut run = start(&callbacks, &messages).await;
            emit(&mut run, BEFORE).await;
            run
        });
        meter.around(|| host.block_on(emit(&mut run, MEASURED)));
        host.block_on(run.end(LlmResult::new())).expect("an open run ends");
    })
}

/// Starts a run of a chat model with these messages.
pub(crate) async fn start(callbacks: &CallbackManager, messages: &[String]) -> LlmRun {
    let messages: Vec<Message> =
        messages.iter().map(|text| Message::human(text.as_str())).collect();
    let started = callbacks.on_chat_model_start(ChatModelStart::new("model", messages)).await;
    started.expect("no handler fails")
}
