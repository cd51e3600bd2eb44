//! Handlers that write each event as one line, so that a test reads like the log that it expects.

use std::sync::{Arc, Mutex, PoisonError};

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, HandlerFuture, HandlerResult,
    LlmResult, RunError,
};

/// A log that handlers share with their test.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a line.
    pub fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.into());
    }

    /// The lines that were written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A sync handler that writes every event.
    #[must_use]
    pub fn handler(&self) -> SyncRecorder {
        SyncRecorder(self.clone())
    }

    /// An async handler that writes every event.
    #[must_use]
    pub fn async_handler(&self) -> AsyncRecorder {
        AsyncRecorder(self.clone())
    }
}

/// A sync handler that writes every event.
#[derive(Debug)]
pub struct SyncRecorder(Log);

impl CallbackHandler for SyncRecorder {
    fn on_event(&mut self, event: &Event, _cx: &EventContext) -> HandlerResult {
        self.0.write(line(event));
        Ok(())
    }
}

/// An async handler that writes every event.
#[derive(Debug)]
pub struct AsyncRecorder(Log);

impl AsyncCallbackHandler for AsyncRecorder {
    fn on_event<'a>(&'a self, event: &'a Event, _cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async {
            self.0.write(line(event));
            Ok(())
        })
    }
}

/// An event in one line: its name without `on_`, then the main part of its payload.
#[must_use]
pub fn line(event: &Event) -> String {
    let name = event.kind().method().trim_start_matches("on_");
    match event {
        Event::LlmStart(start) => format!("{name}: {}", start.prompt),
        Event::ChatModelStart(start) => {
            let messages: Vec<String> = start.messages.iter().map(ToString::to_string).collect();
            format!("{name}: {}", messages.join(" | "))
        }
        Event::LlmNewToken(token) => format!("token: {}", token.token),
        Event::LlmEnd(end) => format!("{name}: {}", text(&end.result)),
        Event::LlmError(error) => {
            format!("{name}: {}: {}", outcome(&error.error), text(&error.partial))
        }
        Event::ChainStart(start) => format!("{name}: {}", start.inputs),
        Event::ChainEnd(end) => format!("{name}: {}", end.outputs),
        Event::ChainError(error) => format!("{name}: {}", outcome(&error.error)),
        Event::ToolStart(start) => format!("{name}: {}", start.input),
        Event::ToolEnd(end) => format!("{name}: {}", end.output),
        Event::ToolError(error) => format!("{name}: {}", outcome(&error.error)),
        Event::RetrieverStart(start) => format!("{name}: {}", start.query),
        Event::RetrieverEnd(end) => format!("{name}: {}", end.documents.len()),
        Event::RetrieverError(error) => format!("{name}: {}", outcome(&error.error)),
        Event::AgentAction(action) => format!("{name}: {}", action.tool),
        Event::AgentFinish(finish) => format!("{name}: {}", finish.return_values),
        Event::Text(text) => format!("{name}: {}", text.text),
        Event::Retry(retry) => format!("{name}: {}", retry.attempt),
        Event::CustomEvent(event) => format!("{name}: {}", event.name),
        _ => name.to_owned(),
    }
}

fn text(result: &LlmResult) -> String {
    let texts: Vec<&str> =
        result.generations.iter().map(|generation| generation.text.as_str()).collect();
    texts.join(" | ")
}

fn outcome(error: &RunError) -> &'static str {
    match error {
        RunError::Cancelled => "cancelled",
        RunError::Panicked(_) => "panicked",
        RunError::Stopped(_) => "stopped",
        RunError::Failed(_) => "failed",
        _ => "?",
    }
}
