//! Events as text.

use rappel_core::{Event, EventKind, RunError, buffer_string};

/// The name of a kind, as expectations print it.
pub(crate) fn title(kind: EventKind) -> &'static str {
    match kind {
        EventKind::LlmNewToken => "token",
        kind => kind.method().trim_start_matches("on_"),
    }
}

/// The text of an event.
pub(crate) fn says(event: &Event) -> String {
    match event {
        Event::LlmStart(start) => start.prompt.clone(),
        Event::ChatModelStart(start) => buffer_string(&start.messages),
        Event::LlmNewToken(token) => token.token.to_string(),
        Event::LlmEnd(end) => end.result.text().to_owned(),
        Event::LlmError(error) => error.error.to_string(),
        Event::ChainStart(start) => start.inputs.to_string(),
        Event::ChainEnd(end) => end.outputs.to_string(),
        Event::ChainError(error) => error.error.to_string(),
        Event::ToolStart(start) => start.input.clone(),
        Event::ToolEnd(end) => end.output.to_string(),
        Event::ToolError(error) => error.error.to_string(),
        Event::RetrieverStart(start) => start.query.clone(),
        Event::RetrieverEnd(end) => {
            let texts = end.documents.iter().map(|document| &*document.page_content);
            texts.collect::<Vec<&str>>().join("\n")
        }
        Event::RetrieverError(error) => error.error.to_string(),
        Event::AgentAction(action) => action.tool.clone(),
        Event::AgentFinish(finish) => finish.return_values.to_string(),
        Event::Text(text) => text.text.clone(),
        Event::Retry(retry) => retry.cause.to_string(),
        Event::CustomEvent(event) => event.name.to_string(),
        _ => String::new(),
    }
}

/// The line of a recorded event.
pub(crate) fn line(event: &Event) -> String {
    let line = format!("{} {:?}", title(event.kind()), says(event));
    match event {
        Event::LlmError(error) => {
            let partial = error.partial.text();
            format!("{line} after {partial:?}{}", outcome(&error.error))
        }
        Event::ChainError(error) => line + outcome(&error.error),
        Event::ToolError(error) => line + outcome(&error.error),
        Event::RetrieverError(error) => line + outcome(&error.error),
        _ => line,
    }
}

fn outcome(error: &RunError) -> &'static str {
    match error {
        RunError::Cancelled => ", cancelled",
        RunError::Panicked(_) => ", panicked",
        RunError::Stopped(_) => ", stopped",
        RunError::Failed(_) => ", failed",
        _ => "",
    }
}
