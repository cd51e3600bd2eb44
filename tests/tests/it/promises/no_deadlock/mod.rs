//! Promise 14: no deadlock by handlers. Inside a handler's call, events are queued for handlers
//! that have a lane and never waited for, ends are handed to the spawner, and a full queue is
//! counted instead of waited for.

mod circles;
mod emitting;
mod ending;
mod full_queues;
mod one_blocking_thread;
mod raised_later;
mod stacks;
mod two_handlers;
mod waits;

use std::sync::OnceLock;

use futures_lite::future::block_on;
use rappel_core::CustomEvent;
use rappel_tests::on_every_runtime;

use super::*;

/// The manager that handlers emit with. It is set once they are registered.
#[derive(Clone, Default)]
struct Own(Arc<OnceLock<CallbackManager>>);

impl Own {
    fn set(&self, callbacks: &CallbackManager) {
        assert!(self.0.set(callbacks.clone()).is_ok());
    }

    fn get(&self) -> Result<&CallbackManager, HandlerError> {
        self.0.get().ok_or_else(|| "not yet".into())
    }
}

/// How a sync handler waits for what it emits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    BlockOn,
    Wait,
}

/// Emits a custom event.
fn emit_custom(callbacks: &CallbackManager, how: How) -> HandlerResult {
    let emit = callbacks.on_custom_event(CustomEvent::new("note", json!(0)));
    match how {
        How::BlockOn => block_on(emit)?,
        How::Wait => emit.wait()?,
    }
    Ok(())
}

/// Emits a whole run of that name and text.
fn emit_run(callbacks: &CallbackManager, name: &str, text: &str, how: How) -> HandlerResult {
    let start = callbacks.on_chain_start(ChainStart::new(name, json!(0)));
    match how {
        How::BlockOn => block_on(async {
            let mut run = start.await?;
            run.on_text(text).await?;
            run.end(json!(1)).await?;
            Ok(())
        }),
        How::Wait => {
            let mut run = start.wait()?;
            run.on_text(text).wait()?;
            run.end(json!(1)).wait()?;
            Ok(())
        }
    }
}

/// What a handler sees of such a run.
fn whole_run(name: &str, text: &str) -> [String; 3] {
    ["chain_start: 0", &format!("text: {text}"), "chain_end: 1"]
        .map(|line| format!("{name}: {line}"))
}

/// The lines of runs of that name.
fn of(log: &Log, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    log.lines().into_iter().filter(|line| line.starts_with(&prefix)).collect()
}

fn is_text(event: &Event, text: &str) -> bool {
    matches!(event, Event::Text(seen) if seen.text == text)
}
